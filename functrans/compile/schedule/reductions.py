"""Reductions: the operation of one, what it is carried in, and what it starts from."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.compile.loops import Constant
from functrans.compile.schedule.nodes import REDUCTIONS, Node
from functrans.ops import reduction
from functrans.ops.contraction import contract

__all__ = ["carried_dtype", "first_of", "is_rounded", "operation_of"]

# What sums are carried in, where that is wider.
WIDER = {np.dtype(np.float32): np.dtype(np.float64), np.dtype(np.complex64): np.dtype(np.complex128)}


def operation_of(node: Node) -> str:
    """The operation of a reduction."""
    return REDUCTIONS[node.equation.primitive]


def is_rounded(node: Node) -> bool:
    """Whether a node is a sum of floating numbers in their own dtype, so that rounding depends on the order of its terms."""
    dtype = node.variable.array_type.dtype
    return operation_of(node) == "add" and dtype.kind in "fc" and carried_dtype(node) == dtype


def carried_dtype(node: Node) -> np.dtype[Any]:
    """What a reduction is carried in: sums in the next wider dtype, as far as registers go."""
    dtype = node.variable.array_type.dtype
    return WIDER.get(dtype, dtype) if node.equation.primitive is reduction.sum else dtype


def first_of(node: Node, dtype: np.dtype[Any] | None = None) -> Constant:
    """What a reduction starts from."""
    primitive, dtype = node.equation.primitive, dtype or carried_dtype(node)
    if primitive in (reduction.sum, contract, reduction.any):
        return Constant(0, dtype)
    if primitive in (reduction.all, reduction.prod):
        return Constant(1, dtype)
    if dtype.kind == "f":
        return Constant(-np.inf if primitive is reduction.max else np.inf, dtype)
    if dtype.kind == "b":
        return Constant(primitive is reduction.min, dtype)
    limits = np.iinfo(dtype)
    return Constant(limits.min if primitive is reduction.max else limits.max, dtype)
