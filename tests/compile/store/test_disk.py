"""The disk cache: programs found again, and files that are not what they should be."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import functrans as ft
from functrans import cache
from functrans.compile.store import disk


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(ft.config, "disk_cache", True)
    monkeypatch.setattr(ft.config, "cache_dir", str(tmp_path / "cache"))
    return tmp_path / "cache"


def function(x):
    return np.sum(np.tanh(x) * x.T)


def run():
    x = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    np.testing.assert_allclose(ft.jit(ft.grad(function))(x), ft.grad(function)(x), rtol=1e-12)


def count_builds(monkeypatch):
    builds = []
    from functrans.compile.emit import assemble

    build = assemble.build
    monkeypatch.setattr(assemble, "build", lambda module: builds.append(1) or build(module))
    return builds


def test_a_program_is_compiled_once(folder, monkeypatch):
    builds = count_builds(monkeypatch)
    run(), run(), run()
    assert len(builds) == 1 and len(disk.files()) == 1


PROGRAMS = """
import json
import numpy as np
import scipy.special
import functrans as ft

x, w, far = np.linspace(-1, 1, 12).reshape(3, 4), np.ones((40, 50)) / 40, np.ones((300, 200)).T
integers = np.arange(12).reshape(3, 4)

@ft.custom_jvp
def clipped(x):
    return np.clip(x, -0.5, 0.5)

@clipped.defjvp
def rule(primals, tangents):
    return clipped(*primals), tangents[0]

def varied(x, n):
    y = np.concatenate([x[:, ::2], np.tanh(x) ** n], axis=1)
    z = np.pad(np.cumsum(y, axis=0), 1)[:, ::-1]
    return {"a": np.where(z > 0.1, z, np.inf), "b": [np.sort(z, axis=1), z.astype(np.float32)], "c": (2.0, None, -0.0)}

