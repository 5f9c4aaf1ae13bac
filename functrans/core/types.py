"""Array types: what is known of an array without its values, and how types combine.

Invariant: promotion is NumPy's own (NEP 50). A Python scalar is *weak*: it takes on the dtype of the
arrays it meets, and a value that is weak stays so until it meets one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = [
    "ArrayType",
    "PYTHON_SCALARS",
    "describe",
    "dtype_of",
    "is_differentiable",
    "result_dtype",
    "shape_of",
    "type_of",
    "ufunc_dtype",
    "uniform",
    "uniform_element",
]

Shape = tuple[int, ...]

PYTHON_SCALARS = frozenset({bool, int, float, complex})
WEAK_DTYPES: dict[type, np.dtype[Any]] = {
    bool: np.dtype(np.bool_),
    int: np.dtype(np.int64),
    float: np.dtype(np.float64),
    complex: np.dtype(np.complex128),
}
_WEAK_KINDS: dict[str, type] = {"i": int, "f": float, "c": complex}


@dataclass(frozen=True, slots=True, init=False)
class ArrayType:
    """Shape and dtype of an array, as ``ArrayType(shape, dtype)``; prints as ``float32[3,4]``.

    It stands for an array where no values are needed: in `make_program`, `linear_transpose` and `pure_callback`.

    Attributes:
        weak: whether it is a Python number, which takes on the dtype of arrays it meets.

    Example:
        >>> import numpy as np, functrans as ft
        >>> print(ft.ArrayType((3, 4), np.float32))
        float32[3,4]
    """

    shape: Shape
    dtype: np.dtype[Any]
    weak: bool = False

    def __init__(self, shape: Iterable[int], dtype: Any, weak: bool = False) -> None:
        object.__setattr__(self, "shape", tuple(shape))
        object.__setattr__(self, "dtype", np.dtype(dtype))
        object.__setattr__(self, "weak", weak)

    def __str__(self) -> str:
        return f"{self.dtype.name}[{','.join(str(length) for length in self.shape)}]"

    @property
    def nbytes(self) -> int:
        """The memory of its elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    def stacked(self, length: int) -> ArrayType:
        """The type of as many arrays of this type along a new first axis."""
        return ArrayType((length, *self.shape), self.dtype)

    @property
    def promoting(self) -> Any:
        """What NumPy's promotion is to be given for an array of this type."""
        return _WEAK_KINDS.get(self.dtype.kind, self.dtype) if self.weak else self.dtype


def type_of(value: Any) -> ArrayType:
    """The type of an array, a NumPy scalar, a Python scalar or a tracer."""
    weak = WEAK_DTYPES.get(type(value))
    if weak is not None:
        return ArrayType((), weak, weak.kind != "b")
    known = getattr(value, "array_type", None)
    if known is not None:
        return known  # type: ignore[no-any-return]
    return ArrayType(value.shape, value.dtype)


def shape_of(value: Any) -> Shape:
    """The shape of anything `type_of` takes, without building the type."""
    return () if type(value) in PYTHON_SCALARS else value.shape


def dtype_of(value: Any) -> np.dtype[Any]:
    """The dtype of anything `type_of` takes, without building the type."""
    weak = WEAK_DTYPES.get(type(value))
    return value.dtype if weak is None else weak


def describe(value: Any) -> str:
    """`value`'s type for a message: ``float32[3,4]``, or the Python class of what is no array."""
    if type(value) in PYTHON_SCALARS or hasattr(value, "dtype") and hasattr(value, "shape"):
        return str(type_of(value))
    return type(value).__name__


def is_differentiable(dtype: np.dtype[Any]) -> bool:
    """Whether values of `dtype` have derivatives: floating and complex ones do."""
    return dtype.kind in "fc"


def uniform(value: Any, dtype: np.dtype[Any], shape: Shape) -> Any:
    """A read-only array of `shape` that takes no memory: every element is the same `value`."""
    element = np.array(value, dtype)
    element.flags.writeable = False
    return np.ndarray(shape, dtype, element.data, 0, (0,) * len(shape))


def uniform_element(array: Any) -> Any:
    """The scalar all elements of a `uniform` array share; None of any other array."""
    if not isinstance(array, np.ndarray) or not array.size or any(array.strides):
        return None
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    return None if root.flags.writeable else array[(0,) * array.ndim]


@lru_cache(maxsize=4096)
def ufunc_dtype(ufunc: np.ufunc, *promoting: Any) -> np.dtype[Any]:
    """The dtype of a one-output ufunc's result for dtypes, or ``int``/``float``/``complex`` if weak."""
    return ufunc.resolve_dtypes((*promoting, None))[-1]


@lru_cache(maxsize=4096)
def result_dtype(*promoting: Any) -> np.dtype[Any]:
    """The common dtype of dtypes, or ``int``/``float``/``complex`` where weak."""
    samples = {int: 0, float: 0.0, complex: 0j}
    return np.result_type(*(samples.get(item, item) if isinstance(item, type) else item for item in promoting))
