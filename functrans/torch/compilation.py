"""``torch.compile``: functions of tensors and modules in machine code, by `ft.jit`.

Tensors that the function closes over, a module's parameters among them, are found when it is staged, and are inputs of the
program, so that it follows what becomes of them and sends gradients to them, of any order. What else the function depends
on is looked at when it is staged: the structure of its arguments, those that are no tensors, and ``training`` of modules.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from functrans import tree
from functrans.control.bodies import staged_body
from functrans.core.tracer import Tracer
from functrans.torch.autograd.modes import no_grad, state
from functrans.torch.ops.called import called
from functrans.torch.tensor import Tensor, made, memory
from functrans.transforms.linear import make_program

__all__ = ["Compiled", "compile"]


class Staged:
    """What tensors made outside are while a function is staged: inputs, if they were found before, else noted."""

    stages = True

    def __init__(self, tensors: list[Tensor], tracers: list[Any]) -> None:
        self.found = tensors
        self.inside = {id(tensor): made(tracer) for tensor, tracer in zip(tensors, tracers)}

    def take(self, tensor: Tensor) -> Tensor:
        """A tensor as the program has it."""
        if isinstance(tensor._array, Tracer):
            return tensor
        known = self.inside.get(id(tensor))
        if known is None:
            memory(tensor)
            self.found.append(tensor)
            known = self.inside[id(tensor)] = tensor
        return known

    def is_outside(self, tensor: Tensor) -> bool:
        """Whether `tensor` was used before it is written into, so that it may be anybody's."""
        return id(tensor) in self.inside

    def __enter__(self) -> None:
        self.previous = state.transform
        state.transform = self
        state.special += 1

    def __exit__(self, *error: Any) -> None:
        state.transform = self.previous
        state.special -= 1


def is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


class Compiled:
    """A function of tensors, or a module, that runs in machine code; attributes are the original's."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__dict__["_original"] = function
        self.__dict__["_variants"] = {}
        # Into its own dict, since assignments go to the original.
        own = {name: getattr(function, name) for name in functools.WRAPPER_ASSIGNMENTS if hasattr(function, name)}
        self.__dict__.update(own, __wrapped__=function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.flatten((args, kwargs), is_leaf=is_tensor)
        tensors = [leaf for leaf in leaves if is_tensor(leaf)]
        static = tuple(None if is_tensor(leaf) else (type(leaf), leaf) for leaf in leaves)
        types = tuple((tensor._array.shape, tensor._array.dtype) for tensor in tensors)
        flags = tuple(part.training for part in self._original.modules()) if hasattr(self._original, "modules") else ()
        key = structure, static, types, flags
        variant = self._variants.get(key)
        if variant is None:
            variant = self._variants[key] = Variant(self._original, structure, static, tensors)
        return variant(tensors)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._original, name, value)


class Variant:
    """A function staged for one structure of arguments and one choice of those that are no tensors."""

    def __init__(self, function: Callable[..., Any], structure: Any, static: Any, tensors: list[Tensor]) -> None:
        self.function, self.structure, self.static = function, structure, static
        self.captured: list[Tensor] = []
        self.result: Any = None
        make_program(lambda arrays: self.perform([], self.captured, arrays))([memory(tensor) for tensor in tensors])
        arrays = [memory(tensor) for tensor in tensors]
        own = [memory(tensor) for tensor in self.captured]
        run = lambda captured, arrays: self.perform(captured, list(self.captured), arrays)
        self.program, self.values = staged_body(run, (own, arrays), transform="torch.compile")

    def perform(self, captured: list[Any], tensors: list[Tensor], arrays: list[Any]) -> Any:
        """The arrays of the function's results."""
        remaining = iter(arrays)
        leaves = [made(next(remaining)) if item is None else item[1] for item in self.static]
        args, kwargs = tree.unflatten(self.structure, leaves)
        with Staged(tensors, captured), no_grad():
            out = self.function(*args, **kwargs)
            parts, structure = tree.flatten(out, is_leaf=is_tensor)
            parts = [state.transform.take(part) if is_tensor(part) else part for part in parts]
        self.result = structure, [None if is_tensor(part) else (part,) for part in parts]
        return tuple(part._array for part in parts if is_tensor(part))

    def __call__(self, tensors: list[Tensor]) -> Any:
        outs = iter(called("torch.compile", self.program, [*self.values, *self.captured, *tensors]))
        structure, parts = self.result
        return tree.unflatten(structure, [next(outs) if part is None else part[0] for part in parts])


def compile(model: Any = None, **options: Any) -> Any:
    """A function of tensors, or a module, compiled to machine code; also a decorator.

    Args:
        model: the function or module; it is staged at the first call with arguments of each kind.
        options: of torch's compiler; ignored.

    Raises:
        ConcretizationError: the function branches on values.
        NotImplementedError: it writes into a tensor made outside.

    Example:
        >>> import functrans.torch as torch
        >>> f = torch.compile(lambda x: (x.sin() * x).sum())
        >>> x = torch.ones(2, requires_grad=True)
        >>> f(x).backward()
        >>> x.grad
        tensor([1.3818, 1.3818])
    """
    if model is None:
        return lambda function: compile(function, **options)
    return Compiled(model)
