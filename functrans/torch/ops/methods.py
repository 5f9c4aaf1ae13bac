"""Methods that tensors have beside the tables: copies, dtypes, NumPy and other libraries, hooks, backward."""

from __future__ import annotations

import copy as copies
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.core.types import dtype_of
from functrans.errors import at_user_line
from functrans.ops import structure
from functrans.torch.autograd import engine
from functrans.torch.autograd.graph import PrimitiveNode, accumulator, named
from functrans.torch.autograd.handles import RemovableHandle
from functrans.torch.dtypes import DTYPES, Device, numpy_dtype, title
from functrans.torch.formats import FORMATS, checked_format
from functrans.torch.ops.apply import converted, perform, seen
from functrans.torch.ops.table import define, function, install
from functrans.torch.storage.views import detached
from functrans.torch.storage.writes import check_writable
from functrans.torch.tensor import Tensor, current_edge, install_members, made, memory

__all__ = ["RemovableHandle", "method"]

CLONE = named("CloneBackward0", PrimitiveNode)


def method(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator: the function is a method of tensors."""
    setattr(Tensor, function.__name__, function)
    return function


# Unlike `structure.copy`, whose result may be its operand, a clone has memory of its own.
@function()
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy, with a history."""
    checked_format(memory_format, "clone")
    result = perform(structure.copy, (input,), {}, CLONE, "clone")
    if type(result._array) is np.ndarray:
        preserved = memory_format is not FORMATS["contiguous_format"] and 0 not in result._array.strides
        result._array = result._array.copy("K" if preserved else "C")
    return result


@function()
def detach(input: Tensor) -> Tensor:
    """A tensor of the same memory without a history."""
    return detached(seen(input))


@method
def detach_(self: Tensor) -> Tensor:
    """Cut the tensor's history; it becomes a leaf."""
    if self._view is not None:
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for training, and "
            f"gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and hence detach_() cannot be called on these gradients. To fix this error, please refer to the Optimizer.zero_grad() function in torch/optim/optimizer.py as the solution.{at_user_line()}"
        )
    self._edge = None
    return self


def data_of(self: Tensor) -> Tensor:
    """The same memory without a history, whose writes are not counted."""
    inside = seen(self)
    return made(memory(inside)) if inside is self else detached(inside)


def set_data(self: Tensor, value: Tensor) -> None:
    """Take on the array of another tensor."""
    self._array = value._array


def gradient_of(self: Tensor) -> Tensor | None:
    """The gradient, or None; asked of a tensor that does not keep one, with a warning."""
    if self._grad is None:
        edge = current_edge(self)
        if edge is not None and not edge[0].is_leaf and not self.retains_grad:
            warn_non_leaf()
    return self._grad


C_NAMES = {"float32": "float", "float64": "double", "float16": "c10::Half", "int64": "long", "int32": "int", "int16": "short"}


def warn_non_leaf() -> None:
    """Say that a tensor keeps no gradient."""
    warnings.warn(
        "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be populated during "
        "autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf Tensor, use .retain_grad() on the "
        "non-leaf Tensor. If you access the non-leaf Tensor by mistake, make sure you access the leaf Tensor instead.",
        UserWarning,
        stacklevel=4,
    )


def set_gradient(self: Tensor, value: Tensor | None) -> None:
    """Make a tensor, or None, the gradient."""
    if value is not None:
        if not isinstance(value, Tensor):
            raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}")
        if value is self:
            raise RuntimeError("can't assign Variable as its own grad")
        if value._array.shape != self._array.shape:
            raise RuntimeError(
                f"attempting to assign a gradient of size '{list(value._array.shape)}' to a tensor of size '{list(self._array.shape)}'. "
                f"Please ensure that the gradient and the tensor are the same size{at_user_line()}"
            )
        if value._array.dtype != self._array.dtype:
            raise RuntimeError(
                f"attempting to assign a gradient with dtype '{C_NAMES.get(value._array.dtype.name, value.dtype.name)}' to a tensor with grad_dtype "
                f"'{title(self.dtype)}'. The gradient must match the tensor's grad_dtype (defaults to the tensor's dtype). You can set the "
                "tensor's grad_dtype attribute with a specific dtype, or None to allow any dtype. Set grad_dtype with caution. Diverging the "
                f"dtypes of a tensor and its gradient may break downstream systems that assume they match.{at_user_line()}"
            )
    self._grad = value


