"""`cond` and `switch`: one of several functions, chosen by a value.

The branches are programs of the same operands, with results of the same types; only the chosen one is evaluated.
Derivatives are branches as well: forward mode over the branches with tangents; reverse mode over the forward part of
each branch, which keeps what its backward part needs, then over the backward parts. What they keep goes through slots
that all of them share, by type; those that a branch does not fill are zeros. Of a batch each item takes its own branch.

Invariant: branches capture nothing, and agree in the types of their results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from functrans import tree
from functrans.control.bodies import (
    Body,
    Flags,
    batched_body,
    chosen,
    derived,
    joint_body,
    pushed_body,
    reached,
    read_inputs,
    spread,
    staged_body,
)
from functrans.control.evaluation import perform, run
from functrans.control.items import item_by_item
from functrans.control.known import known
from functrans.core.calling import function_title
from functrans.core.primitive import Control, Elementwise, Reduction, Structural
from functrans.core.program import Atom, Equation, Literal, Program, Variable, without_dead_code
from functrans.core.tracer import Tracer, operand
from functrans.core.types import ArrayType, describe, dtype_of, is_differentiable, result_dtype, shape_of, type_of
from functrans.errors import StructureError, at_user_line
from functrans.ops.arithmetic import integer_power, left_shift, right_shift
from functrans.ops.indexing import getitem
from functrans.ops.structure import broadcast_to, convert
from functrans.transforms.costs import ARITHMETIC, CHEAP
from functrans.transforms.partition import partition
from functrans.transforms.tape import zeros

__all__ = ["branch", "cond", "switch"]

Programs = tuple[Program, ...]


def evaluate(*operands: Any, **params: Any) -> tuple[Any, ...]:
    """The results of the chosen branch."""
    return perform(branch, interpret, operands, params)


def interpret(index: Any, *operands: Any, branches: Programs) -> tuple[Any, ...]:
    """The chosen branch in Python; an index out of range chooses the first or the last one."""
    return tuple(run(branches[min(max(int(index), 0), len(branches) - 1)], operands))


def result_types(index: ArrayType, *types: ArrayType, branches: Programs) -> list[ArrayType]:
    """Those of any branch."""
    return [atom.array_type for atom in branches[0].outputs]


def reach(active: Sequence[bool], *, branches: Programs) -> Flags:
    """What any branch gives of the active operands."""
    return union(reached(program, active[1:]) for program in branches)


def union(flags: Any) -> Flags:
    """Where any of several has a flag."""
    return tuple(map(any, zip(*flags, strict=True)))


def united(bodies: Sequence[Body]) -> tuple[Programs, tuple[Any, ...]]:
    """The programs with the arrays that any of them needs as the first inputs of all, and these arrays."""
    spare = [[Variable(type_of(value)) for value in body.values] for body in bodies]
    programs = []
    for place, body in enumerate(bodies):
        count = len(body.values)
        own = [*spare[:place], body.program.inputs[:count], *spare[place + 1 :]]
        programs.append(replace(body.program, inputs=(*chain(*own), *body.program.inputs[count:])))
    return tuple(programs), tuple(chain(*(body.values for body in bodies)))


@derived
def pushed_branches(first: Program, branches: Programs, active: Flags) -> tuple[Programs, tuple[Any, ...], Flags]:
    """The branches with tangents: (operands, tangents of the active ones) -> (results, tangents of those any has one of)."""
    flags = union(reached(program, active) for program in branches)
    return *united([pushed_body(program, active, flags, True) for program in branches]), flags


def push(primals: list[Any], tangents: list[Any], *, branches: Programs) -> Any:
    """The branch with tangents beside the values."""
    active = tuple(tangent is not None for tangent in tangents[1:])
    programs, values, flags = pushed_branches(branches[0], branches, active)
    with np.errstate(all="ignore"):
        results = branch(primals[0], *values, *primals[1:], *chosen(tangents[1:], active), branches=programs)
    return results[: len(flags)], spread(results[len(flags) :], flags)


class Pullback(NamedTuple):
    """The two branches of reverse mode.

    Attributes:
        forward: (values, operands) -> (results, slots).
        backward: (values, some operands, slots, cotangents of the live results) -> cotangents of the active operands.
        values: arrays that either needs.
        inputs: which operands the backward one has, by place.
        live: which results have cotangents.
    """

    forward: Programs
    backward: Programs
    values: tuple[Any, ...]
    inputs: tuple[int, ...]
    live: Flags


@derived
def pullback_of(first: Program, branches: Programs, active: Flags) -> Pullback:
    """What reverse mode needs, with respect to the active operands."""
    live = union(reached(program, active) for program in branches)
    joint, values = united([joint_body(program, active, live, active, True) for program in branches])
    count, known, results = len(values), len(values) + len(active), len(first.outputs)
    parts = [partition(program, known, results) for program in joint]
    inputs = sorted({place for part in parts for place in part.inputs if place >= count})
    shared = shared_types([[variable.array_type for variable in part.residuals] for part in parts])
    forward, backward = [], []
    for program, part in zip(joint, parts):
        slots = filled_slots(part.residuals, shared)
        equations, atoms = zero_equations(slots, shared)
        outputs = (*part.forward.outputs[:results], *atoms)
        forward.append(replace(part.forward, equations=(*part.forward.equations, *equations), outputs=outputs))
        own = [*program.inputs[:count], *(program.inputs[place] for place in inputs)]
        kept = [Variable(type_) if slot is None else slot for slot, type_ in zip(slots, shared)]
        backward.append(replace(part.backward, inputs=(*own, *kept, *program.inputs[known:])))
    return Pullback(tuple(forward), tuple(backward), values, tuple(place - count for place in inputs), live)


def shared_types(lists: Sequence[Sequence[ArrayType]]) -> list[ArrayType]:
    """The fewest slots that each of the lists of types finds room in."""
    counts: dict[ArrayType, int] = {}
    for types in lists:
        for type_ in types:
            counts[type_] = max(counts.get(type_, 0), types.count(type_))
    return [type_ for type_, count in counts.items() for _ in range(count)]


def filled_slots(residuals: Sequence[Variable], types: Sequence[ArrayType]) -> list[Variable | None]:
    """For each slot the residual that it holds, or None."""
    remaining = list(residuals)

    def take(type_: ArrayType) -> Variable | None:
        found = next((variable for variable in remaining if variable.array_type == type_), None)
        if found is not None:
            remaining.remove(found)
        return found

    return list(map(take, types))


def zero_equations(slots: Sequence[Variable | None], types: Sequence[ArrayType]) -> tuple[list[Equation], list[Atom]]:
    """What the slots hold, with the equations of zeros for those that are empty."""
    equations: list[Equation] = []
    atoms: list[Atom] = []
    for slot, type_ in zip(slots, types):
        zero = type_.dtype.type(0)
        atom: Atom = slot or Literal(zero.item() if type_.weak else zero)
        if slot is None and type_.shape:
            atom = Variable(type_)
            equations.append(Equation((atom,), broadcast_to, (Literal(zero),), {"shape": type_.shape}))
        atoms.append(atom)
    return equations, atoms


def forward(operands: list[Any], active: int, *, branches: Programs) -> Any:
    """The branch with what its pullback needs after its results."""
    index, *values = operands
    flags = tuple(bool(active >> place & 1) and is_differentiable(dtype_of(v)) for place, v in enumerate(values, 1))
    made = pullback_of(branches[0], branches, flags)
    results = branch(index, *made.values, *values, branches=made.forward)
    count = len(made.live)
    return results[:count], (flags, index, [values[place] for place in made.inputs], results[count:])


def pull(cts: Sequence[Any], saved: Any, active: int, *, branches: Programs) -> Any:
    """The branch of the pullbacks."""
    flags, index, operands, slots = saved
    made = pullback_of(branches[0], branches, flags)
    types = [ArrayType(atom.array_type.shape, atom.array_type.dtype) for atom in branches[0].outputs]
    full = [zeros(type_) if ct is None else ct for ct, type_ in zip(cts, types)]
    found = branch(index, *made.values, *operands, *slots, *chosen(full, made.live), branches=made.backward)
    return [None, *spread(found, flags)]


@derived
def pruned_branches(first: Program, branches: Programs, wanted: Flags) -> tuple[Programs, Flags]:
    """The branches with the wanted results only, and which operands they have."""
    programs = [without_dead_code(replace(program, outputs=tuple(chosen(program.outputs, wanted)))) for program in branches]
    flags = union(read_inputs(program) for program in programs)
    return tuple(replace(program, inputs=tuple(chosen(program.inputs, flags))) for program in programs), flags


def prune(wanted: Sequence[bool], *, branches: Programs) -> Any:
    """Without the results nobody reads, and the operands that no branch needs for the others."""
    programs, flags = pruned_branches(branches[0], branches, tuple(wanted))
    return None if all(wanted) and all(flags) else ((True, *flags), wanted, {"branches": programs})


@derived
def batched_branches(
    first: Program, branches: Programs, batched: Flags, always: Flags, size: int, axis_name: Any
) -> tuple[Programs, tuple[Any, ...], Flags]:
    """The branches of batches, and which results are batched: those that are in any branch."""
    flags = union(batched_body(program, batched, always, size, axis_name).flags for program in branches)
    return *united([batched_body(program, batched, flags, size, axis_name) for program in branches]), flags


def batch(operands: list[Any], batched: list[bool], size: int, axis_name: Any, *, branches: Programs) -> Any:
    """One branch for the whole batch if the index is the same for all items; else each item takes its own."""
    index, *values = operands
    if batched[0] and not all(map(is_harmless, branches)):
        return item_by_item(branch, operands, batched, size, axis_name, {"branches": branches})
    always = (batched[0],) * len(branches[0].outputs)
    programs, constants, flags = batched_branches(branches[0], branches, tuple(batched[1:]), always, size, axis_name)
    if batched[0]:
        return selected(index, [program.evaluate([*constants, *values]) for program in programs]), flags
    return branch(index, *constants, *values, branches=programs), flags


def selected(index: Any, results: Sequence[Sequence[Any]]) -> list[Any]:
    """For each item of a batch the results of the branch with its index."""
    chosen_results = []
    for parts in zip(*results):
        place = np.reshape(index, (-1, *(1,) * (len(shape_of(parts[0])) - 1)))
        found = parts[-1]
        for number in reversed(range(len(parts) - 1)):
            found = np.where(place <= number, parts[number], found)
        chosen_results.append(found)
    return chosen_results


# A batch computes all branches and selects, where each is of at most so many operations that are cheap, have no effect, and
# neither raise nor warn for operands of a branch that is not taken: arithmetic on floats, comparisons, views, sums.
HARMLESS_EQUATIONS = 16
UNSAFE = frozenset({integer_power, left_shift, right_shift})


def is_harmless(program: Program) -> bool:
    """Whether a branch may as well be computed for items that do not take it."""
    return len(program.equations) <= HARMLESS_EQUATIONS and all(map(is_harmless_equation, program.equations))


def is_harmless_equation(equation: Equation) -> bool:
    """Whether an operation is cheap and cannot fail."""
    primitive = equation.primitive
    if isinstance(primitive, Elementwise):
        return ARITHMETIC.get(primitive) == CHEAP and primitive not in UNSAFE
    if primitive is convert:
        return np.can_cast(equation.inputs[0].array_type.dtype, equation.params["dtype"])
    if primitive is getitem:
        return len(equation.inputs) == 1
    return isinstance(primitive, (Structural, Reduction))


branch = Control(
    "branch",
    evaluate,
    types=result_types,
    push=push,
    forward=forward,
    pull=pull,
    batch=batch,
    prune=prune,
    reach=reach,
    selects=True,
)


def cond(pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any) -> Any:
    """``true_fun(*operands)`` if `pred` else ``false_fun(*operands)``, of which only one is computed.

    Args:
        pred: a scalar, traced or not: bool, or a number that is compared with 0.
        true_fun, false_fun: of the operands, with results of the same structure, shapes and dtypes. Both are staged;
            values they close over are differentiated and batched as the operands are.
        operands: pytrees of arrays.

    Returns:
        What the chosen function returns. Under `vmap` with a batched `pred` each item takes its own branch, so that
        errors, effects and nan come only from the one it takes.

    Raises:
        StructureError: `pred` is no scalar, or the results differ in structure, shape or dtype.
        UnsupportedError: under such a `vmap`, a `psum` over its axis in a branch.

    Example:
        >>> import numpy as np, functrans as ft
        >>> root = lambda x: ft.cond(x > 0, np.sqrt, np.zeros_like, x)
        >>> float(root(4.0)), float(ft.grad(root)(4.0)), float(ft.grad(root)(0.0))
        (2.0, 0.25, 0.0)
        >>> ft.vmap(root)(np.array([4.0, -4.0])).tolist()
        [2.0, 0.0]

    Source: the signature is that of ``jax.lax.cond``.
    """
    pred = scalar("cond", "the predicate", pred, "biufc", "np.any or np.all of it, or np.where to choose element by element")
    index = pred if dtype_of(pred).kind == "b" else pred != 0
    return choose("cond", index, {"false_fun": false_fun, "true_fun": true_fun}, operands)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """``branches[index](*operands)``, of which only that one is computed.

    Args:
        index: an integer scalar, traced or not; below 0 the first function is chosen, beyond the end the last.
        branches: functions of the operands, with results of the same structure, shapes and dtypes; as for `cond`.
        operands: pytrees of arrays.

    Returns:
        What the chosen function returns; under `vmap` as for `cond`.

    Raises:
        StructureError: `index` is no integer scalar, or the results differ in structure, shape or dtype.
        ValueError: there are no branches.

    Example:
        >>> import numpy as np, functrans as ft
        >>> power = lambda i, x: ft.switch(i, [lambda x: x, lambda x: x**2, lambda x: x**3], x)
        >>> float(power(2, 3.0)), float(ft.grad(power, 1)(2, 3.0))
        (27.0, 27.0)

    Source: the signature is that of ``jax.lax.switch``.
    """
    index = scalar("switch", "the index", index, "iu", "an integer: x.astype(int)")
    if not branches:
        raise ValueError(
            f"switch: there are no branches to choose from\n  Remedy: pass a sequence of one function or more.{at_user_line()}"
        )
    return choose("switch", index, {f"branch {place}": function for place, function in enumerate(branches)}, operands)


def scalar(name: str, what: str, value: Any, kinds: str, remedy: str) -> Any:
    """`value`, if it is a scalar of one of these kinds."""
    value = operand(value, name)
    if shape_of(value) or dtype_of(value).kind not in kinds:
        wanted = "an integer scalar" if kinds == "iu" else "a scalar"
        raise StructureError(f"{name}: {what} is {describe(value)}, and must be {wanted}\n  Remedy: pass {remedy}.{at_user_line()}")
    return value


def choose(name: str, index: Any, functions: dict[str, Callable[..., Any]], operands: tuple[Any, ...]) -> Any:
    """The result of one of the functions, by their names in messages."""
    staged = [staged_body(function, operands, transform=name, hoists=False) for function in functions.values()]
    titles = [f"{label} ({function_title(function)})" for label, function in functions.items()]
    structure, types = common_results(name, titles, [program for program, _ in staged])
    programs, values = sharing_captured([(with_results(program, types), values) for program, values in staged])
    leaves = map(operand, tree.leaves(operands))
    return tree.unflatten(structure, branch(index, *values, *leaves, branches=tuple(map(known, programs))))


def common_results(name: str, titles: Sequence[str], programs: Sequence[Program]) -> tuple[Any, list[ArrayType]]:
    """The structure of the results and the types of their leaves; raises if the branches do not agree."""
    structure = programs[0].output_structure
    for title, program in zip(titles, programs):
        if program.output_structure != structure:
            raise StructureError(
                f"{name}: {titles[0]} returns {structure}, and {title} returns {program.output_structure}"
                f"\n  Remedy: return trees of the same structure.{at_user_line()}"
            )
    paths = tree.paths(tree.unflatten(structure, programs[0].outputs))
    types = []
    for path, *leaves in zip(paths, *([atom.array_type for atom in program.outputs] for program in programs)):
        for title, type_ in zip(titles, leaves):
            common = common_type(leaves[0], type_)
            if common is None:
                leaf = f" for the leaf {path}" if path else ""
                raise StructureError(
                    f"{name}: {titles[0]} returns {leaves[0]}{leaf}, and {title} returns {type_}"
                    f"\n  Remedy: return the same type from both, with .astype or np.broadcast_to.{at_user_line()}"
                )
            leaves[0] = common
        types.append(leaves[0])
    return structure, types


def common_type(one: ArrayType, other: ArrayType) -> ArrayType | None:
    """The type two branches' results can both be given: a Python number takes on the other's dtype where it fits."""
    if one == other or one.shape != other.shape:
        return one if one == other else None
    dtype = result_dtype(one.promoting, other.promoting)
    fits = all(type_.weak or type_.dtype == dtype for type_ in (one, other))
    return ArrayType(one.shape, dtype) if fits else None


def with_results(program: Program, types: Sequence[ArrayType]) -> Program:
    """The program with its results as values of `types`, some of which are Python numbers."""
    equations, outputs = list(program.equations), list(program.outputs)
    for place, (atom, type_) in enumerate(zip(program.outputs, types)):
        if atom.array_type != type_:
            outputs[place] = result = Variable(type_)
            equations.append(Equation((result,), convert, (atom,), {"dtype": type_.dtype}))
    return replace(program, equations=tuple(equations), outputs=tuple(outputs))


def sharing_captured(staged: Sequence[tuple[Program, tuple[Any, ...]]]) -> tuple[Programs, tuple[Any, ...]]:
    """The programs with what any of them captured as the first inputs of all, and these values, each once.

    But for what one of them captured more than once, under several names: all of these stay.
    """
    captured = {key: value for _, values in staged for key, value in zip(numbered(values), values)}
    programs = []
    for program, values in staged:
        own = dict(zip(numbered(values), program.inputs))
        first = [own.get(key) or Variable(type_of(value)) for key, value in captured.items()]
        programs.append(replace(program, inputs=(*first, *program.inputs[len(values) :])))
    return tuple(programs), tuple(captured.values())


def numbered(values: Sequence[Any]) -> list[Any]:
    """The identity of each value, and how many before it have the same."""
    identities = list(map(identity, values))
    return [(own, identities[:place].count(own)) for place, own in enumerate(identities)]


def identity(value: Any) -> Any:
    """What two captured values have in common if they are the same array, or the same value of a trace."""
    if not isinstance(value, Tracer):
        return id(value)
    parts = (getattr(value, name) for name in value.state)
    return id(value.owner), *(part if isinstance(part, int) else id(part) for part in parts)
