"""Loops in two: over segments, and over the steps of a segment, so that reverse mode keeps few states at a time.

The loop over segments keeps the carries before each, and nothing else; the way back runs the steps of one segment
again, keeps what their pullbacks read, and goes back through them. With about sqrt(n) segments of about sqrt(n) steps
that is the least memory of two levels, and each step is run twice.

Source: Chen et al., Training deep nets with sublinear memory cost (2016), section 4.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np

from functrans.control.known import known
from functrans.control.scan_bodies import parts
from functrans.control.scan_loop import scan_loop
from functrans.core.program import Equation, Program, Variable
from functrans.core.types import shape_of

__all__ = ["divided"]


def divided(
    *operands: Any, body: Program, consts: int, carry: int, length: int, reverse: bool, unroll: int, checkpoint: str
) -> list[Any]:
    """The results of a loop, by one over its segments and, for the steps that make no whole segment, another."""
    count = segments(length)
    size = length // count
    shared, carries, xs = parts(operands, consts, carry)
    whole = count * size
    params = {"reverse": reverse, "unroll": unroll}
    inner = {"body": body, "consts": consts, "carry": carry, "length": size, **params}
    first, rest = (slice(length - whole, None), slice(length - whole)) if reverse else (slice(whole), slice(whole, None))
    blocks = [np.reshape(x[first], (count, size, *shape_of(x)[1:])) for x in xs]
    program = known(segment(body, carry, inner))
    results = scan_loop(
        *shared, *carries, *blocks, body=program, consts=consts, carry=carry, length=count, checkpoint="step", **params
    )
    carries, ys = results[:carry], [np.reshape(y, (whole, *shape_of(y)[2:])) for y in results[carry:]]
    if whole == length:
        return [*carries, *ys]
    results = scan_loop(*shared, *carries, *(x[rest] for x in xs), **{**inner, "length": length - whole})
    pairs = zip(results[carry:], ys) if reverse else zip(ys, results[carry:])
    return [*results[:carry], *map(np.concatenate, pairs)]


def segments(length: int) -> int:
    """How many segments: about the square root, a divisor if there is one not far from it."""
    root = isqrt(length)
    near = sorted(range(max(1, root // 2), min(length, 2 * root) + 1), key=lambda count: abs(count - root))
    return next((count for count in near if length % count == 0), root)


def segment(body: Program, carry: int, params: dict[str, Any]) -> Program:
    """The program of one segment: the loop over its steps."""
    consts, length = params["consts"], params["length"]
    shared, carries, xs = parts([variable.array_type for variable in body.inputs], consts, carry)
    stacks = [type_.stacked(length) for type_ in xs]
    inputs = tuple(map(Variable, (*shared, *carries, *stacks)))
    types = scan_loop.result_type([variable.array_type for variable in inputs], params)
    outputs = tuple(map(Variable, types))
    return Program(body.name, inputs, (Equation(outputs, scan_loop, inputs, params),), outputs)
