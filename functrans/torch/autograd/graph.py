"""The graph of the backward pass: its nodes, and what they do with cotangents.

A node is made by an operation on a tensor that requires a gradient. Its edges say which results of which nodes its
operands are; `pull` maps cotangents of its results to those of its operands, by the same rules per class of primitive as
the tape of `transforms/tape.py`. Nodes are numbered as they are made, so that falling numbers are an order in which every
node comes after all that send cotangents to it.

Invariant: a node holds arrays, never tensors, so that a graph and its tensors are no cycle of references.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from functrans.core.primitive import Contraction, Control, Elementwise, General, Indexing, Primitive, Reduction, Structural
from functrans.core.program import programs_in
from functrans.core.types import dtype_of, is_differentiable, shape_of, type_of
from functrans.errors import at_user_line, describe_origin, user_origin
from functrans.torch.autograd.edges import (
    GradientEdge,
    allow_mutation_on_saved_tensors,
    disable_saved_tensors_hooks,
    get_gradient_edge,
    increment_version,
    register_multi_grad_hook,
)
from functrans.torch.autograd.handles import RemovableHandle
from functrans.torch.autograd.hooks import save_on_cpu, saved_tensors_hooks
from functrans.torch.autograd.modes import state
from functrans.torch.autograd.unsupported import GRAPH, refusals
from functrans.torch.dtypes import TITLES
from functrans.torch.tensor import Tensor, clock, made
from functrans.transforms.tape import PULLBACKS, SAVERS, fit

__all__ = [
    "AccumulateGrad",
    "FREED",
    "GradientEdge",
    "Node",
    "PrimitiveNode",
    "accumulator",
    "allow_mutation_on_saved_tensors",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "named",
    "overwritten",
    "record",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]


class Freed:
    """Stands for what a node had saved before a backward pass went past it."""


FREED = Freed()
FREED_MESSAGE = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify "
    "retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors "
    "after calling backward."
)


class Hooks:
    """What users have asked to be called: before a node, with its cotangents, and after it."""

    __slots__ = ("after", "before", "retain", "tensor")

    def __init__(self) -> None:
        self.tensor: dict[int, dict[int, Any]] = {}  # by the place of the result
        self.retain: dict[int, Any] = {}  # weak references to tensors that keep their gradient, by place
        self.before: dict[int, Any] = {}
        self.after: dict[int, Any] = {}


class Node:
    """A step of the backward pass.

    Attributes:
        edges: for each operand ``(node, place)``, or None where it requires no gradient.
        outputs: the number of results.
        sequence: when it was made.
        origin: the user's line that it stems from.
        hooks: see `Hooks`; mostly None.
    """

    __slots__ = ("__weakref__", "edges", "hooks", "metadata_", "origin", "sequence")

    is_leaf = False
    outputs = 1

    def __init__(self, edges: tuple[Any, ...]) -> None:
        self.edges = edges
        self.sequence = next(clock)
        self.hooks: Any = None
        self.origin = user_origin(2)

    @abstractmethod
    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        """The cotangents of the operands.

        `flag` says that those of the results may stem from a selection; `trace` is None, or the trace that records
        the pullback itself, whose tracers `cts` then are.
        """

    @property
    def selects(self) -> bool:
        """Whether cotangents it sends back stem from a selection."""
        return False

    def free(self) -> None:
        """Drop what was saved."""

    def saved_arrays(self) -> Sequence[tuple[Any, bool]]:
        """What was saved, in the order of what is watched, and whether it is the node's result; empty if that is not known."""
        return ()

    def name(self) -> str:
        """Torch's name of the node."""
        return type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The nodes its operands come from, each with the place of the operand among their results."""
        return tuple((None, 0) if edge is None else edge for edge in self.edges)

    @property
    def metadata(self) -> dict[Any, Any]:
        """A dict for users."""
        try:
            return self.metadata_
        except AttributeError:
            self.metadata_: dict[Any, Any] = {}
            return self.metadata_

    def _sequence_nr(self) -> int:
        return self.sequence

    def hooked(self) -> Hooks:
        """Its hooks, to add one."""
        if state.transform is not None and state.transform.stages:
            raise NotImplementedError(
                f"hooks inside torch.compile are not called in backward passes\n  Remedy: register them outside.{at_user_line()}"
            )
        if self.hooks is None:
            self.hooks = Hooks()
        return self.hooks

    def register_hook(self, fn: Callable[..., Any]) -> RemovableHandle:
        """Call ``fn(grad_inputs, grad_outputs)`` after the node; what it returns takes the place of the first."""
        return RemovableHandle(self.hooked().after, fn)

    def register_prehook(self, fn: Callable[..., Any]) -> RemovableHandle:
        """Call ``fn(grad_outputs)`` before the node; what it returns takes their place."""
        return RemovableHandle(self.hooked().before, fn)

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"


class AccumulateGrad(Node):
    """The end of the graph at a leaf: adds the cotangent to its gradient.

    It knows its leaf weakly, and the leaf it, so that neither keeps the other's memory.
    """

    __slots__ = ("after_accumulation", "leaf")

    is_leaf = True

    def __init__(self, leaf: Tensor) -> None:
        super().__init__(())
        self.leaf = weakref.ref(leaf)
        self.after_accumulation: Any = None

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        """Nothing: it has no operands."""
        return ()

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self):#x}>"

    @property
    def variable(self) -> Tensor | None:
        """The leaf, or None when nobody holds it any more."""
        return self.leaf()


def accumulator(leaf: Tensor) -> Any:
    """The edge of a leaf that requires a gradient."""
    return AccumulateGrad(leaf), 0


_CLASSES: dict[tuple[type, str], type] = {}


def named(name: str, base: type) -> Any:
    """The class of nodes of this name: a `base`."""
    cls = _CLASSES.get((base, name))
    if cls is None:
        cls = _CLASSES[base, name] = type(name, (base,), {"__slots__": (), "__module__": "torch.autograd.graph"})
    return cls


# Names of the nodes of primitives, which the tables of `ops/` fill; others have their own name.
PRIMITIVE_NODES: dict[Any, str] = {}


# Names of the nodes of functions of a tensor and a number, in pullbacks.
BY_NUMBER = {"MulBackward0": "MulBackward1", "DivBackward0": "DivBackward1"}


def node_class(primitive: Primitive, by_number: bool = False) -> Any:
    """The class of nodes of a primitive that a pullback, or a composition, calls; `by_number`: of a tensor and a number."""
    name = PRIMITIVE_NODES.get(primitive)
    if name is None:
        name = "".join(part.capitalize() for part in primitive.name.split("_")) + "Backward0"
        PRIMITIVE_NODES[primitive] = name
    return named(BY_NUMBER.get(name, name) if by_number else name, PrimitiveNode)


class PrimitiveNode(Node):
    """A call of a primitive of functrans.

    Attributes:
        active: bits set for operands that have an edge.
        saved: what the class's rule reads, see `transforms.tape`.
        params: the primitive's parameters.
        wanted: types of operands that cotangents must be summed or cast to, each or all None if there are none.
        watched: the lists of writes, ``(time, where, dtype, shape)``, of what is saved, None for what nobody can write into.
    """

    __slots__ = ("active", "params", "primitive", "saved", "unpack", "wanted", "watched")

    def __init__(
        self, primitive: Any, active: int, saved: Any, params: Any, wanted: Any, edges: tuple[Any, ...], watched: Any, depth: int = 3
    ) -> None:
        self.primitive = primitive
        self.active = active
        self.saved = saved
        self.params = params
        self.wanted = wanted
        self.edges = edges
        self.watched = watched
        self.sequence = next(clock)
        self.hooks = self.unpack = None
        self.origin = user_origin(depth)

    @property
    def selects(self) -> bool:
        return self.primitive.selects

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        saved = self.saved
        if saved is FREED:
            raise RuntimeError(FREED_MESSAGE + "".join(f"\n  {line}" for line in (f"made at {describe_origin(self.origin)}",)))
        if self.unpack is not None:
            saved = self.unpack(saved)
        elif self.watched:
            overwritten(self, self.watched)
        primitive = self.primitive
        kind = type(primitive)
        if trace is not None and (self.watched or kind not in _NO_VALUES):
            saved = LIFTED[kind](self, saved, trace)
        results = PULLBACKS[kind](primitive, self.active, saved, self.params, cts[0], flag or primitive.selects)
        wanted = self.wanted
        if wanted is not None:
            results = [ct if type_ is None or ct is None else fit(ct, type_) for ct, type_ in zip(results, wanted)]
        return results

    def saved_arrays(self) -> Sequence[tuple[Any, bool]]:
        kind = type(self.primitive)
        if kind is Elementwise:
            return list(zip(self.saved, self.primitive.plans[self.active].save((False,) * len(self.edges) + (True,))))
        if kind is Reduction:
            return list(zip(self.saved[1:], (False, True)))
        if kind is General:
            return [*((value, False) for value in self.saved[0]), (self.saved[1], True)]
        return [(value, False) for value in self.saved]

    def keep(self, packed: Callable[[Any], Any]) -> None:
        """Keep what `packed` makes of what was saved."""
        if self.watched:
            self.saved = packed(self.saved)

    def free(self) -> None:
        if self.watched:
            self.saved = FREED

    def __getattr__(self, name: str) -> Any:
        """What was saved, under torch's names: ``_saved_self``, ``_saved_other``, ``_saved_result``."""
        if name.startswith("_saved_") and type(self.primitive) is Elementwise:
            if self.saved is FREED:
                raise RuntimeError(FREED_MESSAGE)
            names = self.primitive.plans[self.active].save(("self", "other", "third")[: len(self.edges)] + ("result",))
            if name[7:] in names:
                saved = self.saved if self.unpack is None else self.unpack(self.saved)
                return made(saved[names.index(name[7:])])
        raise AttributeError(f"'{self.name()}' object has no attribute {name!r}")


