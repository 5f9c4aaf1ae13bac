"""From a program to a list of steps: fused kernels, calls of BLAS and LAPACK, and calls of NumPy for what has no loop form.

Invariant: steps are in order of their dependencies, and read what arguments are or earlier steps have stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from functrans.compile.arguments import Layouts
from functrans.compile.machine.blas import Product
from functrans.compile.machine.lapack import MatrixFunction, matrix_function
from functrans.compile.rewrite.bodies import NATIVE
from functrans.compile.schedule.fuse import Item, Leaf, arrange, leaves_of
from functrans.compile.schedule.kernels import KernelCall, kernel_calls
from functrans.compile.schedule.nodes import is_scattered, nodes_of, stored
from functrans.compile.schedule.operands import product_of, with_fitting_operands
from functrans.compile.schedule.scatter import scatter_calls
from functrans.core.primitive import Control
from functrans.core.program import Equation, Program, Variable

__all__ = ["Body", "ControlCall", "HostCall", "KernelCall", "MatrixCall", "NativeCall", "ProductCall", "Step", "read_by", "steps", "written_by"]


@dataclass(frozen=True, eq=False)
class HostCall:
    """An equation that is evaluated by NumPy, or has an effect: calls are in the order of the program."""

    equation: Equation


@dataclass(frozen=True, eq=False)
class ProductCall:
    """A contraction that is a product of matrices: tiles or BLAS carry it out."""

    equation: Equation
    product: Product


@dataclass(frozen=True, eq=False)
class MatrixCall:
    """A function of matrices that LAPACK carries out."""

    equation: Equation
    function: MatrixFunction


@dataclass(frozen=True, eq=False)
class Body:
    """A program that a loop or a branch runs, all of it native code.

    Attributes:
        plan: once it is made, where its values live (see `memory`).
    """

    program: Program
    calls: Sequence[NativeCall]
    plan: Any = None


@dataclass(frozen=True, eq=False)
class ControlCall:
    """A loop or a branch that is carried out in native code.

    Attributes:
        bodies: those of the programs among its parameters, in order.
        scratch: variables that stand for memory it needs while it runs.
    """

    equation: Equation
    bodies: tuple[Body, ...]
    scratch: tuple[Variable, ...] = ()


NativeCall = KernelCall | ProductCall | MatrixCall | ControlCall

Step = NativeCall | HostCall


def written_by(step: Step) -> tuple[Variable, ...]:
    """The variables a step defines."""
    if isinstance(step, KernelCall):
        return (*step.outputs, *step.updates)
    return (*step.equation.outputs, *step.scratch) if isinstance(step, ControlCall) else step.equation.outputs


def read_by(step: Step) -> tuple[Variable, ...]:
    """The variables a step reads, as often as it does."""
    if isinstance(step, KernelCall):
        return step.inputs
    return tuple(atom for atom in step.equation.inputs if isinstance(atom, Variable))


def steps(program: Program, layouts: Layouts) -> list[Step]:
    """The steps of a program, in order, for arguments some of which are not C-contiguous."""
    program = with_fitting_operands(program, layouts)
    definitions = program.definitions()
    kept = stored(program)
    items = arrange(nodes_of(program, kept), layouts)
    scattered = in_several(items)
    wanted = scattered | wanted_outside(program, items)
    result: list[Step] = []
    for item in items:
        if isinstance(item, Leaf) and item.is_call:
            equation = item.nodes[0].equation
            if is_scattered(equation):
                result += scatter_calls(definitions, kept, layouts, f"kernel{len(result)}", equation)
            else:
                result.append(call_of(equation, layouts))
        else:
            result += kernel_calls(definitions, kept, layouts, f"kernel{len(result)}", item, wanted, scattered)
    return result


def in_several(items: list[Item]) -> set[Variable]:
    """The concatenations whose parts are stored by several items."""
    places: dict[Variable, set[int]] = {}
    for place, item in enumerate(items):
        for node, _ in leaves_of(item):
            for variable in node.equation.outputs:
                places.setdefault(variable, set()).add(place)
    return {variable for variable, found in places.items() if len(found) > 1}


def wanted_outside(program: Program, items: list[Item]) -> set[Variable]:
    """The variables that are outputs of the program, or are read by another item than the one that computes them."""
    wanted = {atom for atom in program.outputs if isinstance(atom, Variable)}
    for item in items:
        nodes = [node for node, _ in leaves_of(item)]
        own = {variable for node in nodes for variable in node.equation.outputs}
        wanted.update(variable for node in nodes for variable, _ in node.reads if variable not in own)
    return wanted


def call_of(equation: Equation, layouts: Layouts) -> Step:
    """A matrix product, a function of matrices, a loop or branch, or a call of NumPy."""
    if isinstance(equation.primitive, Control):
        return control_call(equation)
    product = product_of(equation, layouts)
    if product is not None:
        return ProductCall(equation, product)
    function = matrix_function(equation)
    return HostCall(equation) if function is None else MatrixCall(equation, function)


def control_call(equation: Equation) -> Step:
    """A loop or a branch: native if all that its bodies do is."""
    if equation.primitive not in NATIVE:
        return HostCall(equation)
    bodies = []
    for program in equation.programs:
        calls = steps(program, {})
        native = [call for call in calls if not isinstance(call, HostCall)]
        if len(native) < len(calls):
            return HostCall(equation)
        bodies.append(Body(program, native))
    return ControlCall(equation, tuple(bodies))
