"""`while_loop` and `fori_loop`: loops of a number of steps that values decide.

Invariant: carries keep their structure, shapes and dtypes from step to step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from functrans import tree
from functrans.control import while_loop as primitives
from functrans.control.bodies import staged_body, strong
from functrans.control.carries import checked_carry
from functrans.control.known import known
from functrans.control.scan import run as run_scan
from functrans.control.scan import steps_at_once
from functrans.control.schedules import Checkpoint, checked_checkpoint
from functrans.core.calling import called, function_title
from functrans.core.program import Program
from functrans.core.tracer import operand
from functrans.core.types import describe, dtype_of, result_dtype, shape_of, type_of
from functrans.errors import StructureError, at_user_line
from functrans.numpy.structure import astype

__all__ = ["fori_loop", "while_loop"]

# Steps whose numbers are in memory at a time.
LONGEST = 2**16


def while_loop(
    cond_fun: Callable[[Any], Any],
    body_fun: Callable[[Any], Any],
    init_val: Any,
    *,
    max_steps: int | None = None,
    checkpoint: Checkpoint = None,
) -> Any:
    """The carry after as many steps ``carry = body_fun(carry)`` as ``cond_fun(carry)`` holds before.

    Args:
        cond_fun: of the carry, gives a bool scalar.
        body_fun: of the carry, gives the next one, of the same structure, shapes and dtypes. Values that the functions
            close over are differentiated and batched as the carry is.
        init_val: the first carry, a pytree of arrays; Python numbers become NumPy's.
        max_steps: how many steps there may be.
        checkpoint: what reverse mode keeps, of the carries before each step. By default all, for the time of the way back;
            an int: so many at a time; ``"sqrt"``: about ``sqrt(2 * steps)``; ``"recursive"``: about ``log2(steps)``. The
            others are computed again from those, with the least number of steps there can be.

    Returns:
        The last carry. Under `vmap`, if the condition differs from item to item, each item takes its own steps.

    Raises:
        StructureError: the carry changes its structure or the type of a leaf, or the condition is no bool scalar.
        StepLimitError: there are more than `max_steps` steps.

    Example:
        >>> import numpy as np, functrans as ft
        >>> def square_root(a):
        ...     far = lambda x: np.abs(x * x - a) > 1e-12
        ...     return ft.while_loop(far, lambda x: 0.5 * (x + a / x), a)
        >>> round(float(square_root(4.0)), 9), round(float(ft.grad(square_root)(4.0)), 9)
        (2.0, 0.25)

    Source: the signature is that of ``jax.lax.while_loop``; for reverse mode see Griewank and Walther, Evaluating
    Derivatives (2008), chapter 12.
    """
    checkpoint = checked_checkpoint("while_loop", checkpoint)
    check_max_steps(max_steps)
    leaves, structure = tree.flatten(init_val)
    init = tree.unflatten(structure, [strong(operand(leaf, "while_loop")) for leaf in leaves])
    return run_loop("while_loop", cond_fun, body_fun, init, max_steps, checkpoint)


def run_loop(
    name: str,
    cond_fun: Callable[..., Any],
    body_fun: Callable[..., Any],
    init: Any,
    max_steps: int | None,
    checkpoint: Checkpoint,
) -> Any:
    """The loop, called `name` in messages."""
    leaves, structure = tree.flatten(init)
    types = list(map(type_of, leaves))

    def body(carry: Any) -> Any:
        return checked_carry(name, f"the body {function_title(body_fun)}", called(name, body_fun, [carry]), init, types)

    body.__name__ = function_title(body_fun)
    carry = tree.unflatten(structure, types)
    cond_program, cond_values = staged_body(cond_fun, (carry,), transform=name, hoists=False)
    check_condition(name, cond_fun, cond_program)
    body_program, body_values = staged_body(body, (carry,), transform=name, hoists=False)
    results = primitives.while_loop(
        *cond_values, *body_values, *leaves,
        cond=known(cond_program), body=known(body_program), cond_consts=len(cond_values), body_consts=len(body_values),
        max_steps=max_steps, checkpoint=checkpoint,
    )  # fmt: skip
    return tree.unflatten(structure, results)


def check_max_steps(max_steps: Any) -> None:
    """Raise unless that is a number of steps, or None."""
    if max_steps is not None and (isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 0):
        raise ValueError(
            f"while_loop: max_steps is {max_steps!r}, and must be an int, 0 or more"
            f"\n  Remedy: leave it out to allow any number of steps.{at_user_line()}"
        )


def check_condition(name: str, cond_fun: Callable[..., Any], program: Program) -> None:
    """Raise unless the condition is one truth value."""
    types = [atom.array_type for atom in program.outputs]
    if program.output_structure == tree.LEAF and types[0].shape == () and types[0].dtype.kind == "b":
        return
    found = ", ".join(map(str, types)) or "nothing"
    raise StructureError(
        f"{name}: the condition {function_title(cond_fun)} must give a bool scalar, and gives {found}"
        f"\n  Remedy: compare, x > 0, and take np.any or np.all of arrays.{at_user_line()}"
    )


def fori_loop(
    lower: Any,
    upper: Any,
    body_fun: Callable[[Any, Any], Any],
    init_val: Any,
    *,
    unroll: int | bool | None = None,
    checkpoint: Checkpoint = None,
) -> Any:
    """The carry after the steps ``carry = body_fun(i, carry)`` for `i` from `lower` up to, but not including, `upper`.

    Args:
        lower, upper: integers. If both are Python's, the loop is a `scan`; else, traced or not, a `while_loop` that counts.
        body_fun: ``(i, carry) -> carry``; the carry keeps its structure, shapes and dtypes. `i` is a Python number if the
            bounds are.
        init_val: the first carry, a pytree of arrays; Python numbers become NumPy's.
        unroll: a hint, as for `scan`.
        checkpoint: what reverse mode keeps; as for `scan` between Python's integers, else as for `while_loop`.

    Returns:
        The last carry.

    Raises:
        StructureError: a bound is no integer, or the carry changes its structure or the type of a leaf.
        OverflowError: a bound that is Python's is too large for the dtype of the other one, which it is counted in.

    Example:
        >>> import numpy as np, functrans as ft
        >>> power = lambda x, n: ft.fori_loop(0, n, lambda i, y: x * y, 1.0)
        >>> float(power(3.0, 4)), float(ft.grad(power)(3.0, 4)), float(ft.jit(power)(3.0, 4))
        (81.0, 108.0, 81.0)

    Source: the signature is that of ``jax.lax.fori_loop``.
    """
    checkpoint = checked_checkpoint("fori_loop", checkpoint)
    lower, upper = bound("lower", lower), bound("upper", upper)
    leaves, structure = tree.flatten(init_val)
    init = tree.unflatten(structure, [strong(operand(leaf, "fori_loop")) for leaf in leaves])
    if type(lower) is int and type(upper) is int:
        at_once = steps_at_once(1 if unroll is None else unroll, max(upper - lower, 0), "fori_loop")
        return counted_loop(body_fun, lower, upper, init, at_once, checkpoint)
    if type_of(upper).weak and not type_of(lower).weak:
        upper = fitting("upper", upper, dtype_of(lower))
    elif not type_of(upper).weak:
        lower = fitting("lower", lower, result_dtype(type_of(lower).promoting, dtype_of(upper)))

    def goes_on(state: Any) -> Any:
        return state[0] < upper

    def step(state: Any) -> Any:
        return state[0] + 1, called("fori_loop", body_fun, state)

    step.__name__ = function_title(body_fun)
    return run_loop("fori_loop", goes_on, step, (lower, init), None, checkpoint)[1]


def counted_loop(
    body_fun: Callable[[Any, Any], Any], lower: int, upper: int, init: Any, unroll: int, checkpoint: Checkpoint
) -> Any:
    """The loop between Python's integers: a `scan` over them, in whose body they are Python numbers as well.

    A long one is a loop of loops, so that the integers need no memory to speak of.
    """
    if upper - lower > LONGEST and checkpoint is None:
        blocks, rest = divmod(upper - lower, LONGEST)
        title = function_title(body_fun)

        def inner(first: Any) -> Callable[[Any, Any], Any]:
            return titled(title, lambda i, carry: body_fun(first + i, carry))

        def block(k: Any, carry: Any) -> Any:
            return counted_loop(inner(lower + k * LONGEST), 0, LONGEST, carry, unroll, None)

        init = counted_loop(titled(title, block), 0, blocks, init, 1, None)
        return counted_loop(inner(upper - rest), 0, rest, init, unroll, None)
    leaves, structure = tree.flatten(init)
    types = list(map(type_of, leaves))

    def body(carry: Any, i: Any) -> Any:
        return checked_carry("fori_loop", f"the body {function_title(body_fun)}", called("fori_loop", body_fun, [i, carry]), init, types)

    body.__name__ = function_title(body_fun)
    arguments = tree.unflatten(structure, types), type_of(lower)
    program, values = staged_body(body, arguments, transform="fori_loop", hoists=False)
    if upper <= lower:
        return init
    params: dict[str, Any] = {"length": upper - lower, "reverse": False, "unroll": unroll}
    if checkpoint is not None:
        params["checkpoint"] = checkpoint
    return tree.unflatten(structure, run_scan(program, values, leaves, [np.arange(lower, upper)], params))


def titled(title: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function by the name of another."""
    function.__name__ = title
    return function


def bound(name: str, value: Any) -> Any:
    """A bound of a `fori_loop`, if it is an integer."""
    value = operand(value, "fori_loop")
    if shape_of(value) or dtype_of(value).kind not in "iu":
        raise StructureError(
            f"fori_loop: {name} is {describe(value)}, and must be an integer\n  Remedy: convert it with .astype(int).{at_user_line()}"
        )
    return value


def fitting(name: str, value: Any, dtype: Any) -> Any:
    """A bound in the dtype of the other one; of Python's integers it must hold the value, as everywhere in NumPy."""
    if type(value) is int and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        raise OverflowError(
            f"fori_loop: {name} is {value}, which the other bound's {dtype} cannot hold"
            f"\n  Remedy: convert the other bound with .astype(int).{at_user_line()}"
        )
    return astype(value, dtype)
