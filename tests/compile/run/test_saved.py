"""Compiled functions in files: the same in another process, and refusals of files that would not be."""

import json
import os
import subprocess
import sys
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import functrans as ft
from functrans.compile.run import saved
from functrans.compile.store import disk, sealed
from functrans.core.primitive import PRIMITIVES, General

GENERATOR = np.random.default_rng(0)
W = GENERATOR.normal(size=(6, 2))
FAR = GENERATOR.normal(size=(200, 150)).T[::-1]  # large, and not C-contiguous: compiled for its strides


def network(p, *, scale):
    """Loops, products, LAPACK, calls of NumPy, numbers of all kinds, captured arrays and checked indices."""
    hidden = np.tanh(p["x"] @ W) * scale
    matrix = hidden.T @ hidden + np.eye(2)
    rows = ft.numpy.asarray(FAR)[p["i"]].sum()
    order = np.argsort(hidden[:, 0])
    return {
        "y": [np.linalg.inv(matrix), (hidden[order], None)],
        "n": 3,
        "k": p["k"] * 2,
        "r": rows,
        "z": np.cumsum(hidden * 1j),
    }


ARGUMENTS = {"x": GENERATOR.normal(size=(5, 6)), "i": np.array([1, -2]), "k": 7}
SCALE = np.float32(0.5)

CODE = """
import json, sys
import numpy as np
import functrans as ft
compiled = ft.load(sys.argv[1])
result = compiled({"x": np.array(json.loads(sys.argv[2])), "i": np.array([1, -2]), "k": 7}, scale=np.float32(0.5))
gradient = ft.grad(lambda x: np.sum(compiled({"x": x, "i": np.array([1, -2]), "k": 7}, scale=np.float32(0.5))["y"][0]))
try:
    compiled({"x": np.zeros((5, 6)), "i": np.array([1, 150]), "k": 7}, scale=np.float32(0.5))
except IndexError as error:
    message = str(error)
leaves = map(np.asarray, ft.tree.leaves(result))
flat = [leaf.view(float).ravel().tolist() if leaf.dtype.kind == "c" else leaf.tolist() for leaf in leaves]
print(json.dumps([flat, gradient(np.array(json.loads(sys.argv[2]))).tolist(), message, compiled.memory_analysis().workspace]))
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "network.functrans"
    ft.jit(network).lower(ARGUMENTS, scale=SCALE).compile().save(path)
    return path


def test_another_process_loads_it(path):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(path), json.dumps(ARGUMENTS["x"].tolist())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    flat, gradient, message, workspace = json.loads(done.stdout)
    for actual, expected in zip(flat, ft.tree.leaves(network(ARGUMENTS, scale=SCALE)), strict=True):
        expected = expected.view(float).ravel() if np.iscomplexobj(expected) else expected
        np.testing.assert_allclose(actual, expected, rtol=1e-12)
    wanted = ft.grad(lambda x: np.sum(network({**ARGUMENTS, "x": x}, scale=SCALE)["y"][0]))(ARGUMENTS["x"])
    np.testing.assert_allclose(gradient, wanted, rtol=1e-10, atol=1e-12)
    assert "jit: getitem of float64[150,200], int64[2]: index 150 is out of bounds" in message
    assert workspace == ft.jit(network).lower(ARGUMENTS, scale=SCALE).compile().memory_analysis().workspace


def test_structures_types_and_texts(path):
    compiled = ft.load(path)
    expected = network(ARGUMENTS, scale=SCALE)
    result = compiled(ARGUMENTS, scale=SCALE)
    assert ft.tree.structure(result) == ft.tree.structure(expected)
    assert [type(leaf) for leaf in ft.tree.leaves(result)] == [type(leaf) for leaf in ft.tree.leaves(expected)]
    assert "float64[5,2] = contract" in str(compiled.program)
    with pytest.raises(ft.errors.StructureError, match="network: was lowered for arguments"):
        compiled(ARGUMENTS)
    with pytest.raises(ft.errors.UnsupportedError, match="has no LLVM IR"):
        compiled.llvm()


def test_captured_arrays_are_kept_as_they_were(tmp_path):
    w = np.ones(3)
    ft.jit(lambda x: x * w).lower(np.ones(3)).compile().save(tmp_path / "file")
    w[:] = 5
    np.testing.assert_array_equal(ft.load(tmp_path / "file")(np.ones(3)), 1)


def test_what_is_not_as_it_was_written_is_refused(path, tmp_path):
    content = path.read_bytes()
    for wrong in (content[:-1], content[:5000], content[:300] + b"\0" + content[301:]):
        path.write_bytes(wrong)
        with pytest.raises(ft.errors.LoadError, match="is not as it was written(.|\n)*Remedy: save(.|\n)*test_saved.py"):
            ft.load(path)
    for foreign in (b"", b"text", content[7:]):
        path.write_bytes(foreign)
        with pytest.raises(ft.errors.LoadError, match="holds no compiled function"):
            ft.load(path)
    with pytest.raises(FileNotFoundError):
        ft.load(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["processor", "instructions", "NumPy", "functrans"])
def test_what_was_made_elsewhere_is_refused(path, name):
    header, *rest = sealed.opened(saved.MAGIC, path.read_bytes())
    written = json.loads(header)
    assert written["versions"] == disk.versions()
    written["versions"][name] = "another"
    path.write_bytes(sealed.sealed(saved.MAGIC, json.dumps(written).encode(), *rest))
    with pytest.raises(ft.errors.LoadError, match=f"was made for {name} another, but here is(.|\n)*compile and save"):
        ft.load(path)


def test_operations_that_are_not_declared_are_named(tmp_path):
    mine = General("mine", lambda x: x + 1, types=lambda x: x, jvp=None, pullback=None, batch=lambda x, b, n: mine(x[0]))
    try:
        ft.jit(lambda x: mine(x) * 2).lower(np.ones(3)).compile().save(tmp_path / "file")
        np.testing.assert_array_equal(ft.load(tmp_path / "file")(np.ones(3)), 4)
    finally:
        del PRIMITIVES["mine"]
    with pytest.raises(ft.errors.LoadError, match="needs the operations mine, which are not declared"):
        ft.load(tmp_path / "file")


@pytest.mark.parametrize("container", [OrderedDict(a=1.0), namedtuple("Point", "x")(1.0)])
def test_other_containers_are_refused(container, tmp_path):
    for function, argument in (
        (lambda tree: ft.tree.leaves(tree)[0] * 2, container),
        (lambda x: ft.tree.map(lambda y: x, container), 1.0),
    ):
        with pytest.raises(ft.errors.UnsupportedError, match=r"save of lambda: a file cannot keep a (OrderedDict|Point)"):
            ft.jit(function).lower(argument).compile().save(tmp_path / "file")
    assert os.listdir(tmp_path) == []


def test_values_of_enclosing_transforms_are_refused(tmp_path):
    def save(y):
        ft.jit(lambda x: x * y).lower(1.0).compile().save(tmp_path / "file")
        return y

    with pytest.raises(ft.errors.UnsupportedError, match="closes over a value of an enclosing transform"):
        ft.grad(save)(1.0)
