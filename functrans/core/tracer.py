"""Tracers: what stands for an array while a function is being transformed.

A tracer has NumPy's whole surface: operators, methods, indexing, ufuncs and array functions. All of
it is looked up in the tables below, which `ops/` and `numpy/` fill, so nothing here imports them.
Invariant: a tracer never turns into a plain array behind the user's back. What is not in a table
raises, and whatever would drop a derivative raises.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from functrans.core.primitive import UFUNCS, Elementwise, Primitive
from functrans.core.trace import TracedValue, current
from functrans.core.types import PYTHON_SCALARS, ArrayType, describe
from functrans.errors import ConcretizationError, UnsupportedError, at_user_line, locate

__all__ = [
    "ALTERNATIVES",
    "ARRAY_FUNCTIONS",
    "HOOKS",
    "NO_PARAMS",
    "UFUNCS",
    "UFUNC_METHODS",
    "Tracer",
    "install_method",
    "install_operator",
    "is_weak",
    "operand",
]

UFUNC_METHODS: dict[tuple[np.ufunc, str], Callable[..., Any]] = {}
ARRAY_FUNCTIONS: dict[Any, Callable[..., Any]] = {}
ALTERNATIVES: dict[Any, str] = {}
# What this layer calls of the layers above: "astype", "fill", "getitem", "late_ufunc", "out",
# "stack" and "where".
HOOKS: dict[str, Callable[..., Any]] = {}

NO_PARAMS: dict[str, Any] = {}

NUMERIC_KINDS = "biufc"
_PLAIN_OPERANDS: set[type] = {
    *PYTHON_SCALARS,
    *(kind for kind in set(np.sctypeDict.values()) if np.dtype(kind).kind in NUMERIC_KINDS),
}


class Tracer(TracedValue):
    """Base of every trace's own tracers, which add what they carry in `state`."""

    __slots__ = ()
    __hash__ = object.__hash__

    state: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        _PLAIN_OPERANDS.add(cls)

    @property
    @abstractmethod
    def array_type(self) -> ArrayType:
        """Shape, dtype and weakness."""

    @abstractmethod
    def peek(self, asker: str) -> Any:
        """The concrete value behind the tracer, derivative or not; raises where there is none."""

    @abstractmethod
    def constant(self, asker: str) -> Any:
        """The concrete value, if nothing is lost by taking it out; raises otherwise."""

    def become(self, other: Tracer) -> None:
        """Take on the contents of `other`, of the same trace: how in-place code rewrites a value."""
        for name in self.state:
            setattr(self, name, getattr(other, name))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array_type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array_type.dtype

    @property
    def weak(self) -> bool:
        return self.array_type.weak

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        size = 1
        for length in self.shape:
            size *= length
        return size

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    def __len__(self) -> int:
        shape = self.shape
        if not shape:
            raise TypeError("len() of unsized object")
        return shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[position] for position in range(self.shape[0]))  # type: ignore[index]

    def __bool__(self) -> bool:
        return bool(self.peek("bool()"))

    def __float__(self) -> float:
        return float(self.constant("float()"))

    def __int__(self) -> int:
        return int(self.constant("int()"))

    def __complex__(self) -> complex:
        return complex(self.constant("complex()"))

    def __index__(self) -> int:
        return self.constant("an index").__index__()  # type: ignore[no-any-return]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.asarray(self.constant("__array__"), dtype=dtype)

    def item(self, *index: Any) -> Any:
        """The concrete Python scalar: an explicit way out of the derivative."""
        return np.asarray(self.peek("item()")).item(*index)

    def tolist(self) -> Any:
        """The concrete values as nested lists: an explicit way out of the derivative."""
        return np.asarray(self.peek("tolist()")).tolist()

    def __repr__(self) -> str:
        return f"<{self.array_type} traced by {self.owner.transform}>"

    def __str__(self) -> str:
        return f"{repr(self)[:-1]}: {self.known()}>"

    def known(self) -> str:
        """What is known of the value, for Python's `print`."""
        return str(getattr(self, "value", "no value"))

    def __format__(self, specification: str) -> str:
        if not specification:
            return str(self)
        return format(self.peek("format()"), specification)

    def __reduce__(self) -> Any:
        raise ConcretizationError(
            f"cannot pickle or copy a value traced by {self.owner.transform}, of type {self.array_type}"
            f"\n  Remedy: return it from the function and pickle the result.{at_user_line()}"
        )

    if not TYPE_CHECKING:  # else every name would be one

        def __getattr__(self, name):
            """Say that a name is unknown, or that it is one of NumPy's arrays that is not supported."""
            if name.startswith("_") or hasattr(type(self), name):  # the latter is a slot that is not set
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            if hasattr(np.ndarray, name):
                raise AttributeError(
                    f"{self.owner.transform}: ndarray.{name} is not supported on a traced {self.array_type}"
                    f"\n  Remedy: write it with functions that are (docs/coverage.md), or call it with ft.pure_callback."
                )
            raise AttributeError(f"{self.owner.transform}: a traced {self.array_type} has no attribute {name!r}, and no array has")

    def __copy__(self) -> Any:
        return current.get().as_tracer(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return current.get().as_tracer(self)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        if keywords or method != "__call__":
            return _ufunc_with_keywords(self, ufunc, method, inputs, keywords)
        implementation = UFUNCS.get(ufunc) or HOOKS["late_ufunc"](ufunc)
        if implementation is None:
            raise unsupported(ufunc, inputs)
        if not isinstance(implementation, Elementwise):
            return implementation(*inputs)
        operands = [value if type(value) in _PLAIN_OPERANDS else operand(value) for value in inputs]
        if implementation.operator is not None and all(map(is_weak, operands)):
            operands[0] = strengthen(operands[0])
        return current.get().process(implementation, operands, NO_PARAMS)

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any:
        implementation = ARRAY_FUNCTIONS.get(function)
        if implementation is None:
            raise unsupported(function, args)
        try:
            return implementation(*args, **keywords)
        except (IndexError, TypeError, ValueError) as error:
            locate(error, f"{current.get().transform}: {function_name(function)}")
            raise


def is_weak(value: Any) -> bool:
    """Whether `value` is a Python number, or a tracer of one."""
    kind = type(value)
    if kind in PYTHON_SCALARS:
        return kind is not bool
    return isinstance(value, Tracer) and value.weak


def strengthen(value: Any) -> Any:
    """`value` with its dtype made binding, as NumPy functions make that of a Python scalar."""
    if not isinstance(value, Tracer):
        return np.asarray(value)[()]
    return HOOKS["astype"](value, value.dtype) if value.weak else value


def operand(value: Any, transform: str | None = None) -> Any:
    """`value` as primitives take it: a tracer, a plain array or a scalar.

    Raises for what is no array, in the name of `transform`, or of the one that is running.
    """
    kind = type(value)
    if kind in _PLAIN_OPERANDS:
        return value
    if isinstance(value, np.ndarray):
        if kind is not np.ndarray:
            if isinstance(value, (np.matrix, np.ma.MaskedArray)):
                remedy = "pass a plain ndarray (np.asarray, or .filled())"
                raise _refused(transform, f"a {kind.__name__}, {describe(value)}", remedy)
            value = value.view(np.ndarray)
        _check_dtype(value, transform)
        return value
    if isinstance(value, (list, tuple)):
        if any(isinstance(leaf, Tracer) for leaf in _nested(value)):
            return HOOKS["stack"](value)
        return operand(np.asarray(value), transform)
    if hasattr(value, "__array__") and not hasattr(value, "__array_ufunc__"):
        return operand(np.asarray(value), transform)
    raise _refused(
        transform,
        f"a value of type {kind.__module__}.{kind.__qualname__}",
        "pass a NumPy array, a number or a registered pytree",
    )


def _check_dtype(value: np.ndarray[Any, Any], transform: str | None) -> None:
    """Raise unless the elements of `value` are native numbers."""
    dtype = value.dtype
    if dtype.kind not in NUMERIC_KINDS:
        kinds = {"O": "an object array", "V": "a structured array", "U": "an array of strings", "S": "an array of bytes"}
        what = kinds.get(dtype.kind, f"an array of dtype {dtype}")
        remedy = "convert it to a numeric dtype first, for example x.astype(float)"
        raise _refused(transform, f"{what}, {describe(value)}", remedy)
    if not dtype.isnative:
        what = f"a big-endian or byte-swapped array, {describe(value)} as {dtype.str}"
        raise _refused(transform, what, "convert it with x.astype(x.dtype.newbyteorder('='))")


def _nested(value: Any) -> Iterator[Any]:
    for item in value:
        if isinstance(item, (list, tuple)):
            yield from _nested(item)
        else:
            yield item


def _refused(transform: str | None, what: str, remedy: str) -> UnsupportedError:
    transform = transform or current.get().transform
    return UnsupportedError(f"{transform}: cannot compute with {what}\n  Remedy: {remedy}.{at_user_line()}")


def function_name(function: Any) -> str:
    """The name users know a NumPy callable by: ``np.linalg.svd``."""
    module = getattr(function, "__module__", None) or "numpy"
    module = module.replace("numpy", "np", 1).replace("._ufuncs", "").replace("._core", "")
    return f"{module}.{getattr(function, '__name__', function)}"


def unsupported(function: Any, args: Any) -> UnsupportedError:
    """The error for a NumPy callable no table knows."""
    got = ", ".join(describe(arg) for arg in args if isinstance(arg, (Tracer, np.ndarray, np.generic)))
    remedy = ALTERNATIVES.get(
        function,
        "compute it outside, write it with supported functions, call it with ft.pure_callback, or give it a rule with "
        "ft.custom_vjp or ft.custom_jvp",
    )
    return UnsupportedError(
        f"{current.get().transform}: {function_name(function)} is not supported on traced values (got {got})"
        f"\n  Remedy: {remedy}.{at_user_line()}"
    )


# What looks at a value when the program runs, by what Python asks for while there is none.
WHERE_IT_RUNS = {
    "__array__": "to test it or to see it, write ft.debug.check(condition, message) or ft.debug.print",
    "bool()": "in place of assert or raise, write ft.debug.check(condition, message)",
    "format()": 'to see it, write ft.debug.print("{}", x)',
    "item()": 'to see it, write ft.debug.print("{}", x)',
    "tolist()": 'to see it, write ft.debug.print("{}", x)',
}


def not_concrete(tracer: Tracer, asker: str, why: str, remedy: str) -> ConcretizationError:
    """The error for Python code that asks a tracer for its value."""
    if tracer.dtype.kind in "iub" and asker in {"an index", "__array__"}:
        asker = "an index into a plain array" if asker == "__array__" else "an index, or a length as in range(n),"
        remedy = (
            "write ft.numpy.asarray(a)[i] for a[i] of a plain array or list a, and ft.fori_loop for a loop over range(n); let a loop "
            f"carry the arrays that it writes into; otherwise {remedy}"
        )
    elif asker in WHERE_IT_RUNS:
        remedy = f"{remedy}; {WHERE_IT_RUNS[asker]}"
    return ConcretizationError(
        f"{tracer.owner.transform}: {asker} was asked of a traced {tracer.array_type}, {why}\n  Remedy: {remedy}.{at_user_line()}"
    )


def drops_derivative(tracer: Tracer, asker: str) -> ConcretizationError:
    """The error for code that would take a differentiated value out of its trace."""
    if asker == "__array__":
        asker = "conversion to a plain array"
        remedy = (
            "make lists of traced values arrays with np.stack or np.concatenate, and write them into an array made with "
            "np.zeros_like(x, shape=...) or ft.numpy.zeros; x.item() and ft.stop_gradient(x) drop the derivative on purpose"
        )
    else:
        remedy = (
            "use np.* functions in place of math.* and float(), and write into arrays made with np.zeros_like(x, shape=...) "
            "or ft.numpy.zeros; x.item() and ft.stop_gradient(x) drop the derivative on purpose"
        )
    return not_concrete(tracer, asker, "which would drop its derivative", remedy)


def _ufunc_with_keywords(self: Tracer, ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """A ufunc called with ``out=``, ``where=``, ``dtype=``, or one of its methods such as ``reduce``."""
    if method != "__call__":
        implementation = UFUNC_METHODS.get((ufunc, method))
        if implementation is None:
            name = f"{function_name(ufunc)}.{method}"
            raise UnsupportedError(
                f"{current.get().transform}: {name} is not supported on traced values"
                f"\n  Remedy: write it with the function it stands for (np.sum for np.add.reduce).{at_user_line()}"
            )
        out = keywords.pop("out", None)
        result = implementation(*inputs, **keywords)
        return result if out is None else HOOKS["out"](out[0], result, ufunc.__name__)
    out = keywords.pop("out", (None,))
    where = keywords.pop("where", True)
    dtype = keywords.pop("dtype", None)
    for name, default in (("casting", "same_kind"), ("order", "K"), ("subok", True)):
        if keywords.pop(name, default) != default:
            raise UnsupportedError(f"np.{ufunc.__name__}: {name}= is not supported on traced values{at_user_line()}")
    implementation = UFUNCS.get(ufunc)
    if implementation is None:
        raise unsupported(ufunc, inputs)
    if keywords and (isinstance(implementation, Elementwise) or not _takes(implementation, keywords)):
        raise UnsupportedError(f"np.{ufunc.__name__}: {', '.join(keywords)}= is not supported on traced values{at_user_line()}")
    if dtype is not None:
        inputs = tuple(HOOKS["astype"](operand(value), dtype) for value in inputs)
    result = implementation(*map(operand, inputs), **keywords)
    if where is not True:
        if out[0] is None:
            raise UnsupportedError(
                f"np.{ufunc.__name__}: where= without out= leaves elements uninitialised; pass out=, or use np.where{at_user_line()}"
            )
        result = HOOKS["where"](where, result, out[0])
    if len(out) == 1:
        return result if out[0] is None else HOOKS["out"](out[0], result, ufunc.__name__)
    return tuple(part if target is None else HOOKS["out"](target, part, ufunc.__name__) for target, part in zip(out, result))


def _takes(function: Callable[..., Any], keywords: dict[str, Any]) -> bool:
    """Whether `function` has parameters of these names."""
    return keywords.keys() <= inspect.signature(function).parameters.keys()


def install_operator(name: str, primitive: Primitive) -> None:
    """Let Python's binary operator `name` (``add``) call `primitive` on tracers, in both directions."""

    def forward(self: Any, other: Any) -> Any:
        if type(other) not in _PLAIN_OPERANDS:
            if _defers(other):
                return NotImplemented
            other = operand(other)
        return current.get().process(primitive, (self, other), NO_PARAMS)

    def reverse(self: Any, other: Any) -> Any:
        if type(other) not in _PLAIN_OPERANDS:
            if _defers(other):
                return NotImplemented
            other = operand(other)
        return current.get().process(primitive, (other, self), NO_PARAMS)

    comparison = name in {"lt", "le", "gt", "ge", "eq", "ne"}
    install_method(f"__{name}__", forward)
    if not comparison:
        install_method(f"__r{name}__", reverse)


def _defers(other: Any) -> bool:
    """Whether an operator leaves `other` to its own class, as NumPy does."""
    return other is None or isinstance(other, (str, bytes, dict, set)) or getattr(other, "__array_ufunc__", other) is None


def install_method(name: str, function: Callable[..., Any]) -> None:
    """Give every tracer the method or property `name`."""
    setattr(Tracer, name, function)
