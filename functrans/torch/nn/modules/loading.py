"""State dicts of modules: saving into and loading from them."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

from functrans.errors import at_user_line
from functrans.torch.autograd.modes import no_grad
from functrans.torch.nn.parameter import Parameter, adopted, is_lazy
from functrans.torch.tensor import Tensor

__all__ = ["IncompatibleKeys", "load", "save"]

EXTRA = "_extra_state"


class IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What loading found missing, and what it had no use for."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()


def save(module: Any, destination: Any, prefix: str, keep_vars: bool) -> Any:
    """Add the tensors of a module to a dict, by their dotted names."""
    for hook in module._state_dict_pre_hooks.values():
        hook(module, prefix, keep_vars)
    if not hasattr(destination, "_metadata"):
        if isinstance(destination, OrderedDict):
            destination._metadata = OrderedDict()  # type: ignore[attr-defined]
    metadata = {"version": module._version}
    if hasattr(destination, "_metadata"):
        destination._metadata[prefix[:-1]] = metadata
    own = {**module._parameters, **{name: value for name, value in module._buffers.items() if name not in module._non_persistent}}
    for name, value in own.items():
        if value is not None:
            destination[prefix + name] = value if keep_vars or is_lazy(value) else value.detach()
    if module._saves_extra_state():
        destination[prefix + EXTRA] = module.get_extra_state()
    for name, part in module._modules.items():
        if part is not None:
            part.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
    for hook in module._state_dict_hooks.values():
        hook(module, destination, prefix, metadata)
    return destination


def load(module: Any, state_dict: Any, strict: bool, assign: bool) -> IncompatibleKeys:
    """Copy what a dict has of a module's tensors into them."""
    if not hasattr(state_dict, "items"):
        raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.{at_user_line()}")
    state_dict = dict(state_dict)
    missing: list[str] = []
    unexpected: list[str] = []
    errors: list[str] = []
    known: set[str] = set()
    with no_grad():
        for path, part in module.named_modules(remove_duplicate=False):
            prefix = f"{path}." if path else ""
            for hook in part._load_pre_hooks.values():
                hook(part, state_dict, prefix, {}, strict, missing, unexpected, errors)
            load_own(part, state_dict, prefix, assign, known, missing, errors)
    unexpected += [key for key in state_dict if key not in known]
    result = IncompatibleKeys(missing, unexpected)
    for part in module.modules():
        for hook in part._load_post_hooks.values():
            hook(part, result)
    if strict:
        for keys, title in ((unexpected, "Unexpected"), (missing, "Missing")):
            if keys:
                errors.insert(0, f"{title} key(s) in state_dict: {', '.join(f'{key!r}'.replace(chr(39), chr(34)) for key in keys)}. ")
    if errors:
        raise RuntimeError(f"Error(s) in loading state_dict for {type(module).__name__}:\n\t" + "\n\t".join(errors))
    return result


def load_own(module: Any, state_dict: Any, prefix: str, assign: bool, known: set[str], missing: list[str], errors: list[str]) -> None:
    """Load what a module has itself, without its parts."""
    own = {**module._parameters, **{name: value for name, value in module._buffers.items() if name not in module._non_persistent}}
    for name, target in own.items():
        if target is None:
            continue
        key = prefix + name
        known.add(key)
        if key not in state_dict:
            missing.append(key)
            continue
        value = adopted(state_dict[key])
        if is_lazy(target):
            if is_lazy(value):
                continue
            target.materialize(value.shape)
        if not isinstance(value, Tensor):
            errors.append(
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from checkpoint but received {type(value)}'
            )
        elif value.shape != target.shape:
            errors.append(
                f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, the shape in current model is {target.shape}."
            )
        elif assign:
            if isinstance(target, Parameter) and not isinstance(value, Parameter):
                value = Parameter(value, requires_grad=target.requires_grad)
            (module._parameters if name in module._parameters else module._buffers)[name] = value
        else:
            target.copy_(value)
    if module._saves_extra_state():
        key = prefix + EXTRA
        known.add(key)
        if key in state_dict:
            module.set_extra_state(state_dict[key])
        else:
            missing.append(key)
