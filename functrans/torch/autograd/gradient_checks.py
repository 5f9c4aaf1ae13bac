"""`gradcheck` and `gradgradcheck`: derivatives against finite differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.autograd import engine
from functrans.torch.autograd.modes import enable_grad, no_grad
from functrans.torch.tensor import Tensor, current_edge, made, memory

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """A derivative that finite differences do not confirm."""


def _tensors(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _outputs(function: Callable[..., Any], inputs: tuple[Any, ...]) -> list[Tensor]:
    """The floating results."""
    return [out for out in _tensors(function(*inputs)) if isinstance(out, Tensor) and out._array.dtype.kind in "fc"]


def _numerical(function: Callable[..., Any], inputs: tuple[Any, ...], tensor: Tensor, eps: float) -> list[Any]:
    """For each result its derivatives by central differences: ``[elements of tensor, elements of result]``."""
    array = memory(tensor)
    flat = array.reshape(-1) if array.flags.c_contiguous else None
    rows: list[list[Any]] = []
    directions = (eps, eps * 1j) if array.dtype.kind == "c" else (eps,)
    places = list(np.ndindex(array.shape))
    for place in places:
        parts = []
        for step in directions:
            old = array[place].copy() if flat is None else array[place]
            values = []
            for sign in (1, -1):
                array[place] = old + sign * step
                with no_grad():
                    values.append([np.array(out._array, copy=True).reshape(-1) for out in _outputs(function, inputs)])
                array[place] = old
            parts.append([(plus - minus) / (2 * eps) for plus, minus in zip(*values)])
        rows.append([_combined(part) for part in zip(*parts)])
    count = len(rows[0]) if rows else 0
    return [np.stack([row[number] for row in rows]) for number in range(count)]


def _combined(parts: Any) -> Any:
    """The conjugate of the derivative, as backward passes give it, from steps along the real and imaginary axes."""
    return parts[0] if len(parts) == 1 else np.stack(parts)


def _analytical(out: Tensor, tensor: Tensor) -> Any:
    """The derivatives by one backward pass per element of a result."""
    columns = []
    size = out._array.size
    kinds = (1, 1j) if out._array.dtype.kind == "c" else (1,)
    for place in range(size):
        parts = []
        for unit in kinds:
            seed = np.zeros(out._array.shape, out._array.dtype)
            seed.reshape(-1)[place] = unit
            (ct,) = engine.grad(out, tensor, made(seed), retain_graph=True, allow_unused=True)
            parts.append(np.zeros(tensor._array.size, tensor._array.dtype) if ct is None else np.asarray(ct._array).reshape(-1))
        columns.append(parts)
    return columns


def _compare(out: Tensor, tensor: Tensor, numerical: Any, atol: float, rtol: float, place: tuple[int, int]) -> None:
    """Raise unless what both ways give agrees, as real numbers."""
    analytical = _analytical(out, tensor)
    complex_in, complex_out = tensor._array.dtype.kind == "c", out._array.dtype.kind == "c"
    ours = []
    for parts in analytical:
        reals = []
        for ct in parts:
            reals.append(np.stack([ct.real, ct.imag]) if complex_in else ct[None])
        ours.append(np.stack(reals))
    got = np.moveaxis(np.array(ours), 0, -1) if ours else np.zeros((1, 1, tensor._array.size, 0))
    wanted = numerical if complex_in else numerical[:, None]
    wanted = np.stack([wanted.real, wanted.imag]) if complex_out else wanted[None]
    wanted = np.moveaxis(wanted, 2, 1)
    got = got.reshape(wanted.shape)
    if not np.allclose(got, wanted, rtol, atol):
        raise GradcheckError(
            f"Jacobian mismatch for output {place[1]} with respect to input {place[0]},\nnumerical:{made(numerical)!r}\n"
            f"analytical:{made(got.reshape(numerical.shape) if got.size == numerical.size else got)!r}\n"
        )


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether gradients of `func` agree with finite differences, for inputs that require a gradient.

    Args:
        func: of tensors; its floating results are checked.
        inputs: a tensor or a tuple; those to check should be float64.
        eps, atol, rtol: the step of the differences, and the tolerances.
        raise_exception: whether a mismatch raises `GradcheckError`, instead of returning False.
        check_batched_grad: whether gradients for a batch of cotangents are compared with those for each.
        check_forward_ad: whether forward mode is compared as well.
        fast_mode: ignored: all elements are checked.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.randn(3, dtype=torch.double, requires_grad=True)
        >>> torch.autograd.gradcheck(lambda x: x.sin(), (x,))
        True
    """
    if check_batched_forward_grad:
        raise NotImplementedError(
            f"gradcheck(check_batched_forward_grad=True) is not supported\n  Remedy: compare torch.func.vmap of torch.func.jvp with a loop.{at_user_line()}"
        )
    inputs = _tensors(inputs)
    wanted = [(place, x) for place, x in enumerate(inputs) if isinstance(x, Tensor) and current_edge(x) is not None]
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have requires_grad=True."
        )
    for place, x in wanted:
        if x._array.dtype not in (np.float64, np.complex128):
            warnings.warn(
                f"Input #{place} requires gradient and is not a double precision floating point or complex. This check will likely fail if all the inputs are not of double precision floating point or complex. ",
                stacklevel=2,
            )
    try:
        with enable_grad():
            outs = _outputs(func, inputs)
            for place, x in wanted:
                numerical = _numerical(func, inputs, x, eps)
                for number, (out, table) in enumerate(zip(outs, numerical)):
                    if check_backward_ad and current_edge(out) is not None:
                        _compare(out, x, table, atol, rtol, (place, number))
                    elif check_backward_ad and not np.allclose(table, 0, atol=atol):
                        raise GradcheckError("Numerical gradient for function expected to be zero")
                    if check_batched_grad and current_edge(out) is not None:
                        _compare_batched(out, x, place)
                    if check_forward_ad and number == 0:
                        _compare_forward(func, inputs, place, x, numerical, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _compare_batched(out: Tensor, x: Tensor, place: int) -> None:
    """Raise unless a batched pass gives what passes one by one give."""
    units = np.eye(out._array.size, dtype=out._array.dtype).reshape(out._array.size, *out._array.shape)
    (found,) = engine.grad(out, x, made(units), retain_graph=True, allow_unused=True, is_grads_batched=True)
    rows = [engine.grad(out, x, made(unit), retain_graph=True, allow_unused=True)[0] for unit in units]
    if found is not None and not np.allclose(found._array, np.stack([row._array for row in rows if row is not None])):
        raise GradcheckError(f"gradcheck: gradients of a batch differ from those of its elements with respect to input {place}")


FORWARD: list[Callable[..., Any]] = []


def _compare_forward(func: Any, inputs: Any, place: int, x: Tensor, numerical: list[Any], atol: float, rtol: float) -> None:
    """Raise unless forward mode agrees, along every element."""
    for number, index in enumerate(np.ndindex(x._array.shape)):
        tangent = np.zeros(x._array.shape, x._array.dtype)
        tangent[index] = 1
        for table, found in zip(numerical, FORWARD[0](func, inputs, place, made(tangent))):
            row = table[number, 0] if x._array.dtype.kind == "c" else table[number]
            if not np.allclose(np.asarray(found._array).reshape(-1), row, rtol, atol):
                raise GradcheckError(f"Jacobian computed with forward mode mismatch with respect to input {place}")


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Whether gradients of the gradients of `func` agree with finite differences; arguments as of `gradcheck`.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.randn(3, dtype=torch.double, requires_grad=True)
        >>> torch.autograd.gradgradcheck(lambda x: x.sin(), (x,))
        True
    """
    inputs = _tensors(inputs)
    if grad_outputs is None:
        source = np.random.Generator(np.random.PCG64(0))
        seeds = []
        for out in _outputs(func, inputs):
            drawn = np.asarray(source.standard_normal(out._array.shape)).astype(out._array.dtype)
            seed = made(drawn)
            seed.requires_grad = True
            seeds.append(seed)
    else:
        seeds = list(_tensors(grad_outputs))
    count = len(seeds)

    def gradients(*args: Any) -> Any:
        own, cts = args[:-count], args[-count:]
        own = tuple(
            x.detach().requires_grad_() if isinstance(x, Tensor) and w and current_edge(x) is None else x
            for x, w in zip(own, differentiated)
        )
        with enable_grad():
            outs = [out for out in _outputs(func, own)]
            pairs = [(out, ct) for out, ct in zip(outs, cts) if current_edge(out) is not None]
            found = engine.grad(
                [out for out, _ in pairs],
                [x for x, w in zip(own, differentiated) if w],
                [ct for _, ct in pairs],
                create_graph=True,
                allow_unused=True,
            )
        return tuple(ct for ct in found if ct is not None)

    differentiated = [isinstance(x, Tensor) and current_edge(x) is not None for x in inputs]
    return gradcheck(
        gradients,
        (*inputs, *seeds),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        check_batched_grad=check_batched_grad,
        check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev,
    )
