"""``torch.vmap``: the batching of functrans, of functions of tensors, with torch's arguments and errors.

Arguments that the function writes into are, as with torch, written back to the tensors that were passed: the running
statistics of an ensemble of modules, for example.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans import tree
from functrans.core.trace import current
from functrans.core.tracer import operand
from functrans.core.types import shape_of
from functrans.errors import at_user_line
from functrans.ops.structure import broadcast_to
from functrans.torch.autograd.modes import state
from functrans.torch.autograd.trace import Transform
from functrans.torch.ops.joining import cat
from functrans.torch.random import RANDOMNESS, Draw
from functrans.torch.tensor import Tensor, axis_message, made
from functrans.transforms.batch import BatchTrace, BatchTracer, released_batch, traced_batch

__all__ = ["is_tensor", "vmap", "written_since"]


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor, which to trees of tensors is a leaf."""
    return isinstance(value, Tensor)


def entered(array: Any) -> Tensor:
    """A tensor of the transform under way."""
    tensor = made(array)
    tensor._extras = {"inside": state.transform}
    return tensor


def written_since(tensors: Sequence[Tensor], arrays: Sequence[Any]) -> dict[int, Any]:
    """What those of `tensors` hold, by place, that no longer hold `arrays`."""
    return {place: each._array for place, (each, array) in enumerate(zip(tensors, arrays)) if each._array is not array}


def name_of(func: Any) -> str:
    """What messages call a function."""
    return getattr(func, "__name__", None) or repr(func)


def flat_dims(dims: Any, structure: Any, count: int) -> list[Any] | None:
    """One axis for each leaf; None if `dims` does not fit the structure."""
    try:
        return tree.broadcast_prefix(dims, tree.unflatten(structure, range(count)), is_leaf=lambda item: item is None)
    except ValueError:
        return None


class Inputs:
    """The arguments of a call: tensors and others, and the axis along which each is mapped, or None."""

    def __init__(self, func: Any, in_dims: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        title = f"vmap({name_of(func)}, in_dims={in_dims}, ...)(<inputs>): "
        if not isinstance(in_dims, (int, tuple, list)):
            raise ValueError(
                f"{title}expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs, got: "
                f"{type(in_dims)}.{at_user_line()}"
            )
        if not args and not kwargs:
            raise ValueError(
                f"vmap({name_of(func)})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a "
                f"function with no inputs. The latter is unsupported.{at_user_line()}"
            )
        self.leaves, self.structure = tree.flatten((args, kwargs), is_tensor)
        by_argument = (in_dims,) * len(args) if isinstance(in_dims, int) else tuple(in_dims)
        dims = flat_dims((by_argument, dict.fromkeys(kwargs, 0)), self.structure, len(self.leaves))
        if dims is None:
            raise ValueError(
                f"{title}in_dims is not compatible with the structure of `inputs`. in_dims has structure {tree.structure(in_dims)} but "
                f"inputs has structure {tree.structure(args)}.{at_user_line()}"
            )
        self.dims = [self._checked(title, dim, leaf) for dim, leaf in zip(dims, self.leaves)]
        sizes = [leaf.shape[dim] for leaf, dim in zip(self.leaves, self.dims) if dim is not None]
        if not sizes:
            raise ValueError(f"{title}at least one Tensor to vmap over is needed{at_user_line()}")
        if len(set(sizes)) > 1:
            raise ValueError(
                f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sizes} for the mapped "
                f"dimension{at_user_line()}"
            )
        self.size: int = sizes[0]

    @staticmethod
    def _checked(title: str, dim: Any, leaf: Any) -> int | None:
        if dim is None:
            return None
        if not isinstance(dim, int):
            raise ValueError(f"{title}Got in_dim={dim} for an input but in_dim must be either an integer dimension or None.{at_user_line()}")
        if not isinstance(leaf, Tensor):
            raise ValueError(
                f"{title}Got in_dim={dim} for an input but the input is of type {type(leaf)}. We cannot vmap over non-Tensor "
                f"arguments, please use None as the respective in_dim{at_user_line()}"
            )
        if not -leaf.dim() <= dim < leaf.dim():
            raise ValueError(
                f"{title}Got in_dim={dim} for some input, but that input is a Tensor of dimensionality {leaf.dim()} so expected in_dim "
                f"to satisfy -{leaf.dim()} <= in_dim < {leaf.dim()}.{at_user_line()}"
            )
        return dim % leaf.dim()


def vmap(
    func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: int | None = None
) -> Callable[..., Any]:
    """`func` of each item along an axis of the arguments, all at once.

    Args:
        func: of tensors without the mapped axis.
        in_dims: the mapped axis of each argument: an int, or a tuple of ints, None for what all items share, and trees of these.
        out_dims: where results have it: an int, or a tree of ints like the results.
        randomness: whether random numbers are ``"different"`` or the ``"same"`` for all items, or an ``"error"``.
        chunk_size: how many items to take at a time; all by default.

    Raises:
        ValueError: `in_dims` or `out_dims` do not fit, or mapped axes differ in length.
        RuntimeError: random numbers are drawn, and `randomness` does not say how.

    Example:
        >>> import functrans.torch as torch
        >>> torch.func.vmap(torch.dot)(torch.ones(3, 2), torch.ones(3, 2))
        tensor([2., 2., 2.])
    """
    if chunk_size is not None and not chunk_size > 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size}){at_user_line()}")

    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        if randomness not in ("error", "different", "same"):
            raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}{at_user_line()}")
        inputs = Inputs(func, in_dims, args, kwargs)
        if chunk_size is None or chunk_size >= inputs.size:
            return assembled(*mapped(func, inputs, inputs.leaves, inputs.size, out_dims, randomness))
        return chunked(func, inputs, out_dims, randomness, chunk_size)

    return call


