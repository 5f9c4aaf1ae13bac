"""The disk cache: programs found again, and files that are not what they should be."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import functrans as ft
from functrans import cache
from functrans.compile import disk


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(ft.config, "disk_cache", True)
    monkeypatch.setattr(ft.config, "cache_dir", str(tmp_path / "cache"))
    return tmp_path / "cache"


def function(x):
    return np.sum(np.tanh(x @ x.T))


def run():
    x = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    np.testing.assert_allclose(ft.jit(ft.grad(function))(x), ft.grad(function)(x), rtol=1e-12)


def count_builds(monkeypatch):
    builds = []
    from functrans.compile import assemble

    build = assemble.build
    monkeypatch.setattr(assemble, "build", lambda module: builds.append(1) or build(module))
    return builds


def test_a_program_is_compiled_once(folder, monkeypatch):
    builds = count_builds(monkeypatch)
    run(), run(), run()
    assert len(builds) == 1 and len(disk.files()) == 1


def test_another_process_finds_it(folder):
    code = """
import json
import numpy as np
import functrans as ft
step = ft.jit(ft.value_and_grad(lambda w, x: np.mean(np.tanh(x @ w))))
w, x = np.ones((40, 50)) / 40, np.ones((30, 40))
value, gradient = step(w, x)
print(json.dumps([step.compilations, float(value), float(gradient.sum())]))
"""
    environment = {**os.environ, "FUNCTRANS_CACHE_DIR": str(folder), "FUNCTRANS_DISK_CACHE": "1"}
    results = [
        json.loads(
            subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
        )
        for _ in range(2)
    ]
    assert results[0][0] == 1 and results[1][0] == 0
    assert results[0][1:] == results[1][1:]


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


def test_files_not_used_for_longest_are_removed(folder, monkeypatch):
    for scale in (1.5, 2.5, 3.5):
        ft.jit(lambda x, scale=scale: x * scale)(np.ones(3))
    oldest, *_ = disk.files()
    os.utime(oldest, (0, 0))
    monkeypatch.setattr(disk, "LARGEST", sum(path.stat().st_size for path in disk.files()) - 1)
    disk.evict()
    assert oldest not in disk.files() and len(disk.files()) == 2


def test_programs_that_differ_in_a_number_or_a_type_have_files_of_their_own(folder):
    x = np.ones(3)
    for f in (lambda x: x * 2.0, lambda x: x * 3.0, lambda x: x * np.float32(2), lambda x: x + 2.0, lambda x: -x * 2.0):
        np.testing.assert_array_equal(ft.jit(f)(x), f(x))
    np.testing.assert_array_equal(ft.jit(lambda x: x * 2.0)(x.astype(np.float32)), 2 * x)
    assert len(disk.files()) == 6


def test_the_command_line(folder, capsys):
    run()
    cache.main(["info"])
    assert "1 programs" in capsys.readouterr().out
    cache.main(["clear"])
    assert "removed 1 programs" in capsys.readouterr().out and disk.files() == []
