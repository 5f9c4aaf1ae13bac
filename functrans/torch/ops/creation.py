"""Functions that make tensors of data, of numbers and of NumPy's arrays."""

from __future__ import annotations

import functools
import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans.core.tracer import Tracer
from functrans.errors import at_user_line
from functrans.torch.autograd.graph import accumulator
from functrans.torch.autograd.modes import state
from functrans.torch.dtypes import DTYPES, Device, complex_of, default, numpy_dtype, title
from functrans.torch.formats import FORMATS, checked_format, checked_layout
from functrans.torch.ops.table import function, install
from functrans.torch.storage.outputs import into
from functrans.torch.tensor import Tensor, current_edge, install_members, made

__all__ = ["creation", "finished", "shape_argument", "tensor"]


def creation(function: Callable[..., Tensor], public: bool = True) -> Callable[..., Tensor]:
    """A decorator: enter a function that makes tensors, with the options they all have."""
    name = function.__name__
    sized = function.__code__.co_flags & inspect.CO_VARARGS

    @functools.wraps(function)
    def call(
        *args: Any, out: Any = None, layout: Any = None, memory_format: Any = None, pin_memory: bool = False, **options: Any
    ) -> Tensor:
        checked_layout(layout, name)
        checked_format(memory_format, name)
        if options.get("device") is not None:
            Device(options["device"])
        if pin_memory:
            raise NotImplementedError(f"{name}: pin_memory is not supported\n  Remedy: leave it away: tensors live on the cpu.{at_user_line()}")
        if sized and "size" in options:
            args = (options.pop("size"),)
        result = function(*args, **options) if out is None else made_into(function, args, options, out)
        if memory_format is FORMATS["contiguous_format"] and out is None and isinstance(result._array, np.ndarray):
            result._array = np.ascontiguousarray(result._array)
        return result

    install(name, call, method=False, public=public)
    return call


def made_into(function: Callable[..., Tensor], args: Sequence[Any], options: dict[str, Any], out: Tensor) -> Tensor:
    """What a function makes, in `out`, whose dtype it has."""
    name, of = function.__name__, options.get("dtype")
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}{at_user_line()}")
    if of is not None and numpy_dtype(of) != out._array.dtype:
        raise RuntimeError(f"dtype {title(of)} does not match dtype of out parameter ({title(out.dtype)}){at_user_line()}")
    required = options.pop("requires_grad", False)
    into(function(*args, **{**options, "dtype": out.dtype}), out, name, False)
    if required:
        out.requires_grad = True
    return out


def finished(array: Any, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A new leaf."""
    if device is not None:
        Device(device)
    result = made(array)
    if state.inference:
        result._extras = {"inference": True}
    if state.transform is not None:
        result._extras = {**(result._extras or {}), "inside": state.transform}
    if requires_grad:
        require(result)
    return result


def require(tensor: Tensor) -> None:
    """Make a leaf require a gradient."""
    if tensor._array.dtype.kind not in "fc":
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    tensor._edge = accumulator(tensor)


def shape_argument(size: Sequence[Any]) -> tuple[int, ...]:
    """A shape given as one sequence or as several ints."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    shape = tuple(int(length) for length in size)
    for length in shape:
        if length < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {length}: {list(shape)}")
    return shape


def _numbers(data: Any) -> Any:
    """Nested lists with tensors replaced by what they hold."""
    if isinstance(data, Tensor):
        return data._array
    if isinstance(data, (list, tuple)):
        return [_numbers(item) for item in data]
    return data


def _array_of(data: Any, wanted: Any) -> Any:
    """A new array of data, of torch's dtype for it."""
    if isinstance(data, Tensor):
        data = data._array
    elif isinstance(data, (list, tuple)):
        if any(isinstance(item, Tensor) and math.prod(item._array.shape) != 1 for item in data):
            raise ValueError(f"only one element tensors can be converted to Python scalars\n  Remedy: use torch.stack.{at_user_line()}")
        data = _numbers(data)
    kind = type(data)
    if wanted is not None:
        target = numpy_dtype(wanted)
        try:
            return np.array(data, target)
        except (OverflowError, ValueError):
            if isinstance(data, (list, tuple)):
                _check_even(data)
            return np.array(data).astype(target)
    if kind is np.ndarray or isinstance(data, np.generic):
        return np.array(data)
    try:
        array = np.array(data)
    except ValueError:
        _check_even(data)
        raise
    if array.dtype.kind == "f" and not _has_arrays(data) or array.size == 0 and kind is not np.ndarray:
        return array.astype(default.numpy)
    if array.dtype.kind == "c" and not _has_arrays(data):
        return array.astype(complex_of(default.numpy))
    if array.dtype.kind in "OUS":
        what = next(_leaves(data), data)
        if isinstance(what, (str, bytes)):
            raise TypeError("new(): invalid data type 'str'")
        raise RuntimeError(f"Could not infer dtype of {type(what).__name__}")
    return array


def _has_arrays(data: Any) -> bool:
    return any(isinstance(leaf, (np.generic, np.ndarray)) for leaf in _leaves(data))


def _leaves(data: Any) -> Any:
    for item in data if isinstance(data, (list, tuple)) else (data,):
        if isinstance(item, (list, tuple)):
            yield from _leaves(item)
        else:
            yield item


def _check_even(data: Any, depth: int = 0) -> int:
    """Raise torch's error for lists of uneven lengths."""
    if not isinstance(data, (list, tuple)):
        return 0
    lengths = [len(item) if isinstance(item, (list, tuple)) else 0 for item in data]
    for length in lengths:
        if length != lengths[0]:
            raise ValueError(f"expected sequence of length {lengths[0]} at dim {depth + 1} (got {length})")
    for item in data:
        _check_even(item, depth + 1)
    return len(data)


@function(method=False)
def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """A new leaf that holds a copy of `data`: numbers, nested lists, an array.

    Example:
        >>> import functrans.torch as torch
        >>> torch.tensor([[1, 2], [3, 4]], dtype=torch.float64)
        tensor([[1., 2.],
                [3., 4.]], dtype=torch.float64)
    """
    if pin_memory:
        raise NotImplementedError(f"tensor: pin_memory is not supported\n  Remedy: leave it away: tensors live on the cpu.{at_user_line()}")
    if isinstance(data, Tensor) and (state.transform is not None or isinstance(data._array, Tracer)):
        copy = data.detach().clone()
        copy = copy if dtype is None else copy.to(dtype)
        return copy.requires_grad_(requires_grad)
    return finished(_array_of(data, dtype), requires_grad, device)


@function(method=False)
def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor of an object, in its memory where that is possible and no `copy` is asked for."""
    result = tensor(obj, dtype=dtype, device=device) if copy else as_tensor(obj, dtype, device)
    if requires_grad:
        result.requires_grad = True
    return result


@function(method=False)
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of data, without a copy of arrays and tensors where none is needed."""
    if isinstance(data, Tensor):
        return data if dtype is None or data.dtype is dtype else data.to(dtype)
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == numpy_dtype(dtype)):
        return from_numpy(data)
    return tensor(data, dtype=dtype, device=device)


