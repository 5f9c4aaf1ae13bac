"""Memory formats and layouts as objects. Tensors are strided, and of no format but that of their strides."""

from __future__ import annotations

from typing import Any

from functrans.errors import at_user_line

__all__ = ["FORMATS", "LAYOUTS", "checked_format", "layout", "memory_format"]


class Named:
    """An object that is there once, under its name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> Any:
        return (FORMATS | LAYOUTS).__getitem__, (self.name,)


class memory_format(Named):
    """An order of elements in memory, as ``torch.contiguous_format``."""

    __slots__ = ()


class layout(Named):
    """How elements are kept, as ``torch.strided``, which all tensors are."""

    __slots__ = ()


FORMATS: dict[str, Named] = {name: memory_format(name) for name in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")}
LAYOUTS: dict[str, Named] = {name: layout(name) for name in ("strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "jagged")}


def checked_format(of: Any, name: str) -> None:
    """Raise unless a memory format asked for is one that tensors have.

    Raises:
        TypeError: it is no memory format.
        NotImplementedError: it is a channels-last format.
    """
    if of is None or of is FORMATS["contiguous_format"] or of is FORMATS["preserve_format"]:
        return
    if not isinstance(of, memory_format):
        raise TypeError(f"{name}(): argument 'memory_format' must be torch.memory_format, not {type(of).__name__}{at_user_line()}")
    raise NotImplementedError(
        f"{name}: memory_format={of} is not supported\n  Remedy: use torch.contiguous_format, or permute the axes.{at_user_line()}"
    )


def checked_layout(of: Any, name: str) -> None:
    """Raise unless a layout asked for is strided.

    Raises:
        TypeError: it is no layout.
        NotImplementedError: it is a sparse or nested one.
    """
    if of is None or of is LAYOUTS["strided"]:
        return
    if not isinstance(of, layout):
        raise TypeError(f"{name}(): argument 'layout' must be torch.layout, not {type(of).__name__}{at_user_line()}")
    raise NotImplementedError(f"{name}: layout={of} is not supported\n  Remedy: use torch.strided.{at_user_line()}")
