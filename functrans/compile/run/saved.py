"""Files of compiled programs: object code, the program's equations, the structures of what it takes and gives, and the
arrays it captures, as they are when the file is written.

Invariant: nothing is unpickled; what was made for another machine or by other versions, or is not as it was written,
is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np

from functrans.compile.arguments import Argument, first_and_size
from functrans.compile.emit.parts import Description
from functrans.compile.run.execute import Executable
from functrans.compile.store.disk import versions
from functrans.compile.store.plain import NotPlain, decoded, encoded, program_data, program_of, structure_data, structure_of
from functrans.compile.store.sealed import opened, sealed, write_whole
from functrans.core.primitive import PRIMITIVES
from functrans.core.program import Program
from functrans.core.trace import TracedValue
from functrans.errors import LoadError, UnsupportedError, at_user_line

__all__ = ["read", "write"]

MAGIC = b"functrans compiled program 1\n"


def read(path: str | os.PathLike[str]) -> tuple[bytes, Description, Program, list[Argument]]:
    """What a file holds: object code, what is to be known of it, the program, and what that takes."""
    with open(path, "rb") as file:
        content = file.read()
    pieces = opened(MAGIC, content)
    if pieces is None:
        raise LoadError(f"load: {path} {fault_of(content)}\n  Remedy: save the compiled function again.{at_user_line()}")
    header, code, *arrays = pieces
    written = json.loads(header)
    check_versions(path, written["versions"], versions())
    check_declared(path, {name for name, *_ in written["program"][2]})
    arguments = decoded(written["arguments"])
    stored = (np.lib.format.read_array(BytesIO(array), allow_pickle=False) for array in arrays)
    values = tuple(map(laid_out, stored, arguments))
    taken, given = map(structure_of, written["structures"])
    program = program_of(written["program"], written["name"], values, (taken, given))
    return code, decoded(written["description"]), program, arguments


def write(path: str | os.PathLike[str], executable: Executable) -> None:
    """Write a compiled program to a file; see `Compiled.save`."""
    program = executable.program
    if any(isinstance(value, TracedValue) for value in program.values):
        raise cannot_save(program, "it closes over a value of an enclosing transform", "lower it outside of that transform")
    header = {
        "versions": versions(),
        "name": program.name,
        "structures": [
            as_plain(program, "the arguments", lambda: structure_data(program.input_structure)),
            as_plain(program, "the result", lambda: structure_data(program.output_structure)),
        ],
        "program": as_plain(program, "the operations", lambda: program_data(program)),
        "arguments": encoded(list(executable.arguments)),
        "description": encoded(executable.description),
    }
    arrays = map(content_of, program.values)
    write_whole(path, sealed(MAGIC, json.dumps(header).encode(), executable.library.code, *arrays))


def content_of(array: np.ndarray[Any, Any]) -> bytes:
    """An array in NumPy's own format."""
    buffer = BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()


def laid_out(value: np.ndarray[Any, Any], argument: Argument) -> np.ndarray[Any, Any]:
    """An array as a program captured it: in the layout it was compiled for."""
    if argument.strides is None:
        return value
    first, size = first_and_size(value.shape, argument.strides)
    start = np.empty(size, value.dtype)[-first:]
    array = np.lib.stride_tricks.as_strided(start, value.shape, [step * value.itemsize for step in argument.strides])
    array[...] = value
    return array


def as_plain(program: Program, what: str, data: Callable[[], Any]) -> Any:
    """Plain data of a part of a program, or the error that says why there is none."""
    try:
        return data()
    except NotPlain as found:
        remedy = "use dicts, lists, tuples, None, arrays and numbers"
        raise cannot_save(program, f"a file cannot keep {found}, which is among {what}", remedy) from None


def cannot_save(program: Program, reason: str, remedy: str) -> UnsupportedError:
    return UnsupportedError(f"save of {program.name}: {reason}\n  Remedy: {remedy}.{at_user_line()}")


def fault_of(content: bytes) -> str:
    """Why a file is not what it should be."""
    is_ours = content.startswith(MAGIC)
    return "is not as it was written: it was cut short or changed" if is_ours else "holds no compiled function"


def check_versions(path: Any, made: dict[str, str], here: dict[str, str]) -> None:
    """Raise unless a file was made with what there is here."""
    for name, version in here.items():
        if made.get(name) != version:
            raise LoadError(
                f"load: {path} was made for {name} {made.get(name)}, but here is {name} {version}"
                f"\n  Remedy: compile and save the function here.{at_user_line()}"
            )


def check_declared(path: Any, names: set[str]) -> None:
    """Raise unless the operations of a program are declared here; those of SciPy's functions are at their first use."""
    if not names <= PRIMITIVES.keys():
        import functrans.ops.special  # noqa: F401
    missing = sorted(names - PRIMITIVES.keys())
    if missing:
        raise LoadError(
            f"load: {path} needs the operations {', '.join(missing)}, which are not declared in this process"
            f"\n  Remedy: import what declares them first.{at_user_line()}"
        )
