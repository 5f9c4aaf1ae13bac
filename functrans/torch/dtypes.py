"""Dtypes and devices as objects, and torch's promotion.

Promotion differs from NumPy's in three ways: an integer meeting a floating array takes on the array's dtype whatever
its size, 0-d tensors and Python numbers do not widen arrays of their own kind, and Python floats are of the default
dtype, float32. Invariant: there is one object per dtype, so that they are compared by ``is``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["DTYPES", "Device", "complex_of", "default", "device", "dtype", "finfo", "iinfo", "numpy_dtype", "real_of"]


class dtype:
    """The type of a tensor's elements, as ``torch.float32``.

    Example:
        >>> import functrans.torch as torch
        >>> torch.float64, torch.float64.itemsize, torch.int32.is_floating_point
        (torch.float64, 8, False)
    """

    __slots__ = ("is_complex", "is_floating_point", "is_signed", "itemsize", "name", "numpy")

    def __init__(self, name: str, numpy: np.dtype[Any] | None) -> None:
        self.name = name
        self.numpy = numpy
        self.itemsize = numpy.itemsize if numpy is not None else 2
        self.is_floating_point = numpy is None or numpy.kind == "f"
        self.is_complex = numpy is not None and numpy.kind == "c"
        self.is_signed = numpy is None or numpy.kind not in "bu"

    def to_real(self) -> dtype:
        """The dtype of the real part."""
        return DTYPES[real_of(numpy_dtype(self))]

    def to_complex(self) -> dtype:
        """The complex dtype of the same precision."""
        return DTYPES[complex_of(numpy_dtype(self))]

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> Any:
        return _named, (self.name,)


NAMES = {
    "float16": "half", "float32": "float", "float64": "double", "complex64": "cfloat", "complex128": "cdouble",
    "uint8": None, "int8": None, "int16": "short", "int32": "int", "int64": "long", "bool": None,
    "uint16": None, "uint32": None, "uint64": None,
}  # fmt: skip
# What error messages call tensors of a dtype.
TITLES = {
    "float16": "Half", "float32": "Float", "float64": "Double", "complex64": "ComplexFloat", "complex128": "ComplexDouble",
    "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long", "bool": "Bool",
    "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64", "bfloat16": "BFloat16",
}  # fmt: skip
DTYPES: dict[np.dtype[Any], dtype] = {np.dtype(name): dtype(name, np.dtype(name)) for name in NAMES}
BY_NAME = {each.name: each for each in DTYPES.values()}
BY_NAME["bfloat16"] = dtype("bfloat16", None)
BY_NAME.update({alias: BY_NAME[name] for name, alias in NAMES.items() if alias})


def _named(name: str) -> dtype:
    return BY_NAME[name]


class Default:
    """The floating dtype of tensors made from Python numbers."""

    def __init__(self) -> None:
        self.numpy = np.dtype(np.float32)


default = Default()


def title(of: Any) -> str:
    """What messages call a dtype: ``Float``."""
    return TITLES[of.name if of.name != "bool_" else "bool"]


def numpy_dtype(of: Any) -> np.dtype[Any]:
    """The NumPy dtype of a `dtype`, or of Python's ``float``, ``int``, ``bool`` and ``complex``."""
    if type(of) is dtype:
        if of.numpy is None:
            raise NotImplementedError(f"torch.{of.name} is not supported: NumPy has no such dtype\n  Remedy: use torch.float32.")
        return of.numpy
    if of is float:
        return default.numpy
    if of in (int, bool, complex):
        return complex_of(default.numpy) if of is complex else np.dtype(np.int64 if of is int else np.bool_)
    if isinstance(of, (np.dtype, type)):
        return np.dtype(of)
    raise TypeError(f"dtype must be a torch.dtype (got {type(of).__name__})")


def set_default_dtype(d: dtype) -> None:
    """Make tensors of Python floats have this dtype.

    Raises:
        TypeError: it is not a floating dtype.
    """
    if type(d) is not dtype or not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    default.numpy = numpy_dtype(d)


def get_default_dtype() -> dtype:
    """The dtype of tensors of Python floats."""
    return DTYPES[default.numpy]


@lru_cache(maxsize=64)
def complex_of(real: np.dtype[Any]) -> np.dtype[Any]:
    """The complex dtype of the same precision."""
    return np.dtype({"float64": np.complex128, "complex128": np.complex128}.get(real.name, np.complex64))


