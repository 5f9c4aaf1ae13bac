"""The LLVM types that all native code shares: of sizes and places, of what C calls an int, and of memory."""

from __future__ import annotations

from llvmlite import ir

__all__ = ["BYTES", "INT", "WORD"]

WORD, INT = ir.IntType(64), ir.IntType(32)
BYTES = ir.IntType(8).as_pointer()