PROGRAMS = {
    "elementwise": (lambda x: np.exp(x) * 2 + np.float32(1), x),
    "network": (ft.value_and_grad(lambda w, x: np.mean(np.tanh(x @ w))), w, np.ones((30, 40))),
    "calls": (lambda x: np.argsort(np.cumprod(x + 2, axis=1), axis=1), x),
    "matrices": (ft.grad(lambda a: np.linalg.slogdet(a @ a.T + np.eye(3))[1]), x),
    "integers": (lambda i: (i // 3 + i % 5 << 1)[i % 3, i % 4], integers),
    "complex": (lambda x: np.abs(x * (1 - 0.5j)) + np.nan_to_num(x), x),
    "special": (lambda x: scipy.special.gammaln(x + 3) + scipy.special.erf(x), x),
    "rules": (ft.vmap(ft.grad(lambda x: np.sum(clipped(x) ** 2))), x),
    "captured": (lambda x: np.sum(far) * x, x),
    "varied": (varied, x, 3),
}

def checksum(result):
    leaves = [np.nan_to_num(np.asarray(leaf, complex)) for leaf in ft.tree.leaves(result)]
    return repr(complex(sum(np.sum(leaf * (1 + np.arange(leaf.size).reshape(leaf.shape))) for leaf in leaves)))

def main():
    found = {}
    for name, (function, *arguments) in PROGRAMS.items():
        compiled = ft.jit(function)
        found[name] = checksum(compiled(*arguments)), compiled.compilations
    print(json.dumps(found))
"""


def processes(folder, count, code):
    """What processes print that run at once and share a folder."""
    environment = {**os.environ, "FUNCTRANS_CACHE_DIR": str(folder), "FUNCTRANS_DISK_CACHE": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]
    done = [process.communicate(timeout=120) for process in running]
    assert all(process.returncode == 0 for process in running), done
    return [json.loads(output) for output, _ in done]


def test_another_process_compiles_nothing(folder):
    """Whatever a program consists of; hashes of strings differ from process to process."""
    (first,), (second,) = (processes(folder, 1, f"{PROGRAMS}\nmain()") for _ in range(2))
    assert [compilations for _, compilations in first.values()] == [1] * 10
    assert [compilations for _, compilations in second.values()] == [0] * 10
    assert [value for value, _ in first.values()] == [value for value, _ in second.values()]
    assert len(disk.files()) == 10


def test_processes_at_once(folder):
    """All write the same files, and read what the others write."""
    results = processes(folder, 4, f"{PROGRAMS}\nfor _ in range(3):\n    main() if _ == 2 else ft.jit(lambda x: x + 1.5)(x)")
    assert len({json.dumps([value for value, _ in result.values()]) for result in results}) == 1
    assert len(disk.files()) == len(os.listdir(folder)) == 11


def test_the_folder_is_private_and_the_file_survives_anything(folder, monkeypatch):
    run()
    assert folder.stat().st_mode & 0o777 == 0o700
    (path,) = disk.files()
    content = path.read_bytes()
    for wrong in (b"", content[:100], content[:-1], content[:200] + b"\x00" + content[201:], b"text"):
        path.write_bytes(wrong)
        builds = count_builds(monkeypatch)
        run()
        assert len(builds) == 1
        assert path.read_bytes() == content


def test_a_folder_others_may_write_to_is_not_used(folder, caplog):
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    run(), run()
    assert disk.files() == []
    assert len([record for record in caplog.records if "disk cache" in record.getMessage()]) == 1


def test_a_folder_that_cannot_be_made_is_reported_once(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(ft.config, "disk_cache", True)
    monkeypatch.setattr(ft.config, "cache_dir", str(tmp_path / "file"))
    run(), run()
    assert len([record for record in caplog.records if "is off" in record.getMessage()]) == 1


def test_a_full_disk_is_reported_once(folder, monkeypatch, caplog):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    run()
    monkeypatch.setattr("functrans.compile.store.sealed.os.replace", full)
    for scale in (1.5, 2.5):
        np.testing.assert_array_equal(ft.jit(lambda x, scale=scale: x * scale)(np.ones(3)), scale)
    assert len([record for record in caplog.records if "is off for this process: " in record.getMessage()]) == 1
    assert len(os.listdir(folder)) == 1
    disk._failed.clear()


def test_what_a_process_that_ended_has_left_is_removed(folder):
    run()
    left = folder / f"{'0' * 64}.functrans.0123456789abcdef"
    left.write_bytes(b"half")
    ft.jit(lambda x: x * 4.5)(np.ones(3))
    assert left.exists()  # it may still be written
    os.utime(left, (0, 0))
    ft.jit(lambda x: x * 5.5)(np.ones(3))
    assert not left.exists() and len(disk.files()) == 3


def test_files_not_used_for_longest_are_removed(folder, monkeypatch):
    for scale in (1.5, 2.5, 3.5):
        ft.jit(lambda x, scale=scale: x * scale)(np.ones(3))
    oldest, *_ = disk.files()
    os.utime(oldest, (0, 0))
    monkeypatch.setattr(disk, "LARGEST", sum(path.stat().st_size for path in disk.files()) - 1)
    disk.evict()
    assert oldest not in disk.files() and len(disk.files()) == 2


def test_programs_that_differ_in_a_number_or_a_type_have_files_of_their_own(folder):
    x, w = np.ones(4), np.ones(4)
    numbers = [2.0, 3.0, 2, True, np.float32(2), np.int8(2), np.bool_(True), 2j, 0.0, -0.0, np.inf, np.nan, np.float64(np.nan)]
    functions = [lambda x, n=n: x * n for n in numbers] + [
        lambda x: x + 2.0, lambda x: -x * 2.0, lambda x: w * x, lambda x: (x * 2.0, x), lambda x: (x, x * 2.0),
        lambda x: x.reshape(2, 2), lambda x: x.reshape(4, 1), lambda x: np.cumsum(x.reshape(2, 2), axis=0),
        lambda x: np.cumsum(x.reshape(2, 2), axis=1), lambda x: x[1:], lambda x: x[:1],
    ]  # fmt: skip
    for f in functions:
        for actual, expected in zip(ft.tree.leaves(ft.jit(f)(x)), ft.tree.leaves(f(x))):
            np.testing.assert_array_equal(actual, expected)
    for argument in (x.astype(np.float32), x[:3], 1.0, np.float64(1.0), 1):
        np.testing.assert_array_equal(ft.jit(lambda x: x * 2.0)(argument), 2 * argument)
    assert len(disk.files()) == len(functions) + 5 - 1  # a product with either truth value is a copy


def test_the_command_line(folder, capsys):
    run()
    cache.main(["info"])
    assert "1 files" in capsys.readouterr().out
    cache.main(["clear"])
    assert "removed 1 files" in capsys.readouterr().out and disk.files() == []
