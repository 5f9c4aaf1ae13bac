"""A program of functrans called on tensors: one node, whose pullback is compiled as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from functrans.control.call import call, pullback_of
from functrans.core.program import Program
from functrans.torch.autograd.graph import FREED, MultipleNode, named, overwritten
from functrans.torch.autograd.modes import state
from functrans.torch.ops.apply import special
from functrans.torch.ops.composed import owned
from functrans.torch.tensor import Tensor, current_edge, made

__all__ = ["called"]


class CallNode(MultipleNode):
    """A call of a program.

    Attributes:
        watched: the lists of writes of the operands and results that the pullback reads.
        watched_again: those of all operands, which are read where the program is run again.
    """

    __slots__ = ("watched", "watched_again")

    watched: list[Any]
    watched_again: list[Any]

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        if self.saved is FREED or trace is not None or flag:
            if self.saved is not FREED:
                overwritten(self, self.watched_again)
            return super().pull(cts, flag, trace)
        overwritten(self, self.watched)
        return call.pull(cts, self.saved, self.active, from_selection=False, **self.params)


COMPILED_FUNCTION = named("CompiledFunctionBackward", CallNode)


def called(name: str, program: Program, operands: Sequence[Any]) -> list[Tensor]:
    """The results of a closed program, for tensors and arrays of the types of its inputs.

    Args:
        name: what calls it, for messages.
    """
    if state.special:
        asked = special(name, lambda *arrays: call(*arrays, program=program), operands, {}, lambda *own: tuple(called(name, program, own)))
        return list(asked)
    values = [value._array if isinstance(value, Tensor) else value for value in operands]
    edges: list[Any] = [None] * len(values)
    if state.grad:
        edges = [current_edge(value) if isinstance(value, Tensor) else None for value in operands]
    active = sum(1 << place for place, edge in enumerate(edges) if edge is not None)
    if not active:
        return [made(owned(part, values)) for part in call(*values, program=program)]
    out, saved = call.forward(values, active, program=program)
    results = [made(owned(part, values)) for part in out]
    node = COMPILED_FUNCTION(call, active, values, out, saved, {"program": program}, tuple(edges))
    pullback = pullback_of(program, saved[0])
    node.watched_again = [value._changes if isinstance(value, Tensor) else None for value in operands]
    kept = [results[place]._changes for place in pullback.residuals if place < len(results)]
    node.watched = [*(node.watched_again[place] for place in pullback.inputs), *kept]
    for place, (result, flag) in enumerate(zip(results, pullback.live)):
        if flag:
            result._edge = node, place
    return results
