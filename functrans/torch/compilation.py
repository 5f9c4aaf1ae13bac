"""``torch.compile``: functions of tensors and modules in machine code, by `ft.jit`.

A function is staged (`staged.py`) once for each kind of call, and becomes a program. What makes another kind of call: the
structure of the arguments, those that are no tensors, shapes and dtypes, what requires gradients, whether recording is on,
numbers and flags of modules, and numbers, tensors and modules that the function names as globals or closes over.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType, MethodType
from typing import Any

from functrans import tree
from functrans.errors import at_user_line
from functrans.torch.autograd.modes import state
from functrans.torch.mapping import is_tensor
from functrans.torch.nn.modules.module import Module
from functrans.torch.staged import PLAIN, Holders, Variant
from functrans.torch.tensor import Tensor, current_edge
from functrans.transforms.arguments import is_global

__all__ = ["Compiled", "CompiledModule", "compile"]

# Of a function; beyond that the oldest goes. Numbers that change at each call are better passed as tensors.
MOST_KINDS = 64


def tensor_kind(tensor: Tensor) -> Any:
    """What of a tensor makes another kind of call."""
    edge = current_edge(tensor)
    return tensor._array.shape, tensor._array.dtype, None if edge is None else edge[0].is_leaf


def kind_of(value: Any, kept: list[Any] | None) -> Any:
    """What of a value that a function names makes another kind of call; what is known by its identity goes to `kept`."""
    if isinstance(value, PLAIN):
        return type(value), value
    if isinstance(value, Module):
        return tuple(part_kind(part, kept) for part in value.modules())
    if isinstance(value, Tensor):
        if kept is not None:
            kept.append(value)
        return id(value), current_edge(value) is not None
    return None


def part_kind(part: Module, kept: list[Any] | None) -> Any:
    """What of a module, without its parts, makes another kind of call."""
    own = part.__dict__
    tensors = [*own["_parameters"].values(), *own["_buffers"].values()]
    if kept is not None:
        kept.append((part, tensors))
    flags = tuple([value for value in own.values() if isinstance(value, PLAIN)])
    return type(part), flags, tuple([(id(each), each is not None and each._edge is not None) for each in tensors])


def attributes(value: Any) -> Iterator[Any]:
    """What an object that is an argument holds."""
    yield value
    if not isinstance(value, (*PLAIN, Module, Tensor, type, FunctionType)):
        yield from getattr(value, "__dict__", {}).values()


def named_by(function: Any) -> Callable[[], Iterator[Any]]:
    """What gives the values that a function names, or closes over, as they are at the time."""
    bound = [function.__self__] if isinstance(function, MethodType) else []
    function = getattr(function, "__func__", function)
    if not isinstance(function, FunctionType):
        return lambda: iter(bound or [function])
    code, space = function.__code__, function.__globals__
    names = [name for name in code.co_names if name in space]
    cells = function.__closure__ or ()
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]

    def values() -> Iterator[Any]:
        for value in bound:
            yield from attributes(value)
        for name in names:
            yield space.get(name)
        for cell in cells:
            try:
                yield cell.cell_contents
            except ValueError:  # not bound yet
                yield None
        yield from defaults

    return values


class Guard:
    """What a kind of call looked like, to see at once that another one is of the same kind: nothing was replaced."""

    def __init__(self, values: Sequence[Any], holders: Holders, variant: Variant) -> None:
        self.values, self.variant = values, variant
        self.entries = [
            (space, name, value)
            for space in holders.spaces
            for name, value in space.items()
            if isinstance(value, (*PLAIN, Tensor, Module))
        ]
        self.sizes = [(space, len(space)) for space in holders.spaces]

    def holds(self, values: Sequence[Any]) -> bool:
        """Whether a call that names `values` is of this kind."""
        if len(values) != len(self.values):
            return False
        for value, old in zip(values, self.values):
            if value is not old:
                return False
        try:
            for space, name, value in self.entries:
                if space[name] is not value:
                    return False
        except KeyError:
            return False
        for space, size in self.sizes:
            if len(space) != size:
                return False
        return self.variant.fits()


class Staging:
    """A function and its programs, one for each kind of call."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.named = named_by(function)
        self.owner = [function.__self__] if isinstance(function, MethodType) else []
        self.variants: dict[Any, Variant] = {}
        self.guards: dict[Any, Guard] = {}
        self.lock = threading.RLock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.transform is not None:
            return self.function(*args, **kwargs)  # a part of what is transformed or compiled
        quick = None
        if not kwargs and all([type(value) is Tensor for value in args]):  # found without a look at their structure
            quick = tuple(map(tensor_kind, args)), state.grad
            guard = self.guards.get(quick)
            if guard is not None and guard.holds([*self.named()]):
                return guard.variant(list(args))
        leaves, structure = tree.flatten((args, kwargs), is_leaf=is_tensor)
        tensors = [leaf for leaf in leaves if is_tensor(leaf)]
        static = tuple([None if is_tensor(leaf) else (type(leaf), leaf) for leaf in leaves])
        others = [leaf for leaf in leaves if not isinstance(leaf, (*PLAIN, Tensor))]
        values = [*self.named(), *(value for leaf in others for value in attributes(leaf))]
        seen = structure, static, tuple([tensor_kind(tensor) for tensor in tensors]), state.grad
        try:
            guard = None if quick is not None else self.guards.get(seen)
        except TypeError:
            raise TypeError(
                f"torch.compile: arguments must be tensors, numbers or hashable, got {[type(leaf).__name__ for leaf in others]}"
                f"\n  Remedy: pass arrays as tensors, torch.from_numpy(array).{at_user_line()}"
            ) from None
        if guard is not None and guard.holds(values):
            return guard.variant(tensors)
        key = seen, tuple([kind_of(value, None) for value in values])
        with self.lock:
            variant = self.variants.get(key)
            holders = Holders([*(value for value in values if isinstance(value, Module)), *self.owner, *others])
            if variant is None or not variant.fits():
                kept: list[Any] = []
                for value in values:
                    kind_of(value, kept)
                variant = self.variants[key] = Variant(self.function, structure, static, tensors, holders, kept)
                if len(self.variants) > MOST_KINDS:
                    del self.variants[next(iter(self.variants))]
            if len(self.guards) > MOST_KINDS:
                self.guards.clear()
            self.guards[seen if quick is None else quick] = Guard(values, holders, variant)
            return variant(tensors)


