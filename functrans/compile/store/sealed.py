"""Files of several pieces under a digest: what is not as it was written is never read."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress

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


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file: other processes see it whole or not at all."""
    temporary = f"{os.fspath(path)}.{os.urandom(8).hex()}"
    try:
        with open(temporary, "xb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(temporary)
        raise
