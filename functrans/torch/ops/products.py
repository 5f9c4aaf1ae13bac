"""Products: `matmul` and its kin, `einsum`, `tensordot`."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.types import shape_of
from functrans.errors import at_user_line
from functrans.ops.contraction import contract
from functrans.torch.autograd.graph import PrimitiveNode, named
from functrans.torch.dtypes import title
from functrans.torch.ops.apply import perform
from functrans.torch.ops.reductions import signed
from functrans.torch.ops.table import define, function
from functrans.torch.tensor import Tensor

KINDS = {
    (2, 2): ("ij,jk->ik", named("MmBackward0", PrimitiveNode)),
    (2, 1): ("ij,j->i", named("MvBackward0", PrimitiveNode)),
    (1, 1): ("i,i->", named("DotBackward0", PrimitiveNode)),
    (3, 3): ("bij,bjk->bik", named("BmmBackward0", PrimitiveNode)),
}


UNSAFE_VIEW = named("UnsafeViewBackward0", PrimitiveNode)


def same_dtype(x: Tensor, y: Tensor, name: str) -> None:
    """Raise unless both are of one dtype, as torch's products ask."""
    if x._array.dtype != y._array.dtype:
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {title(x.dtype).lower()} != {title(y.dtype).lower()}\n  in {name}{at_user_line()}"
        )


def product(x: Tensor, y: Tensor, name: str) -> Tensor:
    """The product of vectors, matrices or batches of matrices, by one contraction."""
    for value in (x, y):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}(): arguments must be Tensor, not {type(value).__name__}{at_user_line()}")
    a, b = x._array, y._array
    same_dtype(x, y, name)
    kind = KINDS.get((a.ndim, b.ndim))
    if kind is not None and (a.ndim < 3 or a.shape[0] == b.shape[0]):
        left, right = a.shape[-1], b.shape[-2 if b.ndim > 1 else 0]
        if left != right:
            raise mismatch(a.shape, b.shape)
        cls = UNSAFE_VIEW if a.ndim == 3 and name == "matmul" else kind[1]
        return perform(contract, (x, y), {"subscripts": kind[0]}, cls, name)
    if not a.ndim or not b.ndim:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {a.ndim}D and {b.ndim}D{at_user_line()}"
        )
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise mismatch(a.shape, b.shape)
    return _matmul(x, y)


def mismatch(x: Any, y: Any) -> RuntimeError:
    """Torch's error for shapes that do not fit."""
    if len(x) == len(y) == 1:
        return RuntimeError(
            f"inconsistent tensor size, expected tensor [{x[0]}] and src [{y[0]}] to have the same number of elements, but got {x[0]} and {y[0]} elements respectively{at_user_line()}"
        )
    if len(x) == len(y) == 3:
        return RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{x[0]}, {x[2]}] but got: [{y[0]}, {y[1]}].{at_user_line()}"
        )
    if len(y) == 1:
        return RuntimeError(f"size mismatch, got input ({x[0]}), mat ({x[0]}x{x[-1]}), vec ({y[0]}){at_user_line()}")
    rows = int(np.prod(x[:-1]))
    return RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{x[-1]} and {y[-2]}x{y[-1]}){at_user_line()}")


_matmul = define("_matmul", lambda x, y: np.matmul(x, y), node="UnsafeViewBackward0", method=False, public=False)


