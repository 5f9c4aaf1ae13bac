"""Random tensors, generators and seeds.

The numbers are NumPy's, not torch's: a seed gives the same numbers again here, not those torch gives.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

from functrans.core.staging import StagingTrace
from functrans.core.trace import EVALUATION, Trace, current
from functrans.core.tracer import Tracer
from functrans.errors import GlobalRandomError, at_user_line
from functrans.torch.autograd.modes import state
from functrans.torch.dtypes import CPU, Device, default, numpy_dtype
from functrans.torch.ops.apply import seen
from functrans.torch.ops.creation import creation, finished, shape_argument
from functrans.torch.ops.table import function
from functrans.torch.storage.writes import assign
from functrans.torch.tensor import Tensor, made
from functrans.transforms.batch import BatchTrace

__all__ = ["Draw", "Generator", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"]


class Generator:
    """A source of random numbers with a state of its own.

    Example:
        >>> import functrans.torch as torch
        >>> a = torch.rand(3, generator=torch.Generator().manual_seed(1))
        >>> b = torch.rand(3, generator=torch.Generator().manual_seed(1))
        >>> torch.equal(a, b)
        True
    """

    device = CPU

    def __init__(self, device: Any = "cpu") -> None:
        Device(device)
        self.lock = threading.Lock()
        self.manual_seed(67280421310721)

    def manual_seed(self, seed: int) -> Generator:
        """Begin again from a seed."""
        self._seed = int(seed)
        self.numbers = np.random.Generator(np.random.PCG64(self._seed % 2**64))
        return self

    def initial_seed(self) -> int:
        """The seed it began from."""
        return self._seed

    def seed(self) -> int:
        """Begin from a seed that cannot be foreseen, and return it."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def get_state(self) -> Tensor:
        """The state, as a tensor of bytes."""
        state = self.numbers.bit_generator.state
        parts = state["state"]["state"], state["state"]["inc"], self._seed % 2**64, state["has_uint32"], state["uinteger"]
        data = b"".join(int(part).to_bytes(16, "little") for part in parts)
        return made(np.frombuffer(data, np.uint8).copy())

    def set_state(self, state: Tensor) -> Generator:
        """Go on from a state that `get_state` gave."""
        data = state._array.tobytes()
        if len(data) != 80:
            raise RuntimeError("RNG state is wrong size")
        position, increment, seed, has, word = (int.from_bytes(data[start : start + 16], "little") for start in range(0, 80, 16))
        self._seed = seed
        self.numbers.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": position, "inc": increment},
            "has_uint32": has,
            "uinteger": word,
        }
        return self


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Let the default generator begin from a seed."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Let the default generator begin from a seed that cannot be foreseen."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed the default generator began from."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The default generator's state."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Let the default generator go on from a state."""
    default_generator.set_state(new_state)


class Draw:
    """A call of a method of a generator, which transforms answer in their ways.

    Attributes:
        generator, method, args: what is called; the last argument is the shape, but for ``permutation``.
        lead: axes in front of those asked for.
    """

    def __init__(self, generator: Generator, method: str, args: tuple[Any, ...], lead: tuple[int, ...] = ()) -> None:
        self.generator, self.method, self.args, self.lead = generator, method, args, lead

    def __call__(self, numbers: np.random.Generator | None = None) -> Any:
        """The numbers."""
        call = getattr(self.generator.numbers if numbers is None else numbers, self.method)
        if not self.lead:
            return call(*self.args)
        if self.method == "permutation":
            rows = [call(*self.args) for _ in range(int(np.prod(self.lead)))]
            return np.stack(rows).reshape(*self.lead, -1)
        *others, shape = self.args
        return call(*others, (*self.lead, *((shape,) if isinstance(shape, int) else shape)))

    def widened(self, size: int) -> Draw:
        """The same for a batch."""
        return Draw(self.generator, self.method, self.args, (size, *self.lead))

    def under(self, trace: Trace) -> Any:
        """The numbers, as the transforms from `trace` outwards want them."""
        if trace is EVALUATION:
            return self()
        answer = state.random.get(trace)
        if answer is not None:
            return answer(self)
        if isinstance(trace, StagingTrace):
            raise GlobalRandomError(
                "random numbers would be the same at every call of the compiled function"
                f"\n  Remedy: compile with torch.compile, or draw them outside and pass them in.{at_user_line()}"
            )
        if isinstance(trace, BatchTrace):
            raise RuntimeError(RANDOMNESS + "\n  Remedy: use torch.func.vmap, which has a flag for it." + at_user_line())
        return self.under(trace.parent)


RANDOMNESS = (
    "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' randomness flags on "
    "vmap or perform the randomness operation out of vmap"
)


class Numbers:
    """Stands for a generator of NumPy inside transforms."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any) -> Any:
            if any(isinstance(each, Tracer) for each in args):
                raise NotImplementedError(
                    f"random numbers whose distribution depends on traced values ({method}) are not supported inside transforms"
                    f"\n  Remedy: draw uniform or normal numbers and transform them.{at_user_line()}"
                )
            return Draw(self.generator, method, args).under(current.get())

        return call


def numbers(generator: Generator | None) -> Any:
    """The NumPy generator to draw from, or what stands for it inside transforms."""
    generator = default_generator if generator is None else generator
    return generator.numbers if current.get() is EVALUATION else Numbers(generator)


def as_array(value: Any) -> Any:
    """Numbers that were drawn, with an `astype`."""
    return value if isinstance(value, Tracer) else np.asarray(value)


def kind_of(dtype: Any) -> np.dtype[Any]:
    """The dtype that is asked for, or the default one."""
    return default.numpy if dtype is None else numpy_dtype(dtype)


