"""Timing that holds on a shared machine: contenders take turns, and each one's minimum counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def interleaved_minima(contenders: dict[str, Callable[[], Any]], seconds: float, batch: float = 2e-3) -> dict[str, float]:
    """The least time of one call of each contender, in seconds, over about `seconds` of turns."""
    counts = {}
    for name, call in contenders.items():
        call()
        start = time.perf_counter()
        call()
        counts[name] = max(1, int(batch / (time.perf_counter() - start)))
    best = dict.fromkeys(contenders, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, call in contenders.items():
            start = time.perf_counter()
            for _ in range(counts[name]):
                call()
            best[name] = min(best[name], (time.perf_counter() - start) / counts[name])
    return best


def assert_agreement(results: dict[str, list[Any]], rtol: float) -> None:
    """Raise unless every contender gives the numbers the first one gives."""
    (first, expected), *rest = results.items()
    for name, actual in rest:
        for one, other in zip(actual, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol, err_msg=f"{name} and {first} disagree")


def process_time(code: str, environment: dict[str, str]) -> float:
    """How long a fresh interpreter takes for `code`, with these variables set, in seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=with_bytecode() | environment, check=True, capture_output=True)
    return time.perf_counter() - start


def in_new_process(code: str, variables: dict[str, str] | None = None) -> Any:
    """What `code` prints last, as JSON, in a fresh interpreter that may write bytecode, with some variables set."""
    environment = with_bytecode() | (variables or {})
    out = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def with_bytecode() -> dict[str, str]:
    """The environment, for processes that may keep the bytecode of what they import, as installed packages have it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
