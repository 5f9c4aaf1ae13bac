"""``torch.autograd.functional``: products with Jacobians and Hessians, and these themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.torch.autograd import engine
from functrans.torch.autograd.modes import enable_grad
from functrans.torch.ops.joining import stack
from functrans.torch.tensor import Tensor, current_edge, made

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _like_input(value: Any, results: Any) -> Any:
    """Results as a tuple if the input was one, else alone."""
    return tuple(results) if isinstance(value, (tuple, list)) else results[0]


def _fresh(inputs: Any, create_graph: bool) -> tuple[Tensor, ...]:
    """Inputs to differentiate with respect to: views of the user's that have a history if a graph is wanted."""
    own = []
    for each in _tuple(inputs):
        if not isinstance(each, Tensor):
            raise TypeError(f"The inputs given to the function should be Tensors, but one has type {type(each)}.")
        own.append(each.view_as(each) if create_graph and current_edge(each) is not None else each.detach().requires_grad_())  # type: ignore[attr-defined]
    return tuple(own)


def _run(func: Callable[..., Any], inputs: tuple[Tensor, ...]) -> tuple[Any, tuple[Tensor, ...]]:
    out = func(*inputs)
    outs = _tuple(out)
    for each in outs:
        if not isinstance(each, Tensor):
            raise TypeError(f"The outputs of the user-provided function should be Tensors, but one has type {type(each)}.")
    return out, outs


def _gradients(outs: Any, inputs: Any, cts: Any, create_graph: bool, strict: bool = False) -> list[Tensor]:
    """Gradients, zeros where an input is not used."""
    pairs = [(out, ct) for out, ct in zip(outs, cts) if current_edge(out) is not None]
    if strict and len(pairs) < len(outs):
        raise RuntimeError("Output 0 of the user-provided function does not require gradients. The outputs must be computed in a differentiable manner from the input when running in strict mode.")
    if not pairs:
        return [made(np.zeros_like(each._array)) for each in inputs]
    found = engine.grad(
        [out for out, _ in pairs], inputs, [ct for _, ct in pairs], create_graph=create_graph, retain_graph=True, allow_unused=True
    )
    if strict and any(ct is None for ct in found):
        raise RuntimeError("The output of the user-provided function is independent of an input. This is not allowed in strict mode.")
    return [made(np.zeros_like(each._array)) if ct is None else ct for ct, each in zip(found, inputs)]


def _result(value: Tensor, create_graph: bool) -> Tensor:
    return value if create_graph else value.detach()  # type: ignore[attr-defined, no-any-return]


def _cotangents(v: Any, outs: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """The vectors given, of the shapes of what they go with."""
    if v is None:
        if len(outs) != 1 or outs[0]._array.size != 1:
            raise RuntimeError("The vector v can only be None if the user-provided function returns a single Tensor with a single element.")
        return (made(np.ones_like(outs[0]._array)),)
    vs = _tuple(v)
    if len(vs) != len(outs):
        raise RuntimeError(f"v should contain the same number of Tensors as the outputs: {len(vs)} and {len(outs)}")
    for place, (each, out) in enumerate(zip(vs, outs)):
        if each._array.shape != out._array.shape:
            raise RuntimeError(f"v has invalid size: should be {out.shape} but got {each.shape} (entry {place})")
    return vs


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """The outputs of `func`, and the product of the vector `v` with its Jacobian.

    Example:
        >>> import functrans.torch as torch
        >>> torch.autograd.functional.vjp(lambda x: x ** 2, torch.tensor([1.0, 2.0]), torch.ones(2))
        (tensor([1., 4.]), tensor([2., 4.]))
    """
    with enable_grad():
        own = _fresh(inputs, create_graph)
        out, outs = _run(func, own)
        found = _gradients(outs, own, _cotangents(v, outs), create_graph, strict)
    shown = [_result(each, create_graph) for each in outs]
    return _like_input(out, shown), _like_input(inputs, [_result(each, create_graph) for each in found])


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """The outputs of `func`, and the product of its Jacobian with the vector `v`, by two backward passes.

    Example:
        >>> import functrans.torch as torch
        >>> torch.autograd.functional.jvp(lambda x: x ** 2, torch.tensor([1.0, 2.0]), torch.ones(2))
        (tensor([1., 4.]), tensor([2., 4.]))
    """
    with enable_grad():
        own = _fresh(inputs, create_graph)
        vs = _cotangents(v, own)
        out, outs = _run(func, own)
        probes = tuple(made(np.zeros_like(each._array)).requires_grad_() for each in outs)  # type: ignore[attr-defined]
        pulled = _gradients(outs, own, probes, True, strict)
        found = _gradients(pulled, probes, vs, create_graph)
    shown = [_result(each, create_graph) for each in outs]
    return _like_input(out, shown), _like_input(out, [_result(each, create_graph) for each in found])


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian: for each output and input a tensor of the output's axes, then the input's.

    Example:
        >>> import functrans.torch as torch
        >>> torch.autograd.functional.jacobian(lambda x: x ** 2, torch.tensor([1.0, 2.0]))
        tensor([[2., 0.],
                [0., 4.]])
    """
    with enable_grad():
        own = _fresh(inputs, create_graph)
        out, outs = _run(func, own)
        blocks = []
        for each in outs:
            rows: list[list[Tensor]] = []
            for place in range(each._array.size):
                unit = np.zeros(each._array.shape, each._array.dtype)
                unit.reshape(-1)[place] = 1
                rows.append(_gradients((each,), own, (made(unit),), create_graph, strict))
            block = []
            for number, x in enumerate(own):
                shape = (*each._array.shape, *x._array.shape)
                table = stack([row[number] for row in rows]).reshape(shape) if rows else made(np.zeros(shape, x._array.dtype))  # type: ignore[attr-defined]
                block.append(_result(table, create_graph))
            blocks.append(_like_input(inputs, block))
    return _like_input(out, blocks)


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The Hessian of a function of one result with one element.

    Example:
        >>> import functrans.torch as torch
        >>> torch.autograd.functional.hessian(lambda x: (x ** 3).sum(), torch.tensor([1.0, 2.0]))
        tensor([[ 6.,  0.],
                [ 0., 12.]])
    """

    def gradient(*own: Tensor) -> Any:
        outs = _run(func, own)[1]
        _check_scalar(outs)
        return _like_input(inputs, _gradients(outs, own, _cotangents(None, outs), True, strict))

    return jacobian(gradient, inputs, create_graph)


def _check_scalar(outs: tuple[Tensor, ...]) -> None:
    if len(outs) != 1 or outs[0]._array.size != 1:
        raise RuntimeError("The Tensor returned by the function given to hessian should contain a single element")


def vhp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """The output of `func`, and the product of `v` with its Hessian.

    Example:
        >>> import functrans.torch as torch
        >>> torch.autograd.functional.vhp(lambda x: (x ** 3).sum(), torch.tensor([1.0, 2.0]), torch.ones(2))
        (tensor(9.), tensor([ 6., 12.]))
    """
    with enable_grad():
        own = _fresh(inputs, create_graph)
        out, outs = _run(func, own)
        _check_scalar(outs)
        gradients = _gradients(outs, own, _cotangents(None, outs), True, strict)
        found = _gradients(gradients, own, _cotangents(v, own), create_graph, strict)
    return _result(out, create_graph), _like_input(inputs, [_result(each, create_graph) for each in found])


def hvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """The output of `func`, and the product of its Hessian, which is symmetric, with `v`; see `vhp`."""
    return vhp(func, inputs, v, create_graph, strict)
