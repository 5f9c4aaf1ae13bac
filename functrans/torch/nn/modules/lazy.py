"""Layers that learn the size of their input from the first one."""

from __future__ import annotations

from typing import Any

from functrans.errors import at_user_line
from functrans.torch.nn.modules import layers
from functrans.torch.nn.modules.module import Module
from functrans.torch.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from functrans.torch.tensor import Tensor


class LazyModuleMixin(Module):
    """A layer whose first argument is left out; it becomes an ordinary one when it is first called.

    Attributes:
        cls_to_become: the class of the ordinary layer.
        size: the name of the argument that is left out.
        axis: of the input, whose length it is; for layers over several axes that of channels.
    """

    cls_to_become: type
    size: str
    ranks: tuple[int, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if self.size == "num_features":  # these have parameters and statistics by default, as torch has it
            given = dict(zip(("eps", "momentum", "affine", "track_running_stats", "device", "dtype"), args))
            args, kwargs = (), {"affine": True, "track_running_stats": True, **given, **kwargs}
        super().__init__(0, *args, **kwargs)
        self._arguments = args, kwargs
        for name, parameter in self._parameters.items():
            if parameter is not None:
                self._parameters[name] = UninitializedParameter(dtype=parameter.dtype)
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.ndim:
                self._buffers[name] = UninitializedBuffer(dtype=buffer.dtype)

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer has no shape yet."""
        return any(map(is_lazy, [*self._parameters.values(), *self._buffers.values()]))

    def initialize_parameters(self, input: Tensor) -> None:
        """Make the parameters for an input like this one.

        Raises:
            RuntimeError: it has another number of axes than the layer takes.
        """
        if self.ranks and input.ndim not in self.ranks:
            expected = " or ".join(f"{rank}D {kind}" for rank, kind in zip(self.ranks, ("(unbatched)", "(batched)")))
            raise RuntimeError(f"Expected {expected} input to {type(self).__name__}, but got input of size: {list(input.shape)}{at_user_line()}")
        axis = -1 if self.size == "in_features" else -(self.rank + 1) if self.size == "in_channels" else 1 if input.ndim == max(self.ranks) else 0
        args, kwargs = self._arguments
        other = self.cls_to_become(input.shape[axis], *args, **kwargs)
        for own, made in ((self._parameters, other._parameters), (self._buffers, other._buffers)):
            for name, value in own.items():
                if is_lazy(value):
                    kind = value.dtype
                    value.materialize(made[name].shape)
                    value.data = made[name].data.to(kind)
        setattr(self, self.size, input.shape[axis])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.initialize_parameters(args[0])
        del self._arguments
        self.__class__ = self.cls_to_become
        return self(*args, **kwargs)


def lazy(name: str, size: str, ranks: tuple[int, ...] = ()) -> type:
    """The lazy form of a layer."""
    base = getattr(layers, name)
    example = {"num_features": "", "in_features": "3", "in_channels": "3, kernel_size=1"}[size]
    text = f"""`{name}` whose first argument is the input's, found at the first call.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.Lazy{name}({example}).has_uninitialized_params()
        True
    """
    members = {"__doc__": text, "__module__": __name__, "cls_to_become": base, "size": size, "ranks": ranks}
    return type(f"Lazy{name}", (LazyModuleMixin, base), members)


LazyLinear = lazy("Linear", "in_features")
LazyConv1d, LazyConv2d, LazyConv3d = (lazy(f"Conv{n}d", "in_channels", (n + 1, n + 2)) for n in (1, 2, 3))
LazyConvTranspose1d, LazyConvTranspose2d, LazyConvTranspose3d = (lazy(f"ConvTranspose{n}d", "in_channels", (n + 1, n + 2)) for n in (1, 2, 3))
LazyBatchNorm1d, LazyBatchNorm2d, LazyBatchNorm3d = (
    lazy(f"BatchNorm{n}d", "num_features", ranks) for n, ranks in ((1, (3, 2)), (2, (4,)), (3, (5,)))
)
LazyInstanceNorm1d, LazyInstanceNorm2d, LazyInstanceNorm3d = (lazy(f"InstanceNorm{n}d", "num_features", (n + 1, n + 2)) for n in (1, 2, 3))

__all__ = [name for name in globals() if name.startswith("Lazy") and name != "LazyModuleMixin"]  # noqa: PLE0605
