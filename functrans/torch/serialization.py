"""``torch.save`` and ``torch.load`` in the safetensors format: tensors, also in dicts, lists and tuples beside numbers and texts.

The file is a table of names, dtypes, shapes and bytes, so that loading runs no code. https://huggingface.co/docs/safetensors
A dict of tensors by name is the table itself. Of anything else an outline in the file's metadata says, in JSON, how it is put
together: a list is ``["list", items]``, a dict ``["dict", [[key, value], ...]]``, a tensor ``["tensor", its name]``.
"""

from __future__ import annotations

import json
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.dtypes import Device
from functrans.torch.nn.parameter import Parameter
from functrans.torch.tensor import Size, Tensor, made, memory

__all__ = ["load", "save"]

OUTLINE = "functrans.torch"
SEQUENCES: dict[str, Callable[[Any], Any]] = {"list": list, "tuple": tuple, "set": set, "size": Size}
MAPPINGS: dict[str, Callable[[Any], Any]] = {"dict": dict, "ordered": OrderedDict, "counter": lambda pairs: Counter(dict(pairs))}
KINDS: dict[Any, str] = {list: "list", tuple: "tuple", set: "set", Size: "size", dict: "dict", OrderedDict: "ordered", Counter: "counter"}
TENSORS: dict[str, Callable[[Any], Any]] = {
    "tensor": made,
    "differentiated": lambda array: made(array).requires_grad_(),
    "parameter": lambda array: Parameter(made(array)),
    "fixed": lambda array: Parameter(made(array), requires_grad=False),
    "array": np.asarray,
    "number": lambda array: array[()],
}


def library(name: str) -> Any:
    """The safetensors library, which is needed here only."""
    try:
        import safetensors.numpy as found
    except ImportError:
        raise ImportError(f"torch.{name} needs the safetensors library\n  Remedy: pip install 'functrans[torch]'.{at_user_line()}") from None
    return found


class Writer:
    """The arrays of an object by name, and its outline; a tensor that occurs twice is written once."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.names: dict[int, str] = {}

    def outline(self, value: Any, path: str) -> Any:
        """The outline of a value found at `path`."""
        kind = KINDS.get(type(value))
        if value is None or type(value) in (bool, int, float, str):
            return value
        if kind in SEQUENCES:
            return [kind, [self.outline(item, f"{path}.{place}") for place, item in enumerate(value)]]
        if kind in MAPPINGS:
            return [kind, [[self.outline(key, path), self.outline(item, f"{path}.{key}")] for key, item in value.items()]]
        if isinstance(value, Tensor):
            if isinstance(value, Parameter):
                return ["parameter" if value.requires_grad else "fixed", self._name(value, memory(value), path)]
            return ["differentiated" if value.requires_grad else "tensor", self._name(value, memory(value), path)]
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
            return ["array" if isinstance(value, np.ndarray) else "number", self._name(value, value, path)]
        raise NotImplementedError(
            "torch.save writes tensors, NumPy arrays, numbers and texts, and dicts, lists, tuples and sets of these, so that loading runs no "
            f"code; found {type(value).__module__}.{type(value).__qualname__} at {path.lstrip('.') or 'the top'}"
            "\n  Remedy: save model.state_dict(), and optimizer.state_dict(); for other objects use pickle."
            f"{at_user_line()}"
        )

    def _name(self, value: Any, array: Any, path: str) -> str:
        if id(value) not in self.names:
            name = stem = path.lstrip(".") or "value"
            while name in self.arrays:  # keys 1 and "1"
                name = f"{stem}~{len(self.arrays)}"
            self.names[id(value)] = name
            self.arrays[name] = np.array(array, order="C")
        return self.names[id(value)]


class Reader:
    """Objects of outlines, with the arrays of a file."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.arrays = arrays
        self.made: dict[tuple[str, str], Any] = {}

    def value(self, outline: Any) -> Any:
        """What an outline says."""
        if not isinstance(outline, list):
            return outline
        kind, content = outline
        if kind in SEQUENCES:
            return SEQUENCES[kind]([self.value(item) for item in content])
        if kind in MAPPINGS:
            return MAPPINGS[kind]([(self.value(key), self.value(item)) for key, item in content])
        if (kind, content) not in self.made:
            self.made[kind, content] = TENSORS[kind](np.array(self.arrays[content]))
        return self.made[kind, content]


def save(obj: Any, f: Any) -> None:
    """Write tensors, and what they are kept in.

    Args:
        obj: a state dict, or a checkpoint: tensors, NumPy arrays, numbers, texts and None, in dicts, lists, tuples and sets.
            Tensors that share memory are written each for itself, the same tensor twice once.
        f: a path, or a file opened for writing bytes.

    Raises:
        NotImplementedError: there is anything else in it, such as a module.

    Example:
        >>> import io
        >>> import functrans.torch as torch
        >>> file = io.BytesIO()
        >>> torch.save({"epoch": 3, "model": torch.nn.Linear(1, 1).state_dict()}, file)
        >>> _ = file.seek(0)
        >>> torch.load(file)["epoch"]
        3
    """
    found = library("save")
    if isinstance(obj, Mapping) and obj and all(isinstance(k, str) and type(v) is Tensor and not v.requires_grad for k, v in obj.items()):
        data = found.save({name: np.array(memory(tensor), order="C") for name, tensor in obj.items()})
    else:
        writer = Writer()
        outline = json.dumps(writer.outline(obj, ""))
        data = found.save(writer.arrays, metadata={OUTLINE: outline})
    if isinstance(f, (str, os.PathLike)):
        with open(f, "wb") as file:
            file.write(data)
    else:
        f.write(data)


def load(f: Any, map_location: Any = None, *, weights_only: bool = True, mmap: bool | None = None) -> Any:
    """Read what `save` wrote, or the dict of tensors in any file of the safetensors format.

    Args:
        f: a path, or a file opened for reading bytes.
        map_location: only the CPU.

    Raises:
        ValueError: the file is in another format.
    """
    found = library("load")
    if isinstance(map_location, (str, Device)):
        Device(map_location)
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            data = file.read()
    else:
        data = f.read()
    try:
        arrays = found.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        outline = header.get("__metadata__", {}).get(OUTLINE)
        if outline is not None:
            return Reader(arrays).value(json.loads(outline))
    except Exception as error:
        remedy = "write it with torch.save"
        if data[:2] in (b"PK", b"\x80\x02"):
            remedy = "it is PyTorch's own; in PyTorch, write safetensors.torch.save_file(model.state_dict(), path)"
        raise ValueError(f"torch.load: the file is not in the safetensors format: {error}\n  Remedy: {remedy}.{at_user_line()}") from None
    return {name: made(np.array(array)) for name, array in arrays.items()}
