"""Compiled programs in files, for other processes.

A file holds object code, the program's equations, the structures of what it takes and gives, and the arrays it captures,
as they are when it is written. Invariant: nothing is unpickled; what was made for another machine or by other versions,
or is not as it was written, is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from functrans.compile.arguments import Argument, first_and_size
from functrans.core.primitive import PRIMITIVES
from functrans.core.program import Program
from functrans.core.trace import TracedValue
from functrans.errors import LoadError, UnsupportedError, at_user_line

if TYPE_CHECKING:
    from functrans.compile.compiled import Compiled
    from functrans.compile.execute import Executable

__all__ = ["load", "save"]

MAGIC = b"functrans compiled program 1\n"


def load(path: str | os.PathLike[str]) -> Compiled:
    """The compiled function that ``compiled.save(path)`` wrote, without the code it was written in.

    It is called, differentiated and looked at as what ``jit(f).lower(*args).compile()`` returns. A file holds machine
    code: load what you would run.

    Args:
        path: of the file.

    Raises:
        LoadError: the file was made for another processor or by other versions, was cut short or changed, or is
            another file altogether; or an operation of the program is not declared in this process.
        OSError: the file cannot be read.

    Example:
        >>> import os, tempfile
        >>> import numpy as np, functrans as ft
        >>> path = os.path.join(tempfile.mkdtemp(), "norm.functrans")
        >>> ft.jit(lambda x: np.sqrt(np.sum(x * x))).lower(np.ones(2)).compile().save(path)
        >>> float(ft.load(path)(np.array([3.0, 4.0])))
        5.0
    """
    from functrans.compile import disk, plain, sealed
    from functrans.compile.compiled import Compiled
    from functrans.compile.execute import Executable

    with open(path, "rb") as file:
        content = file.read()
    pieces = sealed.opened(MAGIC, content)
    if pieces is None:
        raise LoadError(f"load: {path} {fault_of(content)}\n  Remedy: save the compiled function again.{at_user_line()}")
    header, code, *arrays = pieces
    written = json.loads(header)
    check_versions(path, written["versions"], disk.versions())
    check_declared(path, {name for name, *_ in written["program"][2]})
    arguments = plain.decoded(written["arguments"])
    read = (np.lib.format.read_array(BytesIO(array), allow_pickle=False) for array in arrays)
    values = tuple(map(laid_out, read, arguments))
    structures = list(map(plain.structure_of, written["structures"]))
    program = plain.program_of(written["program"], written["name"], values, *structures)
    return Compiled(program, Executable.from_code(code, plain.decoded(written["description"]), program, arguments))


def save(path: str | os.PathLike[str], executable: Executable) -> None:
    """Write a compiled program to a file; see `Compiled.save`."""
    from functrans.compile import disk, plain, sealed

    program = executable.program
    header = {
        "versions": disk.versions(),
        "name": program.name,
        "structures": [
            as_plain(program, f"its {what}", lambda: plain.structure_data(structure))
            for what, structure in (("arguments", program.input_structure), ("result", program.output_structure))
        ],
        "program": as_plain(program, "an operation", lambda: plain.program_data(program)),
        "arguments": plain.encoded(tuple(executable.arguments)),
        "description": plain.encoded(executable.description),
    }
    if any(isinstance(value, TracedValue) for value in program.values):
        raise cannot_save(program, "it closes over a value of an enclosing transform", "lower it outside of that transform")
    arrays = []
    for value in program.values:
        buffer = BytesIO()
        np.lib.format.write_array(buffer, np.asarray(value, order="C"), allow_pickle=False)
        arrays.append(buffer.getvalue())
    sealed.write_whole(path, sealed.sealed(MAGIC, json.dumps(header).encode(), executable.library.code, *arrays))


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
    from functrans.compile.plain import NotPlain

    try:
        return data()
    except NotPlain as found:
        remedy = "use dicts, lists, tuples, None and numbers"
        raise cannot_save(program, f"of {what} a file cannot keep {found}", remedy) from None


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
    """Raise unless the operations of a program are declared here; those of SciPy's functions are declared at their first use."""
    if not names <= PRIMITIVES.keys():
        import functrans.ops.special  # noqa: F401
    missing = sorted(names - PRIMITIVES.keys())
    if missing:
        raise LoadError(
            f"load: {path} needs the operations {', '.join(missing)}, which are not declared in this process"
            f"\n  Remedy: import what declares them first.{at_user_line()}"
        )
