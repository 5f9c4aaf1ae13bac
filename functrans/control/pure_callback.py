"""`pure_callback`: calls of Python functions from traced and compiled code.

Invariant: what a call returns has the types that were declared for it. It has a derivative only if one was declared, and
it is never computed again for a backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np

from functrans import tree
from functrans.core.calling import function_title
from functrans.core.primitive import General
from functrans.core.trace import root, running
from functrans.core.tracer import operand
from functrans.core.types import PYTHON_SCALARS, ArrayType, describe, is_differentiable, shape_of, type_of
from functrans.errors import (
    DifferentiationError,
    Origin,
    StructureError,
    UnsupportedError,
    at_user_line,
    describe_origin,
    user_origin,
)
from functrans.transforms.custom import CustomRule

__all__ = ["pure_callback"]

VMAP_METHODS = (None, "sequential", "expand_dims", "broadcast_all")


@dataclass(frozen=True, eq=False)
class Callback:
    """One call of a Python function: the parameter of its primitive.

    Attributes:
        run: the function, of the leaves of its arguments, gives a tree.
        title: its name.
        structure, types: of its result.
        vmap_method: how it takes batches.
        origin: the user's line.
    """

    run: Callable[..., Any]
    title: str
    structure: Any
    types: tuple[ArrayType, ...]
    vmap_method: str | None
    origin: Origin | None

    def __repr__(self) -> str:
        return self.title

    def call(self, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """The leaves of the result for plain operands: arrays of its own, as declared."""
        with running(root()):
            result = self.run(*[np.array(value) if isinstance(value, np.ndarray) else value for value in leaves])
        leaves, structure = tree.flatten(result)
        if structure != self.structure:
            raise StructureError(
                f"pure_callback of {self.title}: the function returned a tree of structure {structure}, and result_types has "
                f"{self.structure}\n  called at {describe_origin(self.origin)}\n  Remedy: make the two alike."
            )
        return tuple(self.checked(place, leaf, type_) for place, (leaf, type_) in enumerate(zip(leaves, self.types)))

    def checked(self, place: int, leaf: Any, type_: ArrayType) -> Any:
        """A leaf of the result as a value of the declared type."""
        kept = np.can_cast(type_of(leaf).dtype, type_.dtype, "same_kind") if type(leaf) in PYTHON_SCALARS else None
        value = np.array(leaf, type_.dtype if kept else None)
        if value.shape != type_.shape or value.dtype != type_.dtype:
            raise StructureError(
                f"pure_callback of {self.title}: the function returned {describe(leaf if kept is not None else value)}"
                f"{self.path(place)} where result_types has {type_}\n  called at {describe_origin(self.origin)}"
                "\n  Remedy: declare the type it returns, or convert what it returns with .astype and .reshape."
            )
        return value if value.ndim else value[()]

    def path(self, place: int) -> str:
        """Where a leaf of the result stands, if there are several."""
        paths = tree.paths(tree.unflatten(self.structure, range(len(self.types))))
        return f" at {paths[place]}" if paths[place] else ""

    def batched(self, size: int, batched: Sequence[bool]) -> Callback:
        """The callback of a batch, of operands that have its axis in front where they are batched."""
        types = tuple(ArrayType((size, *type_.shape), type_.dtype) for type_ in self.types)
        if self.vmap_method == "sequential":

            def run(*leaves: Any) -> Any:
                items = [self.call([leaf[i] if own else leaf for leaf, own in zip(leaves, batched)]) for i in range(size)]
                parts = zip(*items) if items else [()] * len(types)
                return tree.unflatten(
                    self.structure, [np.array(part, t.dtype).reshape(t.shape) for part, t in zip(parts, types)]
                )

            return replace(self, run=run, types=types)
        if self.vmap_method is None:
            raise UnsupportedError(
                f"vmap: pure_callback of {self.title} does not say how the function takes a batch of {size}"
                '\n  Remedy: pass vmap_method="sequential" for a call for each item, or "broadcast_all" or "expand_dims" if the '
                f"function takes arrays with more axes in front.\n  called at {describe_origin(self.origin)}"
            )
        return replace(self, types=types)


def evaluate(*leaves: Any, callback: Callback) -> tuple[Any, ...]:
    """The call itself."""
    return callback.call(leaves)


def no_derivative(callback: Callback) -> NoReturn:
    """Raise since none was declared."""
    raise DifferentiationError(
        f"pure_callback of {callback.title}: the function has no derivative, since it is not traced"
        f"\n  called at {describe_origin(callback.origin)}"
        "\n  Remedy: declare one with derivative=, or with ft.custom_jvp or ft.custom_vjp around it; or pass its arguments through "
        "ft.stop_gradient."
    )


def push(primals: Any, tangents: Any, out: Any, active: int, callback: Callback) -> Any:
    """An error, if a result could have a tangent."""
    return no_derivative(callback) if any(is_differentiable(type_.dtype) for type_ in callback.types) else [None] * len(out)


def pull(ct: Any, operands: Any, out: Any, active: int, callback: Callback) -> Any:
    """An error: cotangents come only to results that could have a tangent."""
    no_derivative(callback)


def batch(operands: Any, batched: Any, size: int, callback: Callback) -> Any:
    """One call for the batch."""
    whole = callback.batched(size, batched)
    if callback.vmap_method == "expand_dims":
        operands = [
            value if own else np.reshape(operand(value), (1, *shape_of(value))) for value, own in zip(operands, batched)
        ]
    elif callback.vmap_method == "broadcast_all":
        operands = [value if own else np.broadcast_to(value, (size, *shape_of(value))) for value, own in zip(operands, batched)]
    return host_call(*operands, callback=whole)


host_call = General(
    "pure_callback",
    evaluate,
    types=lambda *types, callback: callback.types,
    jvp=push,
    pullback=pull,
    batch=batch,
    multiple=True,
    runs_user_code=True,
    repeatable=False,
)


def declared_type(leaf: Any) -> ArrayType:
    """The type a leaf of `result_types` stands for."""
    if type(leaf) in PYTHON_SCALARS:
        return ArrayType((), type_of(leaf).dtype)
    try:
        shape, dtype = tuple(map(int, leaf.shape)), np.dtype(leaf.dtype)
    except (AttributeError, TypeError):
        raise TypeError(
            f"pure_callback: result_types holds {leaf!r}, which has no shape and dtype"
            f"\n  Remedy: write ft.ArrayType((3, 4), float), or give an array of that type.{at_user_line()}"
        ) from None
    return ArrayType(shape, dtype)


def pure_callback(
    callback: Callable[..., Any],
    result_types: Any,
    *args: Any,
    vmap_method: str | None = None,
    derivative: Callable[[tuple[Any, ...], tuple[Any, ...]], Any] | None = None,
    **keywords: Any,
) -> Any:
    """The result of ``callback(*args, **keywords)``, called with NumPy arrays from traced and compiled code as well.

    Args:
        callback: any Python function that gives equal results for equal arguments and has no effects: it is called
            once, several times or, where its result is not needed or its arguments are constants, when a function is
            staged. It gets arrays of its own, and NumPy or Python scalars for what has no axes.
        result_types: a tree like its result of `ArrayType`, or of anything with a shape and a dtype.
        args, keywords: trees of arrays.
        vmap_method: how it takes batches. ``"sequential"``: it is called for each item. ``"expand_dims"``: it is called
            once, with the batch axis in front of each array, of length 1 where that is not batched, and returns results
            with the axis; ``"broadcast_all"``: so too, where the axis has its full length in all. None: `vmap` raises.
        derivative: ``derivative(args, tangents)`` returns the tangent of the result, a tree like it, linear in the
            tangents, by operations that are traced (among them may be other callbacks). Reverse mode transposes it.

    Returns:
        What the function returns: a tree of arrays as `result_types` says.

    Raises:
        StructureError: the function returned another structure, shape or dtype than `result_types`. A Python number is
            converted to the dtype.
        DifferentiationError: a derivative is needed, and none was declared.
        UnsupportedError: `vmap` without a `vmap_method`.

    Example:
        >>> import numpy as np, functrans as ft, scipy.special
        >>> def airy(x):
        ...     slope = lambda x: ft.pure_callback(lambda x: scipy.special.airy(x)[1], x, x)
        ...     rule = lambda args, tangents: slope(args[0]) * tangents[0]
        ...     return ft.pure_callback(lambda x: scipy.special.airy(x)[0], x, x, derivative=rule)
        >>> ft.jit(airy)(np.array([0.0, 1.0])).round(4).tolist()
        [0.355, 0.1353]
        >>> ft.grad(lambda x: np.sum(airy(x)))(np.array([0.0, 1.0])).round(4).tolist()
        [-0.2588, -0.1591]
    """
    title = function_title(callback)
    if vmap_method not in VMAP_METHODS:
        known = ", ".join(map(repr, VMAP_METHODS))
        raise ValueError(
            f"pure_callback of {title}: vmap_method={vmap_method!r}\n  Remedy: use one of {known}.{at_user_line()}"
        )
    result_leaves, result_structure = tree.flatten(result_types)
    types = tuple(map(declared_type, result_leaves))
    origin = user_origin()

    def call(*args: Any, **keywords: Any) -> Any:
        leaves, structure = tree.flatten((args, keywords))

        def run(*leaves: Any) -> Any:
            args, keywords = tree.unflatten(structure, leaves)
            return callback(*args, **keywords)

        whole = Callback(run, title, result_structure, types, vmap_method, origin)
        return tree.unflatten(result_structure, host_call(*map(operand, leaves), callback=whole))

    if derivative is None:
        return call(*args, **keywords)
    if keywords:
        raise TypeError(
            f"pure_callback of {title}: derivative= is a function of the positional arguments, but there are {', '.join(keywords)}"
            f"\n  Remedy: pass them by position.{at_user_line()}"
        )
    rule = CustomRule("pure_callback", call)
    rule.title = title
    rule.defjvp(lambda primals, tangents: (None, derivative(primals, tangents)))
    return rule(*args)
