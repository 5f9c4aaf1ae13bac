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
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import llvmlite
import numpy as np

from functrans.compile.arguments import Argument
from functrans.compile.emit.parts import Description
from functrans.compile.machine.codegen import processor
from functrans.compile.store.plain import NotPlain, decoded, encoded, program_data
from functrans.compile.store.sealed import opened, sealed, write_whole
from functrans.config import logger, processors, settings
from functrans.core.program import Program
from functrans.version import __version__

__all__ = ["clear", "files", "folder", "key_of", "key_of_routine", "read", "versions", "write"]

MAGIC = b"functrans object code 2\n"
SUFFIX = ".functrans"
# Bytes of all files, beyond which those not used for longest are removed.
LARGEST = 512 * 2**20
_failed: set[str] = set()


def folder() -> Path:
    """Where the files are: ``ft.config.cache_dir``, or in the user's folder for caches."""
    if settings.cache_dir:
        return Path(settings.cache_dir)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "functrans"


@cache
def versions() -> dict[str, str]:
    """What code depends on beside the program, by names for people."""
    _, cpu, features = processor()
    return {
        "processor": cpu,
        "instructions": features,
        "functrans": __version__,
        "Python": sys.version,
        "NumPy": np.__version__,
        "llvmlite": llvmlite.__version__,
        "SciPy": version_of("scipy"),
        "Numba": version_of("numba"),
    }


def version_of(package: str) -> str:
    """The version of an installed package, without importing it, or what would look it up, which takes 10 ms."""
    spec = find_spec(package)
    folder = Path(spec.origin).parents[1] if spec is not None and spec.origin is not None else Path()
    for path in folder.glob(f"{package}-*.dist-info"):
        return path.name.removeprefix(f"{package}-").removesuffix(".dist-info")
    return import_module("importlib.metadata").version(package)  # type: ignore[no-any-return]


@cache
def surroundings() -> bytes:
    """What code depends on beside the program: a source file that was changed counts as another version."""
    sources = sorted(Path(__file__).parents[2].rglob("*.py"))
    stamps = [(path.name, (status := path.stat()).st_size, status.st_mtime_ns) for path in sources]
    return repr((versions(), processors(), stamps)).encode()


def key_of(program: Program, arguments: Sequence[Argument]) -> str | None:
    """The digest a program's code is known by; None if a parameter of it is not plain data."""
    try:
        data = [program_data(program), encoded(tuple(arguments))]
    except NotPlain:
        return None
    return hashlib.sha256(surroundings() + json.dumps(data).encode()).hexdigest()


def key_of_routine(name: str) -> str:
    """The digest the code of a routine that programs call is known by."""
    return hashlib.sha256(surroundings() + name.encode()).hexdigest()


def read(key: str) -> tuple[bytes, Any] | None:
    """The code kept under a key, and its description; a file that is not as it was written is removed."""
    path = folder() / f"{key}{SUFFIX}"
    try:
        if not is_private(path.parent):
            return None
        content = path.read_bytes()
    except OSError:
        return None
    pieces = opened(MAGIC, content)
    try:
        if pieces is None:
            path.unlink(missing_ok=True)
            return None
        os.utime(path)
    except OSError:
        pass  # a read-only folder: neither can be, and neither matters
    if pieces is None:
        return None
    description, code = pieces
    return code, decoded(json.loads(description))


def write(key: str, code: bytes, description: Description | None) -> None:
    """Keep code under a key, with a program's description. A disk that cannot be written to is reported once, and not tried again."""
    place = folder()
    if str(place) in _failed:
        return
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_private(place):
            raise PermissionError("the folder belongs to another user, or others may write to it")
        write_whole(place / f"{key}{SUFFIX}", sealed(MAGIC, json.dumps(encoded(description)).encode(), code))
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


def unfinished() -> list[Path]:
    """What processes that ended while they wrote have left, more than an hour ago."""
    found = []
    for path in folder().glob(f"*{SUFFIX}.*"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - 3600:
                found.append(path)
    return found


def evict() -> None:
    """Remove files not used for longest until the others fit, and what was never finished."""
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
    for path in unfinished():
        path.unlink(missing_ok=True)


def clear() -> int:
    """Remove all files; gives how many there were."""
    found = files()
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)
