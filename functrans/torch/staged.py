"""How `torch.compile` stages a function: what becomes of tensors made outside, of random numbers, of writes.

Tensors that the function closes over, a module's parameters among them, are found when it is staged, and are inputs of the
program, so that it follows what becomes of them and sends gradients to them, of any order. Random numbers are inputs as
well: each call draws new ones. What is written into tensors made outside, and assigned to attributes, are results, which
are written and assigned after the call.

Invariant: staging changes nothing outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from functrans import tree
from functrans.control.bodies import staged_body
from functrans.core.trace import current
from functrans.core.tracer import Tracer
from functrans.errors import at_user_line
from functrans.torch.autograd.graph import accumulator
from functrans.torch.autograd.modes import no_grad, state
from functrans.torch.autograd.trace import Placeholder, Transform
from functrans.torch.mapping import is_tensor
from functrans.torch.nn.modules.module import Module
from functrans.torch.ops.called import called
from functrans.torch.random import Draw
from functrans.torch.tensor import Tensor, current_edge, made, memory
from functrans.transforms.linear import make_program

__all__ = ["Holders", "PLAIN", "Staged", "Variant"]

PLAIN = (bool, int, float, complex, str, type(None))


class Staged:
    """What tensors made outside are while a function is staged: inputs, if they were found before, else noted.

    Attributes:
        found: the tensors made outside, in the order in which they were met.
        draws: the random numbers that were drawn.
        inside: by the id of a tensor made outside, the one that stands for it.
        written: the tensors made outside that were written into.
    """

    stages = True

    def __init__(self, found: list[Tensor], tracers: Sequence[Any], draws: list[Draw], numbers: Sequence[Any] | None) -> None:
        self.found, self.draws, self.numbers = found, draws, None if numbers is None else iter(numbers)
        self.inside = {id(tensor): self.entered(tensor, tracer) for tensor, tracer in zip(found, tracers)}
        self.starts = list(tracers)

    def entered(self, tensor: Tensor, array: Any) -> Tensor:
        """The tensor that stands for one made outside."""
        inside = made(array)
        edge = current_edge(tensor)
        if edge is not None and state.grad:
            inside._edge = accumulator(inside) if edge[0].is_leaf else (Placeholder(()), 0)
        inside._extras = {"inside": self, "outside": tensor}
        return inside

    def take(self, tensor: Tensor) -> Tensor:
        """A tensor as the program has it."""
        if isinstance(tensor._array, Tracer) or tensor._extras is not None and "inside" in tensor._extras:
            return tensor
        known = self.inside.get(id(tensor))
        if known is None:
            array = memory(tensor)
            self.found.append(tensor)
            self.starts.append(array)
            known = self.inside[id(tensor)] = self.entered(tensor, array)
        return known

    def is_outside(self, tensor: Tensor) -> bool:
        """Whether `tensor` was made outside, or stands for one that was."""
        return tensor._extras is None or "inside" not in tensor._extras or "outside" in tensor._extras

    def check_written(self, tensor: Tensor) -> None:
        """Nothing: what stands for tensors made outside may be written into."""

    accumulates = Transform.accumulates

    def draw(self, draw: Draw) -> Any:
        """Random numbers: an input of the program."""
        if self.numbers is not None:
            return next(self.numbers)
        self.draws.append(draw)
        return draw(np.random.Generator(np.random.PCG64(0)))

    def written(self) -> list[int]:
        """The places of tensors made outside that were written into."""
        return [place for place, tensor in enumerate(self.found) if self.inside[id(tensor)]._array is not self.starts[place]]

    def __enter__(self) -> Staged:
        self.trace = current.get()
        self.previous = state.transform
        state.transform = self
        state.special += 1
        state.random[self.trace] = self.draw
        return self

    def __exit__(self, *error: Any) -> None:
        state.transform = self.previous
        state.special -= 1
        del state.random[self.trace]


class Holders:
    """Objects whose attributes the function may assign: these are put back after staging.

    Attributes:
        spaces: the dicts that hold attributes, parameters and buffers.
    """

    def __init__(self, values: Sequence[Any]) -> None:
        objects: dict[int, Any] = {}
        for value in values:
            for part in value.modules() if isinstance(value, Module) else (value,):
                if not isinstance(part, (*PLAIN, Tensor, type, FunctionType, ModuleType)) and hasattr(part, "__dict__"):
                    objects[id(part)] = part
        self.spaces: list[dict[str, Any]] = []
        for part in objects.values():
            own = part.__dict__
            self.spaces += [own, own["_parameters"], own["_buffers"], own["_modules"]] if isinstance(part, Module) else [own]

    def copies(self) -> list[dict[str, Any]]:
        """What the dicts hold."""
        return [dict(space) for space in self.spaces]

    def put_back(self, copies: list[dict[str, Any]]) -> list[tuple[int, str, Any]]:
        """Let the dicts hold what they held; returns what was assigned: number of the dict, name and value."""
        assigned = []
        for number, (space, old) in enumerate(zip(self.spaces, copies)):
            missing = object()
            new = [(number, name, value) for name, value in space.items() if old.get(name, missing) is not value]
            if new or len(space) != len(old):
                assigned += [*new, *((number, name, missing) for name in old if name not in space)]
                space.clear()
                space.update(old)
        return assigned


def assigned_tensors(assigned: Sequence[tuple[int, str, Any]]) -> list[Tensor]:
    """What was assigned, which must be tensors."""
    for _, name, value in assigned:
        if not isinstance(value, Tensor):
            raise NotImplementedError(
                f"torch.compile: the function changes the attribute {name!r}, which would happen only when it is staged"
                f"\n  Remedy: change it outside, return the value, or make it a tensor.{at_user_line()}"
            )
    return [value for _, _, value in assigned]


class Variant:
    """A function staged for one kind of call.

    Attributes:
        captured: tensors it uses that are no arguments.
        written: the places, among captured tensors and arguments together, of those it writes into.
        kinds: the shapes and dtypes of captured tensors, and whether they required a gradient.
        assigned: the attributes that are tensors and are assigned, by the number of the dict of `holders` and name.
        same: for each result its place among captured tensors and arguments, if it is one of them.
        is_simple: whether it gives nothing but new tensors that require gradients, or need not.
        result: the structure of the results; for each leaf None if it is a tensor, else a tuple of it; and whether
            they require gradients.
    """

    def __init__(
        self, function: Callable[..., Any], structure: Any, static: Any, tensors: list[Tensor], holders: Holders, kept: Any
    ) -> None:
        self.function, self.structure, self.static, self.holders, self.kept = function, structure, static, holders, kept
        self.assigned: list[tuple[int, str]] = []
        self.same: list[int | None] = []
        self.captured: list[Tensor] = []
        self.kinds: list[tuple[Any, Any, bool]] = []
        self.draws: list[Draw] = []
        self.written: list[int] = []
        self.result: Any = None
        make_program(lambda arrays: self.perform(None, None, tensors, arrays))([memory(tensor) for tensor in tensors])
        numbers = [draw(np.random.Generator(np.random.PCG64(0))) for draw in self.draws]
        inputs = [memory(tensor) for tensor in self.captured], numbers, [memory(tensor) for tensor in tensors]
        run = lambda captured, numbers, arrays: self.perform(captured, numbers, tensors, arrays)
        self.program, self.values = staged_body(run, inputs, transform="torch.compile")

    def perform(self, captured: Any, numbers: Any, tensors: list[Tensor], arrays: list[Any]) -> Any:
        """The arrays of the results, and of what was written; the first time, to find what the function depends on."""
        first = captured is None
        found = [] if first else list(self.captured)
        staged = Staged(found, () if first else captured, self.draws, numbers)
        inputs = [staged.entered(tensor, array) for tensor, array in zip(tensors, arrays)]
        remaining = iter(inputs)
        leaves = [next(remaining) if item is None else item[1] for item in self.static]
        args, kwargs = tree.unflatten(self.structure, leaves)
        copies, assigned = self.holders.copies(), []
        with staged:
            try:
                out = self.function(*args, **kwargs)
            finally:
                assigned = self.holders.put_back(copies)
            parts, structure = tree.flatten(out, is_leaf=is_tensor)
            parts = [staged.take(part) if is_tensor(part) else part for part in (*parts, *assigned_tensors(assigned))]
        self.assigned = [(number, name) for number, name, _ in assigned]
        insides = [*(staged.inside[id(tensor)] for tensor in (found if first else self.captured)), *inputs]
        self.same = [next((place for place, each in enumerate(insides) if each is part), None) for part in parts]
        if first:
            self.captured = found
            self.kinds = [(tensor._array.shape, tensor._array.dtype, tensor._edge is not None) for tensor in found]
            self.written = [*staged.written(), *(len(found) + place for place, x in enumerate(inputs) if x._array is not arrays[place])]
        flags = [current_edge(part) is not None for part in parts if is_tensor(part)]
        self.result = structure, [None if is_tensor(part) else (part,) for part in parts], flags
        self.is_simple = not (self.written or self.assigned or any(place is not None for place in self.same)) and all(
            is_tensor(part) for part in parts
        )
        self.is_simple = self.is_simple and (all(flags) or not state.grad)
        new = [insides[place] for place in self.written]
        if any(current_edge(each) is not None for each in new):
            raise NotImplementedError(
                "torch.compile: a tensor made outside is written into with a value that requires a gradient"
                f"\n  Remedy: return the value, or write it inside torch.no_grad().{at_user_line()}"
            )
        return tuple(part._array for part in (*parts, *new) if is_tensor(part))

    def __call__(self, tensors: list[Tensor]) -> Any:
        if self.written:
            self.check_memory(tensors)
        numbers = [draw() for draw in self.draws]
        results = called("torch.compile", self.program, [*self.values, *self.captured, *numbers, *tensors])
        structure, parts, flags = self.result
        if self.is_simple:
            return tree.unflatten(structure, results)
        own, new = self.parts(results)
        outside = [*self.captured, *tensors]
        outs = iter([out if flag or current_edge(out) is None else out.detach() for out, flag in zip(own, flags)])
        if new:
            with no_grad():
                for place, value in zip(self.written, new):
                    outside[place].copy_(value)
        count = len(parts) - len(self.assigned)
        found = [next(outs) if part is None else part[0] for part in parts]
        found = [value if place is None else outside[place] for value, place in zip(found, self.same)]
        result = tree.unflatten(structure, found[:count])
        for (number, name), value in zip(self.assigned, found[count:]):
            self.holders.spaces[number][name] = value
        return result

    def fits(self) -> bool:
        """Whether its tensors are of the kinds that they were of when it was staged."""
        for tensor, (shape, dtype, flag) in zip(self.captured, self.kinds):
            array = tensor._array
            if (tensor._edge is not None) is not flag or array.dtype is not dtype or array.shape != shape:
                return False
        return True

    def parts(self, outs: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The results, and what was written."""
        count = len(outs) - len(self.written)
        return outs[:count], outs[count:]

    def check_memory(self, tensors: list[Tensor]) -> None:
        """Raise if a tensor that is written into shares its memory with another input."""
        outside = [*self.captured, *tensors]
        for place in self.written:
            for other, tensor in enumerate(outside):
                if other != place and np.may_share_memory(memory(outside[place]), memory(tensor)):
                    raise NotImplementedError(
                        "torch.compile: a tensor that the function writes into shares memory with another one it uses"
                        f"\n  Remedy: pass a clone() of one of them.{at_user_line()}"
                    )
