"""`jit`: stages and compiles a function once for each types of arguments.

Under another transform the program is one operation, whose derivatives and batches are compiled as well (`control/call`);
where it is staged itself, it is evaluated operation by operation.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cached_property, partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from functrans import tree
from functrans.compile.arguments import LARGE, Argument, arguments_of, layout_of, with_captured
from functrans.compile.options import Chosen, chosen
from functrans.compile.rewrite.simplify import simplify
from functrans.config import logger, settings
from functrans.control.bodies import closed
from functrans.control.call import call
from functrans.core.calling import called, check_function, function_title, operands_of
from functrans.core.program import Program, without_dead_code
from functrans.core.staging import stage
from functrans.core.trace import Evaluation, TracedValue, current, scopes
from functrans.core.tracer import operand
from functrans.core.types import PYTHON_SCALARS, ArrayType, type_of
from functrans.errors import UnsupportedError, at_user_line
from functrans.transforms.arguments import Transformed

if TYPE_CHECKING:
    from functrans.compile.run.execute import Executable
    from functrans.compile.run.lowered import Lowered

__all__ = ["Jitted", "jit"]

# Programs a function keeps; the one that was not called for longest is dropped.
CACHE_SIZE = 256
# Static arguments by place and by name.
Static = tuple[dict[int, Any], dict[str, Any]]


def jit(
    function: Callable[..., Any],
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    donate_argnums: int | Sequence[int] = (),
    donate_argnames: str | Sequence[str] = (),
) -> Jitted:
    """`function` compiled to machine code, once for each structure, shapes and dtypes of its arguments.

    Args:
        function: of pytrees of arrays; Python in it runs only while it is staged. Of a method, ``self`` may be a
            pytree, whose leaves are arguments as any other, or any object: setting one of its attributes
            stages again. What is inside such an attribute (in a dict, a list, another object) and the names a function
            takes from around it are looked up when it is staged, and not at each call.
        static_argnums: positions of arguments that are part of the key: any hashable values.
        static_argnames: names of arguments that are. If only one of the two is given, the other follows from the
            function's signature, so that an argument may be passed by position or by name.
        donate_argnums: positions of arguments whose arrays are given away: results of the same shape and dtype may
            take over their memory, and are then the donated array objects themselves. Whether one is taken over
            or not, its content is unspecified afterwards: go on with the results.
        donate_argnames: names of arguments whose arrays are; the two follow from each other as above.

    Returns:
        A function of the same arguments. Arrays the function closes over are read at each call. A last, smaller
        batch is a program of its own, compiled once and kept, as all are, among the 256 called last. Arrays of
        less than 16,384 elements that are not C-contiguous are copied for a call; larger ones are read where they
        lie, by a program for their strides, and copied only if they are not aligned.

    Raises:
        ConcretizationError: a Python branch or conversion needs a value.
        MutationError: a donated array is read-only, or shares memory with another argument or an array the function
            closes over.
        TypeError: a static argument is not hashable.

    Example:
        >>> import numpy as np, functrans as ft
        >>> power = ft.jit(lambda x, n: x**n, static_argnums=1)
        >>> float(power(3.0, 2)), float(ft.grad(power)(3.0, 2))
        (9.0, 6.0)
        >>> step = ft.jit(lambda w, dw: w - 0.5 * dw, donate_argnums=0)
        >>> w = np.ones(3)
        >>> step(w, np.ones(3)) is w, w
        (True, array([0.5, 0.5, 0.5]))
    """
    check_function("jit", function)
    static = chosen(function, "static", static_argnums, static_argnames)
    donated = chosen(function, "donate", donate_argnums, donate_argnames)
    if static & donated:
        raise ValueError(
            f"jit of {function_title(function)}: an argument is both static and donated\n  Remedy: donate arrays only; "
            f"static arguments are Python values.{at_user_line()}"
        )
    recipe = jit, function, static_argnums, static_argnames, donate_argnums, donate_argnames
    return Jitted(function, static, donated, recipe)


class Jitted(Transformed):
    """What `jit` returns: calls compiled programs, and shows them.

    Attributes:
        compilations: how many programs were compiled for it so far, and not found on disk; ``ft.config.log_compiles``
            says why each was.
    """

    def __init__(self, function: Callable[..., Any], static: Chosen, donated: Chosen, recipe: tuple[Any, ...]) -> None:
        super().__init__(function, self.by_key, recipe)
        self.function, self.static, self.donated = function, static, donated
        self.specializations: OrderedDict[Hashable, Specialization] = OrderedDict()
        self.quick: Callable[..., Any] | None = None  # the program of the call before, if it can check its arguments itself
        self.compilations = 0
        self.announced: Any = None  # the key of the program compiled last
        self.lock = Lock()

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        if self.quick is not None and not keywords and settings.jit and not scopes:
            result = self.quick(*args)
            if result is not NotImplemented:
                return result
        return self.by_key(*args, **keywords)

    def by_key(self, *args: Any, **keywords: Any) -> Any:
        """The result by the program kept under these arguments' key, or by a new one."""
        if not settings.jit:
            return self.function(*args, **keywords)
        key, leaves, dynamic, static = self.parts_of(args, keywords)
        with self.lock:
            specialization = self.specializations.get(key)
            if specialization is not None:
                self.specializations.move_to_end(key)
        if specialization is None:
            specialization = self.specialize(key, dynamic, static)
        result = tree.unflatten(specialization.program.output_structure, specialization(leaves))
        if not (keywords or self.static or self.is_method):
            self.quick = specialization.quick
        return result

    def lower(self, *args: Any, **keywords: Any) -> Lowered:
        """The program for these arguments and its kernels, to be looked at; nothing is run.

        Example:
            >>> import numpy as np, functrans as ft
            >>> lowered = ft.jit(lambda x: np.sum(x * x)).lower(np.ones(4))
            >>> print(lowered.program)
            program lambda(a: float64[4]) -> c
              b: float64[4] = multiply(a, a)
              c: float64[] = sum(b; axes=(0,))
        """
        from functrans.compile.run.lowered import Lowered

        _, leaves, dynamic, static = self.parts_of(args, keywords)
        program = self.staged(*dynamic, static)
        return Lowered(program, arguments_of(program.inputs, leaves, self.donations(dynamic, static)))

    def parts_of(
        self, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[Hashable, list[Any], tuple[tuple[Any, ...], dict[str, Any]], Static]:
        """The key of arguments, their leaves, the dynamic arguments and the static ones."""
        static: Static = ({}, {})
        given = args, keywords
        if self.static or self.is_method:
            args, keywords, static = self.split_static(args, keywords)
        leaves, structure = tree.flatten((args, keywords))
        try:
            types = tuple([type_key(leaf) for leaf in leaves])
        except UnsupportedError:
            operands_of("jit", self.function, *given, leaves, "name it in static_argnames if it is a setting, or close over it")
            raise
        key = structure, types, static_key(self.function, self, static)
        return key, leaves, (args, keywords), static

    def split_static(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any], Static]:
        """The dynamic arguments, and the static ones by place and by name."""
        fixed = self.static.places(len(args))
        if args and is_instance(args[0], self) and tree.structure(args[0]) == tree.LEAF:
            fixed.add(0)
        named = {name: keywords[name] for name in sorted(keywords) if name in self.static.names}
        static = {place: args[place] for place in sorted(fixed)}, named
        dynamic = tuple(value for place, value in enumerate(args) if place not in fixed)
        return dynamic, {name: value for name, value in keywords.items() if name not in self.static.names}, static

    def donations(self, dynamic: tuple[tuple[Any, ...], dict[str, Any]], static: Static) -> list[bool]:
        """For each leaf of the dynamic arguments, whether it is donated."""
        args, keywords = dynamic
        count = len(args) + len(static[0])
        donated = self.donated.places(count)
        places = [place for place in range(count) if place not in static[0]]
        flags = [tree.map(lambda leaf: place in donated, value) for place, value in zip(places, args)]
        named = {name: tree.map(lambda leaf: name in self.donated.names, value) for name, value in keywords.items()}
        return tree.leaves((tuple(flags), named))

    def staged(self, args: tuple[Any, ...], keywords: dict[str, Any], static: Static) -> Program:
        """The program of the function for these arguments."""
        places, named = static

        def run(*values: Any, **more: Any) -> Any:
            complete = list(values)
            for place, value in places.items():
                complete.insert(place, value)
            return called("jit", self.function, complete, {**more, **named})

        run.__name__ = function_title(self.function)
        return without_dead_code(stage(run, args, keywords, transform="jit"))

    def specialize(self, key: Hashable, dynamic: tuple[tuple[Any, ...], dict[str, Any]], static: Static) -> Specialization:
        """The program for these arguments, kept for the next call."""
        donations = self.donations(dynamic, static)
        specialization = Specialization(self.staged(*dynamic, static), donations, partial(self.announce, key))
        if not specialization.is_inner:
            with self.lock:
                specialization = self.specializations.setdefault(key, specialization)  # of several threads, the first's
                for other in [other for other in self.specializations if superseded(other, key)]:
                    del self.specializations[other]
                for instance in instances_of(key):
                    specialization.watch(instance, partial(self.specializations.pop, key, None))
                if len(self.specializations) > CACHE_SIZE:
                    self.specializations.popitem(last=False)
        return specialization

    def announce(self, key: Any) -> None:
        """Count a compilation, and log it with what is new about the arguments."""
        with self.lock:
            self.compilations += 1
            before, self.announced = self.announced, key
        if not settings.log_compiles:
            return
        structure, types, _ = key
        if before is None:
            reason = "the first call"
        elif structure != before[0]:
            reason = "the arguments have another structure than before"
        elif types != before[1]:
            changed = [f"{type_text(new)} was {type_text(old)}" for new, old in zip(types, before[1]) if new != old]
            reason = f"other types than before: {', '.join(changed)}"
        else:
            reason = "other static arguments than before"
        shown = ", ".join(map(type_text, types))
        logger.warning("jit: compiling %s for (%s): %s", function_title(self.function), shown, reason)


