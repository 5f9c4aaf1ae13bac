"""A `Function` inside a transform of functrans: its static methods become the rules of a `custom_vjp`.

Each transform asks for the rule it needs, and performs what surrounds it: `forward` of a call is a call again, as the
transforms further out have it, so that derivatives of derivatives, too, are those the user wrote.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans.core.staging import StagingTrace
from functrans.core.tracer import Tracer, operand
from functrans.core.types import dtype_of, is_differentiable, shape_of
from functrans.errors import at_user_line, describe_origin
from functrans.ops.structure import broadcast_to
from functrans.torch.autograd.modes import state
from functrans.torch.dtypes import DTYPES
from functrans.torch.tensor import Tensor, current_edge, made
from functrans.transforms.custom import custom_vjp, stop_gradient

__all__ = ["checked_gradients", "is_traced", "through_transform"]

VmapInfo = namedtuple("VmapInfo", ["batch_size", "randomness"])
EXTENDING = "For more details, please see https://pytorch.org/docs/main/notes/extending.func.html"


def is_traced(args: Any) -> bool:
    """Whether an argument holds a tracer."""
    return any(isinstance(each, Tensor) and isinstance(each._array, Tracer) for each in args)


def expands(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    """Whether an array of `shape` can be repeated to `full`."""
    return len(shape) <= len(full) and all(n in (1, m) for n, m in zip(shape[::-1], full[::-1]))


def checked_gradients(
    name: str, count: int, types: Sequence[Any], wanted: Sequence[bool], origin: Any, returned: tuple[Any, ...]
) -> list[Any]:
    """What a `backward` returned for those arguments that are tensors, None where it is not `wanted`.

    Args:
        name: of the function.
        count: how many arguments there are.
        types: place, shape and dtype of each argument that is a tensor.
        wanted: whether their gradients are wanted.
        origin: where the function was applied.

    Raises:
        RuntimeError: there are too few or too many, or a shape does not fit.
    """
    if len(returned) > count and all(each is None for each in returned[count:]):
        returned = returned[:count]
    if len(returned) != count:
        raise RuntimeError(
            f"function {name} returned an incorrect number of gradients (expected {count}, got {len(returned)})"
            f"\n  applied at {describe_origin(origin)}"
        )
    results: list[Any] = []
    for flag, (place, shape, dtype) in zip(wanted, types):
        ct = returned[place]
        if ct is None or not flag:
            results.append(None)
            continue
        if not isinstance(ct, Tensor):
            raise RuntimeError(
                f"expected Variable or None (got {type(ct).__name__})"
                f"\n  applied at {describe_origin(origin)}"
            )
        if ct._array.shape != shape:
            if not expands(shape, ct._array.shape):
                raise RuntimeError(
                    f"Function {name} returned an invalid gradient at index {place} - got {list(ct._array.shape)} but expected "
                    f"shape compatible with {list(shape)}\n  applied at {describe_origin(origin)}"
                )
            ct = ct.sum_to_size(shape)
        results.append(ct if ct._array.dtype == dtype else ct.to(DTYPES[dtype]))
    return results


class Application:
    """A call of a `Function` inside a transform.

    Attributes:
        cls: the user's class, a subclass of `base`.
        args: the arguments; `places` are those of tensors.
        single: whether the result is one tensor; else `template` has None for tensors and a tuple of what is none.
        constant: the places, among results, of those that have no derivative.
    """

    def __init__(self, cls: Any, args: Sequence[Any], kwargs: Any, base: Any, context: Callable[[], Any], run: Callable[..., Any]) -> None:
        self.cls, self.args, self.kwargs, self.base, self.make_context, self.run = cls, list(args), kwargs, base, context, run
        self.places = [place for place, each in enumerate(args) if isinstance(each, Tensor)]
        self.single = True
        self.template: list[Any] = []
        self.constant: list[int] = []
        self.has_setup = cls.setup_context is not base.setup_context
        self.has_vmap = cls.vmap is not base.vmap

    def own(self, arrays: Sequence[Any]) -> list[Any]:
        """The arguments, with tensors of `arrays`."""
        args = list(self.args)
        for place, array in zip(self.places, arrays):
            args[place] = made(array)
            args[place]._extras = {"inside": state.transform}
        return args

    def performed(self, arrays: Sequence[Any]) -> tuple[Any, Any, list[Any]]:
        """The result, the context and the arguments of a call."""
        args = self.own(arrays)
        if self.has_setup and is_traced(args):
            out, context = through_transform(self.cls, args, self.kwargs, self.base, self.make_context, self.run), self.make_context()
            context.needs_input_grad = self.needs()
            self.cls.setup_context(context, tuple(args), out)
        else:
            out, context = self.run(self.cls, args, self.kwargs)
            context.needs_input_grad = self.needs()
        if context._dirty or any(args[place]._array is not array for place, array in zip(self.places, arrays)):
            raise NotImplementedError(
                f"{self.cls.__name__}: a Function that writes into its arguments is not supported inside transforms"
                f"\n  Remedy: write into a clone() and return it.{at_user_line()}"
            )
        return out, context, args

    def needs(self) -> tuple[bool, ...]:
        return tuple(isinstance(each, Tensor) and is_differentiable(dtype_of(each._array)) for each in self.args)

    def values(self, out: Any) -> tuple[Any, ...]:
        """The arrays of a result, whose structure is noted."""
        self.single = not isinstance(out, tuple)
        parts = (out,) if self.single else out
        self.template = [None if isinstance(part, Tensor) else (part,) for part in parts]
        return tuple(part._array for part in parts if isinstance(part, Tensor))

    def primal(self, *arrays: Any) -> tuple[Any, ...]:
        out, context = self.run(self.cls, self.own(arrays), self.kwargs)
        parts = [part for part in (out if isinstance(out, tuple) else (out,)) if isinstance(part, Tensor)]
        self.constant = [place for place, part in enumerate(parts) if any(part is each for each in context._not_differentiable)]
        return self.values(out)

    def forward(self, *arrays: Any) -> tuple[Any, Any]:
        out, context, args = self.performed(arrays)
        return self.values(out), (context, args)

    def backward(self, residuals: Any, cotangents: tuple[Any, ...]) -> tuple[Any, ...]:
        context, args = residuals
        context._forward_saved = ()
        remaining = iter(cotangents)
        cts = [made(next(remaining)) if part is None else None for part in self.template]
        returned = self.cls.backward(context, *cts)
        returned = returned if isinstance(returned, tuple) else (returned,)
        types = [(place, args[place]._array.shape, args[place]._array.dtype) for place in self.places]
        wanted = [is_differentiable(dtype) for _, _, dtype in types]
        checked = checked_gradients(f"{self.cls.__name__}Backward", len(self.args), types, wanted, None, returned)
        return tuple([np.zeros(shape, dtype) if ct is None else ct._array for ct, (_, shape, dtype) in zip(checked, types)])

    def push(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        out, context, _ = self.performed(primals)
        values = self.values(out)
        full: list[Any] = [None] * len(self.args)
        for place, tangent in zip(self.places, tangents):
            full[place] = made(tangent)
        given = self.cls.jvp(context, *full)
        given = given if isinstance(given, tuple) else (given,)
        parts = [tangent for tangent, part in zip(given, self.template) if part is None]
        return values, tuple(
            [np.zeros(shape_of(value), dtype_of(value)) if part is None else part._array for part, value in zip(parts, values)]
        )

    def batched(self, size: int, flags: Sequence[bool], arrays: Sequence[Any]) -> tuple[Any, ...]:
        """The user's batching rule."""
        if not self.has_vmap:
            raise RuntimeError(
                f"You tried to vmap over {self.cls.__name__}, but it does not have vmap support. Please override and implement the vmap "
                f"staticmethod or set generate_vmap_rule=True. {EXTENDING}{at_user_line()}"
            )
        dims: list[Any] = [None] * len(self.args)
        for place, flag in zip(self.places, flags):
            dims[place] = 0 if flag else None
        returned = self.cls.vmap(VmapInfo(size, getattr(state.transform, "randomness", "error")), tuple(dims), *self.own(arrays))
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise RuntimeError(
                f"The vmap staticmethod of {self.cls.__name__} must return (output, out_dims), got {type(returned).__name__}{at_user_line()}"
            )
        out, out_dims = returned
        self.values(out)
        parts = out if isinstance(out, tuple) else (out,)
        each_dim = out_dims if isinstance(out_dims, (tuple, list)) else [out_dims] * len(parts)
        return tuple([in_front(part._array, dim, size) for part, dim in zip(parts, each_dim) if isinstance(part, Tensor)])

    def result(self, values: Sequence[Any]) -> Any:
        """Tensors of the results, as the user's forward returned them."""
        values = [stop_gradient(value) if place in self.constant else value for place, value in enumerate(values)]
        remaining = iter(values)
        parts = [made(next(remaining)) if part is None else part[0] for part in self.template]
        return parts[0] if self.single else tuple(parts)


