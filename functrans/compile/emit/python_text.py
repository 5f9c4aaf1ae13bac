"""The loop representation as readable Python, which also runs as it is.

A kernel becomes a function of flat NumPy arrays, headed by the equations it computes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.compile.loops import (
    Affine,
    Bind,
    Buffer,
    Combine,
    Compute,
    Constant,
    Index,
    Kernel,
    Load,
    Loop,
    Operand,
    Position,
    Require,
    Scalar,
    Statement,
    Store,
)
from functrans.ops.arithmetic import masked_multiply_evaluate

__all__ = ["body_text", "python_text", "run"]

# Operations that Python writes with a sign; all others are calls of what `namespace` holds.
SIGNS = {
    "add": "{} + {}", "subtract": "{} - {}", "multiply": "{} * {}", "divide": "{} / {}", "negative": "-{}",
    "less": "{} < {}", "less_equal": "{} <= {}", "greater": "{} > {}", "greater_equal": "{} >= {}",
    "equal": "{} == {}", "not_equal": "{} != {}",
}  # fmt: skip


class Names:
    """Stable names: ``x0`` for inputs, ``y0`` for outputs, ``z0`` for its own buffers, ``i``, ``j`` ... for indices, ``v0`` ... for scalars."""

    def __init__(self, kernel: Kernel) -> None:
        self.names: dict[Any, str] = {}
        for letter, buffers in (("x", kernel.inputs), ("y", kernel.outputs), ("z", kernel.own)):
            for number, buffer in enumerate(buffers):
                self.names[buffer] = f"{letter}{number}"
        self.scalars = self.indices = 0

    def define(self, item: Scalar | Index) -> str:
        """A new name."""
        if isinstance(item, Scalar):
            name = f"v{self.scalars}"
            self.scalars += 1
        else:
            name = "ijklmnpqrstuw"[self.indices] if self.indices < 13 else f"i{self.indices}"
            self.indices += 1
        self.names[item] = name
        return name

    def of(self, item: Scalar | Index | Buffer | Constant) -> str:
        """The name, or the number."""
        if isinstance(item, Constant):
            return number_text(item)
        return self.names[item]

    def address(self, offset: Affine) -> str:
        """``64 * i + j + 3``."""
        parts = [self.of(index) if n == 1 else f"{n} * {self.of(index)}" for index, n in offset.terms]
        if offset.constant or not parts:
            parts.append(str(offset.constant))
        return " + ".join(parts).replace("+ -", "- ")


def number_text(constant: Constant) -> str:
    """A number with its dtype where Python's own differs."""
    value = constant.dtype.type(constant.value)
    if constant.dtype in (np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.bool_)) and np.isfinite(value):
        return repr(value.item())
    return f"{constant.dtype.name}({value!s})" if np.isfinite(value) else f"{constant.dtype.name}('{value!s}')"


def python_text(kernel: Kernel) -> str:
    """The text of `kernel`."""
    names = Names(kernel)
    parameters = ", ".join(map(names.of, [*kernel.inputs, *kernel.outputs]))
    lines = [f"# {line}" for line in kernel.header]
    lines.append(f"def {kernel.name}({parameters}):")
    lines += [f"    {names.of(buffer)} = empty({buffer.size}, {buffer.dtype.name})" for buffer in kernel.own]
    body = block(kernel.body, names, "    ")
    return "\n".join([*lines, *(body or ["    pass"])]) + "\n"


def body_text(kernel: Kernel) -> str:
    """The text of `kernel` but for its name and header: what kernels that do the same have in common."""
    buffers = [*kernel.inputs, *kernel.outputs, *kernel.own]
    types = " ".join(f"{buffer.dtype.name}[{buffer.size}]{'*' if buffer.private else ''}" for buffer in buffers)
    return "\n".join([types, *block(kernel.body, Names(kernel), "")])


