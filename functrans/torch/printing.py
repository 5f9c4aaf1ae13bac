"""How tensors print: ``tensor([1., 2.], grad_fn=<MulBackward0>)``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from functrans.core.tracer import Tracer
from functrans.torch.dtypes import DTYPES, complex_of, default
from functrans.torch.tensor import Tensor, current_edge, install_members

__all__ = ["set_printoptions", "text"]


class Options:
    """How many digits, when to leave out the middle, and how wide lines are."""

    threshold: float

    def __init__(self) -> None:
        self.precision, self.threshold, self.edgeitems, self.linewidth = 4, 1000, 3, 80
        self.scientific: bool | None = None


options = Options()
PROFILES = {"default": (4, 1000, 3, 80), "short": (2, 1000, 2, 80), "full": (4, float("inf"), 3, 80)}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Change how tensors print."""
    if profile is not None:
        options.precision, options.threshold, options.edgeitems, options.linewidth = PROFILES[profile]
    for name, value in {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}.items():
        if value is not None:
            setattr(options, name, value)
    options.scientific = sci_mode


class Numbers:
    """Real numbers of one tensor, printed in one width: that of those that are finite and not 0."""

    def __init__(self, values: Any) -> None:
        self.floating = values.dtype.kind == "f"
        self.whole, self.scientific, self.width = True, False, 1
        if self.floating:
            values = values[np.isfinite(values) & (values != 0)].astype(np.float64)
            if not values.size:
                return
            sizes = np.abs(values)
            least, greatest = sizes.min(), sizes.max()
            self.whole = bool(np.all(values == np.ceil(values)))
            self.scientific = bool(greatest / least > 1000 or greatest > 1e8 or least < 1e-4)
            if options.scientific is not None:
                self.scientific = options.scientific
        self.width = max((len(self.bare(value)) for value in values.reshape(-1).tolist()), default=1)

    def bare(self, value: Any) -> str:
        """A number, without padding."""
        if not self.floating:
            return str(value)
        if self.scientific:
            return f"{value:.{options.precision}e}"
        if self.whole:
            return f"{value:.0f}" + ("." if math.isfinite(value) else "")
        return f"{value:.{options.precision}f}"

    def __call__(self, value: Any) -> str:
        return self.bare(value).rjust(self.width)


class ComplexNumbers:
    """Complex numbers, their parts in one width each."""

    def __init__(self, values: Any) -> None:
        self.real, self.imag = Numbers(values.real), Numbers(values.imag)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, value: Any) -> str:
        imag = self.imag.bare(value.imag)
        sign = "" if imag.startswith("-") else "+"
        return f"{self.real(value.real)}{sign}{imag}j"


def rows(array: Any, summary: bool) -> Any:
    """The items of the first axis, None where the middle is left out."""
    edge = options.edgeitems
    if summary and not edge:
        return [None]
    if summary and len(array) > 2 * edge:
        return [*array[:edge], None, *array[-edge:]]
    return list(array)


def shown(array: Any) -> Any:
    """What is left of an array without its middles, flat."""
    if not array.ndim:
        return array.reshape(1)
    return np.concatenate([np.zeros(0, array.dtype), *(shown(np.asarray(row)) for row in rows(array, True) if row is not None)])


def nested(array: Any, indent: int, summary: bool, number: Any) -> str:
    """An array as nested brackets."""
    if array.ndim == 0:
        return number(array.item())
    items = rows(array, summary)
    if array.ndim == 1:
        per_line = max(1, (options.linewidth - indent) // (number.width + 2))
        words = [(" ..." if options.edgeitems else "...") if item is None else number(item.item()) for item in items]
        lines = [words[start : start + per_line] for start in range(0, len(words), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(", ".join(line) for line in lines) + "]"
    parts = ["..." if item is None else nested(item, indent + 1, summary, number) for item in items]
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def suffixes(tensor: Tensor, array: Any) -> list[str]:
    """What follows the numbers: dtype and history."""
    words = []
    usual = array.dtype in (default.numpy, np.int64, np.bool_, complex_of(default.numpy))
    if not array.size:
        if array.ndim != 1:
            words.append(f"size={tuple(array.shape)}")
        usual = array.dtype == default.numpy
    elif not options.edgeitems:
        words.append(f"size={tuple(array.shape)}")
    if not usual:
        words.append(f"dtype={DTYPES[array.dtype]}")
    edge = current_edge(tensor)
    if edge is not None:
        words.append("requires_grad=True" if edge[0].is_leaf else f"grad_fn=<{type(edge[0]).__name__}>")
    if tensor._extras and "tangent" in tensor._extras:
        words.append(f"tangent={text(tensor._extras['tangent'])}")
    return words


def text(tensor: Tensor) -> str:
    """A tensor as torch prints it."""
    array = tensor._array
    if isinstance(array, Tracer):
        return f"tensor({array!r})"
    array = np.asarray(array)
    cls = type(tensor)
    prefix = "tensor(" if cls.__module__.startswith("functrans.") else f"{cls.__name__}("
    summary = array.size > options.threshold
    if not array.size:
        body = "[]"
    else:
        values = shown(array) if summary else array
        number = ComplexNumbers(values) if array.dtype.kind == "c" else Numbers(values)
        body = nested(array, len(prefix), summary, number)
    result = prefix + body
    length = len(result) - result.rfind("\n") + 1
    for word in suffixes(tensor, array):
        if length + len(word) + 2 > options.linewidth:
            result += ",\n" + " " * len(prefix) + word
            length = len(prefix) + len(word)
        else:
            result += ", " + word
            length += len(word) + 2
    return result + ")"


def install_printing() -> None:
    """Let tensors print so."""
    install_members(__repr__=text, __str__=text)


install_printing()