def assembled(leaves: list[Any], dims: list[Any], structure: Any) -> Any:
    """The result from its leaves."""
    return tree.unflatten(structure, leaves)


def chunked(func: Any, inputs: Inputs, out_dims: Any, randomness: str, chunk_size: int) -> Any:
    """The results of stretches of the batch, one after the other, joined."""
    pieces = []
    for start in range(0, inputs.size, chunk_size):
        size = min(chunk_size, inputs.size - start)
        leaves = [leaf if dim is None else leaf.narrow(dim, start, size) for leaf, dim in zip(inputs.leaves, inputs.dims)]
        pieces.append(mapped(func, inputs, leaves, size, out_dims, randomness))
    _, dims, structure = pieces[0]
    return tree.unflatten(structure, [cat(parts, dim) for parts, dim in zip(zip(*(piece[0] for piece in pieces)), dims)])


def mapped(func: Any, inputs: Inputs, leaves: list[Any], size: int, out_dims: Any, randomness: str) -> tuple[list[Any], list[Any], Any]:
    """The leaves of the result of one batch, the axis along which each is mapped, and their structure."""
    axes = {place: dim for place, dim in enumerate(inputs.dims) if dim is not None}
    places = list(axes)
    written: dict[int, Any] = {}

    def one(arrays: list[Any]) -> Any:
        trace = current.get()
        assert isinstance(trace, BatchTrace)
        state.random[trace] = functools.partial(drawn, trace, randomness)
        try:
            own = list(leaves)
            for place, array in zip(places, arrays):
                own[place] = entered(array)
            args, kwargs = tree.unflatten(inputs.structure, own)
            parts, structure = tree.flatten(func(*args, **kwargs), is_tensor)
        finally:
            del state.random[trace]
        written.update(written_since([own[place] for place in places], arrays))
        return [checked_result(func, part) for part in parts], structure

    step = Transform()
    step.randomness = randomness
    with step:
        arrays = [in_front(step.take(leaves[place])._array, dim, 0) for place, dim in axes.items()]
        trace, (parts, structure) = traced_batch(arrays, [True] * len(places), size, None, one)
        dims = flat_dims(out_dims, structure, len(parts))
        if out_dims is None:
            raise ValueError(f"vmap({name_of(func)}, ...): `{name_of(func)}` can not return a BatchedTensor when out_dim is None{at_user_line()}")
        if dims is None or not all(isinstance(dim, int) for dim in dims):
            raise ValueError(
                f"vmap({name_of(func)}, ..., out_dims={out_dims}): out_dims is not compatible with the structure of `outputs`. out_dims "
                f"has structure {tree.structure(out_dims)} but outputs has structure {structure}.{at_user_line()}"
            )
        results = [step.trace.give(released(trace, part, dim, size)) for part, dim in zip(parts, dims)]
        back = [(places[number], step.trace.give(released(trace, value, axes[places[number]], size))) for number, value in written.items()]
    for place, value in back:
        leaves[place].copy_(value)
    return results, dims, structure


def drawn(trace: BatchTrace, randomness: str, draw: Draw) -> Any:
    """Random numbers for a batch."""
    if randomness == "error":
        raise RuntimeError(RANDOMNESS + at_user_line())
    if randomness == "same":
        return draw.under(trace.parent)
    return BatchTracer(trace, draw.widened(trace.size).under(trace.parent), True)


def checked_result(func: Any, part: Any) -> Any:
    """The array of a leaf of a result, which must be a tensor."""
    if not isinstance(part, Tensor):
        raise ValueError(
            f"vmap({name_of(func)}, ...): `{name_of(func)}` must only return Tensors, got type {type(part)}. Did you mean to set out_dims= to None for output?{at_user_line()}"
        )
    return state.transform.take(part)._array


def in_front(array: Any, source: int, target: int) -> Any:
    """An array with an axis elsewhere."""
    return array if source == target else np.moveaxis(array, source, target)


def released(trace: BatchTrace, value: Any, dim: int, size: int) -> Any:
    """A result with the mapped axis at `dim`."""
    value, batched = released_batch(trace, value)
    rank = len(shape_of(value)) - batched + 1
    if not -rank <= dim < rank:
        raise IndexError(axis_message(dim, rank) + at_user_line())
    if not batched:
        value = broadcast_to(operand(value), shape=(size, *shape_of(value)))
        value = value if isinstance(value, BatchTracer) or not isinstance(value, np.ndarray) else value.copy()
    return in_front(value, 0, dim)
