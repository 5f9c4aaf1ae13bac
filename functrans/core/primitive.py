"""Primitives: the operations every transform knows, in a few classes.

A primitive is data and short functions: how to evaluate it with NumPy, the type of its result, and
what its class needs to be differentiated and batched. The classes hold no rule themselves. Each
transform has one case per class (`transforms/`), so an op is declared once and a transform written
once. Functions in declarations are plain NumPy code: transforms run them on tracers.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from functrans.core.trace import current
from functrans.core.types import PYTHON_SCALARS, ArrayType, Shape, result_dtype, ufunc_dtype, uniform

__all__ = [
    "Composite",
    "Contraction",
    "Control",
    "Elementwise",
    "General",
    "Indexing",
    "PRIMITIVES",
    "Primitive",
    "Reduction",
    "Structural",
    "UFUNCS",
]

PRIMITIVES: dict[str, Primitive] = {}
# What a ufunc does on traced values: the primitive of its name, unless `ops/` or `numpy/` say otherwise.
UFUNCS: dict[np.ufunc, Any] = {}


class Primitive:
    """An operation with a name, an evaluation and a type rule.

    Attributes:
        name: NumPy's name where it has one; unique.
        evaluate: computes the result from NumPy arrays and scalars.
        selects: cotangents it sends back may belong to values that were not chosen, or stem from an
            infinite slope, so they are multiplied with 0 winning (see `masked_multiply`).
        multiple: whether the result is a tuple.
        has_effect: whether it does something beside giving a result. Such an operation is performed as often as
            the function that calls it, in order with others of the kind, whatever becomes of its result; a
            parameter may have an effect as well (see `Equation.has_effect`).
        runs_user_code: whether errors in its evaluation may be the user's own.
        repeatable: whether a second evaluation of the same operands gives the same result; if not, as for random
            bits and callbacks, no pass computes it again (see `Equation.repeatable`).
        samples: argument tuples, ``(operands, params)``, that the tests run every rule on.
    """

    multiple = False
    has_effect = False
    runs_user_code = False
    repeatable = True

    def __init__(
        self, name: str, evaluate: Callable[..., Any], *, selects: bool = False, samples: Callable[[], Any] | None = None
    ) -> None:
        self.name = name
        self.evaluate = evaluate
        self.selects = selects
        self.samples = samples
        if name in PRIMITIVES:
            raise ValueError(f"primitive {name!r} is declared twice")
        PRIMITIVES[name] = self

    def __call__(self, *operands: Any, **params: Any) -> Any:
        return current.get().process(self, operands, params)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> Any:
        return PRIMITIVES.__getitem__, (self.name,)

    @abstractmethod
    def result_type(self, types: Sequence[ArrayType], params: dict[str, Any]) -> Any:
        """The `ArrayType` of the result (a tuple of them if `multiple`)."""


def stand_in(type_: ArrayType) -> Any:
    """An array of this shape to find out the shape of a result with, at next to no cost."""
    return uniform(1, np.dtype(np.int8), type_.shape)


Partial = Callable[..., Any] | float | None


class Term(NamedTuple):
    """One operand's part of a derivative: `factor` is a number, or a function of the saved values and parameters."""

    position: int
    factor: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """What differentiation with respect to some operands saves, and the partials applied to it."""

    save: Callable[[Sequence[Any]], Any]
    terms: tuple[Term, ...]


def _nothing(values: Sequence[Any]) -> tuple[()]:
    return ()


