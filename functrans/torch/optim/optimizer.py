"""What optimisers have in common: groups of parameters, state, and saving of both.

A subclass says in `update` what a step does to one parameter: from its array, its gradient's and its state, the new array.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.errors import at_user_line, user_origin
from functrans.torch.autograd.handles import RemovableHandle
from functrans.torch.autograd.modes import enable_grad
from functrans.torch.nn.parameter import typename
from functrans.torch.storage.writes import put
from functrans.torch.tensor import Tensor, made, memory

__all__ = ["Optimizer"]


class Optimizer:
    """Parameters in groups, each with its own options.

    Args:
        params: parameters, pairs of names and parameters, or dicts that have them under ``"params"`` beside options.
        defaults: options where a group has none of its own.

    Raises:
        TypeError: `params` is a tensor, or has something else than tensors in it.
        ValueError: there are no parameters, one is not a leaf, or is in two groups.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if defaults.get("differentiable"):
            raise NotImplementedError(
                f"{type(self).__name__}: differentiable=True is not supported"
                f"\n  Remedy: write the step as a function of parameters and gradients, with torch.func.functional_call.{at_user_line()}"
            )
        if isinstance(params, Tensor):
            raise TypeError(f"params argument given to the optimizer should be an iterable of Tensors or dicts, but got {typename(params)}")
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._pre_hooks: dict[int, Any] = {}
        self._post_hooks: dict[int, Any] = {}
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = dict(param_group)
        own = group["params"]
        if isinstance(own, set):
            raise TypeError("optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets will change between runs. Please use a list instead.")
        own = [own] if isinstance(own, Tensor) else list(own)
        if own and isinstance(own[0], tuple):
            group["param_names"] = [name for name, _ in own]
            own = [value for _, value in own]
        for value in own:
            if not isinstance(value, Tensor):
                raise TypeError("optimizer can only optimize Tensors, but one of the params is " + typename(value))
            if not value.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        known = {id(value) for each in self.param_groups for value in each["params"]}
        if any(id(value) in known for value in own):
            raise ValueError("some parameters appear in more than one parameter group")
        group["params"] = own
        for name, value in self.defaults.items():
            if value is REQUIRED and name not in group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            group.setdefault(name, value)
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with 0."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter._grad is not None:
                    if set_to_none:
                        parameter._grad = None
                    else:
                        parameter._grad = parameter._grad.detach().zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change all parameters that have gradients.

        Args:
            closure: computes the loss and its gradients anew; what it returns is returned.
        """
        for hook in list(self._pre_hooks.values()):
            hook(self, (closure,) if closure else (), {})
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        origin = user_origin()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter._grad is not None:
                    self._one(parameter, group, origin)
        for hook in list(self._post_hooks.values()):
            hook(self, (closure,) if closure else (), {})
        return loss

    def _one(self, parameter: Tensor, group: dict[str, Any], origin: Any) -> None:
        grad = parameter._grad._array  # type: ignore[union-attr]
        new = self.update(memory(parameter), -grad if group.get("maximize") else grad, self.state[parameter], group)
        put(parameter, new, origin)

    @abstractmethod
    def update(self, value: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        """A parameter's new value, from the value, the gradient, its state, which is changed, and the options."""

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step."""
        return RemovableHandle(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return RemovableHandle(self._post_hooks, hook)

    def state_dict(self) -> dict[str, Any]:
        """State by the number of its parameter, and the groups, with numbers for parameters."""
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for parameter in group["params"]:
                numbers.setdefault(id(parameter), len(numbers))
            groups.append({**{k: v for k, v in group.items() if k != "params"}, "params": [numbers[id(p)] for p in group["params"]]})
        return {"state": {numbers[id(parameter)]: state for parameter, state in self.state.items() if state}, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state dict, copied, in the dtypes of the parameters.

        Raises:
            ValueError: the groups do not match in number or size.
        """
        saved = copy.deepcopy(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(own["params"]) != len(other["params"]) for own, other in zip(self.param_groups, saved)):
            raise ValueError("loaded state dict contains a parameter group that doesn't match the size of optimizer's group")
        parameters = {}
        for own, other in zip(self.param_groups, saved):
            parameters.update(zip(other["params"], own["params"]))
        self.state = defaultdict(dict)
        for number, state in state_dict["state"].items():
            parameter = parameters[number]
            self.state[parameter] = {name: self._taken(name, value, parameter) for name, value in state.items()}
        self.param_groups = [{**other, "params": own["params"]} for own, other in zip(self.param_groups, saved)]

    def _taken(self, name: str, value: Any, parameter: Tensor) -> Any:
        if not isinstance(value, Tensor):
            return copy.deepcopy(value)
        return made(np.array(value._array, value._array.dtype if name == "step" else parameter._array.dtype))

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


REQUIRED = object()


def slot(state: dict[str, Any], name: str, value: Any, fill: float = 0.0) -> Any:
    """An array of the state that is like a parameter, made at the first step."""
    held = state.get(name)
    if held is None:
        held = state[name] = made(np.full_like(value, fill))
    return memory(held)


def counted(state: dict[str, Any]) -> float:
    """The number of the step, from 1."""
    if "step" not in state:
        state["step"] = made(np.array(0.0, np.float32))
    array = memory(state["step"])
    array += 1
    return float(array)


def check_rate(lr: Any) -> None:
    """Raise unless a learning rate is one."""
    if not 0.0 <= lr:
        raise ValueError(f"Invalid learning rate: {lr}")


def check_others(**values: float) -> None:
    """Raise if one of several options is negative."""
    for name, value in values.items():
        if not 0.0 <= value:
            raise ValueError(f"Invalid {name} value: {value}")
