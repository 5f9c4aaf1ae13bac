"""What it costs to compute an equation once more, for the partitioner.

The unit is a sixteenth of a byte that is kept from the forward to the backward pass, which is a byte written, read and
taken up meanwhile. Per byte an operation reads or gives, a cheap one in a fused loop costs an eighth of that, a
transcendental function three quarters; what calls a library or runs a program costs more than keeping its result
unless memory is scarce. The figures are rough on purpose: what matters is which of two is dearer.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from functrans.core.primitive import Composite, Contraction, Elementwise, Indexing, Primitive, Reduction, Structural
from functrans.core.program import Equation, Program
from functrans.ops import arithmetic, indexing, structure
from functrans.ops.recomputation import checkpoint_name
from functrans.transforms.custom import gradient_stop

__all__ = ["UNIT", "is_view", "recomputation_cost"]

UNIT = 16  # the cost of keeping a byte
CHEAP, COPY, DIVIDE, TRANSCENDENTAL, LIBRARY = 2, 8, 4, 12, 64 * UNIT

# Views, names, and what is repeated without being read anew.
FREE: frozenset[Primitive] = frozenset({
    structure.copy, structure.reshape, structure.transpose, structure.broadcast_to, structure.flip, structure.real,
    structure.imag, structure.diagonal, structure.windows, checkpoint_name, gradient_stop,
})  # fmt: skip

ARITHMETIC: dict[Primitive, int] = {
    **dict.fromkeys((
        arithmetic.add, arithmetic.subtract, arithmetic.multiply, arithmetic.masked_multiply, arithmetic.negative,
        arithmetic.positive, arithmetic.absolute, arithmetic.fabs, arithmetic.sign, arithmetic.square, arithmetic.copysign,
        arithmetic.maximum, arithmetic.minimum, arithmetic.fmax, arithmetic.fmin, arithmetic.where, arithmetic.signbit,
        arithmetic.floor, arithmetic.ceil, arithmetic.trunc, arithmetic.rint, arithmetic.heaviside, arithmetic.integer_power,
        arithmetic.isfinite, arithmetic.isinf, arithmetic.isnan, arithmetic.equal, arithmetic.not_equal, arithmetic.less,
        arithmetic.less_equal, arithmetic.greater, arithmetic.greater_equal, arithmetic.logical_and, arithmetic.logical_or,
        arithmetic.logical_xor, arithmetic.logical_not, arithmetic.bitwise_and, arithmetic.bitwise_or,
        arithmetic.bitwise_xor, arithmetic.invert, arithmetic.left_shift, arithmetic.right_shift, arithmetic.deg2rad,
        arithmetic.rad2deg,
    ), CHEAP),
    **dict.fromkeys((arithmetic.divide, arithmetic.reciprocal, arithmetic.sqrt), DIVIDE),
}  # fmt: skip


def is_view(equation: Equation) -> bool:
    """Whether the result lies in the memory of the first operand, or has none."""
    return equation.primitive in FREE or equation.primitive is indexing.getitem and len(equation.inputs) == 1


def recomputation_cost(equation: Equation) -> int:
    """What computing the equation once more costs; 0 if nothing."""
    return 0 if is_view(equation) else COSTS.get(type(equation.primitive), library)(equation)


def read(equation: Equation) -> int:
    """The bytes of the operands."""
    return sum(atom.array_type.nbytes for atom in equation.inputs)


def given(equation: Equation) -> int:
    """The bytes of the results."""
    return sum(variable.array_type.nbytes for variable in equation.outputs)


def elementwise(equation: Equation) -> int:
    """By the function; for any dtype as for float64, since a comparison of floats gives bools."""
    return ARITHMETIC.get(equation.primitive, TRANSCENDENTAL) * 8 * math.prod(equation.outputs[0].array_type.shape)


def structural(equation: Equation) -> int:
    """A copy."""
    return COPY * given(equation)


def contraction(equation: Equation) -> int:
    """By the products, and never less than a few results."""
    x, y = (atom.array_type.shape for atom in equation.inputs)
    letters, _ = equation.params["subscripts"].split("->")
    sizes = dict(zip(letters.replace(",", ""), (*x, *y)))
    return 4 * UNIT * given(equation) + UNIT * math.prod(sizes.values())


def library(equation: Equation) -> int:
    """A call that reads and gives, and what programs among the parameters cost as often as they run at least."""
    rounds = equation.params.get("length")
    inner = sum(program_cost(value) for value in equation.params.values() if isinstance(value, Program))
    return LIBRARY * (read(equation) + given(equation)) + inner * (rounds if isinstance(rounds, int) else 1)


def program_cost(program: Program) -> int:
    """The cost of all equations."""
    return sum(map(recomputation_cost, program.equations))


COSTS: dict[type, Callable[[Equation], int]] = {
    Elementwise: elementwise,
    Structural: structural,
    Reduction: lambda equation: CHEAP * read(equation),
    Contraction: contraction,
    Indexing: lambda equation: 2 * COPY * given(equation),
    Composite: library,
}