def block(body: list[Statement], names: Names, indent: str) -> list[str]:
    """The lines of statements."""
    lines: list[str] = []
    for statement in body:
        match statement:
            case Compute(target, operation, operands):
                lines.append(f"{indent}{names.define(target)} = {call_text(target, operation, operands, names)}")
            case Position(target, offset):
                text = names.address(offset)
                lines.append(f"{indent}{names.define(target)} = {text}")
            case Bind(index, value):
                text = names.of(value)
                lines.append(f"{indent}{names.define(index)} = {text}")
            case Require(condition):
                lines.append(f"{indent}require({names.of(condition)})")
            case Load(target, buffer, offset):
                text = f"{names.of(buffer)}[{names.address(offset)}]"
                lines.append(f"{indent}{names.define(target)} = {text}")
            case Store(buffer, offset, value):
                lines.append(f"{indent}{names.of(buffer)}[{names.address(offset)}] = {names.of(value)}")
            case Combine(buffer, offset, operation, value):
                place = f"{names.of(buffer)}[{names.address(offset)}]"
                sign = SIGNS.get(operation, f"{operation}({{}}, {{}})")
                lines.append(f"{indent}{place} = {sign.format(place, names.of(value))}")
            case Loop(index, inner, carried, results):
                for item in carried:
                    text = names.of(item.first)
                    lines.append(f"{indent}{names.define(item.inside)} = {text}")
                rounds = rounds_text(statement, names)
                how = "  # in lanes" if statement.lanes else "  # in order" if statement.ordered else ""
                lines.append(f"{indent}for {names.define(index)} in range({rounds}):{how}")
                lines += block(inner, names, indent + "    ") or [indent + "    pass"]
                following = [(names.of(item.inside), names.of(item.following)) for item in carried]
                if following:
                    left, right = (", ".join(side) for side in zip(*following))
                    lines.append(f"{indent}    {left} = {right}")
                for item, result in zip(carried, results):
                    names.names[result] = names.of(item.inside)
    return lines


def rounds_text(loop: Loop, names: Names) -> str:
    """The rounds of a loop, as `range` takes them."""
    if loop.rounds is None:
        return str(loop.index.extent)
    start, stop = map(names.address, loop.rounds)
    return f"{start}, min({stop}, {loop.index.extent})"


def call_text(target: Scalar, operation: str, operands: tuple[Operand, ...], names: Names) -> str:
    """An operation on named scalars."""
    arguments = list(map(names.of, operands))
    if operation == "convert":
        return f"{target.dtype.name}({arguments[0]})"
    # NumPy's complex scalars are not ordered by signs as its arrays are.
    is_ordered = operation in ("less", "less_equal", "greater", "greater_equal") and operands[0].dtype.kind == "c"
    sign = None if is_ordered else SIGNS.get(operation)
    return sign.format(*arguments) if sign else f"{operation}({', '.join(arguments)})"


def namespace() -> dict[str, Any]:
    """What the text of a kernel calls: NumPy's and SciPy's functions, and dtypes."""
    from scipy import special

    names: dict[str, Any] = {name: getattr(np, name) for name in dir(np) if not name.startswith("_")}
    names["bool"], names["min"] = np.bool_, min
    names["require"] = require
    names["multiply_add"] = lambda x, y, z: x * y + z
    names["left_out"] = lambda x, y: (x - ((x + y) - ((x + y) - x))) + (y - ((x + y) - x))
    names["corrected"] = lambda total, lost: total if np.isnan(lost) else total + lost
    names["masked_multiply"] = masked_multiply_evaluate
    return names | {name: getattr(special, name) for name in ("erf", "erfc", "expit", "log_ndtr", "logit", "ndtr", "xlogy")}


def require(inside: bool) -> None:
    """Raise unless an index is one of its axis."""
    if not inside:
        raise IndexError("an index is out of bounds")


def run(kernel: Kernel, *arrays: np.ndarray[Any, Any]) -> None:
    """Run the text of `kernel` on flat arrays, inputs before outputs."""
    scope = namespace()
    exec(compile(python_text(kernel), f"<{kernel.name}>", "exec"), scope)  # noqa: S102
    with np.errstate(all="ignore"):
        scope[kernel.name](*arrays)
