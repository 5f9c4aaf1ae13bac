"""Runs functrans beside its peers and writes a table, a JSON file and a chart of ratios.

    python benchmarks/run.py [--quick] [--out DIRECTORY]

Only ratios of one run count: contenders take turns and each one's minimum is kept. A ratio below 1
means that functrans is faster, and one within 1.1 either way is a tie.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from bounded import ACTIVATION, BOUNDED, BUDGETS, kept
from compiled import COMPILED, Compiled
from elementary import ELEMENTARY
from loops import LOOPS
from measure import assert_agreement, in_new_process, interleaved_minima, process_time
from memory import CONTENDERS, MEASURED, held
from torch_style import TORCH_STYLE
from workloads import WORKLOADS, Workload

import functrans as ft

IMPORT_TIME = """
import json, sys, numpy, time
start = time.perf_counter()
import functrans
took = time.perf_counter() - start
print(json.dumps([took, sorted({"numba", "scipy", "jax", "torch"} & set(sys.modules))]))
"""

# The highest resident memory of a process beyond what it was after imports and a small run. Read from
# /proc, since getrusage hands a new process its parent's maximum.
PEAK_MEMORY = """
import json
import numpy as np
{setup}
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
gradient(1000)
before = peak()
gradient(1_000_000)
print(json.dumps(peak() - before))
"""
MEMORY_SETUP = {
    "functrans": """
import functrans as ft
def chain(x):
    for _ in range(50):
        x = np.sin(x)
    return np.sum(x)
gradient = lambda n: ft.grad(chain)(np.linspace(0.1, 1.0, n))
""",
    "torch": """
import torch
def gradient(n):
    x = y = torch.linspace(0.1, 1.0, n, dtype=torch.float64, requires_grad=True)
    for _ in range(50):
        y = torch.sin(y)
    y.sum().backward()
""",
}

# A process that imports a library and computes the first value and gradient of row 4's network.
COLD_START = """
import sys
sys.path.insert(0, {folder!r})
from compiled import network, network_arguments
import numpy as np
{library}
print(float(api.jit(network(m, api))(*network_arguments())[0]))
"""
COLD_LIBRARIES = {
    "functrans": "import functrans as api; m = np",
    "jax": (
        "import jax as api, jax.numpy as m; api.config.update('jax_enable_x64', True); "
        "api.config.update('jax_persistent_cache_min_compile_time_secs', 0)"
    ),
}


def run_workload(workload: Workload, seconds: float) -> dict[str, Any]:
    """Times, in seconds, and ratios of one row; libraries that are missing are named."""
    contenders, missing = {}, []
    for name, make in workload.make.items():
        try:
            contenders[name] = make()
        except ModuleNotFoundError as error:
            missing.append(f"{name} ({error})")
    assert_agreement({name: call() for name, call in contenders.items()}, workload.rtol)
    times = interleaved_minima(contenders, seconds)
    return row(workload.name, times, workload.bars, missing, workload.limit, "s")


def run_compiled(workload: Compiled, seconds: float) -> dict[str, Any]:
    """Times of calls of compiled functions, and of the first call: compiled, from disk, and by JAX."""

    def ours() -> Callable[[], Any]:
        return workload.caller(workload.jitted(np, ft), workload.arguments())

    ft.config.disk_cache = False
    compiles = {"functrans": first_call(ours())}
    with tempfile.TemporaryDirectory() as folder:
        ft.config.disk_cache, ft.config.cache_dir = True, folder
        ours()()
        compiles["functrans from disk"] = first_call(ours())
        ft.config.disk_cache, ft.config.cache_dir = False, None
    calls, missing = {"functrans": ours()}, []
    try:
        import jax
    except ModuleNotFoundError as error:
        missing.append(f"jax ({error})")
    else:
        jax.config.update("jax_enable_x64", True)
        theirs = workload.jitted(jax.numpy, jax)
        compiles["jax"] = first_call(workload.caller(lambda *a: jax.block_until_ready(theirs(*a)), in_jax(workload.arguments())))
        calls["jax"] = workload.caller(lambda *a: jax.block_until_ready(theirs(*a)), in_jax(workload.arguments()))
    # Copies, since a donated result is written over by the next call.
    results = {name: [np.array(leaf) for leaf in ft.tree.leaves(call())] for name, call in calls.items()}
    assert_agreement(results, workload.rtol)
    times = interleaved_minima(calls, seconds * workload.share)
    name = f"row {workload.row}: {workload.name}" if workload.row[0].isdigit() else f"{workload.row}: {workload.name}"
    return row(name, times, {"jax": workload.bar}, missing, workload.limit, "s") | {"compiles": compiles}


def in_jax(arguments: Any) -> Any:
    """Arguments with JAX's arrays in place of NumPy's."""
    import jax

    return jax.tree.map(lambda leaf: jax.numpy.array(leaf) if isinstance(leaf, np.ndarray) else leaf, arguments)


def first_call(call: Callable[[], Any]) -> float:
    """The time a call takes, in seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def geometric_means(rows: list[dict[str, Any]]) -> list[str]:
    """A line for the geometric mean of each kind of ratio to JAX's jit, over rows 3 to 17; of a row's workloads it is one number."""
    kinds: dict[str, Callable[[dict[str, Any]], float]] = {
        "run time": lambda item: item["ratios"]["jax"],
        "first call": lambda item: item["compiles"]["functrans"] / item["compiles"]["jax"],
        "first call in a process that finds the program on disk": lambda item: (
            item["compiles"]["functrans from disk"] / item["compiles"]["jax"]
        ),
    }
    lines = []
    for name, ratio in kinds.items():
        found: dict[str, list[float]] = {}
        for item in rows:
            number = number_of(item)
            if number.isdigit() and 3 <= int(number) <= 17:
                found.setdefault(number, []).append(ratio(item))
        mean = geometric([geometric(ratios) for ratios in found.values()])
        lines.append(f"Geometric mean of the ratios to JAX's jit over rows 3 to 17, {name}: {mean:.2f}.")
    return lines


