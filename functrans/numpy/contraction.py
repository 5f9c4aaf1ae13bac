"""NumPy's products and sums of products: all of them end in `contract`."""

from __future__ import annotations

from string import ascii_letters
from typing import Any

import numpy as np

from functrans.core.tracer import UFUNCS, install_method, operand
from functrans.core.types import describe, dtype_of, shape_of
from functrans.errors import UnsupportedError, at_user_line
from functrans.numpy.registry import delivered, implements
from functrans.numpy.structure import conjugate, diagonal, expand_dims, moveaxis, ravel, reshape
from functrans.ops.arithmetic import multiply
from functrans.ops.contraction import contract


def mismatch(name: str, a: Any, b: Any) -> ValueError:
    return ValueError(
        f"np.{name}: {describe(a)} and {describe(b)} are not aligned"
        f"\n  Remedy: transpose one of them, so that the axes to be summed over are of one length.{at_user_line()}"
    )


# By the ranks of the operands: products of vectors and matrices.
PRODUCTS = {(1, 1): "j,j->", (1, 2): "j,jk->k", (2, 1): "ij,j->i", (2, 2): "ij,jk->ik"}


@implements(np.linalg.matmul)
def matmul(x1: Any, x2: Any) -> Any:
    a, b = operand(x1), operand(x2)
    a_shape, b_shape = shape_of(a), shape_of(b)
    if not a_shape or not b_shape:
        raise ValueError(f"matmul: a 0-d operand is not allowed; use *{at_user_line()}")
    if a_shape[-1] != b_shape[max(len(b_shape) - 2, 0)]:
        raise mismatch("matmul", a, b)
    subscripts = PRODUCTS.get((len(a_shape), len(b_shape)))
    if subscripts is not None:
        return contract(a, b, subscripts=subscripts)
    if len(a_shape) == 1 or len(b_shape) == 1:
        return tensordot(a, b, ((-1,), (-2 if len(b_shape) > 1 else -1,))) if len(a_shape) == 1 else tensordot(a, b, 1)
    lead = np.broadcast_shapes(a_shape[:-2], b_shape[:-2])
    return broadcast_contract(a, b, len(lead))


def broadcast_contract(a: Any, b: Any, rank: int) -> Any:
    """matmul over `rank` leading axes; those of length 1 in one operand are left out of its letters."""
    a_shape, b_shape = shape_of(a), shape_of(b)
    lead = ascii_letters[:rank]
    a_lead, b_lead = lead[rank - (len(a_shape) - 2) :], lead[rank - (len(b_shape) - 2) :]
    sizes = dict(zip(a_lead, a_shape)), dict(zip(b_lead, b_shape))

    def keep(own: dict[str, int], other: dict[str, int]) -> str:
        return "".join(letter for letter, n in own.items() if not (n == 1 and letter in other and other[letter] != 1))

    a_kept, b_kept = keep(*sizes), keep(*sizes[::-1])
    a = reshape(a, (*(sizes[0][letter] for letter in a_kept), *a_shape[-2:]))
    b = reshape(b, (*(sizes[1][letter] for letter in b_kept), *b_shape[-2:]))
    return contract(a, b, subscripts=f"{a_kept}XY,{b_kept}YZ->{lead}XZ")


UFUNCS[np.matmul] = matmul
install_method("__matmul__", matmul)
install_method("__rmatmul__", lambda self, other: matmul(other, self))


@implements(np.dot, methods=("dot",))
def dot(a: Any, b: Any, out: Any = None) -> Any:
    a, b = operand(a), operand(b)
    if not shape_of(a) or not shape_of(b):
        return delivered(multiply(a, b), out, "dot")
    return delivered(tensordot(a, b, ((-1,), (-2 if len(shape_of(b)) > 1 else -1,))), out, "dot")


