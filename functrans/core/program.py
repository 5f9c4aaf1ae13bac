"""Programs: a staged function as a list of equations over typed variables.

A `Program` is straight-line code in single-assignment form. It prints in a fixed syntax, checks
itself, and evaluates through the same dispatch as user code, so that every transform applies to it.
Invariant: a variable is defined once, before its uses, and its type is what its primitive's type
rule gives for the types of the operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from functrans import tree
from functrans.core.primitive import Control, Primitive
from functrans.core.trace import explain
from functrans.core.types import ArrayType, type_of
from functrans.errors import Origin, ProgramError, StructureError, describe_origin, performed_at

__all__ = [
    "Atom",
    "Equation",
    "Literal",
    "Program",
    "Variable",
    "check",
    "fail",
    "has_effect",
    "programs_in",
    "pruned",
    "silent_params",
    "without_dead_code",
]


class Variable:
    """A value of a program, known by identity."""

    __slots__ = ("array_type",)

    def __init__(self, array_type: ArrayType) -> None:
        self.array_type = array_type


@dataclass(frozen=True, slots=True)
class Literal:
    """A Python or NumPy scalar written into the program."""

    value: Any

    @property
    def array_type(self) -> ArrayType:
        return type_of(self.value)


Atom = Variable | Literal


@dataclass(frozen=True, slots=True, eq=False)
class Equation:
    """``outputs = primitive(inputs; params)``, and the user's line it stems from."""

    outputs: tuple[Variable, ...]
    primitive: Primitive
    inputs: tuple[Atom, ...]
    params: dict[str, Any]
    origin: Origin | None = None

    @property
    def has_effect(self) -> bool:
        """Whether the primitive, or a program or function among the parameters, does more than give results.

        Passes keep such an equation, once and in order with the others of its kind, even if nothing reads its results.
        """
        return has_effect(self.primitive, self.params)

    @property
    def repeatable(self) -> bool:
        """Whether the primitive, and programs and functions among the parameters, give the same results once more."""
        parts = [self.primitive, *self.params.values(), *self.programs]
        return all(getattr(part, "repeatable", True) for part in parts)

    @property
    def programs(self) -> list[Program]:
        """The programs among the parameters, in order."""
        return programs_in(self.params)


def programs_in(params: dict[str, Any]) -> list[Program]:
    """The programs among parameters, in the order of their names, and those in tuples among them."""
    found = []
    for _, value in sorted(params.items()):
        items = value if isinstance(value, tuple) else (value,)
        found += [item for item in items if isinstance(item, Program)]
    return found


def silent(equation: Equation) -> dict[str, Any]:
    """The parameters of an equation, with programs that have no effects."""
    return silent_params(equation.params) if isinstance(equation.primitive, Control) else equation.params


