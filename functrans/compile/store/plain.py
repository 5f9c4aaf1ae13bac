"""Plain data: programs, and what is to be known of their code, as text that says all of it.

A key of the disk cache is a digest of such text, and files hold it. Nothing is pickled: reading makes instances of
the classes in the tables here, and of no others. Invariant: what is read equals what was written, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from functrans import tree
from functrans.compile.arguments import Argument
from functrans.compile.emit.parts import Costs, Description, HostPart, NativePart
from functrans.core.primitive import PRIMITIVES
from functrans.core.program import Atom, Equation, Literal, Program, Variable
from functrans.core.types import ArrayType
from functrans.ops.effects import Message
from functrans.ops.indexing import Slice

__all__ = ["NotPlain", "decoded", "encoded", "program_data", "program_of", "structure_data", "structure_of"]


class NotPlain(TypeError):
    """A value that is no plain data."""


def fields_of(value: Any) -> list[Any]:
    """What an instance of one of our classes is made of."""
    return [encoded(getattr(value, name)) for name in type(value).__match_args__]


def maker(kind: type) -> Callable[..., Any]:
    """What makes an instance of such a class again."""
    return lambda *fields: kind(*map(decoded, fields))


# Classes, each with what a value is written as and how that is read, beside None, truth values, integers and text,
# which JSON has itself. Floats are written in base 16, since JSON has no infinities and no nan.
KINDS: dict[type, tuple[Callable[[Any], list[Any]], Callable[..., Any]]] = {
    float: (lambda value: [value.hex()], float.fromhex),
    complex: (lambda value: [value.real.hex(), value.imag.hex()], lambda x, y: complex(float.fromhex(x), float.fromhex(y))),
    tuple: (lambda value: list(map(encoded, value)), lambda *items: tuple(map(decoded, items))),
    list: (lambda value: list(map(encoded, value)), lambda *items: list(map(decoded, items))),
    dict: (lambda value: list(map(encoded, value.items())), lambda *items: dict(map(decoded, items))),
    Program: (
        lambda program: [program.name, *program_data(program)],
        lambda name, *data: program_of(list(data), name, (), (None, None)),
    ),
    Message: (
        lambda m: [m.text, structure_data(m.structure), *map(encoded, (m.weak, m.fixed, m.line, m.batches))],
        lambda text, structure, *fields: Message(text, structure_of(structure), *map(decoded, fields)),
    ),
    **{kind: (fields_of, maker(kind)) for kind in (Argument, ArrayType, Costs, Description, HostPart, Literal, NativePart, Slice)},
}
BY_NAME = {kind.__name__: read for kind, (_, read) in KINDS.items()} | {
    "dtype": np.dtype,
    "scalar": lambda dtype, content: np.frombuffer(bytes.fromhex(content), dtype)[0],
}


def encoded(value: Any) -> Any:
    """A value as JSON has it: a list of a name and fields, if JSON has no such values itself."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    known = KINDS.get(kind)
    if known is not None:
        return [kind.__name__, *known[0](value)]
    if isinstance(value, np.dtype) and value.kind in "biufc" and value.metadata is None:
        return ["dtype", value.str]
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        return ["scalar", value.dtype.str, value.tobytes().hex()]
    raise NotPlain(f"a {kind.__name__}")


def decoded(data: Any) -> Any:
    """The value that was written as `data`."""
    if not isinstance(data, list):
        return data
    name, *fields = data
    return BY_NAME[name](*fields)


def program_data(program: Program) -> list[Any]:
    """All that the code of a program depends on, as JSON has it; variables are numbered as they are defined."""
    numbers: dict[Variable, int] = {}

    def defined(variables: Iterable[Variable]) -> list[Any]:
        types = []
        for variable in variables:
            numbers[variable] = len(numbers)
            types.append(type_data(variable.array_type))
        return types

    def used(atoms: Iterable[Atom]) -> list[Any]:
        return [encoded(atom) if isinstance(atom, Literal) else numbers[atom] for atom in atoms]

    arguments = defined((*program.captured, *program.inputs))
    equations = [
        [equation.primitive.name, used(equation.inputs), encoded(equation.params), defined(equation.outputs)]
        for equation in program.equations
    ]
    return [len(program.captured), arguments, equations, used(program.outputs)]


@lru_cache(maxsize=1024)
def type_data(type_: ArrayType) -> Any:
    """A type as JSON has it."""
    return encoded(type_)


def program_of(data: list[Any], name: str, values: tuple[Any, ...], structures: tuple[Any, Any]) -> Program:
    """The program that was written as `data`, with what it captures."""
    count, arguments, equations, outputs = data
    variables: list[Variable] = []

    def defined(types: Iterable[Any]) -> tuple[Variable, ...]:
        found = tuple(Variable(decoded(type_)) for type_ in types)
        variables.extend(found)
        return found

    def used(atoms: Iterable[Any]) -> tuple[Atom, ...]:
        return tuple(variables[atom] if isinstance(atom, int) else decoded(atom) for atom in atoms)

    inputs = defined(arguments)
    made = []
    for primitive, operands, params, types in equations:
        read = used(operands)
        made.append(Equation(defined(types), PRIMITIVES[primitive], read, decoded(params)))
    return Program(name, inputs[count:], tuple(made), used(outputs), inputs[:count], values, *structures)


def structure_data(structure: tree.Structure) -> Any:
    """A pytree's structure as JSON has it, if its containers are dicts, lists and tuples."""
    return encoded(tree.unflatten(structure, [0] * structure.num_leaves))


def structure_of(data: Any) -> tree.Structure:
    """The structure that was written as `data`."""
    return tree.structure(decoded(data))
