"""``torch.func``: the transforms of functrans, of functions of tensors.

A function that is transformed sees tensors that hold tracers. Tensors that require a gradient, arguments and those the
function closes over, are tracers of a `GraphTrace` meanwhile, so that results have a history as those of other operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from functrans import tree
from functrans.core.tracer import operand
from functrans.core.types import type_of
from functrans.errors import at_user_line
from functrans.torch.autograd.modes import state
from functrans.torch.autograd.trace import Transform
from functrans.torch.autograd.unsupported import FUNC, refusals
from functrans.torch.mapping import is_tensor, vmap, written_since
from functrans.torch.stateless import functional_call, replace_all_batch_norm_modules_, stack_module_state
from functrans.torch.tensor import Tensor, made
from functrans.transforms import derived, forward, linear, reverse

__all__ = [
    "functional_call", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize",
    "replace_all_batch_norm_modules_", "stack_module_state", "vjp", "vmap",
]  # fmt: skip


def wrapped(value: Any, wrap: Callable[[Any], Tensor] = made) -> Any:
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


def plain_tensors(value: Any) -> Any:
    """Containers of tensors with parameters as plain tensors, so that all derivatives have one structure."""
    return tree_map(lambda leaf: leaf.view_as(leaf) if isinstance(leaf, Tensor) and type(leaf) is not Tensor else leaf, value)


def tree_map(function: Callable[..., Any], value: Any) -> Any:
    """`function` of the leaves of containers, of which tensors are some."""
    leaves, structure = tree.flatten(value, is_tensor)
    return tree.unflatten(structure, map(function, leaves))


class Differentiated:
    """A function as the transforms of functrans get it: of the arguments to differentiate with respect to alone.

    Calls return ``(results, (aux, written))``, arrays; `written` is what arguments hold that were written into, by place.

    Attributes:
        chosen: the arguments to differentiate with respect to.
    """

    def __init__(self, name: str, func: Callable[..., Any], argnums: Any, args: Sequence[Any], kwargs: dict[str, Any], has_aux: bool) -> None:
        self.name, self.func, self.args, self.kwargs, self.has_aux = name, func, args, kwargs, has_aux
        self.single = not isinstance(argnums, (tuple, list))
        numbers = (argnums,) if self.single else tuple(argnums)
        for number in numbers:
            if not -len(args) <= number < len(args):
                raise RuntimeError(f"Got argnum={number}, but only {len(args)} positional inputs{at_user_line()}")
        self.places = [number % len(args) for number in numbers]
        if not numbers:
            raise RuntimeError(f"argnums must be non-empty, got argnums={argnums}{at_user_line()}")
        if len(set(self.places)) < len(self.places):
            raise RuntimeError(f"argnums elements must be unique, got {argnums}{at_user_line()}")
        self.chosen = tuple(plain_tensors(args[place]) for place in self.places)
        for leaf in tree.flatten(self.chosen, is_tensor)[0]:
            if isinstance(leaf, Tensor) and leaf._array.dtype.kind not in "fc":
                raise RuntimeError(f"only Tensors of floating point dtype can require gradients{at_user_line()}")

    def __call__(self, *own: Any) -> Any:
        tensors = tree.flatten(own, is_tensor)[0]
        before = [each._array for each in tensors]
        for each in tensors:
            each._extras = {**(each._extras or {}), "leaf": True}
        args = list(self.args)
        for place, value in zip(self.places, own):
            args[place] = value
        out, aux = self.func(*args, **self.kwargs), None
        if self.has_aux:
            if not (isinstance(out, tuple) and len(out) == 2):
                raise RuntimeError(
                    f"{self.name}(f)(*args): output of function f should be a tuple: (output, aux) if has_aux is True{at_user_line()}"
                )
            out, aux = out
        if self.name != "grad_and_value":
            self.check_tensors(out)
        return arrays(out), (arrays(aux), written_since(tensors, before))

    def check_tensors(self, out: Any) -> None:
        """Raise unless a result consists of tensors."""
        for leaf in tree.flatten(out, is_tensor)[0]:
            if not isinstance(leaf, Tensor):
                title = "jvp(f, primals, tangents)" if self.name in ("jvp", "jacfwd", "linearize") else "vjp(f, *primals)"
                raise RuntimeError(f"{title}: expected f(*primals) to return only tensors, got unsupported type {type(leaf)}{at_user_line()}")

    def scalar(self, *own: Any) -> Any:
        """A call, of a function whose result has one element."""
        out, rest = self(*own)
        if not hasattr(out, "dtype"):
            raise RuntimeError(f"{self.name}(f)(*args): Expected f(*args) to return a Tensor, got {type(out)}{at_user_line()}")
        if out.ndim:
            raise RuntimeError(
                f"{self.name}(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with {out.ndim} dims. Maybe you wanted to "
                f"use the vjp or jacrev APIs instead?{at_user_line()}"
            )
        return out, rest

    def results_alone(self, *own: Any) -> Any:
        """A call without what goes with the results; arguments must not be written into."""
        out, (aux, written) = self(*own)
        if written:
            raise NotImplementedError(
                f"{self.name}: the function writes into its arguments\n  Remedy: write into a clone() and return it.{at_user_line()}"
            )
        return (out, aux) if self.has_aux else out

    def write(self, written: dict[int, Any]) -> None:
        """Write into the arguments what the function has written into those it got."""
        if written:
            outside = tree.flatten(self.chosen, is_tensor)[0]
            for place, value in written.items():
                outside[place].copy_(value)


def given(step: Transform, result: Any) -> Any:
    """Results, arrays and tensors, as tensors with their history."""
    return wrapped(result, step.trace.give)


def grad_and_value(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The gradient and the value of a function of one result; with `has_aux` ``(gradient, (value, aux))``.

    Example:
        >>> import functrans.torch as torch
        >>> torch.func.grad_and_value(lambda x: (x ** 3).sum())(torch.tensor([1.0, 2.0]))
        (tensor([ 3., 12.]), tensor(9.))
    """
    return lambda *args, **kwargs: _grad_and_value("grad_and_value", func, argnums, has_aux, args, kwargs)


