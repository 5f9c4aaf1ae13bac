"""Settings of the library, read from the environment once and changeable at run time."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

__all__ = ["Settings", "logger", "processors", "settings"]

logger = logging.getLogger("functrans")


@dataclass(slots=True)
class Settings:
    """What can be set, as attributes of the one instance, ``ft.config``.

    Attributes:
        check_programs: check every ``Program`` after it is staged and after each pass over it.
            From ``FUNCTRANS_CHECK_PROGRAMS``; off by default, on in the test suite.
        disk_cache: whether compiled programs are kept on disk for other processes. From ``FUNCTRANS_DISK_CACHE``;
            on by default.
        cache_dir: the folder they are kept in. From ``FUNCTRANS_CACHE_DIR``; by default ``functrans`` in the user's
            folder for caches. ``python -m functrans.cache info`` says what is in it.
        jit: whether `jit` compiles; if not, functions run as they are, operation by operation. On by default.
        log_compiles: log each compilation with the types of the arguments, and what was new about them.
            From ``FUNCTRANS_LOG_COMPILES``; off by default.
        threads: how many threads compiled code may use. From ``FUNCTRANS_THREADS``; by default as many as
            this process may run on. Results do not depend on it. A positive int.

    Example:
        >>> import functrans as ft
        >>> ft.config.jit
        True
    """

    check_programs: bool = False
    disk_cache: bool = True
    cache_dir: str | None = None
    jit: bool = True
    log_compiles: bool = False
    threads: int = 1

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "threads" and (type(value) is not int or value < 1):
            raise ValueError(f"ft.config.threads: must be a positive int, got {value!r}\n  Remedy: 1 runs on one thread.")
        object.__setattr__(self, name, value)


def processors() -> int:
    """The processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


settings = Settings(
    check_programs=os.environ.get("FUNCTRANS_CHECK_PROGRAMS", "0") == "1",
    disk_cache=os.environ.get("FUNCTRANS_DISK_CACHE", "1") == "1",
    cache_dir=os.environ.get("FUNCTRANS_CACHE_DIR") or None,
    log_compiles=os.environ.get("FUNCTRANS_LOG_COMPILES", "0") == "1",
    threads=int(os.environ.get("FUNCTRANS_THREADS", "0")) or processors(),
)