class Elementwise(Primitive):
    """A function of corresponding elements, broadcast as NumPy broadcasts.

    Attributes:
        ufunc: gives the result's dtype, and the result where `operator` is None; one of the same name
            means this primitive when it is called on traced values.
        partials: one per operand: a function whose argument names say what it needs (``x``, ``y``,
            ``z`` the operands, ``out`` the result, else a parameter), a constant, or None where the
            function is flat or the operand is not differentiated. All None: not differentiable.
        operator: Python's operator, faster than the ufunc, which keeps weak scalars weak.
    """

    def __init__(
        self,
        name: str,
        ufunc: np.ufunc,
        partials: Sequence[Partial] | None = None,
        *,
        operator: Callable[..., Any] | None = None,
        selects: bool = False,
        samples: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(name, operator or ufunc, selects=selects, samples=samples)
        self.ufunc = ufunc
        if getattr(ufunc, "__name__", None) == name:
            UFUNCS[ufunc] = self
        self.operator = operator
        self.partials = tuple(partials) if partials else ()
        self.differentiable = bool(partials) and any(partial is not None for partial in self.partials)
        self.plans: dict[int, Plan] = {}

    def result_type(self, types: Sequence[ArrayType], params: dict[str, Any]) -> ArrayType:
        weak = self.operator is not None and all(type_.weak for type_ in types)
        if weak or not all(type_.weak for type_ in types):
            dtype = ufunc_dtype(self.ufunc, *(type_.promoting for type_ in types))
        else:
            dtype = ufunc_dtype(self.ufunc, *(type_.dtype for type_ in types))
        return ArrayType(broadcast_shape(*(type_.shape for type_ in types)), dtype, weak and dtype.kind != "b")

    def plan(self, active: int) -> Plan:
        """The plan for the operands whose bits are set in `active`."""
        plan = self.plans.get(active)
        if plan is None:
            plan = self.plans[active] = self._make_plan(active)
        return plan

    def _make_plan(self, active: int) -> Plan:
        slots = {name: position for position, name in enumerate("xyz"[: len(self.partials)])}
        slots["out"] = len(self.partials)
        wanted = [
            (position, partial, tuple(inspect.signature(partial).parameters) if callable(partial) else ())
            for position, partial in enumerate(self.partials)
            if active >> position & 1 and partial is not None
        ]
        needed = sorted({slots[name] for _, _, names in wanted for name in names if name in slots})
        terms = tuple(
            Term(
                position,
                bound(
                    partial,
                    tuple(needed.index(slots[name]) for name in names if name in slots),
                    tuple(name for name in names if name not in slots),
                )
                if callable(partial)
                else partial,
            )
            for position, partial, names in wanted
        )
        if not needed:
            return Plan(_nothing, terms)
        if len(needed) == 1:
            only = needed[0]
            return Plan(lambda values: (values[only],), terms)
        return Plan(itemgetter(*needed), terms)


def bound(partial: Callable[..., Any], places: tuple[int, ...], names: tuple[str, ...]) -> Callable[[Any, Any], Any]:
    """`partial` as a function of the saved values, at `places`, and of the parameters, by name."""

    def apply(saved: Any, params: Any) -> Any:
        values = [saved[place] for place in places]
        own = {name: params[name] for name in names}
        try:
            return partial(*values, **own)
        except ZeroDivisionError:
            return divided_by_numpy(partial, values, own)

    return apply


def divided_by_numpy(partial: Callable[..., Any], values: Sequence[Any], params: dict[str, Any]) -> Any:
    """A partial that divides Python numbers by 0, which raises, as NumPy's numbers have it: inf or nan."""
    result = partial(*[np.asarray(value)[()] if type(value) in PYTHON_SCALARS else value for value in values], **params)
    return result.item() if all(type(value) in PYTHON_SCALARS for value in values) else result


@lru_cache(maxsize=4096)
def broadcast_shape(*shapes: Shape) -> Shape:
    """The shape NumPy broadcasts `shapes` to."""
    return np.broadcast_shapes(*shapes)


class Structural(Primitive):
    """A linear function of its operands that moves, repeats, drops or adds up elements.

    Attributes:
        adjoint: ``(ct, *types, **params)`` -> the cotangent of the operand, or a tuple, one for each
            of several operands. The pairing is ``Re(sum(ct * tangent))``.
        batch: ``(params, ranks)`` -> the parameters for operands with a new leading axis, where
            `ranks` are the operands' own; operands of one call are batched together.
        dtype: ``(*dtypes, **params)`` -> dtype, where the result's differs from the operands'.
    """

    def __init__(
        self,
        name: str,
        evaluate: Callable[..., Any],
        *,
        adjoint: Callable[..., Any],
        batch: Callable[..., dict[str, Any]],
        dtype: Callable[..., Any] | None = None,
        shape: Callable[..., Shape] | None = None,
        selects: bool = False,
        samples: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(name, evaluate, selects=selects, samples=samples)
        self.adjoint = adjoint
        self.batch = batch
        self.dtype = dtype
        self.shape = shape

    def result_type(self, types: Sequence[ArrayType], params: dict[str, Any]) -> ArrayType:
        if self.shape is not None:
            shape = self.shape(*(type_.shape for type_ in types), **params)
        else:
            shape = self.evaluate(*map(stand_in, types), **params).shape
        if self.dtype is not None:
            dtype = np.dtype(self.dtype(*(type_.dtype for type_ in types), **params))
        else:
            dtype = result_dtype(*(type_.promoting for type_ in types))
        return ArrayType(shape, dtype)


class Reduction(Primitive):
    """One result from the elements along some axes, given as a sorted tuple `axes`.

    Attributes:
        partial: of the result with respect to each element: a function of ``x`` and ``out`` (which
            keeps the reduced axes, with length 1), or a constant; None if not differentiable.
        ufunc: gives the dtype of the result; else `dtype` does.
    """

    def __init__(
        self,
        name: str,
        evaluate: Callable[..., Any],
        partial: Partial = None,
        *,
        dtype: Callable[[np.dtype[Any]], Any] | None = None,
        selects: bool = False,
        samples: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(name, evaluate, selects=selects, samples=samples)
        self.partial = partial
        self.dtype = dtype
        needs = tuple(inspect.signature(partial).parameters) if callable(partial) else ()
        self.needs_x, self.needs_out = "x" in needs, "out" in needs

    def result_type(self, types: Sequence[ArrayType], params: dict[str, Any]) -> ArrayType:
        (type_,) = types
        axes = params["axes"]
        shape = tuple(length for axis, length in enumerate(type_.shape) if axis not in axes)
        return ArrayType(shape, np.dtype(self.dtype(type_.dtype)) if self.dtype else type_.dtype)


class Contraction(Primitive):
    """A sum of products of two operands, with letters as in einsum: one primitive, `contract`."""

    def result_type(self, types: Sequence[ArrayType], params: dict[str, Any]) -> ArrayType:
        inputs, out = params["subscripts"].split("->")
        sizes: dict[str, int] = {}
        for letters, type_ in zip(inputs.split(","), types):
            for letter, length in zip(letters, type_.shape):
                if sizes.setdefault(letter, length) != length:
                    raise ValueError(f"contract {params['subscripts']}: axis {letter} is {sizes[letter]} and {length} long")
        dtype = result_dtype(*(type_.promoting for type_ in types))
        return ArrayType(tuple(sizes[letter] for letter in out), dtype)


class Indexing(Primitive):
    """Reading or writing elements at places given by integer arrays and slices.

    The first `differentiated` operands are data, the others integer index arrays; the parameter
    ``index`` says how they and any slices make up NumPy's index (see `ops.indexing`).
    """

    def __init__(
        self,
        name: str,
        evaluate: Callable[..., Any],
        *,
        differentiated: int,
        samples: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(name, evaluate, selects=True, samples=samples)
        self.differentiated = differentiated

    def result_type(self, types: Sequence[ArrayType], params: dict[str, Any]) -> ArrayType:
        data = types[: self.differentiated]
        if self.differentiated == 1:
            indices = [np.zeros(type_.shape, type_.dtype) for type_ in types[1:]]
            result = self.evaluate(stand_in(types[0]), *indices, **params)
            return ArrayType(result.shape, types[0].dtype)
        return ArrayType(data[0].shape, data[0].dtype)


class Composite(Primitive):
    """An operation evaluated and batched in one call, and differentiated as a composition of others.

    Attributes:
        decomposition: the same function written with other operations.
        batch: as for `Structural`.
        dtype: as for `Structural`.
    """

    def __init__(
        self,
        name: str,
        evaluate: Callable[..., Any],
        decomposition: Callable[..., Any],
        *,
        batch: Callable[..., dict[str, Any]],
        shape: Callable[..., Shape],
        dtype: Callable[..., Any] | None = None,
        samples: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(name, evaluate, samples=samples)
        self.decomposition = decomposition
        self.batch = batch
        self.shape = shape
        self.dtype = dtype

    result_type = Structural.result_type


class General(Primitive):
    """An operation that gives every rule itself.

    Attributes:
        types: ``(*types, **params)`` -> the result's type or types.
        jvp: ``(primals, tangents, out, active, **params)`` -> the tangents of the result; tangents
            of operands outside the mask `active` are None. None: not differentiable.
        pullback: ``(ct, operands, out, active, **params)`` -> a cotangent (or None) per operand.
        batch: ``(operands, batched, size, **params)`` -> the result with its batch axis in front, or
            None if it has no derivative rule of its own to offer; batched operands have it in front.
        takes_none: whether the pullback of several results gets None for the cotangent of one that nothing
            depends on; else it gets zeros.
    """

    def __init__(
        self,
        name: str,
        evaluate: Callable[..., Any],
        *,
        types: Callable[..., Any],
        jvp: Callable[..., Any] | None,
        pullback: Callable[..., Any] | None,
        batch: Callable[..., Any],
        multiple: bool = False,
        takes_none: bool = False,
        has_effect: bool = False,
        runs_user_code: bool = False,
        repeatable: bool = True,
        selects: bool = False,
        samples: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(name, evaluate, selects=selects, samples=samples)
        self.types = types
        self.jvp = jvp
        self.pullback = pullback
        self.batch = batch
        self.multiple = multiple
        self.takes_none = takes_none
        self.has_effect = has_effect
        self.runs_user_code = runs_user_code
        self.repeatable = repeatable

    def result_type(self, types: Sequence[ArrayType], params: dict[str, Any]) -> Any:
        return self.types(*types, **params)


class Control(Primitive):
    """A loop, a branch or a call: an operation some of whose parameters are programs, or tuples of programs.

    The results are a tuple. The programs capture nothing: what the functions they stem from close over is among the
    operands. Rules run under the parent of the trace that applies them, and are made of operations as user code is.

    Attributes:
        types: ``(*types, **params)`` -> the types of the results.
        push: ``(primals, tangents, **params)`` -> the results and their tangents; the tangents of operands that have
            none, and of results that depend on no other, are None.
        forward: ``(operands, active, **params)`` -> the results and what `pull` is to have; bits of `active` are set
            for differentiated operands.
        pull: ``(cts, saved, active, **params)`` -> a cotangent, or None, per operand; cotangents of results that
            nothing differentiated depends on are None.
        batch: ``(operands, batched, size, axis_name, **params)`` -> the results, and for each whether it has a batch
            axis in front, as batched operands have.
        prune: ``(wanted, **params)`` -> for the operation that gives the wanted results and no more than it must: which
            operands it has and which results (a truth value each), and its parameters; None if all are needed. What an
            effect needs is wanted as well.
        knows_selection: whether `push` and `pull` take one more parameter, `from_selection`, a truth value: whether the
            tangents or cotangents they get may belong to values that were not chosen. What they give may, if that is so,
            or if `selects` of the primitive or of one of the programs holds.
        reach: ``(active, **params)`` -> for each result, whether it depends on the active operands by a path of floating
            and complex values; without it, all results do.
    """

    multiple = True
    runs_user_code = True

    def __init__(
        self,
        name: str,
        evaluate: Callable[..., Any],
        *,
        types: Callable[..., Any],
        push: Callable[..., Any],
        forward: Callable[..., Any],
        pull: Callable[..., Any],
        batch: Callable[..., Any],
        prune: Callable[..., Any],
        reach: Callable[..., Any] | None = None,
        selects: bool = False,
        knows_selection: bool = False,
        samples: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(name, evaluate, selects=selects, samples=samples)
        self.types = types
        self.push = push
        self.forward = forward
        self.pull = pull
        self.batch = batch
        self.prune = prune
        self.reach = reach
        self.knows_selection = knows_selection

    def result_type(self, types: Sequence[ArrayType], params: dict[str, Any]) -> tuple[ArrayType, ...]:
        return tuple(self.types(*types, **params))
