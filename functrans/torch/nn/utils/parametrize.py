"""``torch.nn.utils.parametrize``: parameters that are computed from others whenever they are asked for.

The class of a parametrised module is a subclass made for it, in which the parameter's name is a property; what it is
computed from lies under ``module.parametrizations``, as ``original``, or ``original0``, ``original1`` and so on.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from functrans.errors import at_user_line
from functrans.torch.autograd.modes import no_grad
from functrans.torch.nn.modules.containers import ModuleDict, ModuleList
from functrans.torch.nn.modules.module import Module
from functrans.torch.nn.parameter import Parameter
from functrans.torch.tensor import Tensor

__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations",
    "transfer_parametrizations_and_params", "type_before_parametrizations",
]  # fmt: skip

# Values held while in `cached`, by module and name; None outside of it.
_held: list[dict[tuple[int, str], Any]] = []


@contextmanager
def cached() -> Iterator[None]:
    """Within it each parametrised tensor is computed once.

    Example:
        >>> import functrans.torch as torch
        >>> layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 2))
        >>> with torch.nn.utils.parametrize.cached():
        ...     layer.weight is layer.weight
        True
    """
    outer = bool(_held)
    if not outer:
        _held.append({})
    try:
        yield
    finally:
        if not outer:
            _held.clear()


def _kept(original: Tensor, value: Tensor) -> None:
    """Make a tensor hold another one's memory; it stays the same tensor."""
    with no_grad():
        original.data = value.detach().clone()


class ParametrizationList(ModuleList):
    """The parametrisations of a tensor, one applied to what the one before gives, and the tensors the first is applied to.

    Args:
        modules: the parametrisations.
        original: the tensor, of which the first ones' `right_inverse` makes what is stored.
        unsafe: whether dtype and shape may change.

    Raises:
        ValueError: something else than tensors is given, or dtype or shape change.
    """

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        new: Any = original  # what is stored
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    try:
                        new = module.right_inverse(new)
                    except NotImplementedError:
                        pass
        if not isinstance(new, Tensor) and not isinstance(new, Sequence):
            raise ValueError(f"'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got {type(new).__name__}{at_user_line()}")
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if isinstance(new, Tensor) else len(new)
        dtype, shape = original.dtype, original.shape
        if isinstance(new, Tensor):
            if new.dtype is not dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {dtype}\nright_inverse(original).dtype: {new.dtype}{at_user_line()}"
                )
            if new is not original:
                _kept(original, new)
            _enter(self, "original", original)
        else:
            for place, each in enumerate(new):
                if not isinstance(each, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                        f"Got element {place} of the sequence with type {type(each).__name__}.{at_user_line()}"
                    )
                if isinstance(original, Parameter):
                    each = Parameter(each.detach().clone(), original.requires_grad)
                _enter(self, f"original{place}", each)
        if not unsafe:
            check_same(self.forward(), dtype, shape)

    def right_inverse(self, value: Tensor) -> None:
        """Store what the parametrisations compute `value` from.

        Raises:
            RuntimeError: one of them has no `right_inverse`.
        """
        with no_grad():
            new: Any = value
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.{at_user_line()}")
                new = module.right_inverse(new)
            if self.is_tensor:
                parts, names = [new], ["original"]
            else:
                parts, names = list(new), [f"original{place}" for place in range(self.ntensors)]
            if len(parts) != len(names):
                raise ValueError(
                    f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. Got a sequence of length "
                    f"{len(parts)}.{at_user_line()}"
                )
            for name, part in zip(names, parts):
                own = getattr(self, name)
                if not isinstance(part, Tensor):
                    raise ValueError(f"`right_inverse` should return a tensor. Got {type(part).__name__}{at_user_line()}")
                if part.dtype is not own.dtype:
                    raise ValueError(
                        f"The tensor returned by `right_inverse` has dtype {part.dtype} while `{name}` has dtype {own.dtype}{at_user_line()}"
                    )
                _kept(own, part)

    def forward(self) -> Any:
        first, *others = list(self)
        x = first(self.original) if self.is_tensor else first(*(getattr(self, f"original{place}") for place in range(self.ntensors)))
        for module in others:
            x = module(x)
        return x


def check_same(value: Any, dtype: Any, shape: Any) -> None:
    """Raise unless a parametrisation gives a tensor of the dtype and shape of the one it stands for."""
    if not isinstance(value, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(value).__name__}.{at_user_line()}")
    for what, own, expected in (("dtype", value.dtype, dtype), ("shape", value.shape, shape)):
        if own != expected:
            raise ValueError(
                f"Registering a parametrization may not change the {what} of the tensor, unless `unsafe` flag is enabled.\n"
                f"unparametrized {what}: {expected}\nparametrized {what}: {own}{at_user_line()}"
            )