def silent_params(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters with programs that have no effects."""

    def of(value: Any) -> Any:
        if isinstance(value, tuple) and any(isinstance(item, Program) for item in value):
            return tuple(map(of, value))
        return value.silent if isinstance(value, Program) else value

    return {name: of(value) for name, value in params.items()}


def has_effect(primitive: Primitive, params: dict[str, Any]) -> bool:
    """Whether an operation does more than give results: by itself, or by a program or function among its parameters."""
    if primitive.has_effect or any(getattr(value, "has_effect", False) for value in params.values()):
        return True
    return isinstance(primitive, Control) and any(program.has_effect for program in programs_in(params))


@dataclass(frozen=True, eq=False)
class Program:
    """A function staged for arguments of given types; make one with `ft.make_program`.

    Attributes:
        name: the function's name.
        inputs: one variable for each leaf of the arguments.
        captured: variables bound, by reference, to `values`: arrays the function closed over.
        equations: in order of evaluation.
        outputs: one atom for each leaf of the result.
        input_structure, output_structure: pytrees of the arguments (a pair of positional and
            keyword arguments) and of the result.

    Example:
        >>> import numpy as np, functrans as ft
        >>> program = ft.make_program(lambda x: np.sum(np.sin(x) * 2.0))(np.ones(3))
        >>> print(program)
        program lambda(a: float64[3]) -> d
          b: float64[3] = sin(a)
          c: float64[3] = multiply(b, 2.0)
          d: float64[] = sum(c; axes=(0,))
        >>> float(program(np.zeros(3)))
        0.0

    The programs of loops and branches are printed below their equation:

        >>> print(ft.make_program(lambda x: ft.while_loop(lambda y: y < 9.0, lambda y: y * x, x))(2.0))
        program lambda(a: float64[]*) -> c
          b: float64[] = convert(a; dtype=float64)
          c: float64[] = while_loop(a, b; cond_consts=0, body_consts=1, max_steps=None, checkpoint=None)
            cond: lambda(a: float64[]) -> b
              b: bool[] = less(a, 9.0)
            body: lambda(a: float64[]*, b: float64[]) -> c
              c: float64[] = multiply(b, a)
    """

    name: str
    inputs: tuple[Variable, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[Atom, ...]
    captured: tuple[Variable, ...] = ()
    values: tuple[Any, ...] = ()
    input_structure: Any = field(default=None, repr=False)
    output_structure: Any = field(default=None, repr=False)

    @cached_property
    def has_effect(self) -> bool:
        """Whether an equation does more than give results."""
        return any(equation.has_effect for equation in self.equations)

    @cached_property
    def repeatable(self) -> bool:
        """Whether every equation gives the same results when computed once more."""
        return all(equation.repeatable for equation in self.equations)

    @cached_property
    def selects(self) -> bool:
        """Whether cotangents that an equation sends back may belong to values that were not chosen."""
        return any(
            equation.primitive.selects or any(program.selects for program in equation.programs) for equation in self.equations
        )

    @cached_property
    def axis_names(self) -> frozenset[Any]:
        """The names of batch axes of enclosing `vmap`s that operations go over."""
        own = {equation.params["axis_name"] for equation in self.equations if "axis_name" in equation.params}
        return frozenset(own).union(*(program.axis_names for equation in self.equations for program in equation.programs))

    @cached_property
    def silent(self) -> Program:
        """The program without its effects, for code that runs once more: the way back through a loop, a derivative."""
        if not self.has_effect:
            return self
        kept = [equation for equation in self.equations if equation.outputs or not equation.has_effect]
        return replace(self, equations=tuple(replace(equation, params=silent(equation)) for equation in kept))

    def definitions(self) -> dict[Variable, Equation]:
        """The equation that defines each variable, but for inputs and captured ones."""
        return {variable: equation for equation in self.equations for variable in equation.outputs}

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """The result for arguments of the structure the program was staged for."""
        leaves, structure = tree.flatten((args, keywords))
        if self.input_structure is not None and structure != self.input_structure:
            raise StructureError(
                f"program {self.name}: was staged for arguments {self.input_structure}, got {structure}"
                "\n  Remedy: stage it again for these arguments with ft.make_program."
            )
        results = self.evaluate(leaves)
        return results if self.output_structure is None else tree.unflatten(self.output_structure, results)

    def evaluate(self, leaves: Sequence[Any]) -> list[Any]:
        """The flat results for flat arguments, each operation dispatched as in user code, at its own line."""
        environment: dict[Variable, Any] = dict(zip(self.captured, self.values))
        environment.update(zip(self.inputs, leaves, strict=True))

        def read(atom: Atom) -> Any:
            return atom.value if isinstance(atom, Literal) else environment[atom]

        last_use = self.last_uses()
        for position, equation in enumerate(self.equations):
            perform = self._performers[position]
            result = perform(equation.primitive, *map(read, equation.inputs), **equation.params)
            if equation.primitive.multiple:
                environment.update(zip(equation.outputs, result, strict=True))
            else:
                environment[equation.outputs[0]] = result
            for variable in last_use[position]:
                environment.pop(variable, None)
        return [read(atom) for atom in self.outputs]

    @cached_property
    def _performers(self) -> list[Callable[..., Any]]:
        """For each equation, what calls its primitive at its line."""
        return [performed_at(equation.origin) for equation in self.equations]

    def last_uses(self) -> list[list[Variable]]:
        """For each equation, the variables nothing after it reads: evaluation frees them there."""
        cached = self.__dict__.get("_last_use_table")
        if cached is not None:
            return cached  # type: ignore[no-any-return]
        kept = set(self.outputs)
        seen: set[Variable] = set()
        table: list[list[Variable]] = []
        for equation in reversed(self.equations):
            ending = {v for v in (*equation.inputs, *equation.outputs) if isinstance(v, Variable)} - seen - kept
            seen |= ending
            table.append(list(ending))
        table.reverse()
        self.__dict__["_last_use_table"] = table
        return table

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterable[str]:
        names: dict[Variable, str] = {}

        def define(variable: Variable) -> str:
            names[variable] = letters(len(names))
            return f"{names[variable]}: {variable.array_type}{'*' if variable.array_type.weak else ''}"

        def show(atom: Atom) -> str:
            return literal_text(atom.value) if isinstance(atom, Literal) else names.get(atom, "undefined")

        arguments = ", ".join(map(define, self.inputs))
        captured = "; " + ", ".join(map(define, self.captured)) if self.captured else ""
        body = []
        for equation in self.equations:
            inputs = ", ".join(map(show, equation.inputs))
            nested = nested_programs(equation)
            shown = {key: value for key, value in equation.params.items() if key not in nested}
            params = ", ".join(f"{key}={param_text(value)}" for key, value in shown.items())
            left = ", ".join(map(define, equation.outputs))
            separator = "; " if inputs and params else ""
            body.append(f"  {left}{' = ' if left else ''}{equation.primitive.name}({inputs}{separator}{params})")
            for label, program in labelled(nested):
                head, *rest = program._lines()
                body += [f"    {label}: {head.removeprefix('program ')}", *(f"    {line}" for line in rest)]
        results = ", ".join(map(show, self.outputs))
        yield f"program {self.name}({arguments}{captured}) -> {results if len(self.outputs) == 1 else f'({results})'}"
        yield from body


def nested_programs(equation: Equation) -> dict[str, tuple[Program, ...]]:
    """The parameters of a loop, a branch or a call that are programs, or tuples of programs."""
    if not isinstance(equation.primitive, Control):
        return {}
    tuples = {key: value if isinstance(value, tuple) else (value,) for key, value in equation.params.items()}
    return {key: items for key, items in tuples.items() if items and all(isinstance(item, Program) for item in items)}


def labelled(nested: dict[str, tuple[Program, ...]]) -> Iterable[tuple[str, Program]]:
    """Each program under its parameter's name, with its number where there are several."""
    for key, programs in nested.items():
        for number, program in enumerate(programs):
            yield f"{key}[{number}]" if len(programs) > 1 else key, program


def fail(equation: Equation, operands: Sequence[Any], error: Exception) -> NoReturn:
    """Raise the error of an equation's operation, naming the line it stems from."""
    performed_at(equation.origin)(explain, error, equation.primitive, operands)
    raise error


def letters(number: int) -> str:
    """``a`` to ``z``, then ``aa``, ``ab`` ...: the names of variables in print."""
    text = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        text = chr(ord("a") + letter) + text
    return text


def literal_text(value: Any) -> str:
    """A literal as printed: Python scalars bare, NumPy scalars with their dtype."""
    return f"{value.dtype.name}({value})" if isinstance(value, np.generic) else repr(value)


def param_text(value: Any) -> str:
    """A parameter as printed, on one line."""
    if isinstance(value, Program):
        return f"<program {value.name}, {len(value.equations)} equations>"
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, Callable):  # type: ignore[arg-type]
        return getattr(value, "__name__", type(value).__name__)
    return repr(value)