def drop_gradient(self: Tensor) -> None:
    """Forget the gradient."""
    self._grad = None


install_members(data=property(data_of, set_data), grad=property(gradient_of, set_gradient, drop_gradient))


@method
def to(
    self: Tensor, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, non_blocking: bool = False, memory_format: Any = None
) -> Tensor:
    """The tensor in another dtype; itself where nothing changes and no copy is asked for."""
    checked_format(memory_format, "to")
    for each in args:
        if isinstance(each, Tensor):
            dtype = each.dtype
        elif isinstance(each, (str, Device)):
            device = each
        elif each is not None and not isinstance(each, bool):
            dtype = each
    flags = [each for each in args if isinstance(each, bool)]  # non_blocking and copy
    copy = copy or len(flags) > 1 and flags[1]
    if device is not None:
        Device(device)
    if dtype is None or numpy_dtype(dtype) == self._array.dtype:
        return clone(self) if copy else self
    return converted(self, numpy_dtype(dtype))


def _shorthand(name: str, wanted: str) -> None:
    def shorthand(self: Tensor, memory_format: Any = None) -> Tensor:
        return to(self, dtype=DTYPES[np.dtype(wanted)], memory_format=memory_format)

    shorthand.__name__ = name
    setattr(Tensor, name, shorthand)


for _name, _wanted in {
    "double": "float64", "float": "float32", "half": "float16", "long": "int64", "int": "int32", "short": "int16", "char": "int8",
    "byte": "uint8", "bool": "bool", "cfloat": "complex64", "cdouble": "complex128",
}.items():  # fmt: skip
    _shorthand(_name, _wanted)


@method
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the dtype of another."""
    return to(self, other)


@method
def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """Itself."""
    checked_format(memory_format, "cpu")
    return self


@method
def cuda(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Not supported."""
    raise NotImplementedError(f"Tensor.cuda is not supported: tensors live on the cpu\n  Remedy: compile a function of CuPy arrays with ft.jit.{at_user_line()}")


@method
def numpy(self: Tensor, *, force: bool = False) -> Any:
    """The array, which shares the tensor's memory."""
    self = seen(self)
    if current_edge(self) is not None and not force:
        raise RuntimeError(f"Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.{at_user_line()}")
    return memory(self)


@method
def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Any:
    array = numpy(self)
    return np.array(array, dtype) if copy else np.asarray(array, dtype)


@method
def __array_wrap__(self: Tensor, array: Any, context: Any = None, return_scalar: bool = False) -> Tensor:
    """What NumPy's functions of elements return of a tensor: a tensor."""
    return made(np.asarray(array))


@method
def __dlpack__(self: Tensor, **keywords: Any) -> Any:
    if current_edge(self) is not None:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    return memory(self).__dlpack__(**keywords)


@method
def __dlpack_device__(self: Tensor) -> Any:
    return memory(self).__dlpack_device__()


@function(method=False)
def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor that shares the memory of another library's array."""
    return made(np.from_dlpack(ext_tensor))


@method
def data_ptr(self: Tensor) -> Any:
    """The address of the first element."""
    return memory(self).ctypes.data


