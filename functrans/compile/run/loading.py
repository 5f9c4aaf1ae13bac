"""`load`: compiled functions from files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from functrans.compile.run.compiled import Compiled

__all__ = ["load"]


def load(path: str | os.PathLike[str]) -> Compiled:
    """The compiled function that ``compiled.save(path)`` wrote, without the code it was written in.

    It is called, differentiated and looked at as what ``jit(f).lower(*args).compile()`` returns. A file holds machine
    code: load what you would run.

    Args:
        path: of the file.

    Raises:
        LoadError: the file was made for another processor or by other versions, was cut short or changed, or is
            another file altogether; or an operation of the program is not declared in this process.
        OSError: the file cannot be read.

    Example:
        >>> import os, tempfile
        >>> import numpy as np, functrans as ft
        >>> path = os.path.join(tempfile.mkdtemp(), "norm.functrans")
        >>> ft.jit(lambda x: np.sqrt(np.sum(x * x))).lower(np.ones(2)).compile().save(path)
        >>> float(ft.load(path)(np.array([3.0, 4.0])))
        5.0
    """
    from functrans.compile.run import saved
    from functrans.compile.run.compiled import Compiled
    from functrans.compile.run.execute import Executable

    code, description, program, arguments = saved.read(path)
    return Compiled(program, Executable.from_code(code, description, program, arguments))
