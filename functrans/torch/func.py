"""``torch.func``: the transforms of functrans, of functions of tensors.

A function that is transformed sees tensors that hold tracers. Tensors that require a gradient, arguments and those the
function closes over, are tracers of a `GraphTrace` meanwhile, so that results have a history as those of other operations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from functrans.core.trace import current
from functrans.core.tracer import Tracer
from functrans.torch.autograd.modes import state
from functrans.torch.autograd.trace import GraphTrace
from functrans.torch.tensor import Tensor, current_edge, made
from functrans.transforms import batch, derived, forward, reverse

__all__ = [
    "functional_call", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize",
    "stack_module_state", "vjp", "vmap",
]  # fmt: skip


class Transform:
    """What tensors made outside are inside a transform: those with a history are tracers of `trace`."""

    stages = False

    def __init__(self) -> None:
        self.trace = GraphTrace("torch.func", current.get())
        self.previous = state.transform

    def take(self, tensor: Tensor) -> Tensor:
        """A tensor as the transform sees it."""
        if self.previous is not None:
            tensor = self.previous.take(tensor)
        if current_edge(tensor) is None:
            return tensor
        return made(self.trace.take(tensor))

    def is_outside(self, tensor: Tensor) -> bool:
        """Whether writing a tracer into `tensor` would let it escape."""
        return current_edge(tensor) is not None and not isinstance(tensor._array, Tracer)

    def __enter__(self) -> Transform:
        self.trace.alive = True  # a pullback enters again
        self.token = self.trace.begin()
        self.previous = state.transform
        state.transform = self
        state.special += 1
        return self

    def __exit__(self, *error: Any) -> None:
        state.transform = self.previous
        state.special -= 1
        self.trace.end(self.token)

    def give(self, result: Any) -> Any:
        """Results, arrays and tensors, as tensors with their history."""
        return wrapped(result, self.trace.give)


def wrapped(value: Any, wrap: Any = made) -> Any:
    """Arrays in containers as tensors."""
    if isinstance(value, Tensor):
        return wrap(value._array)
    if isinstance(value, (list, tuple)):
        parts = [wrapped(item, wrap) for item in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {key: wrapped(item, wrap) for key, item in value.items()}
    return wrap(value) if hasattr(value, "dtype") and hasattr(value, "shape") else value


def arrays(value: Any) -> Any:
    """Tensors in containers as arrays."""
    if isinstance(value, Tensor):
        return state.transform.take(value)._array if state.transform is not None else value._array
    if isinstance(value, (list, tuple)):
        parts = [arrays(item) for item in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {key: arrays(item) for key, item in value.items()}
    return value


def of_arrays(func: Callable[..., Any]) -> Callable[..., Any]:
    """`func`, giving arrays; transforms make its arguments tensors again themselves."""

    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        return arrays(func(*args, **kwargs))

    return call


def performed(transform: Callable[..., Any], args: Any) -> Any:
    """The result of a transformed function as tensors."""
    with Transform() as step:
        return step.give(transform(*args))


def _bound(func: Callable[..., Any], kwargs: Any) -> Callable[..., Any]:
    return of_arrays(functools.partial(func, **kwargs) if kwargs else func)


def grad(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The gradient of a function of one result.

    Example:
        >>> import functrans.torch as torch
        >>> torch.func.grad(lambda x: (x ** 3).sum())(torch.tensor([1.0, 2.0]))
        tensor([ 3., 12.])
    """
    return lambda *args, **kwargs: performed(reverse.grad(_bound(func, kwargs), argnums, has_aux=has_aux), args)


