"""Statements of a kernel, as they are built: operations on scalars, and indices made of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.compile.loops import Affine, Bind, Compute, Constant, Index, Operand, Position, Require, Scalar, Statement

__all__ = ["BOOLEAN", "INTEGER", "Statements"]

BOOLEAN, INTEGER = np.dtype(np.bool_), np.dtype(np.int64)


class Statements:
    """Builds statements at the end of a body."""

    def __init__(self) -> None:
        self.body: list[Statement] = []

    def require(self, comparison: str, x: Operand, bound: int) -> None:
        """Fail where x does not compare with a bound."""
        self.body.append(Require(self.compute(comparison, [x, Constant(bound, x.dtype)], BOOLEAN)))

    def compute(self, operation: str, operands: Sequence[Operand], dtype: np.dtype[Any]) -> Scalar:
        """A new scalar."""
        target = Scalar(dtype)
        self.body.append(Compute(target, operation, tuple(operands)))
        return target

    def convert(self, x: Operand, dtype: np.dtype[Any]) -> Operand:
        """A scalar as another dtype."""
        if x.dtype == dtype:
            return x
        if isinstance(x, Constant):
            with np.errstate(all="ignore"):
                value = np.asarray(x.value, None if type(x.value) is int else x.dtype)
                return Constant(value.astype(dtype)[()], dtype)
        return self.compute("convert", [x], dtype)

    def position(self, index: Affine) -> Scalar:
        """An index as an integer scalar."""
        target = Scalar(INTEGER)
        self.body.append(Position(target, index))
        return target

    def inside(self, index: Affine, length: int) -> tuple[Operand | None, Affine]:
        """Whether an index is one of an axis (None if it always is), and the index brought into the axis."""
        low, high = index.bounds()
        if 0 <= low and high < length:
            return None, index
        place = self.position(index)
        zero, last = Constant(0, INTEGER), Constant(length - 1, INTEGER)
        within = self.compute(
            "logical_and",
            [self.compute("greater_equal", [place, zero], BOOLEAN), self.compute("less_equal", [place, last], BOOLEAN)],
            BOOLEAN,
        )
        return within, self.held(place, length)

    def looked_up(self, place: Operand, length: int) -> Affine:
        """An index into an axis that was read from an array: counted from the end if negative, and checked."""
        zero, end = Constant(0, INTEGER), Constant(length, INTEGER)
        place = self.convert(place, INTEGER)
        negative = self.compute("less", [place, zero], BOOLEAN)
        place = self.choose(negative, self.compute("add", [place, end], INTEGER), place)
        inside = [self.compute("greater_equal", [place, zero], BOOLEAN), self.compute("less", [place, end], BOOLEAN)]
        self.body.append(Require(self.compute("logical_and", inside, BOOLEAN)))
        return self.held(place, length)

    def held(self, place: Operand, length: int) -> Affine:
        """The index of an axis that is nearest to a number."""
        zero, last = Constant(0, INTEGER), Constant(length - 1, INTEGER)
        index = Index(length)
        clamped = self.compute("minimum", [self.compute("maximum", [place, zero], INTEGER), last], INTEGER)
        self.body.append(Bind(index, clamped))
        return Affine(((index, 1),))

    def all_of(self, conditions: Sequence[Operand | None]) -> Operand | None:
        """Whether all conditions hold; None if they always do."""
        result: Operand | None = None
        for condition in conditions:
            if condition is not None:
                result = condition if result is None else self.compute("logical_and", [result, condition], BOOLEAN)
        return result

    def choose(self, condition: Operand | None, x: Operand, y: Operand) -> Operand:
        """x where the condition holds, else y."""
        return x if condition is None else self.compute("where", [condition, x, y], x.dtype)