def _enter(module: Module, name: str, tensor: Tensor) -> None:
    """Register a parameter as one, another tensor as a buffer."""
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _refuse_pickling(self: Any) -> Any:
    raise RuntimeError(
        f"Serialization of parametrized modules is only supported through state_dict()"
        f"\n  Remedy: save {type(self).__name__}.state_dict() instead of the module.{at_user_line()}"
    )


def _copied(self: Any, memo: dict[int, Any]) -> Any:
    other = memo[id(self)] = self.__class__.__new__(self.__class__)
    other.__dict__ = copy.deepcopy(self.__dict__, memo)
    other.__class__ = _own_class(type_before_parametrizations(self), list(self.parametrizations))
    return other


def _own_class(base: type, names: Sequence[str]) -> type:
    """A class for one module, with properties for its parametrised tensors."""
    members = {"__getstate__": _refuse_pickling, "__deepcopy__": _copied, "__module__": base.__module__}
    return type(f"Parametrized{base.__name__}", (base,), {**members, **{name: _property(name) for name in names}})


def _property(name: str) -> property:
    def get(self: Any) -> Any:
        if not _held:
            return self.parametrizations[name]()
        key = id(self), name
        if key not in _held[0]:
            _held[0][key] = self.parametrizations[name]()
        return _held[0][key]

    def put(self: Any, value: Any) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)


def register_parametrization(module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False) -> Module:
    """Let a parameter or buffer of a module be what another module computes from it.

    Args:
        module: whose tensor it is; it is changed.
        tensor_name: the name of the tensor.
        parametrization: is called with the tensor and gives its new value. A method `right_inverse`, if it has one, makes of
            a value what is stored, a tensor or a sequence of tensors, with which it is then called.
        unsafe: whether dtype and shape may change.

    Returns:
        The module.

    Raises:
        ValueError: there is no such tensor, or its dtype or shape would change.

    Example:
        >>> import functrans.torch as torch
        >>> class Symmetric(torch.nn.Module):
        ...     def forward(self, x):
        ...         return x.triu() + x.triu(1).T
        >>> layer = torch.nn.utils.parametrize.register_parametrization(torch.nn.Linear(3, 3), "weight", Symmetric())
        >>> torch.equal(layer.weight, layer.weight.T)
        True
        >>> list(layer.state_dict())
        ['bias', 'parametrizations.weight.original']
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        own = module.parametrizations[tensor_name]
        if not unsafe:
            value = getattr(module, tensor_name)
            check_same(parametrization(value), value.dtype, value.shape)
        own.append(parametrization)
        own.unsafe |= unsafe
        return module
    if tensor_name not in module._parameters and tensor_name not in module._buffers:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name '{tensor_name}'{at_user_line()}"
        )
    own = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe)
    delattr(module, tensor_name)
    if is_parametrized(module):
        setattr(type(module), tensor_name, _property(tensor_name))
    else:
        module.__class__ = _own_class(type(module), [tensor_name])
        module.parametrizations = ModuleDict()
    module.parametrizations[tensor_name] = own
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a tensor of a module, or any if no name is given, is computed from others.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.utils.parametrize.is_parametrized(torch.nn.Linear(2, 2), "weight")
        False
    """
    own = getattr(module, "parametrizations", None)
    if not isinstance(own, ModuleDict):
        return False
    return len(own) > 0 if tensor_name is None else tensor_name in own


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make a parametrised tensor one of its own again, with the value that was computed, or stored.

    Args:
        module: whose tensor it is; it is changed.
        tensor_name: the name of the tensor.
        leave_parametrized: whether it keeps the value that was computed.

    Returns:
        The module.

    Raises:
        ValueError: the tensor is not parametrised; or the value stored is asked for, and there are several tensors.

    Example:
        >>> import functrans.torch as torch
        >>> layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 2))
        >>> torch.nn.utils.parametrize.remove_parametrizations(layer, "weight")
        Linear(in_features=2, out_features=2, bias=True)
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}{at_user_line()}")
    own = module.parametrizations[tensor_name]
    value = getattr(module, tensor_name)
    if own.is_tensor:
        original = own.original
        if leave_parametrized:
            _kept(original, value)
    elif leave_parametrized:
        original = Parameter(value.detach()) if value.requires_grad else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a sequence of "
            f"tensors.{at_user_line()}"
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _enter(module, tensor_name, original)
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class a module had before its tensors were parametrised."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(from_module: Module, to_module: Module, tensor_name: str | None = None) -> Module:
    """Let tensors of another module be computed by the same parametrisations from the same tensors."""
    if not is_parametrized(from_module):
        return to_module
    for name in list(from_module.parametrizations) if tensor_name is None else [tensor_name]:
        own = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach()))
        for parametrization in own:
            register_parametrization(to_module, name, parametrization)
        for stored in ["original"] if own.is_tensor else [f"original{place}" for place in range(own.ntensors)]:
            setattr(to_module.parametrizations[name], stored, getattr(own, stored))
    return to_module