class Compiled:
    """A function of tensors that runs in machine code; attributes are the original's."""

    def __init__(self, function: Callable[..., Any]) -> None:
        own: dict[str, Any] = {name: getattr(function, name) for name in functools.WRAPPER_ASSIGNMENTS if hasattr(function, name)}
        self.__dict__.update(own, __wrapped__=function, _staging=Staging(function))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._staging(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["__wrapped__"], name)

    def __reduce__(self) -> Any:
        return self.__qualname__ if is_global(self) else (Compiled, (self.__wrapped__,))


class CompiledModule(Module):
    """A module that runs in machine code; the module itself is its part ``_orig_mod``, and attributes are that one's."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        self._modules["_orig_mod"] = module
        self.__dict__["training"] = module.training
        self.__dict__["_staging"] = Staging(module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes."""
        return self.__dict__["_staging"](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        module = self.__dict__["_modules"]["_orig_mod"]
        return module if name == "_orig_mod" else getattr(module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "training":
            self.__dict__["training"] = value
        setattr(self._orig_mod, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._orig_mod, name)

    def __reduce__(self) -> Any:
        return CompiledModule, (self._orig_mod,)


MODES = ("default", "lite", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")
EAGER = ("eager", "aot_eager")


def compile(
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: Any = "inductor",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """A function of tensors, or a module, compiled to machine code; also a decorator, of functions and methods.

    Args:
        model: the function or module; it is staged at the first call of each kind.
        fullgraph: taken for True: what cannot be compiled as a whole raises.
        dynamic: ignored: there is one program for each shape.
        backend: ``"inductor"`` stands for the compiler of functrans; ``"eager"`` and ``"aot_eager"`` do not compile.
        mode: one of torch's; they are all one.
        options: must be empty.
        disable: whether to return `model` as it is.

    Raises:
        ConcretizationError: the function branches on values.
        NotImplementedError: it writes a value that requires a gradient into a tensor made outside.
        RuntimeError: `mode` or `backend` is unknown.

    Example:
        >>> import functrans.torch as torch
        >>> f = torch.compile(lambda x: (x.sin() * x).sum())
        >>> x = torch.ones(2, requires_grad=True)
        >>> f(x).backward()
        >>> x.grad
        tensor([1.3818, 1.3818])
    """
    if mode is not None and options is not None:
        raise RuntimeError(f"Either mode or options can be specified, but both can't be specified at the same time.{at_user_line()}")
    if mode is not None and mode not in MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(MODES)}{at_user_line()}")
    if options:
        raise NotImplementedError(f"torch.compile(options=...) is not supported: they are those of another compiler\n  Remedy: leave it out.{at_user_line()}")
    if callable(backend):
        raise NotImplementedError(
            f"torch.compile(backend=...) takes no functions\n  Remedy: see programs with ft.make_program, or ft.jit(f).lower(...).{at_user_line()}"
        )
    if backend != "inductor" and backend not in EAGER:
        raise RuntimeError(f"Invalid backend: {backend!r}, use 'inductor', 'eager' or 'aot_eager'.{at_user_line()}")
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, disable=disable
        )
    if disable or backend in EAGER:
        return model
    return CompiledModule(model) if isinstance(model, Module) else Compiled(model)
