"""A `Function` inside a transform of functrans: its forward and backward become a rule of `custom_vjp`."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.tracer import Tracer
from functrans.core.types import dtype_of, shape_of
from functrans.torch.autograd.modes import no_grad, state
from functrans.torch.tensor import Tensor, made
from functrans.transforms.custom import custom_vjp

__all__ = ["is_traced", "through_transform"]


def is_traced(args: Any) -> bool:
    """Whether an argument holds a tracer."""
    return any(isinstance(each, Tensor) and isinstance(each._array, Tracer) for each in args)


def through_transform(cls: Any, args: Any, kwargs: Any, run: Any) -> Any:
    """The result of a call; `run` performs it on tensors without a history and returns its context as well."""
    args = [state.transform.take(each) if isinstance(each, Tensor) and state.transform is not None else each for each in args]
    places = [place for place, each in enumerate(args) if isinstance(each, Tensor) and dtype_of(each._array).kind in "fc"]
    contexts: list[Any] = [None]

    def performed(arrays: Any) -> tuple[Any, Any]:
        own = list(args)
        for place, array in zip(places, arrays):
            own[place] = made(array)
        out, context = run(cls, own, kwargs)
        contexts[0] = context
        return out, context

    def primal(*arrays: Any) -> Any:
        out = performed(arrays)[0]
        return tuple(part._array for part in out) if isinstance(out, tuple) else out._array

    def forward(*arrays: Any) -> Any:
        out, context = performed(arrays)
        values = tuple(part._array for part in out) if isinstance(out, tuple) else out._array
        return values, ([None if each is None else each._array for each in context._to_save], arrays)

    def backward(residuals: Any, cotangents: Any) -> Any:
        saved, arrays = residuals
        context = contexts[0]
        context._to_save = tuple(None if each is None else made(each) for each in saved)
        context.needs_input_grad = tuple(place in places for place in range(len(args)))
        cts = cotangents if isinstance(cotangents, tuple) else (cotangents,)
        with no_grad():
            given = cls.backward(context, *(made(ct) for ct in cts))
        given = given if isinstance(given, tuple) else (given,)
        results = []
        for place, array in zip(places, arrays):
            ct = given[place]
            results.append(np.zeros(shape_of(array), dtype_of(array)) if ct is None else ct._array)
        return tuple(results)

    rule = custom_vjp(primal)
    rule.defvjp(forward, backward)
    out = rule(*(args[place]._array for place in places))
    return tuple(map(made, out)) if isinstance(out, tuple) else made(out)
