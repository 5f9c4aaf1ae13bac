"""Totals of blocks and parts: of sums, what rounding leaves out is summed up beside them, and added in the end.

Then the error hardly grows with the number of blocks. (Neumaier, Rundungsfehleranalyse einiger Verfahren zur
Summation endlicher Summen, 1974.)
"""

from __future__ import annotations

from collections.abc import Iterator

from functrans.compile.loops import Carried, Constant, Operand, Scalar
from functrans.compile.schedule.statements import Statements

__all__ = ["Total"]


class Total:
    """What a loop carries that takes a term into a reduction in each round; builds the end of the round.

    Args:
        operation: of the reduction.
        term: of the round.
        exact: whether what rounding leaves out is carried as well: for sums.
    """

    def __init__(self, builder: Statements, operation: str, term: Operand, exact: bool) -> None:
        self.builder, self.exact = builder, exact
        self.inside, self.lost = Scalar(term.dtype), Scalar(term.dtype)
        self.following = self.compute(operation, self.inside, term)
        self.rest = self.compute("add", self.lost, self.compute("left_out", self.inside, term)) if exact else self.lost

    def compute(self, operation: str, *operands: Operand) -> Scalar:
        """An operation on scalars of one dtype."""
        return self.builder.compute(operation, operands, operands[0].dtype)

    def carried(self, first: Operand) -> list[Carried]:
        """What the loop is to carry, if the reduction starts from `first`."""
        lost = [Carried(self.lost, Constant(0, self.lost.dtype), self.rest)] if self.exact else []
        return [Carried(self.inside, first, self.following), *lost]

    def after(self, results: Iterator[Scalar]) -> Operand:
        """The reduction's result, from those of the loop."""
        total = next(results)
        return self.compute("corrected", total, next(results)) if self.exact else total