def overwritten(node: Node, watched: Sequence[Any]) -> None:
    """Raise if something that `node` saved was written into since."""
    for place, changes in enumerate(watched):
        if changes and changes[-1][0] > node.sequence:
            raise RuntimeError(overwritten_message(node, changes, *saved_at(node, place)))


def saved_at(node: Node, place: int) -> tuple[Any, bool]:
    """What `node` saved at a place of what is watched, if that is known, and whether it is its result."""
    arrays = node.saved_arrays()
    return arrays[place] if arrays else (None, False)


def overwritten_message(node: Node, changes: Any, array: Any, own: bool) -> str:
    """What torch says of a saved value that was written into, and the two lines of user code."""
    expected = sum(change[0] <= node.sequence for change in changes)
    written = next(change for change in changes if change[0] > node.sequence)
    dtype, shape = (written[2], written[3]) if array is None else (dtype_of(array), shape_of(array))
    maker = node.name().removesuffix("Backward0") if own else changes[-1][4] if len(changes[-1]) > 4 else None
    if maker is not None and not own and getattr(array, "base", None) is not None and array.shape != changes[-1][3]:
        maker = "AsStrided"  # a view, whose history was found anew
    of = "" if maker is None else f", which is output 0 of {maker},"
    return (
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[torch.{TITLES[dtype.name]}Tensor {list(shape)}]{of} is at version {len(changes)}; expected version {expected} instead. Hint: "
        "enable anomaly detection to find the operation that failed to compute its gradient, with "
        "torch.autograd.set_detect_anomaly(True, check_nan=False)."
        f"\n  saved by {node.name()} at {describe_origin(node.origin)}\n  modified at {describe_origin(written[1])}"
        "\n  Remedy: use the out-of-place operation, or write into a clone()."
    )