@function(method=False)
def from_numpy(ndarray: np.ndarray[Any, Any]) -> Tensor:
    """A tensor that shares the memory of an array."""
    array = ndarray
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    if array.dtype not in DTYPES:
        raise TypeError(
            f"can't convert np.ndarray of type {array.dtype.type}. The only supported types are: float64, float32, float16, complex64, "
            "complex128, int64, int32, int16, int8, uint64, uint32, uint16, uint8, and bool."
        )
    return made(array)


def _filled(value: Any, size: Sequence[Any], of: Any, device: Any, requires_grad: bool) -> Tensor:
    shape = shape_argument(size)
    kind = default.numpy if of is None else numpy_dtype(of)
    array = np.zeros(shape, kind) if value == 0 else np.full(shape, value, kind)
    return finished(array, requires_grad, device)


@creation
def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of a shape."""
    return _filled(0, size, dtype, device, requires_grad)


@creation
def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of a shape."""
    return _filled(1, size, dtype, device, requires_grad)


@creation
def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of a shape, of no particular values: zeros."""
    return _filled(0, size, dtype, device, requires_grad)


@creation
def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one value."""
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    if not isinstance(fill_value, (bool, int, float, complex)):
        raise TypeError(f"full(): argument 'fill_value' (position 2) must be Number, not {type(fill_value).__name__}")
    kind = _array_of(fill_value, dtype).dtype
    shape = shape_argument((size,) if isinstance(size, (tuple, list)) else (size,))
    return finished(np.full(shape, fill_value, kind), requires_grad, device)


def _like(tensor: Tensor, value: Any, of: Any, requires_grad: bool) -> Tensor:
    kind = tensor._array.dtype if of is None else numpy_dtype(of)
    array = tensor._array
    # Elements lie in the order of the tensor's.
    return finished(np.full(array.shape, value, kind) if isinstance(array, Tracer) else np.full_like(array, value, kind), requires_grad)


@creation
def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape and dtype of a tensor."""
    return _like(input, 0, dtype, requires_grad)


@creation
def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape and dtype of a tensor."""
    return _like(input, 1, dtype, requires_grad)


@creation
def empty_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of the shape and dtype of another: zeros."""
    return _like(input, 0, dtype, requires_grad)


@creation
def full_like(input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one value, of the shape and dtype of another."""
    return _like(input, fill_value, dtype, requires_grad)


