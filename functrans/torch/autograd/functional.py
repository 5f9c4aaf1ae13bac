"""``torch.autograd.functional``: products with Jacobians and Hessians, and these themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.errors import at_user_line
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


def _fresh(inputs: Any, create_graph: bool, name: str) -> tuple[Tensor, ...]:
    """Inputs to differentiate with respect to: views of the user's that have a history if a graph is wanted."""
    own = []
    for place, each in enumerate(_tuple(inputs)):
        if not isinstance(each, Tensor):
            raise _not_a_tensor("inputs", name, each, place if isinstance(inputs, (tuple, list)) else None)
        own.append(each.view_as(each) if create_graph and current_edge(each) is not None else each.detach().requires_grad_())
    return tuple(own)


def _not_a_tensor(what: str, name: str, value: Any, place: int | None) -> TypeError:
    """The error for what is no tensor among inputs or outputs."""
    which = f"given {what}" if place is None else f"value at index {place}"
    return TypeError(f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the {which} has type {type(value)}.")


def _run(func: Callable[..., Any], inputs: tuple[Tensor, ...], name: str) -> tuple[Any, tuple[Tensor, ...]]:
    out = func(*inputs)
    outs = _tuple(out)
    for place, each in enumerate(outs):
        if not isinstance(each, Tensor):
            what = "outputs of the user-provided function"
            raise _not_a_tensor(what, name, each, place if isinstance(out, (tuple, list)) else None)
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
    return value if create_graph else value.detach()


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
            entry = f"Entry {place} in " if len(outs) > 1 else ""
            raise RuntimeError(f"{entry}v has invalid size: should be {out.shape} but got {each.shape}.")
    return vs


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """The outputs of `func`, and the product of the vector `v` with its Jacobian.

    Example:
        >>> import functrans.torch as torch
        >>> torch.autograd.functional.vjp(lambda x: x ** 2, torch.tensor([1.0, 2.0]), torch.ones(2))
        (tensor([1., 4.]), tensor([2., 4.]))
    """
    with enable_grad():
        own = _fresh(inputs, create_graph, "vjp")
        out, outs = _run(func, own, "vjp")
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
        own = _fresh(inputs, create_graph, "jvp")
        vs = _cotangents(v, own)
        out, outs = _run(func, own, "jvp")
        probes = tuple(made(np.zeros_like(each._array)).requires_grad_() for each in outs)
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
    _check_strategy(strategy, strict, vectorize, create_graph)
    with enable_grad():
        own = _fresh(inputs, create_graph, "jacobian")
        out, outs = _run(func, own, "jacobian")
        tables = _rows_at_once if vectorize else _rows
        blocks = []
        for each in outs:
            shapes = [(*each._array.shape, *x._array.shape) for x in own]
            block = [table.reshape(shape) for table, shape in zip(tables(each, own, create_graph, strict), shapes)]
            blocks.append(_like_input(inputs, [_result(table, create_graph) for table in block]))
    return _like_input(out, blocks)


def _check_strategy(strategy: str, strict: bool, vectorize: bool, create_graph: bool) -> None:
    """Raise where torch does; forward mode gives the same numbers, which here come from reverse mode."""
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(  # torch's class
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has more outputs than inputs, '
            f'"forward-mode" tends to be more performant. Otherwise, prefer to use "reverse-mode".{at_user_line()}'
        )
    if strategy == "forward-mode" and create_graph:
        raise NotImplementedError(
            "torch.autograd.functional.jacobian: `create_graph=True` and `strategy=\"forward-mode\"` are not supported together (yet). Please "
            f"either set `create_graph=False` or `strategy=\"reverse-mode\"`.{at_user_line()}"
        )
    if strategy == "forward-mode" and not vectorize:
        raise NotImplementedError(
            f"Computing Jacobian using forward-AD or forward-over-reverse Hessian is only implemented for `vectorize=True`.{at_user_line()}"
        )
    if strict and vectorize:
        raise RuntimeError(
            "torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported together. Please either set "
            f"`strict=False` or `vectorize=False`.{at_user_line()}"
        )


def _rows(out: Tensor, own: Any, create_graph: bool, strict: bool) -> list[Tensor]:
    """For each input the gradients of all elements of `out`, by one pass each."""
    rows: list[list[Tensor]] = []
    for unit in np.eye(out._array.size, dtype=out._array.dtype):
        rows.append(_gradients((out,), own, (made(unit.reshape(out._array.shape)),), create_graph, strict))
    empty = [made(np.zeros((0, *x._array.shape), x._array.dtype)) for x in own]
    return [stack([row[number] for row in rows]) if rows else empty[number] for number in range(len(own))]


def _rows_at_once(out: Tensor, own: Any, create_graph: bool, strict: bool) -> list[Tensor]:
    """The same by one batched pass."""
    size = out._array.size
    units = np.eye(size, dtype=out._array.dtype).reshape(size, *out._array.shape)
    found: Any = [None] * len(own)
    if current_edge(out) is not None:
        found = engine.grad(
            out, own, made(units), create_graph=create_graph, retain_graph=True, allow_unused=True, is_grads_batched=True
        )
    return [made(np.zeros((size, *x._array.shape), x._array.dtype)) if ct is None else ct for x, ct in zip(own, found)]


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
        outs = _run(func, own, "hessian")[1]
        _check_scalar(outs)
        return _like_input(inputs, _gradients(outs, own, _cotangents(None, outs), True, strict))

    _check_strategy(outer_jacobian_strategy, strict, vectorize, create_graph)
    return jacobian(gradient, inputs, create_graph, vectorize=vectorize)


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
        own = _fresh(inputs, create_graph, "vhp")
        out, outs = _run(func, own, "vhp")
        _check_scalar(outs)
        gradients = _gradients(outs, own, _cotangents(None, outs), True, strict)
        found = _gradients(gradients, own, _cotangents(v, own), create_graph, strict)
    return _result(out, create_graph), _like_input(inputs, [_result(each, create_graph) for each in found])


def hvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """The output of `func`, and the product of its Hessian, which is symmetric, with `v`; see `vhp`."""
    return vhp(func, inputs, v, create_graph, strict)