def tensor_title(array: Any) -> str:
    """What messages call a tensor: ``torch.FloatTensor [4]``."""
    name = dtype_of(array).name
    return f"torch.{TITLES[name]}Tensor {list(shape_of(array))}"


def record(
    primitive: Any, values: Sequence[Any], edges: Sequence[Any], out: Any, params: Any, changes: Sequence[Any], own: Any, cls: Any
) -> Any:
    """The edge of the result of a primitive with one result; None if it has no derivative.

    `changes` are the lists of writes into the operands, `own` that of the result.
    """
    dtype, shape = dtype_of(out), shape_of(out)
    active = 0
    wanted: Any = None
    kind = type(primitive)
    for position, edge in enumerate(edges):
        if edge is not None:
            active |= 1 << position
            value = values[position]
            # Rules other than the elementwise give the right shape.
            if dtype_of(value) is not dtype or kind is Elementwise and shape_of(value) != shape:
                wanted = wanted or [None] * len(edges)
                wanted[position] = type_of(value)
    if not active or not is_differentiable(dtype):
        return None
    if kind is Elementwise:
        if not primitive.differentiable:
            return None
        plan = primitive.plans.get(active) or primitive.plan(active)
        saved, watched = plan.save((*values, out)), plan.save((*changes, own))
    else:
        saved = SAVERS[kind](primitive, list(values), active, out, params)
        if saved is None:
            return None
        watched = WATCHED[kind](saved, active, changes, own)
    return cls(primitive, active, saved, params, wanted, tuple(edges), watched, 4), 0


