"""The disk cache: object code of programs, so that a new process does not compile them again.

A file's name is a digest of all that the code depends on: the program, the versions of functrans and of what
compiles it, and the processor. Its content is checked against a digest of its own before anything uses it, and
nothing in it is unpickled. The folder belongs to the user alone; files are written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numpy as np

from functrans.compile.codegen import processor
from functrans.compile.native import Description
from functrans.config import logger, settings
from functrans.core.program import Equation, Literal, Program, Variable
from functrans.core.types import ArrayType

__all__ = ["clear", "files", "folder", "key_of", "read", "write"]

MAGIC = b"functrans object code 1\n"
SUFFIX = ".functrans"
# Bytes of all files, beyond which those not used for longest are removed.
LARGEST = 512 * 2**20
_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic, np.dtype, ArrayType)
_failed: set[str] = set()


def folder() -> Path:
    """Where the files are: ``ft.config.cache_dir``, or in the user's folder for caches."""
    if settings.cache_dir:
        return Path(settings.cache_dir)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "functrans"


@cache
def surroundings() -> bytes:
    """What code depends on beside the program."""
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    stamps = [(path.name, (status := path.stat()).st_size, status.st_mtime_ns) for path in sources]
    _, cpu, features = processor()
    versions = sys.version, np.__version__, llvmlite.__version__
    return repr((versions, cpu, features, stamps)).encode()


def key_of(program: Program) -> str | None:
    """The digest a program's code is known by; None if a parameter of it is not plain data."""
    numbers: dict[Variable, int] = {}
    digest = hashlib.sha256(surroundings())

    def atoms(found: Iterable[Any]) -> list[Any]:
        return [
            (str(type(a.value)), repr(a.value)) if isinstance(a, Literal) else numbers.setdefault(a, len(numbers))
            for a in found
        ]

    def add(equation: Equation) -> bool:
        outputs = [
            (number, str(v.array_type), v.array_type.weak) for v, number in zip(equation.outputs, atoms(equation.outputs))
        ]
        params = sorted(equation.params.items())
        if not all(is_plain(value) for _, value in params):
            return False
        digest.update(repr((equation.primitive.name, atoms(equation.inputs), params, outputs)).encode())
        return True

    arguments = (*program.captured, *program.inputs)
    types = [(str(v.array_type), v.array_type.weak) for v in arguments]
    digest.update(repr((atoms(arguments), len(program.captured), types)).encode())
    if not all(map(add, program.equations)):
        return None
    digest.update(repr(atoms(program.outputs)).encode())
    return digest.hexdigest()


def is_plain(value: Any) -> bool:
    """Whether a parameter's text says all of it."""
    if isinstance(value, (tuple, list)):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(map(is_plain, value)) and all(map(is_plain, value.values()))
    return isinstance(value, _PLAIN)


def read(key: str) -> tuple[bytes, Description] | None:
    """The code kept under a key; a file that is not as it was written is removed."""
    path = folder() / f"{key}{SUFFIX}"
    try:
        if not is_private(path.parent):
            return None
        content = path.read_bytes()
    except OSError:
        return None
    start = len(MAGIC) + 32
    body = content[start:]
    if content[: len(MAGIC)] != MAGIC or hashlib.sha256(body).digest() != content[len(MAGIC) : start]:
        path.unlink(missing_ok=True)
        return None
    length = int.from_bytes(body[:4], "little")
    described = json.loads(body[4 : 4 + length])
    described.update({name: tuple(described[name]) for name in ("refers_to", "products")})
    try:
        os.utime(path)
    except OSError:
        pass  # read-only: its place among those to be removed does not matter
    return body[4 + length :], Description(**described)


def write(key: str, code: bytes, description: Description) -> None:
    """Keep code under a key. A disk that cannot be written to is reported once, and not tried again."""
    place = folder()
    if str(place) in _failed:
        return
    described = json.dumps(asdict(description)).encode()
    body = len(described).to_bytes(4, "little") + described + code
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_private(place):
            raise PermissionError("the folder belongs to another user, or others may write to it")
        handle, temporary = tempfile.mkstemp(dir=place)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(MAGIC + hashlib.sha256(body).digest() + body)
            os.replace(temporary, place / f"{key}{SUFFIX}")
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        evict()
    except OSError as error:
        _failed.add(str(place))
        logger.warning("the disk cache in %s is off for this process: %s", place, error)


def is_private(place: Path) -> bool:
    """Whether a folder is the user's, and nobody else may write to it."""
    if not hasattr(os, "getuid"):
        return True
    status = place.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def files() -> list[Path]:
    """The files of the cache, the one used last at the end."""
    found = []
    for path in folder().glob(f"*{SUFFIX}"):
        try:
            found.append((path.stat().st_mtime_ns, path))
        except OSError:
            continue  # another process has just removed it
    return [path for _, path in sorted(found)]


def evict() -> None:
    """Remove files not used for longest until the others fit."""
    sizes = {}
    for path in files():
        try:
            sizes[path] = path.stat().st_size
        except OSError:
            continue
    total = sum(sizes.values())
    for path, size in sizes.items():
        if total <= LARGEST:
            break
        path.unlink(missing_ok=True)
        total -= size


def clear() -> int:
    """Remove all files; gives how many there were."""
    found = files()
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)
