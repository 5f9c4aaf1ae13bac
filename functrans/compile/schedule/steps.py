"""From a program to a list of steps: fused kernels, calls of BLAS and LAPACK, and calls of NumPy for what has no loop form.

Invariant: steps are in order of their dependencies, and read what arguments are or earlier steps have stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from functrans.compile.arguments import Layouts
from functrans.compile.machine.blas import Product
from functrans.compile.machine.lapack import MatrixFunction, matrix_function
from functrans.compile.schedule.fuse import Item, Leaf, arrange, leaves_of
from functrans.compile.schedule.kernels import KernelCall, kernel_calls
from functrans.compile.schedule.nodes import is_scattered, nodes_of, stored
from functrans.compile.schedule.operands import product_of, with_fitting_operands
from functrans.compile.schedule.scatter import scatter_calls
from functrans.core.program import Equation, Program, Variable

__all__ = ["HostCall", "KernelCall", "MatrixCall", "NativeCall", "ProductCall", "Step", "read_by", "steps", "written_by"]


@dataclass(frozen=True, eq=False)
class HostCall:
    """An equation that is evaluated by NumPy, or has an effect: calls are in the order of the program."""

    equation: Equation


@dataclass(frozen=True, eq=False)
class ProductCall:
    """A contraction that BLAS carries out."""

    equation: Equation
    product: Product


@dataclass(frozen=True, eq=False)
class MatrixCall:
    """A function of matrices that LAPACK carries out."""

    equation: Equation
    function: MatrixFunction


NativeCall = KernelCall | ProductCall | MatrixCall

Step = NativeCall | HostCall


def written_by(step: Step) -> tuple[Variable, ...]:
    """The variables a step defines."""
    return (*step.outputs, *step.updates) if isinstance(step, KernelCall) else step.equation.outputs


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
    """A matrix product, a function of matrices, or a call of NumPy."""
    product = product_of(equation, layouts)
    if product is not None:
        return ProductCall(equation, product)
    function = matrix_function(equation)
    return HostCall(equation) if function is None else MatrixCall(equation, function)
