"""NumPy's functions that rearrange, view, broadcast and convert arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from functrans.core.mutation import assign, freeze, maybe_view, view
from functrans.core.trace import current
from functrans.core.tracer import HOOKS, Tracer, install_method, operand, strengthen
from functrans.core.types import dtype_of, shape_of
from functrans.errors import UnsupportedError, at_user_line
from functrans.numpy.registry import delivered, implements, normalize_axes, normalize_axis
from functrans.ops import structure as ops


@implements(np.copy, methods=("copy",))
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    a = operand(a)
    return current.get().as_tracer(a) if isinstance(a, Tracer) else np.copy(a)


@implements(methods=("astype",))
def astype(a: Any, dtype: Any, order: str = "K", casting: str = "unsafe", subok: bool = True, copy: bool = True) -> Any:
    a = operand(a)
    dtype = np.dtype(dtype)
    old = dtype_of(a)
    if dtype == old and not getattr(a, "weak", False) and isinstance(a, Tracer):
        return current.get().as_tracer(a) if copy else a
    if not np.can_cast(old, dtype, casting):  # type: ignore[arg-type]
        raise TypeError(f"astype: cannot cast {old} to {dtype} according to the rule {casting!r}{at_user_line()}")
    if old.kind == "c" and dtype.kind not in "cb":
        a = ops.real(a)
    return ops.convert(a, dtype=dtype) if dtype_of(a) != dtype or getattr(a, "weak", True) else a


HOOKS["astype"] = astype


if hasattr(np, "astype"):
    implements(np.astype)(lambda x, dtype, /, *, copy=True, device=None: astype(x, dtype, copy=copy))


def fill_in(target: Any, value: Any) -> Any:
    """`value` broadcast and cast to the type of `target`."""
    value = operand(value)
    if dtype_of(value) != target.dtype or type(value) in (bool, int, float, complex):
        value = astype(value, target.dtype)
    value = broadcast_values(value, target.shape)
    return value if isinstance(value, Tracer) else current.get().as_tracer(value)


HOOKS["fill"] = fill_in


@implements(methods=("fill",))
def fill(a: Any, value: Any) -> None:
    assign(a, lambda target: fill_in(target, value))


def complete_shape(a: Any, shape: Any) -> tuple[int, ...]:
    """`shape` with -1 filled in, or NumPy's error."""
    shape = tuple(item.__index__() for item in shape) if isinstance(shape, (tuple, list)) else (shape.__index__(),)
    old = shape_of(a)
    size = math.prod(old)
    if shape.count(-1) == 1:
        rest = -math.prod(shape)
        if rest and size % rest == 0:
            shape = tuple(size // rest if n == -1 else n for n in shape)
    if math.prod(shape) != size or min(shape, default=0) < 0:
        raise ValueError(
            f"cannot reshape array of size {size} into shape {shape}"
            f"\n  Remedy: give lengths whose product is {size}, one of which may be -1.{at_user_line()}"
        )
    return shape


@implements(np.reshape)
def reshape(a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: bool | None = None) -> Any:
    a = operand(a)
    shape = complete_shape(a, newshape if shape is None else shape)
    if order == "F":
        return transpose(reshape(transpose(a), shape[::-1]))
    result = ops.reshape(a, shape=shape)
    old = shape_of(a)
    if copy or not isinstance(a, Tracer):
        return result
    certain = math.prod(n for n in old if n != 1) == max(old, default=1) or a.cell is None or a.cell.base is None
    if certain:
        return view(result, a, lambda base: ops.reshape(base, shape=shape), lambda base, value: ops.reshape(value, shape=old))
    return maybe_view(result, a)


def reshape_method(self: Any, *shape: Any, order: str = "C", copy: bool | None = None) -> Any:
    return reshape(self, shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape, order, copy=copy)


install_method("reshape", reshape_method)


@implements(np.ravel, methods=("ravel",))
def ravel(a: Any, order: str = "C") -> Any:
    return reshape(a, (-1,), order)


install_method("flatten", lambda self, order="C": reshape(self, (-1,), order, copy=True))


@implements(np.transpose, np.permute_dims)
def transpose(a: Any, axes: Any = None) -> Any:
    a = operand(a)
    ndim = len(shape_of(a))
    order = tuple(range(ndim))[::-1] if axes is None else tuple(normalize_axis(axis, ndim, "transpose") for axis in axes)
    if sorted(order) != list(range(ndim)):
        raise ValueError(f"axes don't match array: {axes} for {ndim} dimensions{at_user_line()}")
    inverse = ops.inverse_permutation(order)
    return view(
        ops.transpose(a, axes=order),
        a,
        lambda base: ops.transpose(base, axes=order),
        lambda base, value: ops.transpose(value, axes=inverse),
    )


def transpose_method(self: Any, *axes: Any) -> Any:
    if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], (tuple, list))):
        axes = axes[0]
    return transpose(self, axes or None)