def grad_and_value(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The gradient and the value of a function of one result."""

    def call(*args: Any, **kwargs: Any) -> Any:
        value, gradient = performed(reverse.value_and_grad(_bound(func, kwargs), argnums, has_aux=has_aux), args)
        return gradient, value

    return call


def jacrev(func: Callable[..., Any], argnums: Any = 0, **options: Any) -> Callable[..., Any]:
    """The Jacobian, by reverse mode."""
    return lambda *args, **kwargs: performed(derived.jacrev(_bound(func, kwargs), argnums), args)


def jacfwd(func: Callable[..., Any], argnums: Any = 0, **options: Any) -> Callable[..., Any]:
    """The Jacobian, by forward mode."""
    return lambda *args, **kwargs: performed(derived.jacfwd(_bound(func, kwargs), argnums), args)


def hessian(func: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """The Hessian of a function of one result."""
    return lambda *args, **kwargs: performed(derived.hessian(_bound(func, kwargs), argnums), args)


def vmap(func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error") -> Callable[..., Any]:
    """`func` of each item along an axis of the arguments.

    Example:
        >>> import functrans.torch as torch
        >>> torch.func.vmap(torch.dot)(torch.ones(3, 2), torch.ones(3, 2))
        tensor([2., 2., 2.])
    """
    axes = tuple(in_dims) if isinstance(in_dims, (list, tuple)) else in_dims
    return lambda *args, **kwargs: performed(batch.vmap(_bound(func, kwargs), axes, out_dims), args)


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of `func`, and a function that maps cotangents of it to those of the arguments.

    Example:
        >>> import functrans.torch as torch
        >>> value, pullback = torch.func.vjp(torch.sin, torch.tensor(0.0))
        >>> pullback(torch.tensor(2.0))
        (tensor(2.),)
    """
    with Transform() as step:
        value, pullback, *aux = reverse.vjp(of_arrays(func), *primals, has_aux=has_aux)
        results = step.give(value), *[step.give(each) for each in aux]

    def pull(cotangent: Any, **options: Any) -> Any:
        with step:  # whose tracers the pullback holds
            return step.give(pullback(arrays(cotangent)))

    return (results[0], pull, *results[1:])


def jvp(func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """The value of `func` and its derivative along tangents.

    Example:
        >>> import functrans.torch as torch
        >>> torch.func.jvp(torch.sin, (torch.tensor(0.0),), (torch.tensor(1.0),))
        (tensor(0.), tensor(1.))
    """
    with Transform() as step:
        return step.give(forward.jvp(of_arrays(func), tuple(primals), tuple(tangents), has_aux=has_aux))


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The value of `func`, and its derivative as a function of tangents."""
    value = func(*primals)
    return value, lambda *tangents: jvp(func, primals, tangents)[1]


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """`func` itself: transforms take in-place code as it is."""
    return func


def functional_call(module: Any, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
    """A call of a module with other parameters and buffers, by name, in place of its own.

    Args:
        module: a module.
        parameter_and_buffer_dicts: a dict from names to tensors, or several; what is not there is the module's own.
        args: the arguments, or the one argument.
    """
    dicts = parameter_and_buffer_dicts if isinstance(parameter_and_buffer_dicts, (tuple, list)) else (parameter_and_buffer_dicts,)
    replaced = []
    try:
        for each in dicts:
            for name, value in each.items():
                owner, key = _place(module, name)
                replaced.append((owner, key, owner[key]))
                owner[key] = value
        args = () if args is None else args if isinstance(args, tuple) else (args,)
        return module(*args, **(kwargs or {}))
    finally:
        for owner, key, value in reversed(replaced):
            owner[key] = value


def _place(module: Any, name: str) -> tuple[dict[str, Any], str]:
    """The dict of a module, or of a part of it, that holds what is called `name`."""
    *path, key = name.split(".")
    for part in path:
        module = module._modules[part]
    for owner in (module._parameters, module._buffers):
        if key in owner:
            return owner, key
    raise KeyError(f"functional_call: the module has no parameter or buffer {name!r}")


def stack_module_state(models: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters, and the buffers, of several modules of one kind, stacked along a new first axis, by name."""
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")

    def stacked(items: list[dict[str, Tensor]], leaf: bool) -> dict[str, Tensor]:
        found = {}
        for name in items[0]:
            value = items[0][name]._stacked([each[name] for each in items]).detach()  # type: ignore[attr-defined]
            found[name] = value.requires_grad_(items[0][name].requires_grad) if leaf else value  # type: ignore[attr-defined]
        return found

    return (
        stacked([dict(model.named_parameters()) for model in models], True),
        stacked([dict(model.named_buffers()) for model in models], False),
    )