@lru_cache(maxsize=64)
def real_of(of: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of the real part."""
    return np.zeros((), of).real.dtype


_RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


@lru_cache(maxsize=1024)
def promoted(x: np.dtype[Any], y: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of a sum of arrays of two dtypes, neither of them 0-d."""
    if _RANK[x.kind] < _RANK[y.kind]:
        x, y = y, x
    if x.kind == y.kind or x.kind in "iu" and y.kind in "iu":
        return np.promote_types(x, y)
    if x.kind == "c" and y.kind == "f":
        return np.promote_types(x, complex_of(y))
    return x


_SCALARS: dict[type, Any] = {bool: "bool", int: "int64", float: None, complex: None}


def scalar_dtype(kind: type) -> np.dtype[Any]:
    """The dtype of a Python number."""
    name = _SCALARS[kind]
    if name is not None:
        return np.dtype(name)
    return default.numpy if kind is float else complex_of(default.numpy)


@lru_cache(maxsize=1024)
def _over(strong: np.dtype[Any], weak: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of arrays of `strong` with 0-d ones, or numbers, of `weak`."""
    if _RANK[weak.kind] <= _RANK[strong.kind]:
        return strong
    if strong.kind == "f":
        return complex_of(strong)
    return promoted(strong, weak)


def result_dtype(*values: Any) -> np.dtype[Any]:
    """The dtype that arrays, NumPy scalars (which are 0-d tensors) and Python numbers have in common."""
    groups: list[Any] = [None, None, None]
    for value in values:
        if type(value) in _SCALARS:
            place, kind = 2, scalar_dtype(type(value))
        else:
            place, kind = 0 if value.ndim else 1, value.dtype
        groups[place] = kind if groups[place] is None else promoted(groups[place], kind)
    result: Any = None
    for group in reversed(groups):
        if group is not None:
            result = group if result is None else _over(group, result)
    return result


# As messages list them.
DEVICES = (
    "cpu, cuda, ipu, xpu, mkldnn, opengl, opencl, ideep, hip, ve, fpga, maia, xla, lazy, vulkan, mps, meta, hpu, mtia, privateuseone"
)


class Device:
    """Where tensors live: only ``cpu`` is supported."""

    __slots__ = ("index", "type")

    index: int | None
    type: str

    def __init__(self, type: Any, index: int | None = None) -> None:
        if isinstance(type, Device):
            type, index = type.type, type.index
        name, _, number = str(type).partition(":")
        if name not in ("cpu", "cuda", "mps", "meta"):
            raise RuntimeError(f"Expected one of {DEVICES} device type at start of device string: {name}")
        if name != "cpu":
            raise NotImplementedError(
                f"device {type!r} is not supported: tensors live on the cpu\n  Remedy: for CUDA, compile a function of CuPy arrays with ft.jit."
            )
        self.type = name
        self.index = int(number) if number else index

    def __repr__(self) -> str:
        return f"device(type='{self.type}'" + (f", index={self.index})" if self.index is not None else ")")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __enter__(self) -> Device:
        """Tensors made meanwhile live there, as they do in any case."""
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function


device = Device
CPU = Device("cpu")


class _Info:
    """Limits of a dtype, as NumPy knows them."""

    def __init__(self, limits: Any, of: dtype) -> None:
        self.dtype = of.name
        self.bits = limits.bits
        self.min, self.max = limits.min, limits.max


class finfo(_Info):
    """The limits of a floating dtype: ``eps``, ``tiny``, ``min``, ``max``, ``resolution``, ``bits``."""

    def __init__(self, type: dtype | None = None) -> None:
        of = type or get_default_dtype()
        if not (of.is_floating_point or of.is_complex):
            raise TypeError("torch.finfo() requires a floating point input type. Use torch.iinfo to handle 'torch.finfo'")
        limits = np.finfo(numpy_dtype(of))
        super().__init__(limits, of)
        self.min, self.max = float(limits.min), float(limits.max)
        self.eps, self.tiny, self.resolution = float(limits.eps), float(limits.tiny), float(limits.resolution)
        self.smallest_normal = self.tiny


class iinfo(_Info):
    """The limits of an integer dtype: ``min``, ``max``, ``bits``."""

    def __init__(self, type: dtype) -> None:
        super().__init__(np.iinfo(numpy_dtype(type)), type)
