"""What optimisers have in common: groups of parameters, state, and saving of both.

A subclass says in `update` what a step does to one parameter: from its array, its gradient's and its state, the new array.
"""

from __future__ import annotations

import copy
import functools
import warnings
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.errors import at_user_line, user_origin
from functrans.torch.autograd.handles import RemovableHandle
from functrans.torch.autograd.modes import enable_grad
from functrans.torch.dtypes import default
from functrans.torch.nn.parameter import adopted, typename
from functrans.torch.storage.writes import put
from functrans.torch.tensor import Tensor, made, memory

__all__ = ["Optimizer"]


def with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that calls the optimiser's hooks, and notes that there was one."""

    @functools.wraps(step)
    def hooked(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if self._stepping:  # a step that calls its superclass's
            return step(self, *args, **kwargs)
        self._stepping = self._stepped = True
        # As torch has it, the arguments that hooks see begin with the optimiser.
        args = (self, *args)
        try:
            for hook in list(self._pre_hooks.values()):
                changed = hook(self, args, kwargs)
                if changed is not None:
                    if not isinstance(changed, tuple) or len(changed) != 2:
                        raise RuntimeError(f"{step} must return None or a tuple of (new_args, new_kwargs), but got {changed}.{at_user_line()}")
                    args, kwargs = changed
            result = step(*args, **kwargs)
            for hook in list(self._post_hooks.values()):
                hook(self, args, kwargs)
        finally:
            self._stepping = False
        return result

    return hooked


class Optimizer:
    """Parameters in groups, each with its own options.

    Args:
        params: parameters, pairs of names and parameters, or dicts that have them under ``"params"`` beside options.
        defaults: options where a group has none of its own.

    Raises:
        TypeError: `params` is a tensor, or has something else than tensors in it.
        ValueError: there are no parameters, one is not a leaf, or is in two groups.

    Example:
        >>> import functrans.torch as torch
        >>> class Signs(torch.optim.Optimizer):
        ...     def __init__(self, params, lr):
        ...         super().__init__(params, {"lr": lr})
        ...     @torch.no_grad()
        ...     def step(self):
        ...         for group in self.param_groups:
        ...             for parameter in group["params"]:
        ...                 parameter.sub_(group["lr"] * parameter.grad.sign())
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> (x * x).backward()
        >>> Signs([x], lr=0.25).step()
        >>> x
        tensor(0.7500, requires_grad=True)
    """

    # Whether a step changes elements each on its own, so that a complex parameter is one of twice as many real elements.
    elementwise = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "step" in cls.__dict__:
            cls.step = with_hooks(cls.__dict__["step"])  # type: ignore[method-assign]  # the user's, with hooks

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if defaults.get("differentiable"):
            raise NotImplementedError(
                f"{type(self).__name__}: differentiable=True is not supported"
                f"\n  Remedy: write the step as a function of parameters and gradients, with torch.func.functional_call.{at_user_line()}"
            )
        if defaults.get("fused") and defaults.get("foreach"):
            raise RuntimeError(f"`fused` and `foreach` cannot be `True` together.{at_user_line()}")
        if isinstance(params, Tensor):
            raise TypeError(f"params argument given to the optimizer should be an iterable of Tensors or dicts, but got {typename(params)}")
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._without_hooks()
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def _without_hooks(self) -> None:
        self._stepping = self._stepped = False
        self._pre_hooks: dict[int, Any] = {}
        self._post_hooks: dict[int, Any] = {}
        self._save_pre_hooks: dict[int, Any] = {}
        self._save_post_hooks: dict[int, Any] = {}
        self._load_pre_hooks: dict[int, Any] = {}
        self._load_post_hooks: dict[int, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._without_hooks()
        self.__dict__.update(state)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own.

        Raises:
            TypeError: it is no dict, or something in it is no tensor.
            ValueError: a parameter is not a leaf or in a group already, or only some have names.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = param_group
        own = group["params"]
        if isinstance(own, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets will change "
                "between runs. Please use a list instead."
            )
        own = [own] if isinstance(own, Tensor) else list(own)
        names = [each[0] for each in own if isinstance(each, tuple)]
        own = [each[1] if isinstance(each, tuple) else each for each in own]
        if names:
            if len(names) != len(own):
                raise ValueError("all optimizer params should be with/without names. Some param names are missing")
            group["param_names"] = names
        for value in own:
            if not isinstance(value, Tensor):
                raise TypeError("optimizer can only optimize Tensors, but one of the params is " + typename(value))
            if not value.is_leaf and not value.retains_grad:
                raise ValueError("can't optimize a non-leaf Tensor")
        group["params"] = own
        for name, value in self.defaults.items():
            if value is REQUIRED and name not in group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            group.setdefault(name, value)
        if len(set(own)) < len(own):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error", UserWarning, stacklevel=3
            )
        if any(("param_names" in group) != ("param_names" in each) for each in self.param_groups):
            kind = "with names" if "param_names" in group else "without names"
            raise ValueError(f"all optimizer param groups should be with/without names. cannot add param group {kind} to the optimizer")
        known = {value for each in self.param_groups for value in each["params"]}
        if not known.isdisjoint(own):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with 0."""
        for group in self.param_groups:
            for parameter in group["params"]:
                clear_grad(parameter, set_to_none)

    @with_hooks
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change all parameters that have gradients.

        Args:
            closure: computes the loss and its gradients anew; what it returns is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        origin = user_origin()
        with np.errstate(all="ignore"):  # a loss that diverges is no business of NumPy's warnings
            for group in self.param_groups:
                if group.get("capturable"):
                    raise AssertionError(
                        f"If capturable=True, params and state_steps must be on supported devices: there are none.{at_user_line()}"
                    )
                for parameter in group["params"]:
                    if parameter._grad is not None:
                        self._one(parameter, group, origin)
        return loss

    def _one(self, parameter: Tensor, group: dict[str, Any], origin: Any) -> None:
        grad = parameter._grad._array  # type: ignore[union-attr]  # `step` has asked
        grad = -grad if group.get("maximize") else grad
        value, state = memory(parameter), self.state[parameter]
        of = self._of_parts if value.dtype.kind == "c" else self.update
        put(parameter, of(value, grad, state, group), origin)

    def _of_parts(self, value: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        """A step of real and imaginary parts; arrays of the state are complex outside of it."""
        if not self.elementwise:
            raise NotImplementedError(
                f"{type(self).__name__}: complex parameters are not supported\n  Remedy: use torch.optim.Adam, or real parameters.{at_user_line()}"
            )
        kind, parts = value.dtype, value.real.dtype

        def split(array: Any) -> Any:
            return np.ascontiguousarray(array).reshape(-1).view(parts)

        own = {name: made(split(each._array)) if _is_complex(each) else each for name, each in state.items()}
        result = self.update(split(value), split(np.asarray(grad, kind)), own, group)
        for name, each in own.items():
            whole = isinstance(each, Tensor) and each._array.shape == result.shape
            state[name] = made(each._array.view(kind).reshape(value.shape)) if whole else each
        return result.view(kind).reshape(value.shape)

    @abstractmethod
    def update(self, value: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        """A parameter's new value, from the value, the gradient, its state, which is changed, and the options."""

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step; what it returns, if anything, takes the place of both."""
        return RemovableHandle(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return RemovableHandle(self._post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` before `state_dict`."""
        return registered(self._save_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` at the end of `state_dict`; what it returns, if anything, is the state dict."""
        return registered(self._save_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` before loading; what it returns, if anything, is loaded."""
        return registered(self._load_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` after loading."""
        return registered(self._load_post_hooks, hook, prepend)

    def state_dict(self) -> dict[str, Any]:
        """State by the number of its parameter, and the groups, with numbers for parameters."""
        for hook in self._save_pre_hooks.values():
            hook(self)
        numbers: dict[Any, int] = {}
        groups = []
        for group in self.param_groups:
            for parameter in group["params"]:
                numbers.setdefault(parameter, len(numbers))
            groups.append({**{k: v for k, v in group.items() if k != "params"}, "params": [numbers[p] for p in group["params"]]})
        state = {numbers.get(parameter, parameter): state for parameter, state in self.state.items() if state}
        result: dict[str, Any] = {"state": state, "param_groups": groups}
        for hook in self._save_post_hooks.values():
            changed = hook(self, result)
            result = result if changed is None else changed
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state dict, copied, in the dtypes of the parameters; it may be one of PyTorch.

        Raises:
            ValueError: the groups do not match in number or size.
        """
        state_dict = dict(state_dict)
        for hook in self._load_pre_hooks.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        saved = [{name: taken(name, value) for name, value in group.items()} for group in state_dict["param_groups"]]
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(own["params"]) != len(other["params"]) for own, other in zip(self.param_groups, saved)):
            raise ValueError("loaded state dict contains a parameter group that doesn't match the size of optimizer's group")
        parameters: dict[Any, Tensor] = {}
        for own, other in zip(self.param_groups, saved):
            parameters.update(zip(other["params"], own["params"]))
        self.state = defaultdict(dict)
        for number, state in state_dict["state"].items():
            parameter = parameters.get(number)
            self.state[number if parameter is None else parameter] = taken(None, state, parameter)
        names = [{"param_names": own["param_names"]} if "param_names" in own else {} for own in self.param_groups]
        self.param_groups = [{**kept, **other, "params": own["params"]} for kept, own, other in zip(names, self.param_groups, saved)]
        for hook in self._load_post_hooks.values():
            hook(self)

    def __repr__(self) -> str:
        groups = [
            f"\nParameter Group {place}\n" + "".join(f"    {name}: {group[name]}\n" for name in sorted(group) if name != "params")
            for place, group in enumerate(self.param_groups)
        ]
        return f"{type(self).__name__} ({''.join(groups)})"


REQUIRED = object()


def registered(hooks: dict[int, Any], hook: Callable[..., Any], prepend: bool) -> RemovableHandle:
    """A hook entered at the end, or at the beginning."""
    others = dict(hooks)
    handle = RemovableHandle(hooks, hook)
    if prepend:
        for key, value in others.items():
            hooks[key] = hooks.pop(key, value)
    return handle


def clear_grad(parameter: Tensor, set_to_none: bool) -> None:
    """Drop a gradient, or fill it with 0 and let it have no history."""
    grad = parameter._grad
    if grad is None:
        return
    if set_to_none:
        parameter._grad = None
        return
    if not grad.is_leaf:
        grad.detach_()
    grad.requires_grad_(False).zero_()


def taken(name: Any, value: Any, parameter: Tensor | None = None) -> Any:
    """A copy of what a state dict has under a name, in the dtype of a parameter unless it counts steps."""
    value = adopted(value)
    if isinstance(value, Tensor):
        if parameter is None or name == "step" or not parameter.is_floating_point():
            return made(np.array(value._array))
        return made(np.array(value._array, parameter._array.dtype))
    if isinstance(value, dict):
        return {key: taken(key, each, parameter) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(taken(None, each, parameter) for each in value)
    return copy.deepcopy(value)


def _is_complex(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_complex()


def slot(state: dict[str, Any], name: str, value: Any, fill: float = 0.0) -> Any:
    """An array of the state that is like a parameter, made at the first step."""
    held = state.get(name)
    if held is None:
        held = state[name] = made(np.full_like(value, fill))
    return memory(held)


def number(state: dict[str, Any], name: str, start: float) -> Any:
    """A number of the state, in an array without axes, made at the first step."""
    if name not in state:
        state[name] = made(np.array(start, np.float64 if default.numpy == np.float64 else np.float32))
    return memory(state[name])


def counted(state: dict[str, Any]) -> float:
    """The number of the step, from 1."""
    array = number(state, "step", 0.0)
    array += 1
    return float(array)


def check_rate(lr: Any) -> None:
    """Raise unless a learning rate is one."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    if not 0.0 <= float(lr):
        raise ValueError(f"Invalid learning rate: {lr}")


def check_others(**values: float) -> None:
    """Raise if one of several options is negative."""
    for name, value in values.items():
        if not 0.0 <= value:
            raise ValueError(f"Invalid {name} value: {value}")


def check_means(lr: Any, betas: Any, eps: float, **others: float) -> None:
    """The checks of optimisers with running means, whose shares are between 0 and 1, in torch's order."""
    check_rate(lr)
    check_others(epsilon=eps)
    for place, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {place}: {beta}")
    check_others(**others)
