"""Random nests of loops and branches against the same in Python."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import functrans as ft

W = np.array([[0.3, -0.5, 0.2], [0.1, 0.4, -0.3], [-0.2, 0.3, 0.5]])
LEAVES = {
    "sin": lambda x, y: np.sin(x) + y,
    "tanh": lambda x, y: np.tanh(W @ x) * y,
    "product": lambda x, y: x * y * 0.5,
    "rational": lambda x, y: x / (1.0 + y * y),
    "select": lambda x, y: np.where(x > y, x, 0.5 * y),
    "swap": lambda x, y: y + 0.1 * x,
}


class Python:
    """The operations by Python's loops and branches."""

    @staticmethod
    def cond(pred, true_fun, false_fun, *operands):
        return true_fun(*operands) if pred else false_fun(*operands)

    @staticmethod
    def while_loop(cond, body, carry):
        while cond(carry):
            carry = body(carry)
        return carry

    @staticmethod
    def fori_loop(lower, upper, body, carry):
        for i in range(lower, upper):
            carry = body(i, carry)
        return carry

    @staticmethod
    def scan(body, carry, xs):
        ys = []
        for x in xs:
            carry, y = body(carry, x)
            ys.append(y)
        return carry, np.stack(ys)


# A nest is a leaf's name, or the kind of a loop or branch with numbers and nests.
NESTS = st.recursive(
    st.sampled_from(sorted(LEAVES)),
    lambda nests: st.one_of(
        st.tuples(st.just("seq"), nests, nests),
        st.tuples(st.just("cond"), st.floats(-1, 1), nests, nests),
        st.tuples(st.just("while"), st.integers(0, 3), nests),
        st.tuples(st.just("fori"), st.integers(0, 3), nests),
        st.tuples(st.just("traced fori"), st.integers(0, 3), nests),
        st.tuples(st.just("scan"), st.integers(1, 3), nests),
    ),
    max_leaves=5,
)


def perform(nest, m, x, y):
    """A nest of (x, y); branches and bodies close over `y`."""
    if isinstance(nest, str):
        return LEAVES[nest](x, y)
    kind, *rest = nest
    if kind == "seq":
        return perform(rest[1], m, perform(rest[0], m, x, y), x)
    number, inner, *others = rest
    if kind == "cond":
        other = lambda x: perform(others[0], m, x, y)
        return m.cond(np.sum(x) > number, lambda x: perform(inner, m, x, y), other, x)
    if kind == "while":
        small = lambda c: (c[1] < number) & (np.sum(c[0] ** 2) < 10.0)
        return m.while_loop(small, lambda c: (perform(inner, m, c[0], y), c[1] + 1), (x, 0))[0]
    if kind == "scan":
        carry, ys = m.scan(lambda c, w: (perform(inner, m, c, y + w), c * w), x, W[:number])
        return carry + np.sum(ys, axis=0)
    upper = np.int64(number) if kind == "traced fori" else number
    return m.fori_loop(0, upper, lambda i, c: perform(inner, m, c, y) * (1.0 - 0.1 * i), x)


@settings(max_examples=20, deadline=None)
@given(NESTS, st.integers(0, 100))
def test_nests(nest, seed):
    generator = np.random.default_rng(seed)
    x, y, direction = generator.standard_normal((3, 3))
    mine, python = (lambda x, y: perform(nest, ft, x, y)), (lambda x, y: perform(nest, Python, x, y))
    np.testing.assert_allclose(mine(x, y), python(x, y), 1e-10, 1e-12)
    losses = [lambda x, y, f=f: np.sum(np.sin(f(x, y))) for f in (mine, python)]
    for derivative in (
        lambda f: ft.grad(f, (0, 1))(x, y),
        lambda f: ft.jvp(f, (x, y), (direction, x))[1],
        lambda f: ft.jvp(ft.grad(f, (0, 1)), (x, y), (direction, x))[1],
        lambda f: ft.grad(lambda x, y: np.sum(ft.grad(f)(x, y) * direction), (0, 1))(x, y),
    ):
        for one, other in zip(*(ft.tree.leaves(derivative(loss)) for loss in losses)):
            np.testing.assert_allclose(one, other, 1e-8, 1e-9)
    batch = np.stack([x, direction, -x])
    gradient = ft.grad(losses[0], (0, 1))
    for one, other in zip(ft.vmap(gradient)(batch, batch[::-1]), zip(*map(gradient, batch, batch[::-1]))):
        np.testing.assert_allclose(one, np.stack(other), 1e-8, 1e-9)
