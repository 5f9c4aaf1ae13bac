"""The tensor: memory, a place in the graph of the backward pass, and a gradient.

What a tensor is made of is here; what can be done with it, its methods and operators, the tables of `ops/` install.

Invariants: the memory of a tensor is that of its views, and they share one list of the writes into it, whose length is
the version. A tensor requires a gradient if and only if it has an edge. An array without axes may be a NumPy scalar
until somebody needs memory; then `memory` makes it an array.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

import numpy as np

from functrans import tree
from functrans.core.tracer import Tracer
from functrans.torch.autograd.modes import state
from functrans.torch.dtypes import CPU, DTYPES, default, dtype, title

__all__ = ["Size", "Tensor", "clock", "install_members", "like", "made", "memory"]

# Counts what happens, operations and writes alike, so that of any two it can be told which came first.
clock = itertools.count(1)

_new = object.__new__
# A class of tensors.
Kind = TypeVar("Kind", bound="Tensor")


class Size(tuple[int, ...]):
    """The shape of a tensor."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements."""
        count = 1
        for length in self:
            count *= length
        return count

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def __getitem__(self, key: Any) -> Any:
        part = tuple.__getitem__(self, key)
        return Size(part) if isinstance(key, slice) else part

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))


class Tensor:
    """An array that remembers how it was computed.

    Attributes:
        _array: an ndarray, a NumPy scalar or, inside a transform of functrans, a tracer.
        _edge: ``(node, place)``: which result of which node of the graph it is; None without a history. A leaf that
            requires a gradient has an `AccumulateGrad` there.
        _grad: the gradient, a tensor, or None.
        _changes: the writes into the memory, ``(time, where, dtype, shape)``; the list is shared by all that share memory.
        _view: how it was made from the tensor that owns the memory, or None.
        _extras: what few tensors have: a tangent, whether it was made in inference mode, the transform it was made inside,
            views of a tracer, and what made it if it is a copy where torch has a view; or None.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(2.0, requires_grad=True)
        >>> y = x ** 2 + 3 * x
        >>> y.backward()
        >>> x.grad
        tensor(7.)
    """

    __slots__ = ("__dict__", "__weakref__", "_array", "_changes", "_edge", "_extras", "_grad", "_view")

    _array: Any
    _edge: tuple[Any, int] | None
    _grad: Tensor | None
    _changes: list[Any]
    _view: Any
    _extras: dict[str, Any] | None

    # To transforms of functrans, a container that stands for its array.
    __functrans_array__ = True

    if TYPE_CHECKING:  # what the tables install

        data: Tensor
        grad: Tensor | None
        requires_grad: bool

        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __neg__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __eq__(self, other: Any) -> Any: ...
        def __ne__(self, other: Any) -> Any: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def _binary(self, other: Any) -> Tensor: ...

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _binary
        __floordiv__ = __mod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __and__ = __or__ = __xor__ = _binary

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        tree.register(cls, _children, lambda data, children: _rebuilt(children[0], cls))

    # NumPy leaves operators to us.
    __array_priority__ = 1000

    def __new__(cls, *data: Any) -> Self:
        from_numbers = data and not all(type(item) is int for item in data)
        if from_numbers and isinstance(data[0], Tensor):
            array = data[0]._array
        elif from_numbers:
            array = np.array(data[0], default.numpy)
        else:
            array = np.zeros(data or (0,), default.numpy)
        return made(array, cls)

    @property
    def shape(self) -> Size:
        """The lengths of its axes."""
        return Size(self._array.shape)

    @property
    def dtype(self) -> dtype:
        """The type of its elements."""
        return DTYPES[self._array.dtype]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    @property
    def device(self) -> Any:
        """Where it lives: the CPU."""
        return CPU

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user rather than computed from what requires a gradient."""
        edge = current_edge(self)
        return edge is None or edge[0].is_leaf

    @property
    def grad_fn(self) -> Any:
        """The node of the graph that made it; None of a leaf."""
        edge = current_edge(self)
        return None if edge is None or edge[0].is_leaf else edge[0]

    @property
    def output_nr(self) -> int:
        """Which result of its node it is."""
        return 0 if self._edge is None else self._edge[1]

    @property
    def _version(self) -> int:
        return len(self._changes)

    @property
    def _base(self) -> Tensor | None:
        return None if self._view is None else self._view.base

    def _is_view(self) -> bool:
        return self._view is not None

    # `layout` and kinds of tensors there are no others of.
    is_sparse = is_quantized = is_mkldnn = is_cuda = is_meta = is_nested = False

    def dim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    ndimension = dim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one axis."""
        shape = self._array.shape
        if dim is None:
            return Size(shape)
        if not -len(shape) <= dim < len(shape):
            raise IndexError(axis_message(dim, len(shape)))
        return shape[dim]

    def numel(self) -> int:
        """The number of elements."""
        return int(self._array.size)

    nelement = numel

    def element_size(self) -> int:
        """The bytes of an element."""
        return int(self._array.dtype.itemsize)

    @property
    def itemsize(self) -> int:
        """The bytes of an element."""
        return int(self._array.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        """The bytes of all elements."""
        return int(self._array.nbytes)

    def is_floating_point(self) -> bool:
        """Whether elements are floating-point numbers."""
        return self._array.dtype.kind == "f"

    def is_complex(self) -> bool:
        """Whether elements are complex numbers."""
        return self._array.dtype.kind == "c"

    def is_signed(self) -> bool:
        """Whether elements can be negative."""
        return self._array.dtype.kind not in "bu"

    def get_device(self) -> int:
        """The index of its device; -1 on the CPU."""
        return -1

    def type(self, dtype: Any = None) -> Any:
        """The name of its type, ``torch.FloatTensor``."""
        return f"torch.{title(self.dtype)}Tensor" if dtype is None else self.to(dtype)

    def item(self) -> Any:
        """The one element, as a Python number."""
        if self._array.size != 1:
            raise RuntimeError(f"a Tensor with {self._array.size} elements cannot be converted to Scalar")
        return contents(self).item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return contents(self).tolist()

    def __len__(self) -> int:
        if not self._array.ndim:
            raise TypeError("len() of a 0-d tensor")
        return int(self._array.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        if not self._array.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __bool__(self) -> bool:
        if self._array.size == 1:
            array = contents(self)
            return bool(array) if array.ndim == 0 else bool(array.reshape(()))
        if self._array.size == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")

    def _scalar(self, asker: str) -> Any:
        """The one element, for Python's conversions; in a transform of functrans that is not torch's it must be a constant."""
        if self._array.size != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        array = contents(self)
        if isinstance(array, Tracer) and state.transform is None:
            array = np.asarray(array.constant(asker))
        return array.item()

    def _real_scalar(self, asker: str, kind: str) -> Any:
        """The one element, which must be real."""
        value = self._scalar(asker)
        if isinstance(value, complex):
            if value.imag:
                raise RuntimeError(f"value cannot be converted to type {kind} without overflow")
            return value.real
        return value

    def __float__(self) -> float:
        return float(self._real_scalar("float()", "double"))

    def __int__(self) -> int:
        return int(self._real_scalar("int()", "int64_t"))

    def __complex__(self) -> complex:
        return complex(self._scalar("complex()"))

    def __index__(self) -> int:
        if self._array.dtype.kind not in "iub" or self._array.size != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(contents(self).item())

    def __hash__(self) -> int:
        return id(self)

    def __format__(self, specification: str) -> str:
        if not self._array.ndim and type(self) is Tensor:
            return format(self.item(), specification)
        return object.__format__(self, specification)

    def __contains__(self, element: Any) -> bool:
        return bool(np.any(contents(self) == (contents(element) if isinstance(element, Tensor) else element)))


def _children(tensor: Tensor) -> Any:
    """A tensor as a container of its array, which transforms of functrans take it for."""
    return (tensor._array if state.transform is None else state.transform.take(tensor)._array,), None


def _rebuilt(child: Any, cls: type[Tensor] = Tensor) -> Tensor:
    """The container of an array; of anything else, as the trees of tensors in derivatives of derivatives, that itself.

    Inside transforms it is of the class of what was taken apart; results are plain tensors.
    """
    if isinstance(child, Tensor) or not hasattr(child, "dtype"):
        return child
    tensor = made(child, cls if isinstance(child, Tracer) else Tensor)
    if state.transform is not None:
        tensor._extras = {"inside": state.transform}
    return tensor


tree.register(Tensor, _children, lambda data, children: _rebuilt(children[0]))


def axis_message(dim: int, ndim: int) -> str:
    """What torch says of an axis that is not there."""
    return f"Dimension out of range (expected to be in range of [{-max(ndim, 1)}, {max(ndim, 1) - 1}], but got {dim})"


def install_members(**members: Any) -> None:
    """Give tensors methods, properties and other attributes, by name."""
    for name, member in members.items():
        setattr(Tensor, name, member)


@overload
def made(array: Any) -> Tensor: ...
@overload
def made(array: Any, cls: type[Kind]) -> Kind: ...


def made(array: Any, cls: Any = Tensor) -> Any:
    """A tensor without a history that owns `array`."""
    tensor: Tensor = _new(cls)
    tensor._array = array
    tensor._edge = tensor._grad = tensor._view = tensor._extras = None
    tensor._changes = []
    return tensor


def like(tensor: Tensor, array: Any) -> Tensor:
    """Another tensor of the same memory and the same writes, without a history."""
    other = made(array)
    other._changes = tensor._changes
    return other


def memory(tensor: Tensor) -> Any:
    """The array of a tensor, with memory of its own that may be shared and written into."""
    array = tensor._array
    if type(array) is not np.ndarray and not isinstance(array, Tracer):
        array = tensor._array = np.asarray(array)
    return array


def contents(tensor: Tensor) -> Any:
    """The array of a tensor whose elements Python asks for; while a program is staged, a tracer, which refuses."""
    transform = state.transform
    return tensor._array if transform is None or not transform.stages else transform.take(tensor)._array


def current_edge(tensor: Tensor) -> Any:
    """Its place in the graph; that of a view is found anew when the memory was written into since."""
    return tensor._edge if tensor._view is None else tensor._view.edge(tensor)
