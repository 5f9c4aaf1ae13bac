"""The module: parameters, buffers and parts by name, a forward pass, hooks, and state to save.

Invariant: a name is in at most one of `_parameters`, `_buffers`, `_modules`; what is in none of them is an ordinary attribute.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.autograd.handles import RemovableHandle
from functrans.torch.autograd.modes import no_grad
from functrans.torch.dtypes import Device
from functrans.torch.dtypes import dtype as Dtype
from functrans.torch.nn.modules.hooks import (
    of_all,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    with_backward_hooks,
    with_forward_hooks,
)
from functrans.torch.nn.modules.loading import load, save
from functrans.torch.nn.parameter import Buffer, Parameter, is_lazy, typename
from functrans.torch.nn.unsupported import METHODS, refusal
from functrans.torch.tensor import Tensor, made

__all__ = [
    "Module", "register_module_forward_hook", "register_module_forward_pre_hook", "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
]  # fmt: skip


class Module:
    """A part of a network: subclasses make their parameters and parts in ``__init__`` and compute in ``forward``.

    Example:
        >>> import functrans.torch as torch
        >>> class Scale(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.factor = torch.nn.Parameter(torch.tensor(2.0))
        ...     def forward(self, x):
        ...         return self.factor * x
        >>> model = Scale()
        >>> model(torch.ones(2))
        tensor([2., 2.], grad_fn=<MulBackward0>)
        >>> list(model.state_dict())
        ['factor']
    """

    training: bool
    _version = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        own = self.__dict__
        own["training"] = True
        own["_parameters"], own["_buffers"], own["_modules"] = {}, {}, {}
        own["_non_persistent"] = set()
        own["_pre_hooks"], own["_hooks"], own["_backward_hooks"], own["_backward_pre_hooks"] = {}, {}, {}, {}
        own["_with_kwargs"], own["_always_called"] = set(), set()
        own["_state_dict_pre_hooks"], own["_state_dict_hooks"], own["_load_pre_hooks"], own["_load_post_hooks"] = {}, {}, {}, {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; subclasses define it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function{at_user_line()}')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (self._hooks or self._pre_hooks or self._backward_hooks or self._backward_pre_hooks or of_all.used()):
            return self.forward(*args, **kwargs)
        for key, hook in [*of_all.pre_hooks.items(), *self._pre_hooks.items()]:
            if key in self._with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is not None:
                    args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        if self._backward_hooks or self._backward_pre_hooks or of_all.backward_hooks or of_all.backward_pre_hooks:
            return with_backward_hooks(self, args, kwargs)
        return with_forward_hooks(self, args, kwargs)

    # Attributes.

    def __getattr__(self, name: str) -> Any:
        for kind in ("_parameters", "_buffers", "_modules"):
            held = self.__dict__.get(kind)
            if held is not None and name in held:
                return held[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        parameters = own.get("_parameters")
        if isinstance(value, Parameter):
            if parameters is None:
                raise AttributeError(f"cannot assign parameters before Module.__init__() call{at_user_line()}")
            self._forget(name)
            self.register_parameter(name, value)
        elif parameters is not None and name in parameters:
            if value is not None:
                raise TypeError(f"cannot assign '{typename(value)}' as parameter '{name}' (torch.nn.Parameter or None expected){at_user_line()}")
            parameters[name] = None
        elif isinstance(value, Module):
            if parameters is None:
                raise AttributeError(f"cannot assign module before Module.__init__() call{at_user_line()}")
            self._forget(name)
            own["_modules"][name] = value
        elif parameters is not None and name in own["_modules"]:
            if value is not None:
                raise TypeError(f"cannot assign '{typename(value)}' as child module '{name}' (torch.nn.Module or None expected){at_user_line()}")
            own["_modules"][name] = None
        elif isinstance(value, Buffer) or parameters is not None and name in own["_buffers"]:
            if parameters is None:
                raise AttributeError(f"cannot assign buffer before Module.__init__() call{at_user_line()}")
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(f"cannot assign '{typename(value)}' as buffer '{name}' (torch.Tensor or None expected){at_user_line()}")
            if isinstance(value, Buffer):
                self.register_buffer(name, value, value.persistent)
            else:
                own["_buffers"][name] = value
        else:
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if any(name in self.__dict__.get(kind, ()) for kind in ("_parameters", "_buffers", "_modules")):
            self._forget(name)
        else:
            object.__delattr__(self, name)

    def _forget(self, name: str) -> None:
        """Drop what is called `name`."""
        own = self.__dict__
        own["_non_persistent"].discard(name)
        for kind in (own, own["_parameters"], own["_buffers"], own["_modules"]):
            kind.pop(name, None)

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *self.__dict__, *self._parameters, *self._buffers, *self._modules})

    # Registering.

    def _checked_name(self, kind: str, name: Any, known: Any) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call{at_user_line()}")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in known:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter."""
        self._checked_name("parameter", name, self.__dict__.get("_parameters", ()))
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"cannot assign '{typename(param)}' object to parameter '{name}' (torch.nn.Parameter or None required){at_user_line()}")
        if param is not None and not param.is_leaf:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly. To express "
                f"'{name}' as a function of another Tensor, compute the value in the forward() method.{at_user_line()}"
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but no parameter; `persistent` says whether state dicts have it."""
        self._checked_name("buffer", name, self.__dict__.get("_buffers", ()))
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign '{typename(tensor)}' object to buffer '{name}' (torch Tensor or None required){at_user_line()}")
        self._buffers[name] = tensor
        (self._non_persistent.discard if persistent else self._non_persistent.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a part."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{typename(module)} is not a Module subclass{at_user_line()}")
        self._checked_name("module", name, self.__dict__.get("_modules", ()))
        self._modules[name] = module

    register_module = add_module

    # Hooks.

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False) -> RemovableHandle:
        """Call ``hook(module, args)`` before `forward`; what it returns, if anything, takes the arguments' place."""
        return self._registered(self._pre_hooks, hook, prepend, with_kwargs)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after `forward`, with `always_call` also if it raises; what it returns is the new output."""
        handle = self._registered(self._hooks, hook, prepend, with_kwargs)
        if always_call:
            self._always_called.add(handle.id)
        return handle

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` in backward passes; what it returns takes `grad_input`'s place."""
        return self._registered(self._backward_hooks, hook, prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before the module's backward pass; what it returns takes its place."""
        return self._registered(self._backward_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` at the end of `state_dict`."""
        return RemovableHandle(self._state_dict_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` at the beginning of `state_dict`."""
        return RemovableHandle(self._state_dict_pre_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)`` before loading."""
        return RemovableHandle(self._load_pre_hooks, hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after loading."""
        return RemovableHandle(self._load_post_hooks, hook)

    def _registered(self, hooks: dict[int, Any], hook: Callable[..., Any], prepend: bool, with_kwargs: bool = False) -> RemovableHandle:
        handle = RemovableHandle(hooks, hook)
        if with_kwargs:
            self._with_kwargs.add(handle.id)
        if prepend:
            others = [(key, value) for key, value in hooks.items() if key != handle.id]
            hooks.clear()
            hooks.update([(handle.id, hook), *others])
        return handle

    # What the module consists of.

    def named_modules(self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """The module and all its parts, each once, with their dotted names."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """The module and all its parts."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The immediate parts, with their names."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The immediate parts."""
        return (module for _, module in self.named_children())

    def _named_members(self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, value in getattr(module, kind).items():
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """The parameters, those of parts included, each once, with their dotted names."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, those of parts included."""
        return (value for _, value in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        """The buffers, those of parts included, with their dotted names."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, those of parts included."""
        return (value for _, value in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The part with a dotted name."""
        module = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put another part in the place of the one with a dotted name; with `strict` there must be one."""
        path, _, name = target.rpartition(".")
        if not target:
            raise ValueError("Cannot set the submodule without a target name!")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{type(parent).__name__} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with a dotted name."""
        return self._member(target, "_parameters", "nn.Parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with a dotted name."""
        return self._member(target, "_buffers", "buffer")

    def _member(self, target: str, kind: str, title: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        if name not in getattr(module, kind):
            raise AttributeError(f"`{name}` is not an {title}" if kind == "_parameters" else f"`{name}` is not a {title}")
        return getattr(module, name)

    # Changing all of it.

    def train(self, mode: bool = True) -> Module:
        """Set the module and its parts to training, or evaluation."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Module:
        """Set the module and its parts to evaluation."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Say of all parameters whether they require gradients."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with 0."""
        for parameter in self.parameters():
            if parameter._grad is not None:
                if set_to_none:
                    parameter._grad = None
                else:
                    parameter._grad = parameter._grad.detach().zero_()

    def apply(self, fn: Callable[[Module], None]) -> Module:
        """Call `fn` with every part, then with the module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> Module:
        """Replace what parameters, their gradients and buffers hold by what `fn` makes of it; the objects stay."""
        with no_grad():
            for module in self.modules():
                for parameter in module._parameters.values():
                    if parameter is not None:
                        parameter.data = fn(parameter.data)
                        if parameter._grad is not None:
                            parameter._grad = fn(parameter._grad)
                for name, buffer in module._buffers.items():
                    if is_lazy(buffer):
                        buffer.data = fn(buffer.data)
                    elif buffer is not None:
                        module._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Module:
        """Turn floating parameters and buffers into another dtype; the only device is the CPU."""
        dtype = kwargs.get("dtype")
        device = kwargs.get("device")
        for argument in args:
            if isinstance(argument, Tensor):
                dtype = argument.dtype
            elif isinstance(argument, Dtype):
                dtype = argument
            elif isinstance(argument, (str, Device)):
                device = argument
        if device is not None:
            Device(device)
        if dtype is None:
            return self
        if not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}")
        return self._apply(lambda t: t.to(dtype=dtype) if t.is_floating_point() or t.is_complex() else t)

    def double(self) -> Module:
        """Floating parameters and buffers in float64."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def float(self) -> Module:
        """Floating parameters and buffers in float32."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def half(self) -> Module:
        """Floating parameters and buffers in float16."""
        return self._apply(lambda t: t.half() if t.is_floating_point() else t)

    def type(self, dst_type: Dtype) -> Module:
        """All parameters and buffers in another dtype."""
        return self._apply(lambda t: t.to(dtype=dst_type))

    def to_empty(self, *, device: Any, recurse: bool = True) -> Module:
        """Parameters and buffers with memory of their own, in which there may be any numbers."""
        Device(device)
        return self._apply(lambda t: made(np.empty_like(t._array)))

    def cpu(self) -> Module:
        """Itself."""
        return self

    # State.

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """An ordered dict of parameters and persistent buffers by their dotted names; tensors share memory with the module's.

        Args:
            destination: a dict to add to.
            prefix: goes before names.
            keep_vars: give the parameters themselves, not tensors without a history.
        """
        return save(self, OrderedDict() if destination is None else destination, prefix, keep_vars)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Copy values from a state dict.

        Args:
            state_dict: tensors by dotted names.
            strict: raise if names do not match.
            assign: take the tensors themselves instead of copying from them.

        Returns:
            A named tuple of `missing_keys` and `unexpected_keys`.

        Raises:
            RuntimeError: names, if `strict`, or shapes do not match.
        """
        return load(self, state_dict, strict, assign)

    def _saves_extra_state(self) -> bool:
        return type(self).get_extra_state is not Module.get_extra_state

    def get_extra_state(self) -> Any:
        """What a subclass saves beside tensors."""
        raise RuntimeError("Reached a code path in Module.get_extra_state() that should never be called.")

    def set_extra_state(self, state: Any) -> None:
        """Take up what `get_extra_state` gave."""
        raise RuntimeError("Reached a code path in Module.set_extra_state() that should never be called.")

    # Text.

    def extra_repr(self) -> str:
        """What is printed within the brackets after the class's name."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr().split("\n") if self.extra_repr() else []
        parts = [f"({name}): {indented(repr(module))}" for name, module in self._modules.items()]
        if len(extra) == 1 and not parts:
            return f"{self._get_name()}({extra[0]})"
        lines = extra + parts
        return f"{self._get_name()}(" + ("\n  " + "\n  ".join(lines) + "\n" if lines else "") + ")"


for _name, _other in METHODS.items():
    setattr(Module, _name, refusal(f"torch.nn.Module.{_name}", _other))


def indented(text: str) -> str:
    """Text whose lines after the first are indented."""
    return text.replace("\n", "\n  ")


