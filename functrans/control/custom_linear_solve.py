"""`custom_linear_solve`: solutions of linear systems, differentiated by the systems they solve.

The derivative of ``x`` in ``A x = b`` is the solution of ``A dx = db - dA x``, and the cotangent of ``b`` that of
``A^T w = ct``; the cotangent of ``A`` is that of ``-A x`` for ``w``. (Griewank and Walther, Evaluating Derivatives, 2008,
section 15.2; Giles, Collected matrix derivative results for forward and reverse mode, 2008.)

Invariant: every derivative is again a solution of such a system, so derivatives are of any order, and a solver itself
is never differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from functrans import tree
from functrans.control.bodies import Body, batched_body, chosen, derived, restaged, staged_body, strong, strong_type
from functrans.core.calling import function_title
from functrans.core.matching import auxiliary_pair, leaves_like
from functrans.core.primitive import Control
from functrans.core.program import Atom, Equation, Program, without_dead_code
from functrans.core.trace import Evaluation, current, root, running
from functrans.core.tracer import operand
from functrans.core.types import ArrayType, dtype_of, is_differentiable, type_of
from functrans.errors import DifferentiationError, UnsupportedError, at_user_line
from functrans.numpy.structure import astype
from functrans.transforms.batch import all_batched
from functrans.transforms.forward import jvp
from functrans.transforms.linear import linear_transpose
from functrans.transforms.reverse import vjp
from functrans.transforms.tape import fit, zeros

__all__ = [
    "batched_program",
    "custom_linear_solve",
    "floating",
    "linear_solve",
    "pull_program",
    "push_program",
    "solved_transposed",
    "solver_of",
    "split",
]


def split(values: Sequence[Any], counts: Sequence[int]) -> list[list[Any]]:
    """Stretches of these lengths, and the rest."""
    parts, start = [], 0
    for count in counts:
        parts.append(list(values[start : start + count]))
        start += count
    return [*parts, list(values[start:])]


def types_of(program: Program) -> list[ArrayType]:
    """The types of a program's operands."""
    return [variable.array_type for variable in program.inputs]