@implements(np.tensordot, np.linalg.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = operand(a), operand(b)
    a_rank, b_rank = len(shape_of(a)), len(shape_of(b))
    if isinstance(axes, int):
        axes = tuple(range(a_rank - axes, a_rank)), tuple(range(axes))
    a_axes, b_axes = ([item] if isinstance(item, int) else list(item) for item in axes)
    a_letters, b_letters = list(ascii_letters[:a_rank]), list(ascii_letters[a_rank : a_rank + b_rank])
    for i, j in zip(a_axes, b_axes, strict=True):
        if shape_of(a)[i] != shape_of(b)[j]:
            raise mismatch("tensordot", a, b)
        b_letters[j] = a_letters[i]
    shared = set(a_letters) & set(b_letters)
    out = [letter for letter in a_letters + b_letters if letter not in shared]
    return contract(a, b, subscripts=f"{''.join(a_letters)},{''.join(b_letters)}->{''.join(out)}")


@implements(np.inner)
def inner(a: Any, b: Any, /) -> Any:
    a, b = operand(a), operand(b)
    return multiply(a, b) if not shape_of(a) or not shape_of(b) else tensordot(a, b, ((-1,), (-1,)))


@implements(np.outer)
def outer(a: Any, b: Any, out: Any = None) -> Any:
    return delivered(contract(ravel(a), ravel(b), subscripts="i,j->ij"), out, "outer")


@implements(np.vdot)
def vdot(a: Any, b: Any, /) -> Any:
    return contract(conjugate(ravel(a)), ravel(b), subscripts="i,i->")


@implements(np.linalg.vecdot)
def vecdot(x1: Any, x2: Any, /, axis: int = -1) -> Any:
    return np.sum(conjugate(operand(x1)) * operand(x2), axis=axis)


UFUNCS[np.vecdot] = vecdot
if hasattr(np, "matvec"):  # since NumPy 2.2
    UFUNCS[np.matvec] = lambda x1, x2: matmul(x1, expand_dims(x2, -1))[..., 0]
    UFUNCS[np.vecmat] = lambda x1, x2: matmul(expand_dims(conjugate(operand(x1)), -2), x2)[..., 0, :]


@implements(np.linalg.outer)
def outer_of_vectors(x1: Any, x2: Any, /) -> Any:
    return outer(x1, x2)


@implements(np.linalg.cross)
def cross_along(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return cross(x1, x2, axis=axis)


@implements(np.kron)
def kron(a: Any, b: Any) -> Any:
    a, b = operand(a), operand(b)
    rank = max(len(shape_of(a)), len(shape_of(b)))
    a, b = (reshape(x, (1,) * (rank - len(shape_of(x))) + shape_of(x)) for x in (a, b))
    spread_a = reshape(a, tuple(n for length in shape_of(a) for n in (length, 1)))
    spread_b = reshape(b, tuple(n for length in shape_of(b) for n in (1, length)))
    return reshape(spread_a * spread_b, tuple(n * m for n, m in zip(shape_of(a), shape_of(b))))


@implements(np.cross)
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = moveaxis(operand(a), axisa, -1), moveaxis(operand(b), axisb, -1)
    if shape_of(a)[-1] != 3 or shape_of(b)[-1] != 3:
        raise UnsupportedError(f"np.cross: both operands need 3 components on traced values{at_user_line()}")
    first, second = np.array([1, 2, 0]), np.array([2, 0, 1])
    return moveaxis(a[..., first] * b[..., second] - a[..., second] * b[..., first], -1, axisc)


@implements(np.einsum)
def einsum(*operands: Any, out: Any = None, optimize: Any = True, **keywords: Any) -> Any:
    if not isinstance(operands[0], str):
        operands = with_letters(operands)
    subscripts, arrays = operands[0].replace(" ", ""), [operand(item) for item in operands[1:]]
    terms, result_letters = explicit(subscripts, arrays)
    remaining = list(zip(terms, arrays))
    if len(remaining) == 1:
        return delivered(single(*remaining[0], result_letters), out, "einsum")
    path = np.einsum_path(subscripts, *(np.broadcast_to(0.0, shape_of(a)) for a in arrays), optimize="greedy")[0][1:]
    for places in path:
        chosen = [remaining.pop(place) for place in sorted(places, reverse=True)]
        needed = set(result_letters).union(*(letters for letters, _ in remaining))
        while len(chosen) > 1:
            later = needed.union(*(letters for letters, _ in chosen[2:]))
            chosen = [pair(chosen[1], chosen[0], later), *chosen[2:]]
        remaining.append(chosen[0])
    return delivered(single(*remaining[0], result_letters), out, "einsum")


def with_letters(operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """Operands each followed by its list of integers, as the string of subscripts and the operands."""
    result = [operands[-1]] if len(operands) % 2 else []
    pairs = operands[: len(operands) - len(result)]
    terms = [
        "".join("..." if number is Ellipsis else ascii_letters[number] for number in numbers)
        for numbers in (*pairs[1::2], *result)
    ]
    inputs = ",".join(terms[: len(pairs) // 2])
    return f"{inputs}->{terms[-1]}" if result else inputs, *pairs[::2]


def explicit(subscripts: str, arrays: list[Any]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, ellipses and implicit results written out."""
    inputs, arrow, result = subscripts.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(arrays):
        raise ValueError(f"np.einsum: {len(terms)} terms in {subscripts!r} for {len(arrays)} operands{at_user_line()}")
    free = [letter for letter in ascii_letters[::-1] if letter not in subscripts]
    ranks = [len(shape_of(a)) - len(term.replace("...", "")) for term, a in zip(terms, arrays) if "..." in term]
    dots = "".join(free[: max(ranks, default=0)])
    terms = [
        term.replace("...", dots[len(dots) - (len(shape_of(a)) - len(term) + 3) :] if "..." in term else "")
        for term, a in zip(terms, arrays)
    ]
    if not arrow:
        letters = "".join(terms)
        result = dots + "".join(sorted(letter for letter in set(letters) - set(dots) if letters.count(letter) == 1))
    for term, a in zip(terms, arrays):
        if len(term) != len(shape_of(a)):
            raise ValueError(f"np.einsum: {term!r} does not fit an operand of shape {shape_of(a)}{at_user_line()}")
    return terms, result.replace("...", dots)


def single(letters: str, a: Any, result: str) -> Any:
    """One operand: diagonals for repeated letters, sums for those that vanish, then the order asked for."""
    letters, a = without_repeats(letters, a)
    gone = tuple(i for i, letter in enumerate(letters) if letter not in result)
    a = np.sum(a, axis=gone) if gone else a
    letters = "".join(letter for letter in letters if letter in result)
    return np.transpose(a, [letters.index(letter) for letter in result]) if letters != result else a


def without_repeats(letters: str, a: Any) -> tuple[str, Any]:
    for letter in sorted(set(letters)):
        while letters.count(letter) > 1:
            first = letters.index(letter)
            second = letters.index(letter, first + 1)
            a = moveaxis(diagonal(a, 0, first, second), -1, 0)
            letters = letter + letters[:first] + letters[first + 1 : second] + letters[second + 1 :]
    return letters, a


def pair(left: tuple[str, Any], right: tuple[str, Any], needed: set[str]) -> tuple[str, Any]:
    """Two operands contracted into one that keeps the letters still needed."""
    (x, a), (y, b) = without_repeats(*left), without_repeats(*right)
    x, a = drop(x, a, set(y) | needed)
    y, b = drop(y, b, set(x) | needed)
    sizes = {**dict(zip(x, shape_of(a)))}
    for letter, n in zip(y, shape_of(b)):
        if sizes.get(letter, n) != n:
            if 1 not in (n, sizes[letter]):
                raise ValueError(f"np.einsum: axis {letter} is {sizes[letter]} and {n} long{at_user_line()}")
            keep_left = n == 1
            x, a = (x, a) if keep_left else squeeze_letter(x, a, letter)
            y, b = squeeze_letter(y, b, letter) if keep_left else (y, b)
    out = "".join(letter for letter in dict.fromkeys(x + y) if letter in needed)
    return out, contract(a, b, subscripts=f"{x},{y}->{out}")


def squeeze_letter(letters: str, a: Any, letter: str) -> tuple[str, Any]:
    place = letters.index(letter)
    return letters.replace(letter, ""), np.squeeze(a, axis=place)


def drop(letters: str, a: Any, kept: set[str]) -> tuple[str, Any]:
    gone = tuple(i for i, letter in enumerate(letters) if letter not in kept)
    return "".join(letter for letter in letters if letter in kept), np.sum(a, axis=gone) if gone else a


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Any, *, out: Any = None) -> Any:
    result = arrays[0]
    for array in arrays[1:]:
        result = dot(result, array)
    return delivered(result, out, "multi_dot")


@implements(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    a = operand(a)
    if n < 0:
        return matrix_power(np.linalg.inv(a), -n)
    result = None
    while n:
        if n & 1:
            result = a if result is None else matmul(result, a)
        n >>= 1
        a = matmul(a, a) if n else a
    return np.broadcast_to(np.eye(shape_of(a)[-1], dtype=dtype_of(a)), shape_of(a)) if result is None else result


@implements(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    a, v = operand(a), operand(v)
    if shape_of(v)[0] > shape_of(a)[0]:
        a, v = v, a
    n, k = shape_of(a)[0], shape_of(v)[0]
    spread = np.pad(a, k - 1)
    places = np.arange(n + k - 1)[:, None] + np.arange(k - 1, -1, -1)[None, :]
    full = contract(np.take(spread, places), v, subscripts="ij,j->i")
    if mode == "full":
        return full
    length, start = (n, (k - 1) // 2) if mode == "same" else (n - k + 1, k - 1)
    return full[start : start + length]


@implements(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    a, v = operand(a), operand(v)
    # Which middle "same" cuts out follows the longer operand.
    if shape_of(a)[0] < shape_of(v)[0]:
        return conjugate(convolve(v, conjugate(a)[::-1], mode))[::-1]
    return convolve(a, conjugate(v)[::-1], mode)
