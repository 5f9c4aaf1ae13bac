"""Settings of the library, read from the environment once and changeable at run time."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["Settings", "settings"]


@dataclass(slots=True)
class Settings:
    """What can be set, as attributes of the one instance, ``ft.config``.

    Attributes:
        check_programs: check every ``Program`` after it is staged and after each pass over it.
            From ``FUNCTRANS_CHECK_PROGRAMS``; off by default, on in the test suite.
        jit: whether `jit` compiles; if not, functions run as they are, operation by operation. On by default.
        log_compiles: log each compilation with the types of the arguments, and what was new about them.
            From ``FUNCTRANS_LOG_COMPILES``; off by default.
        threads: how many threads compiled code may use. From ``FUNCTRANS_THREADS``; by default as many as
            this process may run on. Results do not depend on it.

    Example:
        >>> import functrans as ft
        >>> ft.config.jit
        True
    """

    check_programs: bool = False
    jit: bool = True
    log_compiles: bool = False
    threads: int = 1


def _processors() -> int:
    """The processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


settings = Settings(
    check_programs=os.environ.get("FUNCTRANS_CHECK_PROGRAMS", "0") == "1",
    log_compiles=os.environ.get("FUNCTRANS_LOG_COMPILES", "0") == "1",
    threads=int(os.environ.get("FUNCTRANS_THREADS", "0")) or _processors(),
)