# The lists of writes of what the rule of a class saves.
WATCHED: dict[type, Callable[..., Any]] = {
    Structural: lambda saved, active, changes, own: (),
    Indexing: lambda saved, active, changes, own: (),
    Reduction: lambda saved, active, changes, own: (
        () if saved[1] is None and saved[2] is None else (None if saved[1] is None else changes[0], None if saved[2] is None else own)
    ),
    Contraction: lambda saved, active, changes, own: (changes[0] if active & 2 else None, changes[1] if active & 1 else None),
    General: lambda saved, active, changes, own: (*changes, own),
}


# Classes whose rules read no values.
_NO_VALUES = frozenset({Structural})


def _lift_elementwise(node: Any, saved: Any, trace: Any) -> Any:
    edges = node.primitive.plans[node.active].save((*node.edges, (node, 0)))
    return tuple([trace.lift(value, edge) for value, edge in zip(saved, edges)])


def _lift_reduction(node: Any, saved: Any, trace: Any) -> Any:
    shape, x, out = saved
    return shape, trace.lift(x, node.edges[0]), trace.lift(out, (node, 0))


def _lift_contraction(node: Any, saved: Any, trace: Any) -> Any:
    return trace.lift(saved[0], node.edges[0]), trace.lift(saved[1], node.edges[1])


def _lift_general(node: Any, saved: Any, trace: Any) -> Any:
    values, out = saved
    values = [trace.lift(value, edge) for value, edge in zip(values, node.edges)]
    if node.primitive.multiple:
        return values, tuple(trace.lift(part, (node, place)) for place, part in enumerate(out))
    return values, trace.lift(out, (node, 0))


# What was saved, as tracers of the trace that records the pullback, so that it depends on the operands.
LIFTED: dict[type, Callable[..., Any]] = {
    Elementwise: _lift_elementwise,
    Structural: lambda node, saved, trace: saved,
    Reduction: _lift_reduction,
    Contraction: _lift_contraction,
    Indexing: lambda node, saved, trace: saved,
    General: _lift_general,
}


class MultipleNode(Node):
    """A call of a primitive with several results: a loop, a branch, a compiled function."""

    __slots__ = ("active", "operands", "params", "primitive", "results", "saved")

    def __init__(self, primitive: Any, active: int, operands: Any, results: Any, saved: Any, params: Any, edges: Any) -> None:
        super().__init__(edges)
        self.primitive, self.active, self.params = primitive, active, params
        self.operands, self.results, self.saved = operands, results, saved

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return len(self.results)

    @property
    def selects(self) -> bool:
        return self.primitive.selects or any(program.selects for program in programs_in(self.params))

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        if self.saved is FREED:
            raise RuntimeError(FREED_MESSAGE)
        saved, primitive = self.saved, self.primitive
        if trace is not None:
            operands = [trace.lift(value, edge) for value, edge in zip(self.operands, self.edges)]
            if isinstance(primitive, Control):
                saved = primitive.forward(operands, self.active, **self.params)[1]
            else:
                saved = operands, tuple(trace.lift(part, (self, place)) for place, part in enumerate(self.results))
        elif not isinstance(primitive, Control):
            saved = self.operands, self.results
        rule = PULLBACKS[type(primitive)]
        results = rule(primitive, self.active, saved, self.params, tuple(cts), flag or primitive.selects)
        return [
            ct if ct is None or edge is None else fit(ct, type_of(value))
            for ct, edge, value in zip(results, self.edges, self.operands)
        ]

    def free(self) -> None:
        self.saved = self.operands = FREED


globals().update(refusals("torch.autograd.graph", GRAPH))
