"""Modules as functions of their parameters and buffers: what `torch.func` offers for them."""

from __future__ import annotations

from typing import Any

from functrans.errors import at_user_line
from functrans.torch.ops.joining import stack
from functrans.torch.tensor import Tensor

__all__ = ["functional_call", "replace_all_batch_norm_modules_", "stack_module_state"]

# Stands for what a module does not have.
MISSING = object()


def functional_call(
    module: Any, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: Any = None, *, tie_weights: bool = True, strict: bool = False
) -> Any:
    """A call of a module with other parameters and buffers, by name, in place of its own.

    Args:
        module: a module.
        parameter_and_buffer_dicts: a dict from names to tensors, or several; what is not there is the module's own.
        args: the arguments, or the one argument.
        tie_weights: whether a tensor the module has under several names is replaced under all of them.
        strict: whether all names must be given.

    Raises:
        ValueError: a name is in two dicts.
        RuntimeError: names do not match, with `strict`.

    Example:
        >>> import functrans.torch as torch
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> torch.func.functional_call(layer, {"weight": torch.ones(1, 2)}, torch.tensor([2.0, 3.0]))
        tensor([5.])
    """
    given = joined(parameter_and_buffer_dicts)
    if strict:
        check_names(module, given)
    replaced: list[Any] = []
    try:
        for owner, key, value in [place for name, new in given.items() for place in _places(module, name, new, tie_weights, given)]:
            replaced.append((owner, key, owner.get(key, MISSING)))
            owner[key] = value
        args = () if args is None else args if isinstance(args, tuple) else (args,)
        return module(*args, **(kwargs or {}))
    finally:
        for owner, key, value in reversed(replaced):
            if value is MISSING:
                del owner[key]
            else:
                owner[key] = value


def joined(dicts: Any) -> dict[str, Any]:
    """One dict from one or several."""
    if isinstance(dicts, dict):
        return dicts
    if not isinstance(dicts, (tuple, list)):
        raise ValueError(f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(dicts)}{at_user_line()}")
    if not all(isinstance(each, dict) for each in dicts):
        raise ValueError(f"Expected all elements of parameter_and_buffer_dicts to be dictionaries{at_user_line()}")
    names = [name for each in dicts for name in each]
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous{at_user_line()}")
    return {name: value for each in dicts for name, value in each.items()}


def check_names(module: Any, given: dict[str, Any]) -> None:
    """Raise unless the names are those of the module's parameters and buffers."""
    known = dict([*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)])
    missing, unexpected = [[name for name in a if name not in b] for a, b in ((known, given), (given, known))]
    parts = [
        f"{title} key(s): {', '.join(map(repr, names))}." for title, names in (("Unexpected", unexpected), ("Missing", missing)) if names
    ]
    if parts:
        raise RuntimeError(f"Error(s) in reparametrizing for {type(module).__name__}:\n\t" + "\n\t".join(parts) + at_user_line())


def _places(module: Any, name: str, value: Any, tie_weights: bool, given: dict[str, Any]) -> list[Any]:
    """The dicts of the module and its parts, with keys, that hold what is called `name`, with what goes there."""
    *path, key = name.split(".")
    if not isinstance(value, Tensor):
        raise TypeError(f"{value} is not an instance of torch.Tensor{at_user_line()}")
    part = module
    for step in path:
        inner = part._modules.get(step)
        if inner is None:
            raise AttributeError(f"{type(part).__name__} has no attribute `{step}`{at_user_line()}")
        part = inner
    for owner in (part._parameters, part._buffers):
        if key in owner:
            held = owner[key]
            places = [(owner, key, value)]
            if tie_weights and held is not None:
                for prefix, other in module.named_modules():
                    for kind in (other._parameters, other._buffers):
                        for each, tensor in kind.items():
                            if tensor is held and (f"{prefix}.{each}" if prefix else each) not in given:
                                places.append((kind, each, value))
            return places
    return [(part.__dict__, key, value)]  # an attribute while the call runs


def stack_module_state(models: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters, and the buffers, of several modules of one kind, stacked along a new first axis, by name.

    Raises:
        RuntimeError: there are none, or their classes or modes differ.

    Example:
        >>> import functrans.torch as torch
        >>> parameters, buffers = torch.func.stack_module_state([torch.nn.Linear(2, 3) for _ in range(4)])
        >>> parameters["weight"].shape
        torch.Size([4, 3, 2])
    """
    models = list(models)
    if not models:
        raise RuntimeError(f"stack_module_state: Expected at least one model, got 0.{at_user_line()}")
    if any(model.training != models[0].training for model in models):
        raise RuntimeError(f"stack_module_state: Expected all models to have the same training/eval mode.{at_user_line()}")
    if any(type(model) is not type(models[0]) for model in models):
        raise RuntimeError(f"stack_module_state: Expected all models to be of the same class.{at_user_line()}")

    def stacked(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        found = {}
        for name in items[0]:
            parts = [each[name] for each in items]
            flags = {part.requires_grad for part in parts}
            if len(flags) > 1:
                raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad{at_user_line()}")
            found[name] = stack([part.detach() for part in parts]).requires_grad_(flags.pop())
        return found

    return stacked([dict(model.named_parameters()) for model in models]), stacked([dict(model.named_buffers()) for model in models])


def replace_all_batch_norm_modules_(root: Any) -> Any:
    """Let all parts of `root` that normalise over batches do without running statistics; returns it.

    Example:
        >>> import functrans.torch as torch
        >>> torch.func.replace_all_batch_norm_modules_(torch.nn.BatchNorm1d(3)).running_mean is None
        True
    """
    for module in root.modules():
        if hasattr(module, "track_running_stats") and hasattr(module, "running_mean"):
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root
