"""`contract`: every sum of products of two arrays, with letters as in einsum.

Invariant: no letter repeats within an operand, and each stands in at least two of the operands and
the result, so the pullback of a contraction is a contraction. Evaluation goes to BLAS through
``np.matmul``, along a plan made once for each pattern of letters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from functrans.core.primitive import Contraction
from functrans.ops.arithmetic import reals

Plan = Callable[[Any, Any], Any]


@lru_cache(maxsize=4096)
def split(subscripts: str) -> tuple[str, str, str]:
    """``"ij,jk->ik"`` as ``("ij", "jk", "ik")``."""
    inputs, out = subscripts.split("->")
    x, y = inputs.split(",")
    return x, y, out


@lru_cache(maxsize=4096)
def adjoints(subscripts: str) -> tuple[str, str]:
    """The contractions that give the cotangents: of the result's with the second operand, and of the first with it."""
    x, y, out = split(subscripts)
    return f"{out},{y}->{x}", f"{x},{out}->{y}"


@lru_cache(maxsize=1024)
def evaluation_plan(subscripts: str) -> Plan:
    """A function of two arrays that carries out the contraction by one matmul."""
    x, y, out = split(subscripts)
    batch = "".join(letter for letter in x if letter in y and letter in out)
    summed = "".join(letter for letter in x if letter in y and letter not in out)
    rows = "".join(letter for letter in x if letter not in y)
    columns = "".join(letter for letter in y if letter not in x)
    if not summed:
        return lambda a, b: np.einsum(subscripts, a, b)
    if x == batch + rows + summed and y == batch + summed + columns and out == batch + rows + columns:
        if len(summed) == 1 and len(rows) == 1 and len(columns) == 1:
            return np.matmul
    order_x = tuple(map(x.index, batch + rows + summed))
    order_y = tuple(map(y.index, batch + summed + columns))
    order_out = tuple(map((batch + rows + columns).index, out))
    counts = len(batch), len(rows), len(summed)

    def plain(a: Any, b: Any) -> Any:
        return np.matmul(a.transpose(order_x), b.transpose(order_y)).transpose(order_out)

    def general(a: Any, b: Any) -> Any:
        a, b = a.transpose(order_x), b.transpose(order_y)
        lead, left, inner = a.shape[: counts[0]], a.shape[counts[0] : counts[0] + counts[1]], a.shape[counts[0] + counts[1] :]
        right = b.shape[counts[0] + counts[2] :]
        k = math.prod(inner)
        product = np.matmul(a.reshape((*lead, math.prod(left), k)), b.reshape((*lead, k, math.prod(right))))
        return product.reshape((*lead, *left, *right)).transpose(order_out)[()]

    return plain if len(rows) == len(columns) == len(summed) == 1 else general


contract = Contraction(
    "contract",
    lambda x, y, subscripts: evaluation_plan(subscripts)(x, y),
    samples=lambda: [
        (reals((2, 3), (3, 4))()[0][0], {"subscripts": "ij,jk->ik"}),
        (reals((5, 2, 3), (4, 3, 5))()[0][0], {"subscripts": "bij,kjb->ikb"}),
        (reals((3,), (3,))()[0][0], {"subscripts": "i,i->"}),
        (reals((3,), (2,))()[0][0], {"subscripts": "i,j->ji"}),
        (reals((2, 3, 4), (4, 3))()[0][0], {"subscripts": "ijk,kj->i"}),
    ],
)