def push_program(program: Program, primals: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
    """The tangents of a program's results; zeros where there are none."""
    places = [place for place, tangent in enumerate(tangents) if tangent is not None]
    run = at_places(program, primals, places)
    return list(jvp(run, [primals[i] for i in places], [tangents[i] for i in places])[1])


def pull_program(program: Program, operands: Sequence[Any], places: Sequence[int], cts: Sequence[Any]) -> list[Any]:
    """A cotangent for each operand at one of `places`, else None."""
    results: list[Any] = [None] * len(operands)
    if places:
        _, pullback = vjp(at_places(program, operands, places), *[operands[place] for place in places])
        for place, ct in zip(places, pullback(tuple(cts))):
            results[place] = ct
    return results


def at_places(program: Program, operands: Sequence[Any], places: Sequence[int]) -> Callable[..., tuple[Any, ...]]:
    """A program as a function of the operands at some places."""

    def run(*chosen: Any) -> tuple[Any, ...]:
        complete = list(operands)
        for place, value in zip(places, chosen):
            complete[place] = value
        return tuple(program.evaluate(complete))

    return run


def batched_program(program: Program, batched: Sequence[bool], size: int, axis_name: Any) -> Body:
    """A program for operands some of which have a batch axis in front, as all its results have."""
    return batched_body(program, tuple(batched), (True,) * len(program.outputs), size, axis_name)


@derived
def transposed_matrix(program: Program, count: int) -> Body:
    """The transpose of a program that is linear in all but its first `count` operands, of these and a cotangent."""
    types = types_of(program)
    cts = [strong_type(atom.array_type) for atom in program.outputs]

    def run(constants: Any, cts: Any) -> Any:
        return linear_transpose(lambda *x: tuple(program.evaluate([*constants, *x])), *types[count:])(tuple(cts))

    return restaged(program.name, run, [], types[:count], cts)


@derived
def without_auxiliary(solve: Program, count: int) -> Program:
    """A solver that gives the solution only."""
    return solve if len(solve.outputs) == count else without_dead_code(replace(solve, outputs=solve.outputs[:count]))


def evaluate(*operands: Any, solve: Program, counts: tuple[int, int, int], **params: Any) -> tuple[Any, ...]:
    """The solver's results."""
    _, constants, _, right = split(operands, counts)
    with running(root()):
        return tuple(solve.evaluate([*constants, *right]))


def result_types(*types: ArrayType, solve: Program, **params: Any) -> tuple[ArrayType, ...]:
    """What the solver gives."""
    return tuple(atom.array_type for atom in solve.outputs)


def push(primals: Any, tangents: Any, **params: Any) -> tuple[Any, Any]:
    """``A dx = db - dA x``."""
    counts, matvec = params["counts"], params["matvec"]
    matrix, constants, others, right = split(primals, counts)
    matrix_tangents, _, _, right_tangents = split(tangents, counts)
    out = linear_solve(*primals, **params)
    nothing = [None] * (len(out) - len(right))
    if any(tangent is not None for tangent in matrix_tangents):
        moved = push_program(matvec, [*matrix, *out[: len(right)]], [*matrix_tangents, *[None] * len(right)])
        right_tangents = [-part if own is None else own - part for own, part in zip(right_tangents, moved)]
    if all(tangent is None for tangent in right_tangents):
        return out, [None] * len(out)
    filled = [zeros(type_of(b)) if t is None else fit(t, type_of(b)) for t, b in zip(right_tangents, right)]
    params["solve"] = without_auxiliary(params["solve"], len(right))
    return out, [*linear_solve(*matrix, *constants, *others, *filled, **params), *nothing]


def forward(operands: Any, active: int, **params: Any) -> tuple[Any, Any]:
    """The results, and all that is needed of them and the operands: neither the right side nor what is auxiliary."""
    *groups, right = split(operands, params["counts"])
    out = linear_solve(*operands, **params)
    return out, (*groups, list(out[: len(right)]))


def pull(cts: Any, saved: Any, active: int, **params: Any) -> list[Any]:
    """``A^T w = ct`` is the cotangent of the right side, and ``-w`` that of ``A x``."""
    matrix, constants, others, x = saved
    count = len(x)
    solution = solved_transposed(saved, cts[:count], **params)
    if solution is None:
        return [None] * (len(matrix) + len(constants) + len(others) + count)
    places = [place for place in range(len(matrix)) if active >> place & 1]
    to_matrix = pull_program(params["matvec"], [*matrix, *x], places, [-part for part in solution])[: len(matrix)]
    return [*to_matrix, *[None] * (len(constants) + len(others)), *solution]


def solved_transposed(saved: Any, cts: Sequence[Any], **params: Any) -> Any:
    """The solution of the transposed system for cotangents of the solution; None if there are none."""
    matrix, constants, others, x = saved
    if all(ct is None for ct in cts):
        return None
    right = [zeros(type_of(value)) if ct is None else ct for ct, value in zip(cts, x)]
    matvec, symmetric, transpose_solve = params["matvec"], params["symmetric"], params["transpose_solve"]
    solve = without_auxiliary(params["solve"], len(x))
    if symmetric:
        vecmat, extra = matvec, ()
        transpose_solve, others = solve, constants
    else:
        vecmat, extra, _ = transposed_matrix(matvec, len(matrix))
        if transpose_solve is None:
            transpose_solve, more, _ = transposed_solver(solve, len(constants))
            others = [*more, *constants]
    matrix = [*extra, *matrix]
    return linear_solve(
        *matrix, *others, *constants, *right,
        matvec=vecmat, solve=transpose_solve, transpose_solve=solve, symmetric=symmetric,
        counts=(len(matrix), len(others), len(constants)),
    )  # fmt: skip


def transposed_solver(solve: Program, count: int) -> Body:
    """The transpose of a solver, which solves the transposed system."""
    try:
        return transposed_matrix(solve, count)
    except (DifferentiationError, UnsupportedError) as error:
        raise DifferentiationError(
            f"{solve.name}: reverse mode solves the transposed system, and the solver that was given cannot be transposed"
            "\n  Remedy: pass transpose_solve(vecmat, b), or symmetric=True if the matrix is its own transpose; within "
            f"ft.custom_root, write tangent_solve with ft.custom_linear_solve.{at_user_line()}\n{error}"
        ) from error


def batch(operands: Any, batched: Any, size: int, axis_name: Any, **params: Any) -> tuple[Any, list[bool]]:
    """A system for each item, solved by the batched solver."""
    counts = params["counts"]
    *groups, right = split(operands, counts)
    *flags, right_flags = split(batched, counts)
    names = ["matvec", "solve", "transpose_solve"]
    for number, name in enumerate(names):
        if params[name] is not None:
            own = (*flags[number], *[True] * len(right))
            params[name], extra, _ = batched_program(params[name], own, size, axis_name)
            groups[number] = [*extra, *groups[number]]
    params["counts"] = tuple(map(len, groups))
    right = all_batched(right, right_flags, size)
    out = linear_solve(*(value for group in groups for value in group), *right, **params)
    return out, [True] * len(out)


def prune(wanted: Sequence[bool], **params: Any) -> Any:
    """Without auxiliary results that are not wanted; all parts of the solution are needed for derivatives of any."""
    solve, count = params["solve"], len(params["matvec"].outputs)
    results = [place < count or is_wanted for place, is_wanted in enumerate(wanted)]
    if all(results):
        return None
    params["solve"] = without_dead_code(replace(solve, outputs=tuple(chosen(solve.outputs, results))))
    return [True] * (sum(params["counts"]) + count), results, params


linear_solve = Control(
    "linear_solve", evaluate, types=result_types, push=push, forward=forward, pull=pull, batch=batch, prune=prune,
)  # fmt: skip


def solver_of(equation: Equation) -> tuple[Program, Sequence[Atom]]:
    """The program that gives a solution, and its operands."""
    _, constants, _, right = split(equation.inputs, equation.params["counts"])
    return equation.params["solve"], [*constants, *right]


def floating(leaf: Any, transform: str) -> Any:
    """`leaf` as an operand of a binding floating or complex dtype."""
    value = operand(leaf, transform)
    if not is_differentiable(dtype_of(value)):
        return astype(value, np.dtype(float))
    return strong(value)


def parted(title: str, result: Any, has_aux: bool) -> tuple[Any, Any]:
    """The solution and the auxiliary data a solver returned."""
    return auxiliary_pair(title, result, "solution, auxiliary") if has_aux else (result, None)


def custom_linear_solve(
    matvec: Callable[[Any], Any],
    b: Any,
    solve: Callable[[Callable[[Any], Any], Any], Any],
    transpose_solve: Callable[[Callable[[Any], Any], Any], Any] | None = None,
    symmetric: bool = False,
    has_aux: bool = False,
) -> Any:
    """The solution ``x`` of ``matvec(x) = b``, by a solver that is not differentiated itself.

    Derivatives, of any order and in both modes, are solutions of linear systems with the same matrix or its transpose.
    They are with respect to `b` and to what `matvec` closes over; what only the solvers close over (a factorisation, a
    preconditioner) has none.

    Args:
        matvec: a linear function of trees like `b` that returns such a tree.
        b: the right side, a tree of arrays; integers are taken as float64.
        solve: ``solve(matvec, b)`` returns the solution, a tree like `b`. Outside of transforms it is called as it is.
            Within one it is staged, so loops in it whose length depends on values are `ft.while_loop`, and calls of
            other libraries are `ft.pure_callback`.
        transpose_solve: ``transpose_solve(vecmat, b)`` does so for the transposed matrix, for reverse mode. If it is not
            given, `solve` itself is transposed, where it consists of operations that can be, as ``np.linalg.solve``.
        symmetric: whether the matrix is its own transpose (and not the conjugate of it), so that `solve` serves for both.
        has_aux: whether the solvers return ``(x, auxiliary)``; auxiliary data are constants to derivatives.

    Returns:
        The solution, a tree like `b`, or ``(x, auxiliary)``.

    Raises:
        StructureError: `matvec` or a solver returns another structure or other shapes than those of `b`.
        DifferentiationError: reverse mode of a solver that cannot be transposed, without `transpose_solve`.

    Example:
        >>> import numpy as np, functrans as ft
        >>> def jacobi(matvec, b):  # for matrices with a dominant diagonal
        ...     x, rows = b, matvec(np.ones(2))
        ...     for _ in range(60):
        ...         x = x + (b - matvec(x)) / rows
        ...     return x
        >>> def solution(a, b):
        ...     return ft.custom_linear_solve(lambda x: a @ x, b, jacobi, symmetric=True)
        >>> a, b = np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0])
        >>> np.round(11 * solution(a, b), 12).tolist()
        [1.0, 7.0]
        >>> np.round(11 * ft.jacobian(solution, 1)(a, b), 12).tolist()
        [[3.0, -1.0], [-1.0, 4.0]]

    Source: Griewank and Walther, Evaluating Derivatives (2008), section 15.2.
    """
    leaves, structure = tree.flatten(b)
    leaves = [floating(leaf, "custom_linear_solve") for leaf in leaves]
    title = f"custom_linear_solve of {function_title(matvec)}"
    if not isinstance(current.get(), Evaluation):
        return staged_solve(title, matvec, leaves, structure, solve, transpose_solve, symmetric, has_aux)
    x, aux = parted(title, solve(matvec, tree.unflatten(structure, leaves)), has_aux)
    x = tree.unflatten(structure, leaves_like(title, "the solution", x, "b", structure, leaves))
    return (x, aux) if has_aux else x


def staged_solve(
    title: str,
    matvec: Callable[[Any], Any],
    right: list[Any],
    structure: Any,
    solve: Callable[..., Any],
    transpose_solve: Callable[..., Any] | None,
    symmetric: bool,
    has_aux: bool,
) -> Any:
    """The solution by `linear_solve`, of programs of the functions."""
    matrix, right = staged_matrix(title, matvec, right, structure)
    types = list(map(type_of, right))
    auxiliary: Any = None

    def solver(name: str, function: Callable[..., Any], product: Callable[..., Any]) -> Callable[..., Any]:
        def run(*b: Any) -> Any:
            nonlocal auxiliary
            x, aux = parted(title, function(product, tree.unflatten(structure, b)), has_aux)
            leaves, auxiliary = tree.flatten(aux)
            x = leaves_like(title, f"the solution of {name}", x, "b", structure, types)
            return (*map(fit, x, types), *map(operand, leaves))

        run.__name__ = title
        return run

    programs: dict[str, Program | None] = {"matvec": matrix[0], "solve": None, "transpose_solve": None}
    groups = [matrix[1], (), ()]
    if transpose_solve is not None and not symmetric:
        like_b = tree.unflatten(structure, types)
        run = solver("transpose_solve", transpose_solve, lambda ct: linear_transpose(matvec, like_b)(ct)[0])
        program, groups[2] = staged_body(run, tuple(types), transform="custom_linear_solve")
        programs["transpose_solve"] = without_auxiliary(program, len(types))
    programs["solve"], groups[1] = staged_body(solver("solve", solve, matvec), tuple(types), transform="custom_linear_solve")
    results = linear_solve(
        *(value for group in groups for value in group), *right,
        **programs, symmetric=symmetric, counts=tuple(map(len, groups)),
    )  # fmt: skip
    x = tree.unflatten(structure, results[: len(right)])
    return (x, tree.unflatten(auxiliary, results[len(right) :])) if has_aux else x


def staged_matrix(
    title: str, matvec: Callable[[Any], Any], right: list[Any], structure: Any
) -> tuple[tuple[Program, tuple[Any, ...]], list[Any]]:
    """The program of `matvec`, what it closes over, and the right side in the dtype of its results."""

    types: list[ArrayType] = []

    def run(*x: Any) -> Any:
        return tuple(leaves_like(title, "what matvec returns", matvec(tree.unflatten(structure, x)), "b", structure, types))

    run.__name__ = function_title(matvec)
    for _ in range(2):
        types = list(map(type_of, right))
        program, constants = staged_body(run, tuple(types), transform="custom_linear_solve")
        dtypes = [atom.array_type.dtype for atom in program.outputs]
        if dtypes == [type_.dtype for type_ in types]:
            break
        right = [value if dtype_of(value) == dtype else value.astype(dtype) for value, dtype in zip(right, dtypes)]
    return (program, constants), right
