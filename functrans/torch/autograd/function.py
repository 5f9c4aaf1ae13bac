"""`Function`: operations with a backward rule of the user's own."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans.core.types import dtype_of, is_differentiable
from functrans.errors import at_user_line
from functrans.torch.autograd.engine import Pass
from functrans.torch.autograd.graph import FREED, FREED_MESSAGE, Node, named, overwritten
from functrans.torch.autograd.modes import enable_grad, no_grad, state
from functrans.torch.autograd.transformed import checked_gradients, is_traced, through_transform
from functrans.torch.autograd.unsupported import FUNCTION, refusals
from functrans.torch.storage.writes import check_writable, rebase
from functrans.torch.tensor import Tensor, current_edge, like, made

__all__ = ["Function", "FunctionCtx", "FunctionNode", "once_differentiable"]


class FunctionCtx:
    """What `forward` leaves for `backward`; it may have any attributes beside these.

    Attributes:
        needs_input_grad: for each argument whether it requires a gradient.
        saved_tensors: what `save_for_backward` was given.
    """

    needs_input_grad: tuple[bool, ...] = ()

    def __init__(self) -> None:
        self._saved: tuple[Any, ...] = ()
        self._to_save: tuple[Any, ...] = ()
        self._forward_saved: tuple[Any, ...] = ()
        self._dirty: tuple[Any, ...] = ()
        self._not_differentiable: tuple[Any, ...] = ()
        self._materialize = True
        self._node: Any = None

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors, arguments or results, for `backward`; they must not be written into."""
        self._to_save = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Keep tensors for `jvp`."""
        self._forward_saved = tensors

    def mark_dirty(self, *args: Any) -> None:
        """Say which arguments were written into."""
        self._dirty = args

    def mark_non_differentiable(self, *args: Any) -> None:
        """Say which results have no derivative."""
        self._not_differentiable = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether gradients of results that nothing depends on are zeros, as they are by default, or None."""
        self._materialize = value

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` was given."""
        node = self._node
        if node is None:
            return self._forward_saved or self._to_save
        if node.saved is FREED:
            raise RuntimeError(FREED_MESSAGE)
        overwritten(node, [each.changes for each in node.saved if each is not None])
        return tuple(None if each is None else each.tensor(node) for each in node.saved)


class SavedTensor:
    """A tensor that a node keeps, without a reference from a result of the node to the node itself.

    Attributes:
        array, changes: of the tensor.
        edge: where its gradient goes; for a result of the node its place.
    """

    __slots__ = ("array", "changes", "edge", "place", "unpack")

    def __init__(self, tensor: Tensor, place: int | None) -> None:
        self.array = tensor._array
        self.changes = tensor._changes
        self.edge = current_edge(tensor) if place is None else None
        self.place = place
        self.unpack: Any = None
        if state.saved_hooks:
            pack, unpack = state.saved_hooks[-1]
            with no_grad():
                packed = pack(like(tensor, tensor._array))
            self.array, self.unpack = None, lambda: unpack(packed)

    def tensor(self, node: Node) -> Tensor:
        """The tensor, with its history."""
        result = made(self.array) if self.unpack is None else like(held := self.unpack(), held._array)
        result._changes = self.changes
        result._edge = self.edge if self.place is None else (node, self.place)
        return result


class FunctionNode(Node):
    """A call of a `Function`.

    Attributes:
        arguments: how many there are.
        context: what `backward` gets.
        function: the class.
        results: the shape and dtype of each result.
        saved: what `save_for_backward` was given, as `SavedTensor`, or `FREED`.
        types: place, shape and dtype of each argument that is a tensor.
    """

    __slots__ = ("arguments", "context", "function", "results", "saved", "types")

    arguments: int
    context: FunctionCtx
    function: type[Function]
    results: list[Any]
    saved: Any
    types: list[Any]

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return len(self.results)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` was given."""
        return self.context.saved_tensors

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        if self.saved is FREED:
            raise RuntimeError(FREED_MESSAGE)
        step = Pass(True, trace)
        given = [self._shown(step, ct, place) for place, ct in enumerate(cts)]
        with enable_grad() if trace is not None else no_grad():
            returned = self.function.backward(self.context, *given)
        returned = returned if isinstance(returned, tuple) else (returned,)
        wanted = [edge is not None for edge in self.edges]
        checked = checked_gradients(self.name(), self.arguments, self.types, wanted, self.origin, returned)
        return [None if ct is None else step.hidden(ct) for ct in checked]

    def _shown(self, step: Pass, ct: Any, place: int) -> Tensor | None:
        if ct is not None:
            return step.shown(ct)
        if not self.context._materialize:
            return None
        shape, dtype = self.results[place]
        return made(np.zeros(shape, dtype)[()])

    def saved_arrays(self) -> Sequence[tuple[Any, bool]]:
        return [(each.array, each.place is not None) for each in self.saved if each is not None]

    def free(self) -> None:
        if self.saved:
            self.saved = FREED


class Function:
    """An operation whose forward and backward the user writes, as static methods; `apply` performs it.

    ``forward(ctx, *args)`` computes the result. ``backward(ctx, *grad_outputs)`` returns a gradient, or None, for each
    argument. With ``setup_context(ctx, inputs, output)``, `forward` has no ``ctx``. ``jvp(ctx, *tangents)`` serves forward
    mode, ``vmap(info, in_dims, *args)`` batching.

    Example:
        >>> import functrans.torch as torch
        >>> class Square(torch.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x ** 2
        ...     @staticmethod
        ...     def backward(ctx, grad_output):
        ...         (x,) = ctx.saved_tensors
        ...         return grad_output * 2 * x
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> Square.apply(x).backward()
        >>> x.grad
        tensor(6.)
    """

    generate_vmap_rule = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so you should invoke them on the "
            "class itself. Instantiating an autograd function will raise an error in a future version of PyTorch.",
            DeprecationWarning,
            stacklevel=2,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd function with static "
            f"forward method. (Example: https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function){at_user_line()}"
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the result; the user's."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Leave in `ctx` what `backward` needs; the user's."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of the arguments; the user's."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with backward mode AD."
        )

    vjp = backward

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        """The results of a batch, and their batch axes; the user's. `info` has ``batch_size`` and ``randomness``."""
        raise NotImplementedError("To use autograd.Function with vmap, you must either override the vmap staticmethod or set generate_vmap_rule=True.")

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """The tangents of the results; the user's."""
        raise NotImplementedError("You must implement the jvp function for custom autograd.Function to use it with forward mode AD.")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Perform the operation."""
        if cls.vjp is not Function.vjp and cls.backward is Function.backward:
            cls.backward = cls.vjp  # type: ignore[method-assign]
        if is_traced(args) or state.transform is not None:
            return through_transform(cls, args, kwargs, Function, FunctionCtx, applied)
        if state.special and state.dual is not None:
            return state.dual(cls, args, kwargs)
        return applied(cls, args, kwargs)[0]


def applied(cls: Any, args: Sequence[Any], kwargs: Any) -> Any:
    """The result of a call, and its context."""
    context = FunctionCtx()
    tensors = [(place, each) for place, each in enumerate(args) if isinstance(each, Tensor)]
    edges = tuple(current_edge(each) for _, each in tensors)
    recorded = state.grad and any(edge is not None for edge in edges)
    context.needs_input_grad = tuple(
        isinstance(each, Tensor) and recorded and current_edge(each) is not None for each in args
    )
    with no_grad():
        if cls.setup_context is Function.setup_context:
            out = cls.forward(context, *args, **kwargs)
        else:
            out = cls.forward(*args, **kwargs)
            cls.setup_context(context, tuple(args), out)
    single = not isinstance(out, tuple)
    outs = (out,) if single else out
    for each in context._dirty:
        if isinstance(each, Tensor):
            edge = current_edge(each)
            if recorded and each._view is None and edge is not None and edge[0].is_leaf:
                raise RuntimeError(f"a leaf Variable that requires grad has been used in an in-place operation.{at_user_line()}")
            check_writable(each, recorded)
    if recorded:
        outs = attach(cls, context, args, tensors, edges, outs)
    return (outs[0] if single else tuple(outs)), context


def attach(cls: Any, context: FunctionCtx, args: Any, tensors: Any, edges: Any, outs: Any) -> list[Any]:
    """Results with the node of the call as their history."""
    node = named(f"{cls.__name__}Backward", FunctionNode)(edges)
    node.function, node.context, node.arguments = cls, context, len(args)
    node.types = [(place, each._array.shape, each._array.dtype) for place, each in tensors]
    node.results = []
    results = []
    saved_places = {}
    for out in outs:
        if not isinstance(out, Tensor):
            results.append(out)
            node.results.append(((), np.dtype(np.float32)))
            continue
        dirty = any(out is each for each in context._dirty)
        result = out if dirty else like(out, out._array)
        if not dirty and not any(out is each for each in (*args, *context._to_save)):
            result.__dict__.update(out.__dict__)
        saved_places[id(out)] = len(results)
        place = len(results)
        node.results.append((out._array.shape, out._array.dtype))
        skipped = any(out is each for each in context._not_differentiable)
        if is_differentiable(dtype_of(out._array)) and not skipped:
            if dirty:
                rebase(out, (node, place), current_edge(out), cls.__name__)
            else:
                result._edge = node, place
        elif not dirty:
            result._edge = None
        results.append(result)
    node.saved = []
    for each in context._to_save:
        if each is not None and not isinstance(each, Tensor):
            raise TypeError(
                f"save_for_backward can only save variables, but argument {len(node.saved)} is of type {type(each).__name__}{at_user_line()}"
            )
        node.saved.append(None if each is None else SavedTensor(each, saved_places.get(id(each)) if not _is_argument(each, args) else None))
    context._to_save = ()
    context._dirty = context._not_differentiable = ()
    context._node = node
    return results


def _is_argument(tensor: Any, args: Any) -> bool:
    return any(tensor is each for each in args)


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of `backward`: what it returns has no derivative, and asking for one raises."""

    @functools.wraps(backward)
    def wrapped(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            returned = backward(ctx, *grads)
        if not state.grad or not any(isinstance(each, Tensor) and current_edge(each) is not None for each in grads):
            return returned
        single = not isinstance(returned, tuple)
        outs = (returned,) if single else returned
        node = named("Error", ErrorNode)(tuple(current_edge(each) for each in grads if isinstance(each, Tensor)))
        marked = []
        for each in outs:
            if isinstance(each, Tensor):
                each = like(each, each._array)
                each._edge = node, 0
            marked.append(each)
        return marked[0] if single else tuple(marked)

    return wrapped


class ErrorNode(Node):
    """The history of what must not be differentiated."""

    __slots__ = ()

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


globals().update(refusals("torch.autograd.function", FUNCTION))
