"""In-place code on tracers: which may be written into, and which share memory.

A write computes a new value and makes the tracer *become* it. Views remember their base: a write
through a view is carried up to the array that owns the memory, and from there down to every live
view, so all of them read as NumPy's would. Tapes and programs hold values, never tracers, and so
never see a write. Invariant: arrays that belong to the caller are never written into.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.core.trace import Owner, current
from functrans.core.tracer import HOOKS, Tracer
from functrans.core.types import describe
from functrans.errors import MutationError, UnsupportedError, at_user_line

__all__ = ["ARGUMENT", "Cell", "assign", "assign_out", "check_traced", "freeze", "maybe_view", "view"]


class Cell:
    """How a tracer's memory is tied to others'.

    Attributes:
        frozen: why it must not be written into, or None.
        base: the tracer it is a view of, or None.
        read: the view's value from its base's.
        write: the base's new value from its value and the view's new one; None if a copy may or may
            not have been made, so that a write on either side leaves the other undefined.
        views: weak references to the views of it.
    """

    __slots__ = ("base", "frozen", "read", "views", "write")

    def __init__(
        self,
        *,
        frozen: str | None = None,
        base: Tracer | None = None,
        read: Callable[[Any], Any] | None = None,
        write: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        self.frozen = frozen
        self.base = base
        self.read = read
        self.write = write
        self.views: list[weakref.ref[Tracer]] = []


ARGUMENT = Cell(frozen="it is an argument of the transformed function")
READ_ONLY = Cell(frozen="np.broadcast_to returns a read-only view")


class Stale(Owner):
    """The owner of a tracer whose contents NumPy's memory layout decides: using it raises."""

    __slots__ = ()

    def misuse(self, value: Any) -> Exception:
        return MutationError(
            f"a {value.array_type} was used after memory it may share with another array was written into: whether NumPy "
            "copies there depends on the memory layout"
            f"\n  Remedy: copy before writing: np.ravel(x).copy(), x.reshape(...).copy().{at_user_line()}"
        )


STALE = Stale("a view", alive=False)


def freeze(tracer: Any) -> Any:
    """Mark the result of a function that NumPy makes read-only."""
    if isinstance(tracer, Tracer):
        tracer.cell = READ_ONLY
    return tracer


def view(result: Any, base: Any, read: Callable[[Any], Any], write: Callable[[Any, Any], Any] | None) -> Any:
    """Tie `result`, computed from `base`, to it as a view."""
    if result is base or not isinstance(result, Tracer) or not isinstance(base, Tracer):
        return result
    if result.owner is not base.owner:
        result.cell = Cell(frozen="it is a view of an array of an enclosing transform")
        return result
    cell = base.cell
    if cell is None:
        cell = base.cell = Cell()
    if cell.frozen:
        result.cell = cell
        return result
    result.cell = Cell(base=base, read=read, write=write)
    cell.views.append(weakref.ref(result))
    return result


def maybe_view(result: Any, base: Any) -> Any:
    """Tie `result` to `base` where NumPy may have copied or not: a write on one side spoils the other."""
    return view(result, base, lambda value: value, None)


def assign(target: Tracer, compute: Callable[[Any], Any]) -> None:
    """Replace the contents of `target` by ``compute(target)``, of the same shape and dtype."""
    path = [target]
    while path[-1].cell is not None and path[-1].cell.base is not None:
        path.append(path[-1].cell.base)
    root = path[-1]
    _check_writable(target, root)
    value = compute(target)
    for node in path[:-1]:
        cell = node.cell
        if cell.write is None:
            _spoil(cell.base, besides=node)
            node.cell = Cell()
            node.become(value)
            _refresh(node)
            return
        value = cell.write(cell.base, value)
    root.become(value)
    _refresh(root)


def _check_writable(target: Tracer, root: Tracer) -> None:
    if root.cell is not None and root.cell.frozen:
        raise MutationError(
            f"{root.owner.transform}: cannot write into a {target.array_type}: {root.cell.frozen}"
            f"\n  Remedy: write into a copy: x = x.copy().{at_user_line()}"
        )
    trace = current.get()
    if root.owner is STALE:
        trace.admit(root)
    if root.owner is not trace:
        raise MutationError(
            f"{trace.transform}: cannot write into a {target.array_type} that was made outside, by {root.owner.transform}"
            f"\n  Remedy: write into a copy made inside, x = x.copy(), and return it.{at_user_line()}"
        )


def _refresh(node: Tracer) -> None:
    """Read every live view of `node` again."""
    if node.cell is None:
        return
    live = []
    for reference in node.cell.views:
        tracer = reference()
        if tracer is None or tracer.cell is None or tracer.cell.base is not node:
            continue
        if tracer.cell.write is None:
            tracer.owner = STALE
            _refresh_stale(tracer)
            continue
        tracer.become(tracer.cell.read(node))
        _refresh(tracer)
        live.append(reference)
    node.cell.views = live


def _refresh_stale(node: Tracer) -> None:
    for reference in node.cell.views if node.cell else ():
        tracer = reference()
        if tracer is not None:
            tracer.owner = STALE
            _refresh_stale(tracer)


def _spoil(node: Tracer | None, besides: Tracer) -> None:
    """Make unusable everything that may share memory with a written `besides`."""
    while node is not None:
        node.owner = STALE
        for reference in node.cell.views if node.cell else ():
            tracer = reference()
            if tracer is not None and tracer is not besides:
                tracer.owner = STALE
                _refresh_stale(tracer)
        besides = node
        node = node.cell.base if node.cell else None


def assign_out(out: Any, result: Any, name: str) -> Any:
    """Write `result` into ``out=``, with NumPy's checks of shape and casting; returns `out`."""
    check_traced(out, result, name)
    assign(out, lambda target: cast_into(target, result, name))
    return out


def check_traced(out: Any, result: Any, name: str) -> None:
    """Raise unless `out`, which a traced `result` is to be written into, is traced as well."""
    if not isinstance(out, Tracer):
        raise MutationError(
            f"{current.get().transform}: np.{name} cannot write a traced {describe(result)} into a plain array (out={describe(out)})"
            f"\n  Remedy: make the array with np.zeros_like(x, shape=...) or ft.numpy.zeros.{at_user_line()}"
        )


def cast_into(target: Tracer, result: Any, name: str) -> Any:
    """`result` broadcast and cast to `target`'s type, as writing it in place does."""
    if np.broadcast_shapes(target.shape, np.shape(result)) != target.shape:
        raise ValueError(
            f"np.{name}: cannot write a result of type {describe(result)} into {target.array_type}: the shapes differ{at_user_line()}"
        )
    weak = isinstance(result, (int, float, complex)) or getattr(result, "weak", False)
    if not weak and not np.can_cast(result.dtype, target.dtype, "same_kind"):
        raise UnsupportedError(
            f"np.{name}: cannot cast {describe(result)} to {target.array_type} in place"
            f"\n  Remedy: convert the array first with x.astype({result.dtype}).{at_user_line()}"
        )
    return HOOKS["fill"](target, result)


HOOKS["out"] = assign_out