def type_text(key: Any) -> str:
    """A leaf's key for people."""
    if isinstance(key, type):
        return key.__name__
    return str(ArrayType(*key)) if isinstance(key, tuple) else str(key)


class Specialization:
    """A program for one key, compiled when it is first called on plain arrays.

    Attributes:
        is_inner: whether it closes over values of enclosing transforms, so that it serves one call only.
        has_effect: whether it does more than give results: then a transform that is under way gets its operations.
    """

    def __init__(self, program: Program, donations: Sequence[bool], announce: Callable[[], None]) -> None:
        self.program, self.donations = program, donations
        self.announce = announce
        self.is_inner = any(isinstance(value, TracedValue) for value in program.values)
        self.has_effect = program.has_effect
        self.executable: Callable[[Sequence[Any]], list[Any]] | None = None
        self.quick: Callable[..., Any] | None = None  # of the arguments
        self.watched: list[Any] = []
        self.lock = Lock()

    def watch(self, instance: Instance, forget: Callable[[], Any]) -> None:
        """Be forgotten with the object that the program was staged for as a method, which it does not keep alive."""
        value = instance.reference()
        if isinstance(instance.reference, weakref.ref) and value is not None:
            self.watched.append(weakref.ref(value, lambda _: forget()))

    def __call__(self, leaves: Sequence[Any]) -> list[Any]:
        """The flat results, by compiled code if the arguments are plain."""
        for leaf in leaves:
            if isinstance(leaf, TracedValue):
                return self.under_transforms(leaves)
        if self.program.axis_names:
            return self.under_transforms(leaves)  # all items of the batch have these arguments
        if self.is_inner or self.has_effect and not isinstance(current.get(), Evaluation):
            return self.program.evaluate(leaves)
        if self.executable is None:
            with self.lock:
                if self.executable is None:
                    inputs = arguments_of(self.program.inputs, leaves, self.donations)
                    with np.errstate(all="ignore"):  # numbers of the program are converted, which is no operation of it
                        executable = compiled(self.program, inputs, self.announce)
                    self.quick = quick_call(self.program, executable.call) if executable.call is not None else None
                    self.executable = executable
        results = self.executable(leaves)
        if scopes:
            current.get().look_at_run(self.program, leaves, results)
        return results

    def under_transforms(self, leaves: Sequence[Any]) -> list[Any]:
        """The flat results for tracers: of one operation, or of each of the program's where they are staged or looked at."""
        if self.is_inner or self.has_effect or current.get().keeps_lines:
            return self.program.evaluate(leaves)
        return list(call(*self.closed[1], *leaves, program=self.closed[0]))

    @cached_property
    def closed(self) -> tuple[Program, tuple[Any, ...]]:
        """The program without captured values, and these."""
        return closed(self.program)