@function()
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product, over leading axes where there are any."""
    return product(input, other, "matmul")


def checked_ranks(name: str, second: str, ranks: tuple[int, int], message: str) -> None:
    """`mm`, `mv`, `dot` and `bmm`: the product of tensors of certain ranks."""

    def call(input: Tensor, other: Any = None, **named: Any) -> Tensor:
        other = named.pop(second) if other is None and second in named else other
        if named:
            raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(named))}'{at_user_line()}")
        if not isinstance(input, Tensor) or not isinstance(other, Tensor):
            return product(input, other, name)
        if (input._array.ndim, other._array.ndim) != ranks:
            raise RuntimeError(message.format(input._array.ndim, other._array.ndim) + at_user_line())
        return product(input, other, name)

    call.__name__ = name
    function(name)(call)


checked_ranks("mm", "mat2", (2, 2), "mat1 must be a matrix, got {}-D and {}-D tensors")
checked_ranks("mv", "vec", (2, 1), "vector + matrix @ vector expected, got {}, {}")
checked_ranks("dot", "tensor", (1, 1), "1D tensors expected, but got {}D and {}D tensors")
checked_ranks("bmm", "mat2", (3, 3), "batch1 must be a 3D tensor, got {}-D and {}-D tensors")
Tensor.__matmul__ = lambda self, other: product(self, other, "matmul") if isinstance(other, Tensor) else NotImplemented

define("inner", lambda input, other: np.inner(input, other), node="MmBackward0", together=2, same=True)
define("outer", lambda input, vec2: np.outer(*vectors("outer", input, vec2)), node="MulBackward0", aliases=("ger",), together=2)
define("vdot", lambda input, other: np.vdot(*vectors("vdot", input, other)), together=2, same=True)
define("tensordot", lambda a, b, dims=2: contracted(a, b, dims), node="ViewBackward0", method=False, together=2, same=True)
define("kron", lambda input, other: np.kron(input, other), node="ViewBackward0", together=2)
define("cross", lambda input, other, dim=None: crossed(input, other, dim), node="LinalgCrossBackward0", together=2, same=True)
define("addmm", lambda input, mat1, mat2, *, beta=1, alpha=1: beta * input + alpha * (mat1 @ mat2), in_place=True)
define("addmv", lambda input, mat, vec, *, beta=1, alpha=1: beta * input + alpha * (mat @ vec), in_place=True)
define("addbmm", lambda input, batch1, batch2, *, beta=1, alpha=1: beta * input + alpha * np.sum(batch1 @ batch2, axis=0), in_place=True)
define("baddbmm", lambda input, batch1, batch2, *, beta=1, alpha=1: beta * input + alpha * (batch1 @ batch2), in_place=True)
define("addr", lambda input, vec1, vec2, *, beta=1, alpha=1: beta * input + alpha * np.outer(vec1, vec2), in_place=True)
define("trace", lambda x: signed(np.trace(matrix(x))), kinds="ifc")

def vectors(name: str, *operands: Any) -> tuple[Any, ...]:
    """Operands that must have one axis each."""
    for place, x in zip(("self", "vec2"), operands):
        if len(shape_of(x)) != 1:
            raise RuntimeError(f"{name}: Expected 1-D argument {place}, but got {len(shape_of(x))}-D{at_user_line()}")
    return operands


def contracted(x: Any, y: Any, dims: Any) -> Any:
    """Products summed over axes of both."""
    if isinstance(dims, int) and not 0 <= dims <= min(len(shape_of(x)), len(shape_of(y))):
        raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}{at_user_line()}")
    return np.tensordot(x, y, dims)


def crossed(x: Any, y: Any, dim: int | None) -> Any:
    """The cross product along `dim`, by default the first axis of length 3."""
    if dim is None:
        threes = [axis for axis, n in enumerate(shape_of(x)) if n == 3]
        if not threes:
            raise RuntimeError(f"no dimension of size 3 in input{at_user_line()}")
        dim = threes[0]
    return np.cross(x, y, axis=dim)


def matrix(x: Any) -> Any:
    """`x`, which must have two axes."""
    if len(shape_of(x)) != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {len(shape_of(x))}{at_user_line()}")
    return x


_einsum = define("einsum", lambda subscripts, *operands: np.einsum(subscripts, *operands), public=False, method=False, node="ViewBackward0")


@function(method=False)
def einsum(equation: str, *operands: Any) -> Tensor:
    """Einstein's sums of products."""
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    return _einsum(equation, *operands)


@function("chain_matmul", method=False)
def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of several matrices, in the cheapest order."""
    return _multi_dot(*matrices)


_multi_dot = define("_multi_dot", lambda *matrices: np.linalg.multi_dot(matrices), node="MmBackward0", method=False, public=False)