def number_of(item: dict[str, Any]) -> str:
    """The number of a row of compiled workloads, else nothing."""
    name: str = item["name"]
    return name.split(":")[0].removeprefix("row ") if name.startswith("row ") else ""


def geometric(ratios: list[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def row(
    name: str, figures: dict[str, float], bars: dict[str, float], missing: list[str], limit: str, unit: str
) -> dict[str, Any]:
    """A row of the report."""
    ratios = {peer: figures["functrans"] / figure for peer, figure in figures.items() if peer != "functrans"}
    met = {peer: ratios[peer] <= bar for peer, bar in bars.items() if peer in ratios}
    return dict(name=name, figures=figures, unit=unit, ratios=ratios, bars=bars, met=met, missing=missing, limit=limit)


def run_import(repeats: int) -> dict[str, Any]:
    """The time `import functrans` takes once NumPy is there, against a bar of 60 ms."""
    runs = [in_new_process(IMPORT_TIME) for _ in range(repeats)]
    if loaded := runs[0][1]:
        raise AssertionError(f"import functrans loads {', '.join(loaded)}")
    figures = {"functrans": min(took for took, _ in runs), "bar": 0.060}
    return row("import functrans, beyond NumPy", figures, {"bar": 1.0}, [], "bytecode of the package and optree", "s")


def run_cold_start(repeats: int) -> list[dict[str, Any]]:
    """Whole processes: without a program kept on disk, and with."""
    cold: dict[str, float] = {}
    warm: dict[str, float] = {}
    missing = []
    for name, library in COLD_LIBRARIES.items():
        code = COLD_START.format(folder=str(Path(__file__).parent), library=library)
        try:
            version(name)
        except PackageNotFoundError as error:
            missing.append(f"{name} ({error})")
            continue
        with tempfile.TemporaryDirectory() as folder:
            kept = {"FUNCTRANS_CACHE_DIR": folder, "JAX_COMPILATION_CACHE_DIR": folder}
            process_time(code, kept)
            warm[name] = min(process_time(code, kept) for _ in range(repeats))
        none = {"FUNCTRANS_DISK_CACHE": "0"}
        cold[name] = min(process_time(code, none) for _ in range(repeats))
    name = "row 18: a new process up to the first value and gradient of row 4's network"
    limit = "Python and NumPy starting, importing, staging, LLVM"
    return [
        row(name, cold, {"jax": 1.2}, missing, limit, "s"),
        row(f"{name}, program on disk", warm, {"jax": 0.6}, missing, "Python and NumPy starting, importing, staging", "s"),
    ]


def run_memory() -> dict[str, Any]:
    """Peak memory of the gradient of a long elementwise chain."""
    figures, missing = {}, []
    for name, setup in MEMORY_SETUP.items():
        try:
            if name != "functrans":
                version(name)
            figures[name] = in_new_process(PEAK_MEMORY.format(setup=setup))
        except PackageNotFoundError as error:
            missing.append(f"{name} ({error})")
    name = "peak memory of eager grad of 50 x sin on 10^6 float64"
    return row(name, figures, {"torch": 1.0}, missing, "the 50 saved operands of sin", "B")


def run_held() -> list[dict[str, Any]]:
    """Row 20: what calls of compiled functions hold beyond their arguments and results."""
    missing = ["jax (No module named 'jax')"] if installed("jax") == "missing" else []
    found = []
    for number, workload in enumerate(COMPILED):
        if workload.row in MEASURED:
            names = [name for name in CONTENDERS if installed(name) != "missing" or name == "functrans"]
            figures = {name: float(held("compiled", "COMPILED", number, name).process) for name in names}
            donated = ", donated parameters" if workload.donates else ""
            name = f"row 20: memory of row {workload.row}, {workload.name}{donated}"
            found.append(row(name, figures, {"jax": 1.0}, missing, "values that are alive together", "B"))
    return found


def run_bounded(number: int, seconds: float) -> list[dict[str, Any]]:
    """Memory of a workload whose memory is bounded, by its plan and in its process, and its time beside that without bounds."""
    workload = BOUNDED[number]
    found = held("bounded", "BOUNDED", number, "functrans")
    bars = {} if workload.bar is None else {workload.named: workload.bar}
    limit = "what is computed again at a time"
    rows = []
    for kind, nbytes in (("plan", found.planned), ("process", found.process)):
        figures = {"functrans": float(nbytes), workload.named: float(workload.bound)}
        rows.append(row(f"memory by {kind}: {workload.name}", figures, bars, [], limit, "B"))
    arguments = workload.arguments()
    functions = {"functrans": ft.jit(workload.function), "without": ft.jit(workload.without)}
    calls = {name: partial(function, *arguments) for name, function in functions.items()}
    assert_agreement({name: ft.tree.leaves(call()) for name, call in calls.items()}, 1e-8)
    bars = {} if workload.slower is None else {"without": workload.slower}
    return [*rows, row(f"time: {workload.name}", interleaved_minima(calls, seconds), bars, [], "what is computed again", "s")]


def run_kept() -> list[dict[str, Any]]:
    """What budgets let the forward pass of the network keep."""
    return [
        row(
            f"memory that is kept: checkpoint, budget of {activations} activations",
            {"functrans": float(kept(activations)), "budget": float(activations * ACTIVATION)},
            {"budget": 1.1}, [], "whole activations", "B",
        )
        for activations in BUDGETS
    ]  # fmt: skip


def text_of(figure: float, unit: str) -> str:
    """A figure for people: ``2.55 ms``, ``389 MiB``."""
    if unit == "B":
        return f"{figure / 2**20:.3g} MiB"
    return f"{figure * 1e6:.0f} us" if figure < 1e-3 else f"{figure * 1e3:.2f} ms"


def table(rows: list[dict[str, Any]], machine: dict[str, str]) -> str:
    """The Markdown report."""
    lines = ["# functrans beside its peers", "", ", ".join(f"{key} {value}" for key, value in machine.items()), ""]
    lines += ["| workload | figures | ratio (bar) | limited by |", "|---|---|---|---|"]
    for item in rows:
        figures = ", ".join(f"{name} {text_of(figure, item['unit'])}" for name, figure in item["figures"].items())
        figures += "".join(f", {name} missing" for name in item["missing"])
        if "compiles" in item:
            figures += "; first call " + ", ".join(f"{name} {text_of(took, 's')}" for name, took in item["compiles"].items())
        ratios = ", ".join(
            f"{peer} {ratio:.2f}"
            + (f" ({item['bars'][peer]}{'' if item['met'][peer] else ', missed'})" if peer in item["bars"] else "")
            for peer, ratio in item["ratios"].items()
        )
        lines.append(f"| {item['name']} | {figures} | {ratios} | {item['limit']} |")
    lines += [
        "",
        *(geometric_means(found) if (found := [item for item in rows if len(item.get("compiles", ())) == 3]) else []),
        "",
        "A ratio is functrans / peer, or / what is allowed: below 1 is faster, or less memory. Minima of interleaved repeats in one run.",
        "",
    ]
    return "\n".join(lines)


def chart(rows: list[dict[str, Any]], path: Path) -> None:
    """Bars of the ratios on a logarithmic scale, with the bars to meet as marks."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    entries = [(item, peer, ratio) for item in charted(rows) for peer, ratio in item["ratios"].items()]
    figure, axes = plt.subplots(figsize=(9, 0.45 * len(entries) + 1.2))
    for place, (item, peer, ratio) in enumerate(reversed(entries)):
        axes.barh(place, ratio, color="tab:blue" if ratio <= max(1.0, item["bars"].get(peer, 1.0)) else "tab:red")
        if peer in item["bars"]:
            axes.plot([item["bars"][peer]], [place], "k|", markersize=14)
    axes.set_yticks(
        range(len(entries)), [f"{item['name'].replace('`', '')} / {peer}" for item, peer, _ in reversed(entries)], fontsize=7
    )
    axes.set_xscale("log")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xlabel("functrans / peer, or / what is allowed (marks: the bar to meet)")
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def charted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the chart: the elementary functions' are one, of their geometric mean and the bar to that."""
    elementary = [item for item in rows if number_of(item) == "7" and "jax" in item["ratios"]]
    others = [item for item in rows if number_of(item) != "7"]
    if elementary:
        mean = geometric([item["ratios"]["jax"] for item in elementary])
        others.append({"name": f"row 7: mean of {len(elementary)}", "ratios": {"jax": mean}, "bars": {"jax": 0.4}})
    return others


def installed(name: str) -> str:
    """A library's version, or that it is missing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def machine() -> dict[str, str]:
    """Where and with what this ran."""
    libraries = {name: installed(name) for name in ("numpy", "torch", "autograd", "jax")}
    with open("/proc/cpuinfo") as lines:
        models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    processor = f"{os.cpu_count()} cores of {models[0]}" if models else f"{os.cpu_count()} cores, {platform.machine()}"
    return {"Python": platform.python_version(), **libraries, "on": processor}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats: under five minutes")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="where to write")
    options = parser.parse_args()
    rows = [run_workload(workload, 5.0 if options.quick else 20.0) for workload in (*WORKLOADS, *TORCH_STYLE)]
    for dtype in (np.float32, np.float64):  # loads the compiler, and the routines of products, which are compiled once on a machine
        ft.jit(np.dot)(np.ones((128, 128), dtype), np.ones((128, 128), dtype))
    rows += [run_compiled(workload, 2.0 if options.quick else 8.0) for workload in (*COMPILED, *LOOPS, *ELEMENTARY)]
    rows += [run_import(5 if options.quick else 15), *run_cold_start(3 if options.quick else 10), run_memory(), *run_held()]
    for number in range(len(BOUNDED)):
        rows += run_bounded(number, 4.0 if options.quick else 15.0)
    rows += run_kept()
    options.out.mkdir(parents=True, exist_ok=True)
    report = table(rows, machine())
    (options.out / "results.md").write_text(report)
    (options.out / "results.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    chart(rows, options.out / "ratios.png")
    print(report)


if __name__ == "__main__":
    main()
