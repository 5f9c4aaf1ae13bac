"""Forward mode: dual tensors, which carry a tangent, inside a `dual_level`.

Tangents follow the rules of `transforms/forward.py`. They are tensors with a history of their own, so forward mode can be
differentiated in reverse.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.autograd import gradient_checks
from functrans.torch.autograd.function import Function, applied
from functrans.torch.autograd.modes import state
from functrans.torch.ops.special_calls import tangent_of
from functrans.torch.tensor import Tensor, current_edge, like, made

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]

UnpackedDualTensor = namedtuple("UnpackedDualTensor", ["primal", "tangent"])


class dual_level:
    """Where dual tensors live; at the end of the ``with`` their tangents are gone.

    Example:
        >>> import functrans.torch as torch
        >>> import functrans.torch.autograd.forward_ad as forward
        >>> with forward.dual_level():
        ...     x = forward.make_dual(torch.tensor(2.0), torch.tensor(1.0))
        ...     print(forward.unpack_dual(x ** 3).tangent)
        tensor(12.)
    """

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *error: Any) -> None:
        exit_dual_level()


def enter_dual_level() -> int:
    """Begin a level; there can be only one."""
    if state.level:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    state.level = 1
    state.special += 1
    state.dual = apply_to_duals
    state.duals = []
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level: tangents are dropped."""
    if not state.level:
        raise RuntimeError(f"Dual level must be a positive number.{at_user_line()}")
    state.level = 0
    state.special -= 1
    state.dual = None
    for dual in state.duals:
        if dual._extras:
            dual._extras = {key: value for key, value in dual._extras.items() if key != "tangent"} or None
    state.duals = []


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """The tensor with a tangent.

    Raises:
        RuntimeError: there is no level, or the tangent has another shape.
    """
    if not state.level:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    if tensor._array.dtype.kind not in "fc":
        raise ValueError(f"Expected primal to be floating point or complex, but got: {tensor.dtype}")
    if tangent._array.shape != tensor._array.shape:
        raise RuntimeError(
            f"Trying to set a forward gradient that has a different size than that of the original Tensor, this is not supported. "
            f"Tensor is of size {list(tensor._array.shape)} while the given forward gradient is of size {list(tangent._array.shape)}."
            f"{at_user_line()}"
        )
    dual = like(tensor, tensor._array)
    dual._edge = current_edge(tensor)
    dual._extras = {"tangent": tangent}
    state.duals.append(dual)
    return dual


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> Any:
    """The tensor and its tangent, which is None if it has none."""
    tangent = tangent_of(tensor) if state.level else None
    primal = like(tensor, tensor._array)
    primal._edge = current_edge(tensor)
    return UnpackedDualTensor(primal, tangent)


def apply_to_duals(cls: Any, args: Any, kwargs: Any) -> Any:
    """A call of a `Function`, of which some arguments may be dual: its `jvp` gives the tangents."""
    asked, level = state.special, state.level
    tangents = [tangent_of(each) for each in args]
    state.special = state.level = 0
    try:
        out, context = applied(cls, args, kwargs)
        if any(each is not None for each in tangents):
            if cls.jvp is Function.jvp:
                raise RuntimeError(
                    f"You are trying to use forward mode AD with {cls.__name__}, which has no jvp: implement it as a static method{at_user_line()}"
                )
            full = [
                made(np.zeros_like(each._array)) if tangent is None and isinstance(each, Tensor) else tangent
                for each, tangent in zip(args, tangents)
            ]
            given = cls.jvp(context, *full)
            outs, given = (x if isinstance(x, tuple) else (x,) for x in (out, given))
            for part, tangent in zip(outs, given):
                if tangent is not None:
                    part._extras = {**(part._extras or {}), "tangent": tangent}
    finally:
        state.special, state.level = asked, level
    return out


def _tangents(function: Any, inputs: Any, place: int, tangent: Tensor) -> list[Tensor]:
    """The tangents of the floating results of `function` along a direction of one input."""
    with dual_level():
        own = list(inputs)
        own[place] = make_dual(inputs[place], tangent)
        outs = function(*own)
        outs = outs if isinstance(outs, tuple) else (outs,)
        floating = [out for out in outs if isinstance(out, Tensor) and out._array.dtype.kind in "fc"]
        found = [tangent_of(out) for out in floating]
        return [made(np.zeros_like(out._array)) if t is None else t for out, t in zip(floating, found)]


gradient_checks.FORWARD.append(_tangents)