def type_key(leaf: Any) -> Any:
    """What stands for the type of an argument: cheap to make, to hash and to compare."""
    kind = type(leaf)
    if kind is np.ndarray:
        is_plain = leaf.size < LARGE or leaf.flags.c_contiguous
        return (leaf.shape, leaf.dtype) if is_plain else Argument(type_of(leaf), layout_of(leaf))
    if kind in PYTHON_SCALARS:
        return kind
    value = operand(leaf, "jit")
    return type_key(value) if type(value) is np.ndarray else type_of(value)


def quick_call(program: Program, call: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the positional arguments that calls the compiled program; `NotImplemented` if they have other types."""
    own, results = program.input_structure, program.output_structure
    arguments, _ = tree.unflatten(own, range(len(program.inputs)))
    is_single, is_flat = results == tree.LEAF, all(isinstance(argument, int) for argument in arguments)
    if is_flat and is_single:
        return call

    def quick(*args: Any) -> Any:
        leaves: Sequence[Any] = args
        if not is_flat:
            leaves, structure = tree.flatten((args, {}))
            if structure != own:
                return NotImplemented
        result = call(*leaves)
        if is_single or result is NotImplemented:
            return result
        return tree.unflatten(results, result if len(program.outputs) != 1 else (result,))

    return quick


def compiled(program: Program, inputs: Sequence[Argument], announce: Callable[[], None]) -> Executable:
    """The compiled program, from disk if it is there; says so if it is not.

    The compiler is loaded at its first use, so that importing this package stays quick.
    """
    from functrans.compile.run.execute import Executable
    from functrans.compile.store import disk

    program = simplify(program)
    arguments = with_captured(program, inputs)
    key = disk.key_of(program, arguments) if settings.disk_cache else None
    kept = disk.read(key) if key is not None else None
    if kept is not None:
        return Executable.from_code(*kept, program, arguments)
    from functrans.compile.emit.assemble import assemble

    announce()
    library, description = assemble(program, arguments)
    if key is not None:
        disk.write(key, library.code, description)
    return Executable(library, description, program, arguments)


def is_instance(value: Any, staged: Any) -> bool:
    """Whether `value` has `staged` as a method."""
    return getattr(type(value), staged.__name__, None) is staged


def static_key(function: Callable[..., Any], staged: Any, static: Static) -> Hashable:
    """What static arguments are compared by: structure, types and values, or what an instance holds, if it is `self`."""
    places, named = static
    if not places and not named:
        return ()
    instances = [Instance(value) for value in places.values() if is_instance(value, staged)]
    rest = {place: value for place, value in places.items() if not is_instance(value, staged)}
    leaves, structure = tree.flatten((rest, named))
    key = structure, tuple(map(value_key, leaves)), tuple(instances)
    try:
        hash(key)
    except TypeError as error:
        raise TypeError(
            f"jit of {function_title(function)}: a static argument is not hashable: {error}"
            f"\n  Remedy: pass a value with __hash__ and __eq__, or make the argument dynamic.{at_user_line()}"
        ) from error
    return key


def value_key(value: Any) -> Hashable:
    """What a static value is compared by; floats by all their digits and their sign, which 0 and -0 differ in."""
    return type(value), repr(value) if type(value) in (float, complex) else value


class Instance:
    """The object a staged method is bound to: equal to itself until one of its attributes is set anew.

    It does not keep the object alive, if that may be referred to weakly.
    """

    __slots__ = ("attributes", "identity", "reference")

    def __init__(self, instance: Any) -> None:
        self.identity = id(instance)
        self.reference: Callable[[], Any]
        try:
            self.reference = weakref.ref(instance)
        except TypeError:
            self.reference = lambda: instance
        slots = {name for kind in type(instance).__mro__ for name in names_of(getattr(kind, "__slots__", ()))}
        self.attributes = {name: getattr(instance, name) for name in sorted(slots) if hasattr(instance, name)}
        self.attributes |= getattr(instance, "__dict__", {})

    def __hash__(self) -> int:
        return self.identity

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Instance)
            and self.reference() is other.reference() is not None
            and self.attributes.keys() == other.attributes.keys()
            and all(unchanged(value, other.attributes[name]) for name, value in self.attributes.items())
        )


def instances_of(key: Any) -> tuple[Instance, ...]:
    """The objects whose methods a key is of."""
    return key[2][2] if key[2] else ()


def superseded(old: Any, new: Any) -> bool:
    """Whether a key is of the same call as a new one, but for arrays or objects that were attributes before."""
    if old is new or not instances_of(new) or old[:2] != new[:2] or old[2][:2] != new[2][:2]:
        return False
    pairs = list(zip(instances_of(old), instances_of(new)))
    changed = [
        (value, after.attributes.get(name)) for before, after in pairs for name, value in before.attributes.items()
        if not unchanged(value, after.attributes.get(name))
    ]  # fmt: skip
    is_same = all(before.identity == after.identity for before, after in pairs)
    return is_same and bool(changed) and not any(type(value) in (*PYTHON_SCALARS, str) for pair in changed for value in pair)


def names_of(slots: str | Iterable[str]) -> Iterable[str]:
    """The names of slots that hold attributes."""
    return [name for name in ([slots] if isinstance(slots, str) else slots) if not name.startswith("__")]


def unchanged(old: Any, new: Any) -> bool:
    """Whether an attribute still holds the same object, or an equal Python scalar."""
    return old is new or type(old) is type(new) and type(old) in PYTHON_SCALARS and value_key(old) == value_key(new)