def _grad_and_value(name: str, func: Callable[..., Any], argnums: Any, has_aux: bool, args: Any, kwargs: Any) -> Any:
    function = Differentiated(name, func, argnums, args, kwargs, has_aux)
    with Transform() as step:
        numbers = tuple(range(len(function.chosen)))
        (value, (aux, written)), gradients = reverse.value_and_grad(function.scalar, numbers, has_aux=True)(*function.chosen)
        gradient, value, aux, written = given(step, (gradients[0] if function.single else gradients, value, aux, written))
    function.write(written)
    return gradient, ((value, aux) if has_aux else value)


def grad(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The gradient of a function of one result; with `has_aux` ``(gradient, aux)``.

    Args:
        func: returns a tensor of one element, or ``(tensor, aux)`` with `has_aux`.
        argnums: which arguments to differentiate with respect to; these may be trees of tensors.
        has_aux: whether `func` returns more than is differentiated.

    Raises:
        RuntimeError: the result has axes, or is no tensor, or `argnums` name no argument.

    Example:
        >>> import functrans.torch as torch
        >>> torch.func.grad(lambda x: (x ** 3).sum())(torch.tensor([1.0, 2.0]))
        tensor([ 3., 12.])
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        gradient, value = _grad_and_value("grad_and_value", func, argnums, has_aux, args, kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return call


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of `func`, and a function that maps cotangents of it to those of the arguments.

    Example:
        >>> import functrans.torch as torch
        >>> value, pullback = torch.func.vjp(torch.sin, torch.tensor(0.0))
        >>> pullback(torch.tensor(2.0))
        (tensor(2.),)
    """
    function = Differentiated("vjp", func, tuple(range(len(primals))), primals, {}, has_aux)
    with Transform() as step:
        value, pullback, rest = reverse.vjp(function, *function.chosen, has_aux=True)
        value, (aux, written) = given(step, (value, rest))
    function.write(written)
    outputs, structure = tree.flatten(value, is_tensor)

    def pull(*cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        given_ = cotangents if len(cotangents) != 1 else cotangents[0]
        check_cotangents(given_, outputs, structure)
        with step.again():
            return given(step, pullback(arrays(given_)))

    return (value, pull, aux) if has_aux else (value, pull)


def check_cotangents(cotangents: Any, outputs: Sequence[Tensor], structure: Any) -> None:
    """Raise unless cotangents are like the results."""
    leaves, own = tree.flatten(cotangents, is_tensor)
    if own != structure:
        raise RuntimeError(
            "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function. cotangents: "
            f"{own}, primal output: {structure}{at_user_line()}"
        )
    for place, (leaf, output) in enumerate(zip(leaves, outputs)):
        if leaf._array.shape != output._array.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{place}] has a shape of {leaf.shape} and output[{place}] has a shape of "
                f"{output.shape}.{at_user_line()}"
            )


def check_tangents(primals: Any, tangents: Any, name: str) -> None:
    """Raise unless tangents are like the primals."""
    leaves, structure = tree.flatten(tuple(primals), is_tensor)
    others, own = tree.flatten(tuple(tangents), is_tensor)
    if own != structure:
        raise RuntimeError(
            f"{name}: Expected primals and tangents to have the same python structure. For example, if primals is a tuple of 3 tensors, "
            f"tangents also must be. Got primals with structure {structure} and tangents with structure {own}{at_user_line()}"
        )
    for place, (leaf, other) in enumerate(zip(leaves, others)):
        if leaf._array.shape == other._array.shape:
            continue
        if name == "linearize":
            raise RuntimeError(
                f"tangent:{place} with shape {other.shape} in flattened pytree doesn't match the shape {leaf.shape} of the corresponding "
                f"primal.{at_user_line()}"
            )
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not supported. Tensor is "
            f"of size {list(leaf.shape)} while the given forward gradient is of size {list(other.shape)}.{at_user_line()}"
        )


def jvp(func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """The value of `func` and its derivative along tangents.

    Example:
        >>> import functrans.torch as torch
        >>> torch.func.jvp(torch.sin, (torch.tensor(0.0),), (torch.tensor(1.0),))
        (tensor(0.), tensor(1.))
    """
    for name, value in (("primals", primals), ("tangents", tangents)):
        if not isinstance(value, (tuple, list)):
            raise RuntimeError(
                f"jvp(f, primals, tangents): Expected {name} to be a tuple. E.g. it should be valid to call f(*primals).{at_user_line()}"
            )
    if strict:
        raise NotImplementedError(f"jvp(strict=True) is not supported\n  Remedy: torch.autograd.functional.jvp has it.{at_user_line()}")
    check_tangents(primals, tangents, "jvp(f, primals, tangents)")
    function = Differentiated("jvp", func, tuple(range(len(primals))), primals, {}, has_aux)
    with Transform() as step:
        return given(step, forward.jvp(function.results_alone, function.chosen, plain_tensors(tuple(tangents)), has_aux=has_aux))


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The value of `func`, and its derivative as a function of tangents, which does not compute the value again.

    Example:
        >>> import functrans.torch as torch
        >>> value, push = torch.func.linearize(torch.sin, torch.tensor(0.0))
        >>> push(torch.tensor(2.0))
        tensor(2.)
    """
    function = Differentiated("linearize", func, tuple(range(len(primals))), primals, {}, False)
    with Transform() as step:
        value, pushforward = linear.linearize(function.results_alone, *function.chosen)
        value = given(step, value)

    def push(*tangents: Any) -> Any:
        check_tangents(primals, tangents, "linearize")
        with step.again():
            return given(step, pushforward(*plain_tensors(tangents)))

    return value, push


def _jacobian(name: str, transform: Callable[..., Any], func: Callable[..., Any], argnums: Any, has_aux: bool) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        function = Differentiated(name, func, argnums, args, kwargs, has_aux)
        numbers = 0 if function.single else tuple(range(len(function.chosen)))
        options = {"has_aux": True} if has_aux else {}
        with Transform() as step:
            return given(step, transform(function.results_alone, numbers, **options)(*function.chosen))

    return call


def jacrev(
    func: Callable[..., Any], argnums: Any = 0, *, has_aux: bool = False, chunk_size: int | None = None, _preallocate_and_copy: bool = False
) -> Callable[..., Any]:
    """The Jacobian, by reverse mode; `chunk_size` is how many rows are computed at a time.

    Example:
        >>> import functrans.torch as torch
        >>> torch.func.jacrev(lambda x: x ** 2)(torch.tensor([1.0, 2.0]))
        tensor([[2., 0.],
                [0., 4.]])
    """
    if chunk_size is None:
        return _jacobian("jacrev", derived.jacrev, func, argnums, has_aux)
    if not chunk_size > 0:
        raise ValueError(f"jacrev: `chunk_size` should be greater than 0.{at_user_line()}")

    def call(*args: Any, **kwargs: Any) -> Any:
        function = Differentiated("jacrev", func, argnums, args, kwargs, has_aux)
        names = [args[place] for place in function.places]

        def of_chosen(*own: Any) -> Any:
            full = list(args)
            for place, value in zip(function.places, own):
                full[place] = value
            return func(*full, **kwargs)

        value, pull, *aux = vjp(of_chosen, *names, has_aux=has_aux)
        leaves, structure = tree.flatten(value, is_tensor)
        units = derived.basis([type_of(operand(leaf._array)) for leaf in leaves])
        rows = vmap(lambda *cts: pull(tree.unflatten(structure, cts)), chunk_size=chunk_size)(*map(made, units))
        start, blocks = 0, []
        for leaf in leaves:
            part = tree_map(lambda row, s=start, x=leaf: row[s : s + x.numel()].reshape((*x.shape, *row.shape[1:])), rows)
            blocks.append(part[0] if function.single else part)
            start += leaf.numel()
        result = tree.unflatten(structure, blocks)
        return (result, aux[0]) if has_aux else result

    return call


def jacfwd(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False, *, randomness: str = "error") -> Callable[..., Any]:
    """The Jacobian, by forward mode.

    Example:
        >>> import functrans.torch as torch
        >>> torch.func.jacfwd(lambda x: x ** 2)(torch.tensor([1.0, 2.0]))
        tensor([[2., 0.],
                [0., 4.]])
    """
    if randomness != "error":
        raise NotImplementedError(
            f"jacfwd: randomness={randomness!r} is not supported\n  Remedy: use jacrev, which draws random numbers once.{at_user_line()}"
        )
    return _jacobian("jacfwd", derived.jacfwd, func, argnums, has_aux)


def hessian(func: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """The Hessian: `jacfwd` of `jacrev`.

    Example:
        >>> import functrans.torch as torch
        >>> torch.func.hessian(lambda x: (x ** 3).sum())(torch.tensor([1.0, 2.0]))
        tensor([[ 6.,  0.],
                [ 0., 12.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """`func` itself: transforms take in-place code as it is.

    Example:
        >>> import functrans.torch as torch
        >>> torch.func.functionalize(lambda x: x.clone().add_(1))(torch.zeros(2))
        tensor([1., 1.])
    """
    if remove not in ("mutations", "mutations_and_views"):
        raise RuntimeError(
            f"functionalize(f, remove='mutations'): received invalid argument for remove={remove}. Valid options are:\n"
            f'     remove="mutations": all inplace and out= operators will be removed from the program, and replaced with their out-of-place '
            f'equivalents.\n     remove="mutations_and_views": In addition to the above, all aliasing operators {{view}} will be replaced with '
            f"their non-aliasing counterparts, {{view}}_copy.{at_user_line()}"
        )
    return func


globals().update(refusals("torch.func", FUNC))