@method
def stride(self: Tensor, dim: int | None = None) -> Any:
    """How many elements lie between neighbours along each axis."""
    array = memory(self)
    strides: list[int] = [step // array.itemsize for step in array.strides]
    for axis in range(array.ndim - 1, -1, -1):
        if array.shape[axis] == 1 and not strides[axis]:  # NumPy's word for any; torch has that of a contiguous axis
            strides[axis] = array.shape[axis + 1] * strides[axis + 1] if axis + 1 < array.ndim else 1
    return tuple(strides) if dim is None else strides[dim]


@method
def storage_offset(self: Tensor) -> int:
    """Where the tensor begins in the memory of its base."""
    base = self if self._view is None else self._view.base
    array, whole = memory(self), memory(base)
    return int((array.ctypes.data - whole.ctypes.data) // array.itemsize)


@method
def is_contiguous(self: Tensor, memory_format: Any = None) -> bool:
    """Whether elements lie in memory in the order of the shape."""
    checked_format(memory_format, "is_contiguous")
    return bool(memory(self).flags.c_contiguous)


@method
def contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    """Itself if contiguous, else a copy that is."""
    checked_format(memory_format, "contiguous")
    if is_contiguous(self):
        return self
    result = perform(structure.copy, (self,), {}, CLONE, "contiguous")
    result._array = np.ascontiguousarray(result._array)
    return result


@method
def backward(self: Tensor, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None) -> None:
    """Add the gradients of the tensor, times `gradient`, to ``.grad`` of the leaves it depends on; see `autograd.backward`."""
    engine.backward(self, gradient, retain_graph, create_graph, inputs=inputs)


@method
def register_hook(self: Tensor, hook: Callable[[Tensor], Any]) -> RemovableHandle:
    """Call `hook` with the tensor's gradient in backward passes; what it returns, if anything, takes the gradient's place."""
    edge = current_edge(self)
    if edge is None:
        raise RuntimeError(f"cannot register a hook on a tensor that doesn't require gradient{at_user_line()}")
    node, place = edge
    return RemovableHandle(node.hooked().tensor.setdefault(place, {}), hook)


@method
def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Call `hook` with the tensor, a leaf, whenever its gradient was accumulated."""
    edge = current_edge(self)
    if edge is None:
        raise RuntimeError(f"cannot register a hook on a tensor that doesn't require gradient{at_user_line()}")
    if not edge[0].is_leaf:
        raise RuntimeError(f"post accumulate grad hooks cannot be registered on non-leaf tensors{at_user_line()}")
    if edge[0].after_accumulation is None:
        edge[0].after_accumulation = {}
    return RemovableHandle(edge[0].after_accumulation, hook)


@method
def retain_grad(self: Tensor) -> None:
    """Keep the gradient of a tensor that is no leaf."""
    edge = current_edge(self)
    if edge is None:
        raise RuntimeError(f"can't retain_grad on Tensor that has requires_grad=False{at_user_line()}")
    node, place = edge
    if not node.is_leaf:
        node.hooked().retain[place] = weakref.ref(self)


def retains_gradient(self: Tensor) -> bool:
    """Whether a tensor that is no leaf keeps its gradient."""
    edge = current_edge(self)
    if edge is None or edge[0].is_leaf or edge[0].hooks is None:
        return False
    reference = edge[0].hooks.retain.get(edge[1])
    return reference is not None and reference() is self


install_members(retains_grad=property(retains_gradient))


@method
def is_inference(self: Tensor) -> bool:
    """Whether it was made in inference mode."""
    return bool(self._extras and self._extras.get("inference"))


def sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """The sum over axes that a tensor of `size` would be repeated along."""
    shape = size[0] if len(size) == 1 and isinstance(size[0], (tuple, list)) else size
    return _sum_to_size(self, tuple(shape))


_sum_to_size = define("_sum_to_size", structure.unbroadcast, node="SumBackward1", method=False, public=False)
method(sum_to_size)


@method
def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape."""
    return bool(self._array.shape == other._array.shape)


@method
def set_(self: Tensor, source: Tensor) -> Tensor:
    """Take on the memory of another tensor."""
    check_writable(self, current_edge(self) is not None)
    self._array, self._changes, self._view = memory(source), source._changes, None
    return self


def copied_memory(tensor: Tensor, memo: dict[int, Any]) -> tuple[Any, list[Any]]:
    """A copy of the memory and a list of the writes into it, which within one ``deepcopy`` are shared as they were."""
    array = root = tensor._array
    if type(array) is not np.ndarray:
        return np.array(array)[()] if not array.ndim else array.copy(), []
    while isinstance(root.base, np.ndarray) and root.base.dtype == root.dtype:
        root = root.base
    if not root.flags.forc or not array.size:
        return array.copy(), []
    if id(root) not in memo:
        memo[id(root)] = root.copy("K"), [], root  # with the root, for its number not to become another's
    copy, changes, _ = memo[id(root)]
    if array is root:
        return copy, changes
    start = (array.ctypes.data - root.ctypes.data) // array.itemsize
    view = np.lib.stride_tricks.as_strided(copy.ravel("K")[start:], array.shape, array.strides, writeable=array.flags.writeable)
    return view, changes


@method
def __deepcopy__(self: Tensor, memo: dict[int, Any]) -> Tensor:
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  If you were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, see https://github.com/pytorch/pytorch/pull/103001"
        )
    array, changes = copied_memory(self, memo)
    result = made(array, type(self))
    result._changes = changes
    memo[id(self)] = result
    if current_edge(self) is not None:
        result._edge = accumulator(result)
    if self._grad is not None and type(self) is Tensor:  # copies of parameters begin without one
        result._grad = copies.deepcopy(self._grad, memo)
    result.__dict__.update(copies.deepcopy(self.__dict__, memo))
    return result


def _rebuilt(cls: type[Tensor], array: Any, requires_grad: bool, extra: dict[str, Any]) -> Tensor:
    result = made(array, cls)
    if requires_grad:
        result._edge = accumulator(result)
    result.__dict__.update(extra)
    return result


@method
def __reduce_ex__(self: Tensor, protocol: int) -> Any:
    if not self.is_leaf:
        raise RuntimeError(f"only leaf tensors can be pickled; call detach() first{at_user_line()}")
    return _rebuilt, (type(self), np.asarray(self._array), current_edge(self) is not None, dict(self.__dict__))


def conjugate(x: Any) -> Any:
    """The conjugate; real numbers, of any dtype, as they are."""
    return np.conjugate(x) if dtype_of(x).kind == "c" else x


define("conj", lambda x: conjugate(x), node="ConjBackward0")
define("conj_physical", lambda x: conjugate(x), in_place=True)
function("resolve_conj", aliases=("resolve_neg",))(lambda input: input)
define("angle", lambda x: np.angle(x), floating=True)


def of_pairs(x: Any) -> Any:
    """Complex numbers of pairs of real ones."""
    if not x.ndim or x.shape[-1] != 2:
        raise RuntimeError(f"Tensor must have a last dimension of size 2{at_user_line()}")
    return x[..., 0] + 1j * x[..., 1]


def part(name: str, operation: Callable[[Any], Any], kinds: str = "c") -> Callable[[Tensor], Tensor]:
    """A function whose result torch has as a view: ours is a copy, which therefore cannot be written into."""
    copied = define(name, operation, method=False, public=False, kinds=kinds)

    def call(input: Tensor) -> Tensor:
        if name == "real" and input._array.dtype.kind != "c":
            return input
        result: Tensor = copied(input)
        result._extras = {**(result._extras or {}), "part": name}
        return result

    call.__name__ = call.__qualname__ = name
    call.__doc__ = copied.__doc__
    install(name, call, method=False)
    return call


Tensor.real = property(part("real", lambda x: np.real(x)))  # type: ignore[attr-defined]
Tensor.imag = property(part("imag", lambda x: np.imag(x)))  # type: ignore[attr-defined]
part("view_as_real", lambda x: np.stack([np.real(x), np.imag(x)], axis=-1))
part("view_as_complex", of_pairs, "f")
define("complex", lambda real, imag: real + 1j * imag, method=False, kinds="f", together=2, same=True)
define("polar", lambda abs, angle: abs * np.exp(1j * angle), method=False, kinds="f", together=2, same=True)


def both_tensors(name: str, input: Any, other: Any) -> None:
    """Raise unless both operands are tensors, of shapes that fit."""
    for place, value in enumerate((input, other)):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name}(): argument '{('input', 'other')[place]}' (position {place + 1}) must be Tensor, not {type(value).__name__}{at_user_line()}"
            )


@function()
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements."""
    both_tensors("equal", input, other)
    return bool(input._array.shape == other._array.shape and np.array_equal(input._array, other._array))


@function()
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether two tensors are equal within tolerances."""
    both_tensors("allclose", input, other)
    if input._array.dtype != other._array.dtype:
        raise RuntimeError(f"{title(input.dtype)} did not match {title(other.dtype)}{at_user_line()}")
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


isclose = define("isclose", lambda input, other, rtol=1e-05, atol=1e-08, equal_nan=False: np.isclose(input, other, rtol, atol, equal_nan), together=2, same=True)
function("numel", method=False)(lambda input: input.numel())
function("is_tensor", method=False)(lambda obj: isinstance(obj, Tensor))
function("is_floating_point", method=False)(lambda input: input.is_floating_point())
function("is_complex", method=False)(lambda input: input.is_complex())
function("is_nonzero")(lambda input: bool(input))
