"""`linearize`, which stages the tangent computation, and `linear_transpose`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans import tree
from functrans.core.calling import function_title
from functrans.core.matching import leaves_like
from functrans.core.program import Program, Variable, without_dead_code
from functrans.core.staging import StagingTrace, stage
from functrans.core.trace import current
from functrans.core.tracer import operand
from functrans.core.types import ArrayType, type_of
from functrans.errors import DifferentiationError, at_user_line, describe_origin
from functrans.transforms.arguments import wraps
from functrans.transforms.forward import in_dtype, jvp
from functrans.transforms.reverse import vjp
from functrans.transforms.tape import zeros

__all__ = ["linear_transpose", "linearize", "make_program"]


def make_program(function: Callable[..., Any]) -> Callable[..., Program]:
    """A function that stages `function` for its arguments and returns the `Program`.

    Args:
        function: of pytrees of arrays.

    Returns:
        A function of the same arguments (arrays, or `ArrayType` in their place) that returns the program.

    Example:
        >>> import functrans as ft
        >>> print(ft.make_program(ft.grad(lambda x: x * x))(3.0))
        program lambda(a: float64[]*) -> e
          b: float64[]* = multiply(a, a)
          c: float64[] = multiply(float64(1.0), a)
          d: float64[] = multiply(float64(1.0), a)
          e: float64[] = add(c, d)
    """

    @wraps(make_program, function)
    def staged(*args: Any, **keywords: Any) -> Program:
        return stage(function, args, keywords, transform="make_program")

    return staged


def linearize(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The value of `function` and its derivative at a point as a linear function, evaluated once.

    Args:
        function: of positional arguments.
        primals: the point.

    Returns:
        ``(output, tangent_function)``; ``tangent_function(*tangents)`` costs only the linear part.

    Raises:
        StructureError: the tangents do not match the primals.

    Example:
        >>> import numpy as np, functrans as ft
        >>> value, derivative = ft.linearize(np.sin, 0.0)
        >>> float(derivative(2.0)), float(derivative(3.0))
        (2.0, 3.0)
    """
    trace = StagingTrace("linearize", current.get(), is_partial=True)
    leaves, structure = tree.flatten(primals)
    leaves = [operand(leaf) for leaf in leaves]
    types = [type_of(leaf) for leaf in leaves]
    tangents = [trace.argument(ArrayType(type_.shape, type_.dtype)) for type_ in types]
    token = trace.begin()
    try:
        output, tangent = jvp(function, primals, tree.unflatten(structure, tangents))
        tangent_leaves, out_structure = tree.flatten(tangent)
        program = without_dead_code(trace.program(function_title(function), tangents, tangent_leaves))
    finally:
        trace.end(token)

    def tangent_function(*directions: Any) -> Any:
        title, remedy = f"linearize of {function_title(function)}", "pass a tangent for each argument, of its structure and shapes"
        given = leaves_like(title, "the tuple of tangents", directions, "that of the arguments", structure, types, remedy)
        converted = [in_dtype(leaf, type_.dtype) for leaf, type_ in zip(given, types)]
        with np.errstate(all="ignore"):
            return tree.unflatten(out_structure, program.evaluate(converted))

    return output, tangent_function


def linear_transpose(function: Callable[..., Any], *primals: Any) -> Callable[..., Any]:
    """The transpose of a linear function.

    Args:
        function: linear in its positional arguments.
        primals: arrays, or `ArrayType`, for the types of the arguments; their values are not read.

    Returns:
        A function of a cotangent of the output that returns a tuple of cotangents, one per argument.

    Raises:
        DifferentiationError: `function` is not linear.

    Example:
        >>> import numpy as np, functrans as ft
        >>> matrix = np.array([[1.0, 2.0], [3.0, 4.0]])
        >>> ft.linear_transpose(lambda x: matrix @ x, np.zeros(2))(np.array([1.0, 0.0]))[0].tolist()
        [1.0, 2.0]
    """
    types = tree.map(lambda leaf: leaf if isinstance(leaf, ArrayType) else type_of(operand(leaf)), primals)
    out = stage(function, types, transform="linear_transpose")
    ct_types = tree.unflatten(out.output_structure, [atom.array_type for atom in out.outputs])
    program = without_dead_code(
        stage(lambda args, ct: vjp(function, *args)[1](ct), (types, ct_types), transform="linear_transpose")
    )
    count = len(tree.leaves(types))
    check_effects(function, program, program.inputs[:count])
    used = {atom for equation in program.equations for atom in equation.inputs} | set(program.outputs)
    if not used.isdisjoint(program.inputs[:count]):
        raise DifferentiationError(
            f"linear_transpose of {function_title(function)}: the function is not linear in its arguments of type "
            f"{', '.join(map(str, tree.leaves(types)))}\n  Remedy: linearize it first with ft.linearize.{at_user_line()}"
        )
    blanks = [zeros(type_) for type_ in tree.leaves(types)]

    def transposed(cotangent: Any) -> Any:
        title, remedy = f"linear_transpose of {function_title(function)}", "pass a cotangent of the output's structure and shapes"
        outputs = [atom.array_type for atom in out.outputs]
        leaves = leaves_like(title, "the cotangent", cotangent, "the output", out.output_structure, outputs, remedy)
        results = program.evaluate([*blanks, *leaves])
        return tree.unflatten(program.output_structure, results)

    return transposed


def check_effects(function: Callable[..., Any], program: Program, arguments: Sequence[Variable]) -> None:
    """Raise if an operation with an effect needs values of `arguments`, of which a transpose knows the types alone."""
    unknown: set[Any] = set(arguments)
    for equation in program.equations:
        if unknown.isdisjoint(equation.inputs):
            continue
        if equation.has_effect:
            raise DifferentiationError(
                f"linear_transpose of {function_title(function)}: {equation.primitive} needs a value that a transpose does not "
                f"compute\n  made at {describe_origin(equation.origin)}"
                f"\n  Remedy: take it out, or give a function with rules of its own one for this mode (defvjp, defjvp).{at_user_line()}"
            )
        unknown.update(equation.outputs)