def check(program: Program) -> Program:
    """`program` itself, if it keeps its invariants; raises `ProgramError` saying which it breaks."""
    defined = {*program.inputs, *program.captured}

    def fail(what: str, equation: Equation) -> ProgramError:
        return ProgramError(
            f"program {program.name}: {what} in the equation of {equation.primitive.name} "
            f"made at {describe_origin(equation.origin)}\n{program}"
        )

    for equation in program.equations:
        for atom in equation.inputs:
            if isinstance(atom, Variable) and atom not in defined:
                raise fail("a variable is used before it is defined", equation)
        result = equation.primitive.result_type([atom.array_type for atom in equation.inputs], equation.params)
        types = tuple(result) if equation.primitive.multiple else (result,)
        if types != tuple(variable.array_type for variable in equation.outputs):
            raise fail(f"the type rule gives {', '.join(map(str, types))}", equation)
        if not defined.isdisjoint(equation.outputs):
            raise fail("a variable is defined twice", equation)
        defined.update(equation.outputs)
    for atom in program.outputs:
        if isinstance(atom, Variable) and atom not in defined:
            raise ProgramError(f"program {program.name}: an output is not defined\n{program}")
    if len(program.captured) != len(program.values):
        raise ProgramError(f"program {program.name}: {len(program.captured)} captured variables, {len(program.values)} values")
    return program


def without_dead_code(program: Program) -> Program:
    """`program` without equations and captured arrays that no output and no effect depends on, inside loops as well.

    An equation without results is there for something else, and stays.
    """
    live = {atom for atom in program.outputs if isinstance(atom, Variable)}
    kept = []
    for equation in reversed(program.equations):
        if equation.has_effect or not equation.outputs or not live.isdisjoint(equation.outputs):
            equation = pruned(equation, live)
            kept.append(equation)
            live.update(atom for atom in equation.inputs if isinstance(atom, Variable))
    captured = [(variable, value) for variable, value in zip(program.captured, program.values) if variable in live]
    return Program(
        program.name,
        program.inputs,
        tuple(reversed(kept)),
        program.outputs,
        tuple(variable for variable, _ in captured),
        tuple(value for _, value in captured),
        program.input_structure,
        program.output_structure,
    )


def pruned(equation: Equation, live: set[Variable]) -> Equation:
    """An equation without the results of a loop, a branch or a call that nothing reads, and without what only they need."""
    if not isinstance(equation.primitive, Control):
        return equation
    found = equation.primitive.prune([variable in live for variable in equation.outputs], **equation.params)
    if found is None:
        return equation
    operands, results, params = found
    inputs = tuple(atom for atom, is_kept in zip(equation.inputs, operands, strict=True) if is_kept)
    outputs = tuple(variable for variable, is_kept in zip(equation.outputs, results, strict=True) if is_kept)
    return Equation(outputs, equation.primitive, inputs, params, equation.origin)