@creation
def rand(*size: Any, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform numbers from 0 to 1."""
    return finished(as_array(numbers(generator).random(shape_argument(size))).astype(kind_of(dtype)), requires_grad, device)


@creation
def randn(*size: Any, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Normal numbers of mean 0 and variance 1."""
    shape = shape_argument(size)
    return finished(as_array(numbers(generator).standard_normal(shape)).astype(kind_of(dtype)), requires_grad, device)


@creation
def randint(
    low: int, high: Any = None, size: Any = None, *, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Whole numbers from `low` up to `high`, which is left out."""
    if size is None:
        low, high, size = 0, low, high
    if high <= low:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    kind = np.dtype(np.int64) if dtype is None else numpy_dtype(dtype)
    return finished(as_array(numbers(generator).integers(low, high, shape_argument((size,)))).astype(kind), requires_grad, device)


@creation
def randperm(n: int, *, generator: Any = None, dtype: Any = None, device: Any = None) -> Tensor:
    """The numbers below `n` in random order."""
    return made(as_array(numbers(generator).permutation(n)).astype(np.int64 if dtype is None else numpy_dtype(dtype)))


@function(method=False)
def normal(mean: Any, std: Any = 1.0, size: Any = None, *, generator: Any = None, dtype: Any = None) -> Tensor:
    """Normal numbers of means and standard deviations, in the dtype of these if they are tensors."""
    given = [each._array.dtype for each in (mean, std) if isinstance(each, Tensor)]
    kind = numpy_dtype(dtype) if dtype is not None else given[0] if given else default.numpy
    shape = size if size is not None else np.broadcast_shapes(np.shape(_plain(mean)), np.shape(_plain(std)))
    drawn = numbers(generator).standard_normal(tuple(shape)) * _plain(std) + _plain(mean)
    return made(as_array(drawn).astype(kind))


def _plain(value: Any) -> Any:
    return value._array if isinstance(value, Tensor) else value


@function(in_place=True)
def bernoulli(input: Tensor, p: float | None = None, *, generator: Any = None) -> Tensor:
    """1 with the probability that each element says, else 0."""
    chance = seen(input)._array if p is None else p
    return made((numbers(generator).random(input._array.shape) < chance).astype(input._array.dtype))


@function(method=False)
def poisson(input: Tensor, generator: Any = None) -> Tensor:
    """Numbers of events that happen at the rates that elements say."""
    return made(np.asarray(numbers(generator).poisson(input._array)).astype(input._array.dtype))


@function(method=False)
def binomial(count: Tensor, prob: Tensor, generator: Any = None) -> Tensor:
    """Numbers of successes of so many trials, each with a probability."""
    drawn = numbers(generator).binomial(count._array.astype(np.int64), prob._array)
    return made(np.asarray(drawn).astype(count._array.dtype))


def check_weights(weights: np.ndarray[Any, Any], count: int, replacement: bool) -> None:
    """Raise, as torch does, unless so many places can be drawn with the weights of each row."""
    if not (weights >= 0).all() or not np.isfinite(weights).all():
        raise RuntimeError(f"probability tensor contains either `inf`, `nan` or element < 0{at_user_line()}")
    if not replacement and count > weights.shape[1]:
        raise RuntimeError(f"cannot sample n_sample > prob_dist.size(-1) samples without replacement{at_user_line()}")
    if not (weights.sum(1) > 0).all():
        raise RuntimeError(f"invalid multinomial distribution (sum of probabilities <= 0){at_user_line()}")


@function()
def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Tensor:
    """Places drawn with the probabilities, up to a factor, of each row."""
    source = numbers(generator)
    weights = np.atleast_2d(input._array.astype(np.float64))
    if isinstance(weights, np.ndarray):
        check_weights(weights, num_samples, replacement)
    rows = [source.choice(row.size, num_samples, replacement, row / row.sum()) for row in weights]
    return made(np.stack(rows) if input._array.ndim > 1 else rows[0])


def _like(name: str, make: Any) -> None:
    """A function that makes a tensor of the shape and dtype of another."""

    def call(input: Tensor, *args: Any, dtype: Any = None, **options: Any) -> Tensor:
        shape = input._array.shape
        return make(*args, shape, dtype=input.dtype if dtype is None else dtype, **options)

    call.__name__ = name
    creation(call)


_like("rand_like", rand)
_like("randn_like", randn)
_like("randint_like", lambda low, *rest, **options: randint(*((low, *rest) if len(rest) == 2 else (0, low, *rest)), **options))


def drawn(name: str, draw: Any) -> None:
    """Methods that fill a tensor with random numbers."""

    def method(self: Tensor, *args: Any, generator: Any = None, **kwargs: Any) -> Tensor:
        values = draw(numbers(generator), self._array.shape, *args, **kwargs)
        return assign(self, made(as_array(values).astype(self._array.dtype)), name)

    method.__name__ = name
    setattr(Tensor, name, method)


# `from` is a keyword of Python, so the first argument goes by its place, or in a dict.
drawn("uniform_", lambda source, shape, low=0.0, high=1.0, **bounds: source.uniform(bounds.get("from", low), bounds.get("to", high), shape))
drawn("normal_", lambda source, shape, mean=0.0, std=1.0: source.normal(mean, std, shape))
drawn("exponential_", lambda source, shape, lambd=1.0: source.exponential(1 / lambd, shape))
drawn("log_normal_", lambda source, shape, mean=1.0, std=2.0: source.lognormal(mean, std, shape))
drawn("cauchy_", lambda source, shape, median=0.0, sigma=1.0: median + sigma * source.standard_cauchy(shape))
drawn("geometric_", lambda source, shape, p: source.geometric(p, shape))
drawn("random_", lambda source, shape, low=0, high=None: source.integers(*((0, low or 2**24) if high is None else (low, high)), shape))
