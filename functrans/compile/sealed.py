"""Files of several pieces under a digest: what is not as it was written is never read."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

__all__ = ["opened", "sealed", "write_whole"]


def sealed(magic: bytes, *pieces: bytes) -> bytes:
    """A file's content: what it is, a digest of the rest, and pieces, each after its length."""
    body = b"".join(len(piece).to_bytes(8, "little") + piece for piece in pieces)
    return magic + hashlib.sha256(body).digest() + body


def opened(magic: bytes, content: bytes) -> list[bytes] | None:
    """The pieces of a file's content; None if it is not as it was written."""
    start = len(magic) + 32
    body = content[start:]
    if content[: len(magic)] != magic or hashlib.sha256(body).digest() != content[len(magic) : start]:
        return None
    pieces = []
    while body:
        end = 8 + int.from_bytes(body[:8], "little")
        pieces.append(body[8:end])
        body = body[end:]
    return pieces


def write_whole(path: Path, content: bytes) -> None:
    """Write a file: other processes see it whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
