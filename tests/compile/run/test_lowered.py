"""Looking inside compiled functions."""

import numpy as np
import pytest

import functrans as ft


def network(w, x):
    return np.sum(np.tanh(x @ w))


def test_kernels_are_headed_by_the_users_lines():
    text = ft.jit(ft.grad(network)).lower(np.ones((64, 64)), np.ones((32, 64))).kernels()
    assert "# BLAS: contract of float64[32,64], float64[64,64]" in text
    assert "np.sum(np.tanh(x @ w))" in text
    assert "in lanes" in text


def test_compiled_code_is_shown_and_runs():
    x = np.linspace(0, 1, 5)
    compiled = ft.jit(lambda x: np.exp(x) * 2).lower(x).compile()
    np.testing.assert_allclose(compiled(x), np.exp(x) * 2, rtol=1e-15)
    assert "define" in compiled.llvm() and "fmul" in compiled.llvm()
    assert "entry" in compiled.asm()
    with pytest.raises(ft.errors.StructureError, match=r"float64\[5\].*float32\[5\]"):
        compiled(x.astype(np.float32))
    with pytest.raises(ft.errors.StructureError):
        compiled(x, x)


def test_memory_and_costs_are_counted():
    w, x = np.ones((64, 64)), np.ones((32, 64))
    compiled = ft.jit(network).lower(w, x).compile()
    memory = compiled.memory_analysis()
    assert memory.arguments == w.nbytes + x.nbytes and memory.results == 8
    assert memory.workspace == x.nbytes  # the product
    cost = compiled.cost_analysis()
    assert cost.transcendentals == 32 * 64
    assert 0 <= cost.flops - (2 * 32 * 64 * 64 + 32 * 64) < 100  # the product and the sum, with that of its blocks
    assert cost.bytes == w.nbytes + 3 * x.nbytes + 8
    assert 0 < cost.seconds < 1


def test_a_row_of_softmax_takes_three_passes_and_no_array():
    def softmax(x):
        e = np.exp(x - np.max(x, axis=-1, keepdims=True))
        return e / np.sum(e, axis=-1, keepdims=True)

    lowered = ft.jit(softmax).lower(np.ones((1000, 500)))
    assert lowered.kernels().count("for ") == 4 and lowered.kernels().count("def ") == 1
    assert lowered.compile().memory_analysis().workspace == 0


def test_a_mixture_of_gaussians_takes_no_array_of_points_and_components():
    def terms(x, mean, q):
        scaled = np.einsum("kij,nkj->nki", q, x[:, None, :] - mean)
        t = -0.5 * np.sum(scaled * scaled, axis=2)
        largest = np.max(t, axis=1)
        return np.sum(np.log(np.sum(np.exp(t - largest[:, None]), axis=1)) + largest)

    x, mean, q = np.ones((3000, 8)), np.ones((25, 8)), np.ones((25, 8, 8))
    memory = ft.jit(ft.grad(terms, argnums=(1, 2))).lower(x, mean, q).compile().memory_analysis()
    assert memory.workspace + 2 * memory.per_thread < 3000 * 25 * 8 * 8 / 4


def test_programs_with_calls_of_numpy_are_analysed():
    def function(x):
        order = np.argsort(np.tanh(x), axis=0)
        return np.linalg.inv(np.cumsum(x, axis=0)[:, :4, :4] + 5 * np.eye(4)), order

    x = np.linspace(0, 1, 3 * 8 * 4).reshape(3, 8, 4)
    compiled = ft.jit(function).lower(x).compile()
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    assert memory.results == 3 * 4 * 4 * 8 + x.nbytes
    assert memory.between == x.nbytes  # what is sorted, and after that the sums
    assert memory.per_thread == 64 * -(-(2 * 4 * 4 * 8 + 4 * 4) // 64)
    assert cost.transcendentals == x.size
    assert cost.flops == 2 * 3 * (4**3 // 3 + 4**3) + 3 * 4 * 4