@creation
def arange(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Numbers from `start` up to `end`, which is left out."""
    if end is None:
        start, end = 0, start
    start, end, step = (item.item() if isinstance(item, Tensor) else item for item in (start, end, step))
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    whole = all(isinstance(item, int) for item in (start, end, step))
    kind = numpy_dtype(dtype) if dtype is not None else np.dtype(np.int64) if whole else default.numpy
    count = max(math.ceil((end - start) / step), 0)
    return finished((start + step * np.arange(count)).astype(kind), requires_grad, device)


@creation
def range(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Numbers from `start` to `end`, which is among them; torch deprecates it."""
    if end is None:
        start, end = 0, start
    warnings.warn(
        "torch.range is deprecated and will be removed in a future release because its behavior is inconsistent with Python's range "
        "builtin. Instead, use torch.arange, which produces values in [start, end).",
        UserWarning,
        stacklevel=3,
    )
    if step == 0:
        raise RuntimeError(f"step must be nonzero{at_user_line()}")
    if (end - start) * step < 0:
        raise RuntimeError(f"upper bound and lower bound inconsistent with step sign{at_user_line()}")
    kind = default.numpy if dtype is None else numpy_dtype(dtype)
    count = math.floor((end - start) / step) + 1
    return finished((start + step * np.arange(count)).astype(kind), requires_grad, device)


@creation
def empty_strided(size: Any, stride: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of a shape whose elements, zeros, lie so many elements apart along each axis."""
    size, stride = tuple(size), tuple(stride)
    if len(size) != len(stride):
        raise RuntimeError(f"dimensionality of sizes ({len(size)}) must match dimensionality of strides ({len(stride)}){at_user_line()}")
    whole = np.zeros(1 + sum((n - 1) * step for n, step in zip(size, stride)) if math.prod(size) else 0, default.numpy if dtype is None else numpy_dtype(dtype))
    array = np.lib.stride_tricks.as_strided(whole, size, [step * whole.itemsize for step in stride])
    return finished(array, requires_grad, device)


@creation
def empty_permuted(size: Any, physical_layout: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of a shape whose axes lie in memory in another order, the outermost first."""
    kind = default.numpy if dtype is None else numpy_dtype(dtype)
    array = np.zeros([size[axis] for axis in physical_layout], kind).transpose(np.argsort(physical_layout))
    return finished(array, requires_grad, device)


@function(method=False)
def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A tensor that shares the memory of an object with a buffer."""
    return finished(np.frombuffer(buffer, numpy_dtype(dtype), count, offset), requires_grad)


@creation
def linspace(start: Any, end: Any, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`steps` numbers from `start` to `end`, evenly spaced."""
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    kind = default.numpy if dtype is None else numpy_dtype(dtype)
    start, end = (item.item() if isinstance(item, Tensor) else item for item in (start, end))
    return finished(np.linspace(start, end, steps).astype(kind), requires_grad, device)


@creation
def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Powers of `base` with evenly spaced exponents."""
    kind = default.numpy if dtype is None else numpy_dtype(dtype)
    return finished(np.logspace(start, end, steps, base=base).astype(kind), requires_grad, device)


@creation
def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The identity matrix."""
    return finished(np.eye(n, m, dtype=default.numpy if dtype is None else numpy_dtype(dtype)), requires_grad, device)


@creation
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The places of a lower triangle, as two rows."""
    return made(np.stack(np.tril_indices(row, offset, col)).astype(np.int64 if dtype is None else numpy_dtype(dtype)))


@creation
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The places of an upper triangle, as two rows."""
    return made(np.stack(np.triu_indices(row, offset, col)).astype(np.int64 if dtype is None else numpy_dtype(dtype)))


def _new(name: str, make: Any) -> None:
    """``x.new_zeros(...)``: like the function, of the dtype of `x` by default."""

    def method(self: Tensor, *args: Any, dtype: Any = None, **kwargs: Any) -> Tensor:
        return make(*args, dtype=self.dtype if dtype is None else dtype, **kwargs)

    method.__name__ = name
    setattr(Tensor, name, method)


for _name, _make in {
    "new_zeros": zeros, "new_ones": ones, "new_empty": empty, "new_full": full, "new_tensor": tensor, "new_empty_strided": empty_strided,
}.items():  # fmt: skip
    _new(_name, _make)


def requires_gradient(self: Tensor) -> bool:
    """Whether operations on the tensor are recorded."""
    return current_edge(self) is not None


def set_requires_gradient(self: Tensor, value: bool) -> None:
    """Let the tensor, a leaf, require a gradient or not."""
    edge = current_edge(self)
    if edge is not None and not edge[0].is_leaf:
        if not value:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a "
                f"subgraph that doesn't require differentiation use var_no_grad = var.detach().{at_user_line()}"
            )
        return
    if not value:
        self._edge = None
    elif edge is None:
        if self._array.dtype.kind not in "fc":
            raise RuntimeError(f"only Tensors of floating point and complex dtype can require gradients{at_user_line()}")
        if self._extras and self._extras.get("inference") and not state.inference:
            raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
        require(self)


def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Let the tensor, a leaf, require a gradient or not."""
    if requires_grad and self._array.dtype.kind not in "fc":
        raise RuntimeError(f"only Tensors of floating point dtype can require gradients{at_user_line()}")
    self.requires_grad = requires_grad
    return self


install_members(requires_grad=property(requires_gradient, set_requires_gradient), requires_grad_=requires_grad_)
