"""`custom_root`: roots of functions, differentiated by the implicit function theorem.

Where ``f(x, c) = 0`` defines ``x`` as a function of ``c``, its derivative solves ``f_x dx = -f_c dc``. (Griewank and
Walther, Evaluating Derivatives, 2008, section 15.2; Blondel and others, Efficient and modular implicit differentiation,
2022.)

Invariant: the linear system is one of `custom_linear_solve`, at the root as the enclosing transforms see it, so
derivatives are of any order, and the solver that found the root is never differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from functrans import tree
from functrans.control.bodies import Body, chosen, derived, restaged, staged_body, strong_type
from functrans.control.custom_linear_solve import (
    batched_program,
    floating,
    linear_solve,
    parted,
    pull_program,
    push_program,
    solved_transposed,
    split,
    types_of,
)
from functrans.core.calling import function_title
from functrans.core.matching import leaves_like
from functrans.core.primitive import Control
from functrans.core.program import Atom, Equation, Program, Variable
from functrans.core.trace import Evaluation, current
from functrans.core.types import ArrayType, type_of
from functrans.transforms.batch import all_batched
from functrans.transforms.forward import jvp
from functrans.transforms.tape import fit
from functrans.transforms.undifferentiated import undifferentiated

__all__ = ["custom_root", "found_root", "implicit_root"]


@derived
def linearized(condition: Program, count: int) -> Body:
    """The derivative of a program in all but its first `count` operands: of its operands, and tangents."""
    types = types_of(condition)

    def run(operands: Any, tangents: Any) -> Any:
        return push_program(condition, operands, [*[None] * count, *tangents])

    return restaged(condition.name, run, [], types, types[count:])


def system(constants: Any, solver_constants: Any, x: Any, condition: Program, tangent_solve: Program) -> tuple[Any, Any]:
    """The linear system of the derivatives at the root: what `linear_solve` takes beside the right side."""
    matvec, extra, _ = linearized(condition, len(constants))
    # Where `f` is linear they do not read the root: then the root is a linear function of the right side, as it should be.
    matvec, matrix = with_operands_read(matvec, [*extra, *constants, *x])
    tangent_solve, solver = with_operands_read(tangent_solve, [*solver_constants, *x])
    params = {
        "matvec": matvec, "solve": tangent_solve, "transpose_solve": None, "symmetric": False,
        "counts": (len(matrix), len(solver), 0),
    }  # fmt: skip
    return (matrix, solver, []), params


def with_operands_read(program: Program, operands: Sequence[Any]) -> tuple[Program, list[Any]]:
    """A program of these operands and more, without those of these it does not read, and the others."""
    program, _, flags = without_unread(program, len(operands))
    return program, chosen(operands, flags)


@derived
def without_unread(program: Program, count: int) -> Body:
    """A program without those of its first `count` inputs it does not read, and which are there."""
    read = {atom for equation in program.equations for atom in equation.inputs} | set(program.outputs)
    flags = tuple(place >= count or variable in read for place, variable in enumerate(program.inputs))
    return Body(replace(program, inputs=tuple(chosen(program.inputs, flags))), (), flags[:count])


def evaluate(*operands: Any, counts: tuple[int, int], **params: Any) -> tuple[Any, ...]:
    """The root, which has been found."""
    return tuple(operands[sum(counts) :])


def result_types(*types: ArrayType, counts: tuple[int, int], **params: Any) -> tuple[ArrayType, ...]:
    """Those of the root."""
    return types[sum(counts) :]


def push(primals: Any, tangents: Any, *, condition: Program, tangent_solve: Program, counts: tuple[int, int]) -> Any:
    """``f_x dx = -f_c dc``."""
    constants, solver_constants, _ = split(primals, counts)
    x = implicit_root(*primals, condition=condition, tangent_solve=tangent_solve, counts=counts)
    moving = tangents[: len(constants)]
    if all(tangent is None for tangent in moving):
        return x, [None] * len(x)
    right = [-part for part in push_program(condition, [*constants, *x], [*moving, *[None] * len(x)])]
    groups, params = system(constants, solver_constants, x, condition, tangent_solve)
    return x, linear_solve(*(value for group in groups for value in group), *right, **params)


def forward(operands: Any, active: int, **params: Any) -> tuple[Any, Any]:
    """The root, and the operands with it."""
    constants, solver_constants, _ = split(operands, params["counts"])
    x = implicit_root(*operands, **params)
    return x, (constants, solver_constants, list(x))


def pull(cts: Any, saved: Any, active: int, *, condition: Program, tangent_solve: Program, counts: Any) -> list[Any]:
    """The cotangent of ``f_c dc`` is ``-w``, where ``f_x^T w = ct``."""
    constants, solver_constants, x = saved
    groups, params = system(constants, solver_constants, x, condition, tangent_solve)
    solution = solved_transposed((*groups, x), cts, **params)
    nothing = [None] * (len(solver_constants) + len(x))
    if solution is None:
        return [None] * len(constants) + nothing
    places = [place for place in range(len(constants)) if active >> place & 1]
    return pull_program(condition, [*constants, *x], places, [-part for part in solution])[: len(constants)] + nothing


def batch(
    operands: Any, batched: Any, size: int, axis_name: Any, *, condition: Program, tangent_solve: Program, counts: Any
) -> Any:
    """A root for each item."""
    constants, solver_constants, x = split(operands, counts)
    flags, solver_flags, x_flags = split(batched, counts)
    everywhere = [True] * len(x)
    condition, extra, _ = batched_program(condition, [*flags, *everywhere], size, axis_name)
    tangent_solve, more, _ = batched_program(tangent_solve, [*solver_flags, *everywhere, *everywhere], size, axis_name)
    constants, solver_constants = [*extra, *constants], [*more, *solver_constants]
    results = implicit_root(
        *constants, *solver_constants, *all_batched(x, x_flags, size),
        condition=condition, tangent_solve=tangent_solve, counts=(len(constants), len(solver_constants)),
    )  # fmt: skip
    return results, everywhere


def prune(wanted: Sequence[bool], **params: Any) -> None:
    """Nothing: all parts of the root are needed for the derivative of any."""


implicit_root = Control(
    "implicit_root", evaluate, types=result_types, push=push, forward=forward, pull=pull, batch=batch, prune=prune,
)  # fmt: skip


def found_root(equation: Equation) -> tuple[Program, Sequence[Atom]]:
    """The program that gives a root, which was found before, and its operands."""
    x = tuple(Variable(variable.array_type) for variable in equation.outputs)
    return Program("root", x, (), x), equation.inputs[sum(equation.params["counts"]) :]


def custom_root(
    f: Callable[[Any], Any],
    initial_guess: Any,
    solve: Callable[[Callable[[Any], Any], Any], Any],
    tangent_solve: Callable[[Callable[[Any], Any], Any], Any],
    has_aux: bool = False,
) -> Any:
    """A root of `f`, by a solver that is not differentiated itself.

    Derivatives, of any order and in both modes, are those of the implicit function theorem, with respect to what `f`
    closes over. The root has none with respect to `initial_guess`, nor to what only the solvers close over. They are as
    exact as the root is.

    Args:
        f: a function of trees like `initial_guess` that returns such a tree.
        initial_guess: a tree of arrays.
        solve: ``solve(f, initial_guess)`` returns a root, a tree like `initial_guess`. It is called as it is: branches on
            values work wherever these are known, as they are in `grad` and `jvp`, but not in `jit` and `vmap`.
        tangent_solve: ``tangent_solve(g, y)`` returns the solution ``x`` of ``g(x) = y``, where `g` is the derivative of `f`
            at the root: ``lambda g, y: y / g(1.0)`` for numbers, ``lambda g, y: np.linalg.solve(ft.jacobian(g)(y), y)`` for
            vectors of moderate length. Within a transform it is staged; for reverse mode it must consist of operations
            that can be transposed, or call `ft.custom_linear_solve`.
        has_aux: whether `solve` returns ``(root, auxiliary)``; auxiliary data have no derivative.

    Returns:
        The root, a tree like `initial_guess`, or ``(root, auxiliary)``.

    Raises:
        StructureError: `f` or a solver returns another structure or other shapes than those of `initial_guess`.
        DifferentiationError: reverse mode with a `tangent_solve` that cannot be transposed.

    Example:
        >>> import numpy as np, functrans as ft
        >>> def newton(f, x):
        ...     while abs(f(x)) > 1e-12:  # in compiled code, ft.while_loop
        ...         x = x - f(x) / ft.grad(f)(x)
        ...     return x
        >>> def cube_root(c):
        ...     return ft.custom_root(lambda x: x**3 - c, 1.0, newton, lambda g, y: y / g(1.0))
        >>> round(float(cube_root(8.0)), 12), round(float(ft.grad(cube_root)(8.0)), 12)
        (2.0, 0.083333333333)
        >>> round(float(ft.grad(ft.grad(cube_root))(8.0)) * 144, 12)
        -1.0

    Source: Griewank and Walther, Evaluating Derivatives (2008), section 15.2.
    """
    leaves, structure = tree.flatten(initial_guess)
    guess = [floating(leaf, "custom_root") for leaf in leaves]
    title = f"custom_root of {function_title(f)}"
    result = undifferentiated(solve, f, tree.unflatten(structure, guess))
    x, aux = parted(title, result, has_aux)
    leaves = leaves_like(title, "the root", x, "the initial guess", structure, guess)
    if not isinstance(current.get(), Evaluation):
        leaves = with_derivative(title, f, [floating(leaf, "custom_root") for leaf in leaves], structure, tangent_solve)
    x = tree.unflatten(structure, leaves)
    return (x, aux) if has_aux else x


def with_derivative(title: str, f: Callable[..., Any], x: list[Any], structure: Any, tangent_solve: Callable[..., Any]) -> Any:
    """A root with the derivative it has as a root of `f`."""
    types = list(map(type_of, x))

    def run(*x: Any) -> Any:
        return tuple(leaves_like(title, "what f returns", f(tree.unflatten(structure, x)), "the root", structure, types))

    def solve(x: Any, y: Any) -> Any:
        def g(tangent: Any) -> Any:
            return jvp(f, (tree.unflatten(structure, x),), (tangent,))[1]

        tangent = tangent_solve(g, tree.unflatten(structure, y))
        leaves = leaves_like(title, "the solution of tangent_solve", tangent, "the root", structure, types)
        return tuple(map(fit, leaves, types))

    run.__name__, solve.__name__ = function_title(f), title
    condition, constants = staged_body(run, tuple(types), transform="custom_root")
    right = tuple(strong_type(atom.array_type) for atom in condition.outputs)
    solver, solver_constants = staged_body(solve, (tuple(types), right), transform="custom_root")
    return implicit_root(
        *constants, *solver_constants, *x,
        condition=condition, tangent_solve=solver, counts=(len(constants), len(solver_constants)),
    )  # fmt: skip
