"""Writes `coverage.md`, which says what of NumPy works under which transform, by running the cases of `tests/numpy/cases.py`.

Run it as ``python docs/coverage.py``; with ``--check`` it only compares, and fails if the page is not current.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from functrans.errors import FunctransError

PAGE = Path(__file__).with_name("coverage.md")
TABLE = Path(__file__).parent.parent / "tests" / "numpy" / "cases.py"
COLUMNS = ("eager", "grad", "jvp", "vmap", "staged")
YES, FLAT, CONCRETE, RAISES = "yes", "flat", "concrete", "raises"

# Callables that are no functions of arrays: they make, read, print or configure, or are of dtypes, dates, strings or bits.
NOT_OF_ARRAYS = frozenset(
    """arange array asanyarray asarray asarray_chkfinite ascontiguousarray asfortranarray asmatrix array2string array_repr
    array_str bartlett base_repr binary_repr bitwise_count blackman bmat broadcast_shapes busday_count busday_offset can_cast
    datetime_as_string datetime_data diag_indices empty eye fftfreq format_float_positional format_float_scientific from_dlpack
    frombuffer fromfile fromfunction fromiter frompyfunc fromregex fromstring full genfromtxt get_include get_printoptions
    getbufsize geterr geterrcall hamming hanning identity indices info is_busday isdtype isfortran isnat isscalar issubdtype
    iterable kaiser load loadtxt mask_indices may_share_memory min_scalar_type mintypecode nested_iters ones packbits
    printoptions promote_types require rfftfreq row_stack save savetxt savez savez_compressed set_printoptions setbufsize seterr
    seterrcall shares_memory show_config show_runtime test tri tril_indices triu_indices typename unpackbits zeros
    byteswap ctypes data device dump dumps flags getfield setfield setflags strides to_device tobytes tofile view base
    """.split()
)
HEADER = """# What of NumPy works

Made by `python docs/coverage.py`, which runs the cases of `tests/numpy/cases.py`; do not edit.

- **yes**: values, dtypes, shapes and classes are NumPy's in every case; for *grad* (reverse mode) and *jvp*, first and second
  derivatives agree with finite differences too.
- **flat**: the values are right, and the function has no floating result that varies smoothly with its arguments.
- **concrete**: the result, or its shape, depends on values: works eagerly, also under `grad`; raises when staged and under `vmap`.
- **raises**: `UnsupportedError`, naming the function and what to do instead.

Left out are callables that are no functions of arrays: those that make, read, print or configure, and those of dtypes, dates,
strings, bits and memory; and what NumPy deprecates. Other names of a function (`np.abs`) are listed under its own (`np.absolute`).

"""


def public_callables() -> Iterator[tuple[str, Any]]:
    """The functions of arrays in NumPy's public namespaces, and the methods and properties of arrays."""
    seen = set()
    for prefix, module in (("np", np), ("np.linalg", np.linalg), ("np.fft", np.fft)):
        for name in sorted(vars(module), key=lambda name: (getattr(vars(module)[name], "__name__", "") != name, name)):
            function = vars(module)[name]
            skipped = name.startswith("_") or isinstance(function, type) or not callable(function)
            if not skipped and name not in NOT_OF_ARRAYS and id(function) not in seen:
                seen.add(id(function))
                yield f"{prefix}.{name}", function
    for name in sorted(vars(np.ndarray)):
        if not name.startswith("_") and name not in NOT_OF_ARRAYS:
            yield f"ndarray.{name}", getattr(np.ndarray, name)


def works(check: Callable[[], Any]) -> bool:
    """Whether a check passes; a wrong value is a defect and goes up."""
    try:
        check()
    except FunctransError:
        return False
    return True


def row(table: Any, cases: list[Any]) -> tuple[str, ...]:
    """The five entries of a callable, from its cases."""
    concrete = all(case.concrete for case in cases)
    smooth = [case for case in cases if case.has_derivative()]

    def values(run: Callable[[Any], Any], expected: Callable[[Any], Any]) -> bool:
        chosen = cases if run in (table.run_reverse, table.run_forward) else [case for case in cases if not case.concrete]
        return all(works(lambda case=case: table.assert_all_same(run(case), expected(case))) for case in chosen)

    def derivative(right: bool, mode: str) -> str:
        if not right or not all(works(lambda case=case: table.check_derivatives(case, mode)) for case in smooth):
            return RAISES
        return YES if smooth else FLAT

    of_call = lambda case: table.arrays_among(case.expected())
    reverse, forward = values(table.run_reverse, of_call), values(table.run_forward, of_call)
    batched, staged = values(table.run_batched, table.expected_batched), values(table.run_staged, of_call)
    return (
        YES if reverse and forward else RAISES,
        derivative(reverse, "rev"),
        derivative(forward, "fwd"),
        CONCRETE if concrete else YES if batched else RAISES,
        CONCRETE if concrete else YES if staged else RAISES,
    )


def page() -> str:
    """The text of the page."""
    table = SimpleNamespace(**runpy.run_path(str(TABLE)))
    by_name: dict[str, list[Any]] = {}
    for case in table.CASES:
        by_name.setdefault(case.name, []).append(case)
    names = dict.fromkeys(name for name, _ in public_callables()) | dict.fromkeys(sorted(by_name))
    rows = {name: row(table, by_name[name]) if name in by_name else (RAISES,) * 5 for name in names}
    supported = sum(entries[0] == YES for entries in rows.values())
    counts = [sum(entries[i] in (YES, FLAT) for entries in rows.values()) for i in range(len(COLUMNS))]
    lines = [f"{supported} of {len(rows)} callables are supported, by {len(table.CASES)} cases: "]
    lines[0] += ", ".join(f"{count} {column}" for column, count in zip(COLUMNS, counts)) + ".\n"
    lines += ["| callable | " + " | ".join(COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    lines += [f"| `{name}` | " + " | ".join(entries) + " |" for name, entries in rows.items()]
    return HEADER + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare the page with what it should be")
    check = parser.parse_args().check
    warnings.simplefilter("ignore")
    text = page()
    if not check:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        sys.exit(f"{PAGE.name} is not current: run python docs/coverage.py")


if __name__ == "__main__":
    main()