install_method("transpose", transpose_method)


install_method("T", property(transpose))  # type: ignore[arg-type]


@implements(np.swapaxes, methods=("swapaxes",))
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    ndim = len(shape_of(operand(a)))
    order = list(range(ndim))
    first, second = normalize_axis(axis1, ndim, "swapaxes"), normalize_axis(axis2, ndim, "swapaxes")
    order[first], order[second] = order[second], order[first]
    return transpose(a, order)


@implements(np.matrix_transpose, np.linalg.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    return swapaxes(x, -1, -2)


install_method("mT", property(matrix_transpose))  # type: ignore[arg-type]


@implements(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    ndim = len(shape_of(operand(a)))
    sources, targets = (
        [normalize_axis(item, ndim, "moveaxis") for item in (axes if isinstance(axes, (tuple, list)) else (axes,))]
        for axes in (source, destination)
    )
    order = [axis for axis in range(ndim) if axis not in sources]
    for target, axis in sorted(zip(targets, sources)):
        order.insert(target, axis)
    return transpose(a, order)


@implements(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    ndim = len(shape_of(operand(a)))
    axis = normalize_axis(axis, ndim, "rollaxis")
    start = start + ndim if start < 0 else start
    return moveaxis(a, axis, start - 1 if axis < start else start)


def broadcast_values(a: Any, shape: tuple[int, ...]) -> Any:
    """`a` broadcast to `shape`; itself if it has that shape."""
    return a if shape_of(a) == shape else ops.broadcast_to(strengthen(a), shape=shape)


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    array = operand(array)
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape.__index__(),)
    if np.broadcast_shapes(shape_of(array), shape) != shape:
        raise ValueError(f"cannot broadcast shape {shape_of(array)} to {shape}{at_user_line()}")
    return freeze(ops.broadcast_to(array, shape=shape))


@implements(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Any, ...]:
    shape = np.broadcast_shapes(*(shape_of(operand(arg)) for arg in args))
    return tuple(broadcast_to(arg, shape) for arg in args)


@implements(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    old = shape_of(operand(a))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    places = normalize_axes(tuple(axes), len(old) + len(axes), "expand_dims")
    lengths = iter(old)
    return reshape(a, tuple(1 if place in places else next(lengths) for place in range(len(old) + len(axes))))


@implements(np.squeeze, methods=("squeeze",))
def squeeze(a: Any, axis: Any = None) -> Any:
    shape = shape_of(operand(a))
    axes = tuple(i for i, n in enumerate(shape) if n == 1) if axis is None else normalize_axes(axis, len(shape), "squeeze")
    if any(shape[i] != 1 for i in axes):
        raise ValueError(f"cannot select an axis to squeeze out which has size not equal to one{at_user_line()}")
    return reshape(a, tuple(n for i, n in enumerate(shape) if i not in axes))


@implements(np.atleast_1d)
def atleast_1d(*arys: Any) -> Any:
    results = tuple(a if shape_of(operand(a)) else reshape(a, (1,)) for a in arys)
    return results[0] if len(results) == 1 else results


@implements(np.atleast_2d)
def atleast_2d(*arys: Any) -> Any:
    results = tuple(reshape(a, (1,) * (2 - len(shape_of(operand(a)))) + shape_of(operand(a))) for a in arys)
    return results[0] if len(results) == 1 else results


@implements(np.atleast_3d)
def atleast_3d(*arys: Any) -> Any:
    def one(a: Any) -> Any:
        shape = shape_of(operand(a))
        return reshape(a, {0: (1, 1, 1), 1: (1, *shape, 1), 2: (*shape, 1)}.get(len(shape), shape))

    return one(arys[0]) if len(arys) == 1 else tuple(map(one, arys))


@implements(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    m = operand(m)
    axes = normalize_axes(axis, len(shape_of(m)), "flip")
    return view(
        ops.flip(m, axes=axes), m, lambda base: ops.flip(base, axes=axes), lambda base, value: ops.flip(value, axes=axes)
    )


implements(np.flipud)(lambda m: flip(m, 0))


implements(np.fliplr)(lambda m: flip(m, 1))


@implements(np.rot90)
def rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    k %= 4
    if k == 0:
        return copy(m)
    if k == 2:
        return flip(m, axes)
    return flip(swapaxes(m, *axes), axes[0]) if k == 1 else swapaxes(flip(m, axes[0]), *axes)


@implements(np.take, methods=("take",))
def take(a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise") -> Any:
    a = operand(a)
    if axis is None:
        a, axis = ravel(a), 0
    if not shape_of(a):
        a = reshape(a, (1,))
    axis = normalize_axis(axis, len(shape_of(a)), "take")
    indices = operand(indices)
    if not isinstance(indices, Tracer):
        indices = np.asarray(indices)
    length = shape_of(a)[axis]
    if mode == "wrap":
        indices = indices % length
    elif mode == "clip":
        indices = np.clip(indices, 0, length - 1)
    result = HOOKS["getitem"](a, (slice(None),) * axis + (indices,))
    return delivered(result, out, "take")


@implements(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    return ops.triangle(matrix_of(m), offset=k, lower=True)


def matrix_of(m: Any) -> Any:
    """`m`, or the square matrix whose every row is the vector `m`."""
    m = operand(m)
    if not shape_of(m):
        raise TypeError(f"np.tril, np.triu: a 0-d array has no triangle{at_user_line()}")
    return broadcast_values(m, shape_of(m) * 2) if len(shape_of(m)) == 1 else m


@implements(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    return ops.triangle(matrix_of(m), offset=k, lower=False)


@implements(np.diagonal, methods=("diagonal",))
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return freeze(ops.diagonal(moveaxis(operand(a), (axis1, axis2), (-2, -1)), offset=offset))


@implements(np.linalg.diagonal)
def matrix_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return diagonal(x, offset, -2, -1)


@implements(np.trace, methods=("trace",))
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Any:
    return np.sum(diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype, out=out)


@implements(np.linalg.trace)
def matrix_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return trace(x, offset, -2, -1, dtype)


@implements(np.real, methods=())
def real(val: Any) -> Any:
    val = operand(val)
    return ops.real(val) if dtype_of(val).kind == "c" else val


@implements(np.imag)
def imag(val: Any) -> Any:
    val = operand(val)
    return ops.imag(val) if dtype_of(val).kind == "c" else np.zeros_like(val)


install_method("real", property(real))  # type: ignore[arg-type]


install_method("imag", property(imag))  # type: ignore[arg-type]


@implements(methods=("conj", "conjugate"))
def conjugate(x: Any) -> Any:
    x = operand(x)
    return ops.conjugate(x) if dtype_of(x).kind == "c" else x


@implements(np.ndim)
def ndim(a: Any) -> int:
    return len(shape_of(operand(a)))


@implements(np.shape)
def shape(a: Any) -> tuple[int, ...]:
    return shape_of(operand(a))


@implements(np.size)
def size(a: Any, axis: int | None = None) -> int:
    return math.prod(shape_of(operand(a))) if axis is None else shape_of(operand(a))[axis]


@implements(np.iscomplexobj)
def iscomplexobj(x: Any) -> bool:
    return dtype_of(operand(x)).kind == "c"


@implements(np.isrealobj)
def isrealobj(x: Any) -> bool:
    return dtype_of(operand(x)).kind != "c"


@implements(np.result_type)
def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    return np.result_type(*(np.empty((), dtype_of(item)) if isinstance(item, Tracer) else item for item in arrays_and_dtypes))


# Methods that cannot do on values without memory what they are for, with what to write instead.
REFUSED_METHODS = {
    "flat": "read x.ravel(), and write with x.put(indices, values) or x[index] = value",
    "resize": "use np.resize(x, shape), which returns a new array",
    "view": "use x.astype(dtype), or x.real and x.imag",
    "tobytes": "take the values out with np.asarray(ft.stop_gradient(x))",
    "byteswap": "convert arrays before they are traced",
    "setflags": "leave it out: arguments are read-only, and what is made inside may be written into",
}


def refuse_method(name: str, remedy: str) -> None:
    """Let the attribute `name` of tracers raise."""

    def refused(self: Any) -> Any:
        raise UnsupportedError(
            f"{self.owner.transform}: ndarray.{name} is not supported on a traced {self.array_type}\n  Remedy: {remedy}.{at_user_line()}"
        )

    install_method(name, property(refused))  # type: ignore[arg-type]


for _name, _remedy in REFUSED_METHODS.items():
    refuse_method(_name, _remedy)
