"""NumPy's names and signatures on traced values, and creation functions whose arrays may be written into.

Plain ``np.*`` calls on traced values end up here by themselves. Use this namespace for what NumPy
cannot dispatch: ``ft.numpy.zeros(3)`` inside a traced function makes an array that traced values can
be written into; ``ft.numpy.array([x, y])`` makes one of traced values.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import numpy as np

from functrans.core.trace import current
from functrans.core.tracer import HOOKS, UFUNCS, Tracer, operand
from functrans.numpy import (  # noqa: F401  (they register themselves)
    application,
    assignment,
    calculus,
    contraction,
    creation,
    decompositions,
    elementwise,
    fft,
    indexing,
    joining,
    linalg,
    nan_functions,
    reduction,
    sorting,
    statistics,
    structure,
    ufunc_methods,
)
from functrans.numpy.creation import filled
from functrans.numpy.structure import astype


def _late_ufunc(ufunc: np.ufunc) -> Any:
    """What stands for a ufunc of SciPy's: declared once the user has imported SciPy and calls one."""
    if "scipy.special" in sys.modules:
        import_module("functrans.ops.special")
    return UFUNCS.get(ufunc)


HOOKS["late_ufunc"] = _late_ufunc

__all__ = [
    "arange",
    "array",
    "asarray",
    "empty",
    "eye",
    "full",
    "linspace",
    "ones",
    "zeros",
]


def _shape(shape: Any) -> tuple[int, ...]:
    return tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)


def zeros(shape: Any, dtype: Any = float) -> Any:
    """Zeros that may be written into, also with traced values.

    Example:
        >>> import numpy as np, functrans as ft
        >>> def f(x):
        ...     y = ft.numpy.zeros(3)
        ...     y[1] = x
        ...     return np.sum(y ** 2)
        >>> float(ft.grad(f)(3.0))
        6.0
    """
    return filled(_shape(shape), 0, np.dtype(dtype))


def empty(shape: Any, dtype: Any = float) -> Any:
    """The same as `zeros`: there is no uninitialised memory in a traced function."""
    return zeros(shape, dtype)


def ones(shape: Any, dtype: Any = float) -> Any:
    """Ones that may be written into; see `zeros`."""
    return filled(_shape(shape), 1, np.dtype(dtype))


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """An array of one value that may be written into; see `zeros`."""
    value = operand(fill_value)
    return filled(
        _shape(shape),
        value,
        np.dtype(np.asarray(value).dtype if dtype is None and not isinstance(value, Tracer) else dtype or value.dtype),
    )


def _made(array: np.ndarray[Any, Any]) -> Any:
    """A plain array as one of the current trace."""
    return current.get().as_tracer(array)


def arange(*args: Any, dtype: Any = None) -> Any:
    """``np.arange`` whose result may be written into; see `zeros`."""
    return _made(np.arange(*args, dtype=dtype))


def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None) -> Any:
    """Evenly spaced numbers; `start` and `stop` may be traced.

    Example:
        >>> import numpy as np, functrans as ft
        >>> float(ft.grad(lambda x: np.sum(ft.numpy.linspace(0.0, x, 3)))(1.0))
        1.5
    """
    result = creation.linspace(start, stop, num, endpoint, dtype=dtype)
    return result if isinstance(result, Tracer) else _made(result)


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float) -> Any:
    """``np.eye`` whose result may be written into; see `zeros`."""
    return _made(np.eye(N, M, k, dtype))


def array(object: Any, dtype: Any = None, copy: bool = True) -> Any:
    """An array of numbers, arrays or traced values, nested in lists; may be written into.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.grad(lambda x: np.prod(ft.numpy.array([x[0], x[1], 2.0])))(np.array([3.0, 5.0])).tolist()
        [10.0, 6.0]
    """
    value = operand(object)
    if not isinstance(value, Tracer):
        return _made(np.array(value, dtype=dtype))
    value = value if dtype is None else astype(value, dtype)
    return structure.copy(value) if copy else value


def asarray(object: Any, dtype: Any = None) -> Any:
    """As `array`, without a copy where none is needed."""
    return array(object, dtype, copy=False)


def __getattr__(name: str) -> Any:
    """NumPy's own function: on traced values it dispatches here by itself."""
    if name.startswith("_") or not hasattr(np, name):
        raise AttributeError(f"module 'functrans.numpy' has no attribute {name!r}")
    return getattr(np, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(np)})