def in_front(array: Any, dim: int | None, size: int) -> Any:
    """A result with its batch axis in front."""
    if dim is None:
        return broadcast_to(operand(array), shape=(size, *shape_of(array)))
    return array if dim == 0 else np.moveaxis(array, dim, 0)


def staged_only(args: Sequence[Any]) -> bool:
    """Whether a call is only staged, as by `torch.compile`, not transformed."""
    if state.transform is not None and not state.transform.stages:
        return False
    return all(
        isinstance(each._array.owner, StagingTrace) for each in args if isinstance(each, Tensor) and isinstance(each._array, Tracer)
    )


def through_transform(cls: Any, args: Any, kwargs: Any, base: Any, context: Callable[[], Any], run: Callable[..., Any]) -> Any:
    """The result of a call of `cls`, a subclass of `base`; `run` performs it on tensors, and gives its context as well."""
    args = [state.transform.take(each) if isinstance(each, Tensor) and state.transform is not None else each for each in args]
    call = Application(cls, args, kwargs, base, context, run)
    if not call.has_setup and not staged_only(args):
        raise RuntimeError(
            "In order to use an autograd.Function with functorch transforms (vmap, grad, jvp, jacrev, ...), it must override the "
            f"setup_context staticmethod. {EXTENDING}{at_user_line()}"
        )
    if call.has_vmap and cls.generate_vmap_rule:
        raise RuntimeError(
            f"You tried to vmap over {cls.__name__}, but it has both generate_vmap_rule=True and an overridden vmap staticmethod. Please "
            f"set generate_vmap_rule=False or delete the overridden vmap staticmethod to avoid ambiguity. {EXTENDING}{at_user_line()}"
        )
    if not is_traced(args):
        return run(cls, args, kwargs)[0]
    rule = custom_vjp(call.primal)
    rule.defvjp(call.forward, call.backward)
    if cls.jvp is not base.jvp:
        rule.defjvp(call.push)
    if not cls.generate_vmap_rule:
        rule.defvmap(call.batched)
    result = call.result(rule(*[args[place]._array for place in call.places]))
    if state.grad and any(isinstance(each, Tensor) and current_edge(each) is not None for each in args):
        return with_history(run(cls, args, kwargs)[0], result)
    return result


def with_history(recorded: Any, result: Any) -> Any:
    """What a recorded call returned, holding what the rule gave, so that backward passes inside a program go through it."""
    if isinstance(recorded, tuple):
        return tuple([with_history(a, b) for a, b in zip(recorded, result)])
    if isinstance(recorded, Tensor):
        recorded._array = result._array
    return recorded
