"""From a program to a list of steps: fused kernels, and calls of NumPy for what has no loop form.

Every value is either *stored*, in a buffer, or *inlined*: computed where it is read, at the index it is
read at. Structural operations then cost nothing: they are maps of indices. Stored values of one shape
that do not wait for each other share a kernel.

Invariant: steps are in order of their dependencies, and a kernel reads what earlier steps have stored,
or what it has itself computed at the same index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from functrans.compile.blas import Product, matrix_product
from functrans.compile.elements import Builder, Definitions, is_inlined
from functrans.compile.kernels import KernelCall, identity, is_reduced, loops_over, map_kernel, reduction_kernel
from functrans.compile.scalars import LIBRARY
from functrans.core.program import Atom, Equation, Literal, Program, Variable
from functrans.ops.contraction import contract

__all__ = ["HostCall", "KernelCall", "NativeCall", "ProductCall", "Step", "read_by", "steps", "written_by"]


@dataclass(frozen=True, eq=False)
class HostCall:
    """An equation that is evaluated by NumPy."""

    equation: Equation


@dataclass(frozen=True, eq=False)
class ProductCall:
    """A contraction that BLAS carries out."""

    equation: Equation
    product: Product


NativeCall = KernelCall | ProductCall

Step = NativeCall | HostCall


def written_by(step: Step) -> tuple[Variable, ...]:
    """The variables a step defines."""
    return step.outputs if isinstance(step, KernelCall) else step.equation.outputs


def read_by(step: Step) -> tuple[Variable, ...]:
    """The variables a step reads, as often as it does."""
    if isinstance(step, KernelCall):
        return step.inputs
    return tuple(atom for atom in step.equation.inputs if isinstance(atom, Variable))


def stored(program: Program) -> set[Variable]:
    """The variables that get a buffer: inputs, results of reductions and host calls, outputs, and what is dear and read often."""
    defined = {equation.outputs[0]: equation for equation in program.equations if not equation.primitive.multiple}
    kept = {*program.inputs, *program.captured}
    kept.update(atom for atom in program.outputs if isinstance(atom, Variable))
    readers: dict[Variable, int] = {}
    for equation in program.equations:
        fused = is_inlined(equation) or is_reduced(equation)
        if not is_inlined(equation):
            kept.update(equation.outputs)
        for atom in equation.inputs:
            if isinstance(atom, Variable):
                readers[atom] = readers.get(atom, 0) + 1
                if not fused:
                    kept.add(atom)
    costs: dict[Atom, int] = {}
    for equation in program.equations:
        out = equation.outputs[0]
        own = 20 if equation.primitive.name in LIBRARY else 1
        costs[out] = own + sum(costs.get(atom, 0) for atom in equation.inputs if atom not in kept)
        if out in defined and readers.get(out, 0) > 1 and costs[out] > 4 or costs[out] > 1000:
            kept.add(out)
    return kept


def steps(program: Program) -> list[Step]:
    """The steps of a program, in order."""
    kept = stored(program)
    definitions = {equation.outputs[0]: equation for equation in program.equations}
    levels: dict[Variable, int] = dict.fromkeys((*program.inputs, *program.captured), -1)
    groups: dict[tuple[Any, ...], dict[Equation, None]] = {}
    for equation in program.equations:
        if equation.outputs[0] not in kept and not equation.primitive.multiple:
            continue
        kind: tuple[str, Any]
        if is_inlined(equation):
            kind, level = ("map", equation.outputs[0].array_type.shape), map_level(definitions, kept, equation, levels, groups)
        else:
            level = 1 + max((levels[variable] for variable in reads_of(definitions, kept, equation)), default=-1)
            kind = ("reduction" if is_reduced(equation) else "host", equation)
        levels.update(dict.fromkeys(equation.outputs, level))
        groups.setdefault((level, *kind), {})[equation] = None
    wanted = wanted_outside(program, definitions, kept, groups)
    result: list[Step] = []
    for key, group in sorted(groups.items(), key=lambda item: int(item[0][0])):
        equations = list(group)
        name = f"kernel{len(result)}"
        if key[1] == "map":
            result.append(map_kernel(definitions, kept, name, [equation.outputs[0] for equation in equations], wanted))
        elif key[1] == "reduction":
            result.append(reduction_kernel(definitions, kept, name, equations[0].outputs[0]))
        else:
            result.append(call_of(equations[0]))
    return result


def call_of(equation: Equation) -> Step:
    """A matrix product, or a call of NumPy."""
    if equation.primitive is contract and not any(isinstance(atom, Literal) for atom in equation.inputs):
        product = matrix_product(equation)
        if product is not None:
            return ProductCall(equation, product)
    return HostCall(equation)


def wanted_outside(
    program: Program,
    definitions: Definitions,
    kept: set[Variable],
    groups: dict[tuple[Any, ...], dict[Equation, None]],
) -> set[Variable]:
    """The stored variables that are outputs, or are read by another group than the one that computes them."""
    wanted = {atom for atom in program.outputs if isinstance(atom, Variable)}
    for equations in groups.values():
        own = {variable for equation in equations for variable in equation.outputs}
        for equation in equations:
            wanted |= reads_of(definitions, kept, equation) - own
    return wanted


def reads_of(definitions: Definitions, kept: set[Variable], equation: Equation) -> set[Variable]:
    """The stored variables an equation reads, through inlined ones."""
    found: set[Variable] = set()
    waiting = list(equation.inputs)
    while waiting:
        atom = waiting.pop()
        if isinstance(atom, Variable):
            if atom in kept:
                found.add(atom)
            else:
                waiting.extend(definitions[atom].inputs)
    return found


def map_level(
    definitions: Definitions,
    kept: set[Variable],
    equation: Equation,
    levels: dict[Variable, int],
    groups: dict[tuple[Any, ...], dict[Equation, None]],
) -> int:
    """The level of a stored map: that of what it reads, if that is a map over the same shape read at the same index."""
    shape = equation.outputs[0].array_type.shape
    builder = Builder(definitions, kept)
    own = identity(loops_over(shape))
    builder.element(equation, own)
    level = 0
    for variable, indices in builder.reads:
        before = levels[variable]
        together = indices == own and any(item.outputs[0] is variable for item in groups.get((before, "map", shape), ()))
        level = max(level, before if together else before + 1)
    return level
