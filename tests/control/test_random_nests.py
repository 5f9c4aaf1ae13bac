"""Random nests of loops and branches against the same written in Python: values, derivatives in both modes, batches."""

import os
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import functrans as ft
from functrans.testing import assert_close

close = partial(assert_close, rtol=1e-9, atol=1e-9)
W = np.array([[0.3, -0.5, 0.2], [0.1, 0.4, -0.6], [-0.2, 0.7, 0.1]])
XS = np.sin(np.arange(12.0)).reshape(4, 3)


class Python:
    """The control flow of functrans, by Python's own, on numbers that are there."""

    @staticmethod
    def scan(f, init, xs=None, length=None, reverse=False, checkpoint=None):
        count = len(ft.tree.leaves(xs)[0]) if length is None else length
        ys = []
        for step in reversed(range(count)) if reverse else range(count):
            init, y = f(init, ft.tree.map(lambda leaf: leaf[step], xs))
            ys.append(y)
        return init, np.stack(ys[::-1] if reverse else ys) if ys else np.zeros((0, 3))

    @staticmethod
    def cond(pred, true, false, *operands):
        return true(*operands) if pred else false(*operands)

    @staticmethod
    def switch(index, branches, *operands):
        return branches[min(max(int(index), 0), len(branches) - 1)](*operands)

    @staticmethod
    def while_loop(cond, body, init):
        while cond(init):
            init = body(init)
        return init

    @staticmethod
    def fori_loop(lower, upper, body, init):
        for step in range(lower, upper):
            init = body(step, init)
        return init


# Functions of the state, float64[3], and of a parameter, float64[]; all smooth, with values that do not grow.
LEAVES = [
    lambda x, p: np.sin(x) + p,
    lambda x, p: np.tanh(W @ x * p),
    lambda x, p: x * 0.5 + np.cumsum(x)[::-1] * 0.1,
    lambda x, p: np.cos(p * x) * x,
    lambda x, p: np.where(np.arange(3) > 0, x, np.exp(-x * x)),
    lambda x, p: np.full(3, 0.3),
    lambda x, p: x,
]


def choice(x):
    """An integer from the state, which small changes leave as it is almost everywhere."""
    return np.floor(np.sum(x) * 2.0).astype(np.int64) % 3


def scanned(name, body, length, reverse, checkpoint):
    """A loop whose body reads slices and closes over the state and the parameter."""

    def function(m, x, p):
        xs = XS[:length] * p

        def step(carry, s):
            inner, count = carry
            return (body(m, inner + 0.1 * s, p * 0.9) + 0.1 * x, count + 1), inner * s + count

        (last, count), ys = m.scan(step, (x, 0), xs, reverse=reverse, checkpoint=checkpoint)
        return np.tanh(last + np.sum(ys, axis=0) + count)

    return function


def counted(body, length):
    """A loop without slices that collects nothing."""
    return lambda m, x, p: m.fori_loop(0, length, lambda i, y: body(m, y, p) * 0.7 + 0.1 * i * x, x)


def repeated(body, limit):
    """A loop whose number of steps depends on values."""

    def function(m, x, p):
        far = lambda c: np.logical_and(c[0] < limit, np.sum(c[1] ** 2) > 0.3)
        return m.while_loop(far, lambda c: (c[0] + 1, 0.8 * body(m, c[1], p)), (0, x * p))[1]

    return function


def chosen(*bodies):
    """A branch by the state, which closes over the parameter."""

    def function(m, x, p):
        branches = [lambda y, body=body: body(m, y, p) * 1.0 for body in bodies]
        if len(branches) == 2:
            return m.cond(np.sum(x) > 0.2, *branches, x)
        return m.switch(choice(x), branches, x * p)

    return function


def nests(inner):
    """What can be made of smaller nests."""
    sizes = st.integers(0, 4)
    modes = st.sampled_from([None, None, "sqrt", "recursive", 2])
    return st.one_of(
        st.builds(scanned, st.just("scan"), inner, sizes, st.booleans(), modes),
        st.builds(counted, inner, sizes),
        st.builds(repeated, inner, sizes),
        st.builds(chosen, inner, inner),
        st.builds(chosen, inner, inner, inner),
        st.builds(lambda f, g: lambda m, x, p: g(m, f(m, x, p), p), inner, inner),
    )


NESTS = st.recursive(st.sampled_from(LEAVES).map(lambda leaf: lambda m, x, p: leaf(x, p)), nests, max_leaves=5)
POINTS = [(np.array([0.4, -0.7, 0.9]), 0.8), (np.array([-0.3, 0.2, 0.6]), -1.1)]


@pytest.fixture(autouse=True, scope="module")
def interpreted():
    """Loops run in Python: what is tested is what they are made of."""
    ft.config.jit = False
    yield
    ft.config.jit = True


@settings(max_examples=int(os.environ.get("FUNCTRANS_FUZZ", "60")), deadline=None)
@given(NESTS)
def test_nests(nest):
    ours, plain = (lambda x, p: nest(ft, x, p)), (lambda x, p: nest(Python, x, p))
    gradients = []
    for point in POINTS:
        tangents = np.cos(point[0]), 0.5
        expected = plain(*point)
        close(ours(*point), expected)
        close(ft.make_program(ours)(*point)(*point), expected)
        close(ft.jvp(ours, point, tangents), ft.jvp(plain, point, tangents))
        close(ft.linearize(ours, *point)[1](*tangents), ft.jvp(plain, point, tangents)[1])
        gradient, other = (ft.grad(lambda x, p, f=f: np.sum(np.sin(f(x, p))), (0, 1)) for f in (ours, plain))
        gradients.append(other(*point))
        close(gradient(*point), gradients[-1])
        close(ft.jvp(gradient, point, tangents)[1], ft.jvp(other, point, tangents)[1])
        close(second(gradient)(*point), second(other)(*point))
    xs, ps = map(np.stack, zip(*POINTS))
    close(ft.vmap(ours)(xs, ps), np.stack([plain(*point) for point in POINTS]))
    close(ft.vmap(gradient)(xs, ps), tuple(map(np.stack, zip(*gradients))))


def second(gradient):
    """Reverse mode of reverse mode."""
    return ft.grad(lambda x, p: sum(np.sum(leaf**2) for leaf in gradient(x, p)), (0, 1))
