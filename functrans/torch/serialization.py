"""``torch.save`` and ``torch.load`` of state dicts, in the safetensors format.

The file is a table of names, dtypes, shapes and bytes, so that loading runs no code. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.tensor import Tensor, made, memory

__all__ = ["load", "save"]


def library(name: str) -> Any:
    """The safetensors library, which is needed here only."""
    try:
        import safetensors.numpy as found
    except ImportError:
        raise ImportError(f"torch.{name} needs the safetensors library\n  Remedy: pip install 'functrans[torch]'.{at_user_line()}") from None
    return found


def save(obj: Mapping[str, Tensor], f: Any) -> None:
    """Write a dict of tensors.

    Args:
        obj: tensors by name, as `state_dict` gives them.
        f: a path, or a file opened for writing bytes.

    Raises:
        NotImplementedError: it is anything else than a dict of tensors.
    """
    if not isinstance(obj, Mapping) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in obj.items()):
        raise NotImplementedError(
            "torch.save writes dicts of tensors by name, and nothing else, so that loading runs no code"
            f"\n  Remedy: save model.state_dict(); for other objects use pickle.{at_user_line()}"
        )
    data = library("save").save({name: np.array(memory(tensor), order="C") for name, tensor in obj.items()})
    if isinstance(f, (str, os.PathLike)):
        with open(f, "wb") as file:
            file.write(data)
    else:
        f.write(data)


def load(f: Any, map_location: Any = None, *, weights_only: bool = True, mmap: bool | None = None) -> dict[str, Tensor]:
    """Read a dict of tensors that `save` wrote, or any file in the safetensors format.

    Args:
        f: a path, or a file opened for reading bytes.
        map_location: only the CPU.

    Raises:
        ValueError: the file is in another format.
    """
    found = library("load")
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            data = file.read()
    else:
        data = f.read()
    try:
        arrays = found.load(data)
    except Exception as error:
        raise ValueError(f"torch.load: the file is not in the safetensors format: {error}\n  Remedy: write it with torch.save.{at_user_line()}") from None
    return {name: made(np.array(array)) for name, array in arrays.items()}
