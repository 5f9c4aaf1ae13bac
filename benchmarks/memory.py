"""What a call of a compiled function holds in memory beyond its arguments and results, in a process of its own.

By its plan, and as read from /proc: the highest resident memory during a call, from which the memory before it and that of
new results is taken away. The call before has loaded all code and started all threads. Linux counts the highest memory
by some hundred kB at a time, so that what is there after the call, which is exact, counts where it is more. The median
of some calls counts, since other memory comes and goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from measure import in_new_process

__all__ = ["CONTENDERS", "MEASURED", "Held", "held"]

# Rows; where the first argument is donated, results take its memory.
MEASURED = {"5", "9", "10", "16"}
CONTENDERS = {
    "functrans": """
import functrans as api
import numpy as m
given = lambda arguments: arguments
finish = lambda value: value
from functrans.compile.machine.allocation import release
def forget():
    compiled._executable.memory.free.clear()
    release()
def planned():
    found = compiled.memory_analysis()
    captured = sum(m.prod([n for n, stride in zip(x.shape, x.strides) if stride], dtype=int) * x.itemsize for x in compiled.program.values)
    return int(found.workspace + found.between + found.per_thread * api.config.threads + captured)
""",
    "jax": """
import jax as api
import jax.numpy as m
api.config.update("jax_enable_x64", True)
given = lambda arguments: api.tree.map(lambda leaf: m.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, arguments)
finish = api.block_until_ready
def forget():
    pass
def planned():
    return compiled.memory_analysis().temp_size_in_bytes
""",
}
CODE = """
import ctypes, gc, json, sys
sys.path.insert(0, {folder!r})
import numpy as np
from {module} import {table}
{contender}
def status(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
def resident():
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss"))
workload = {table}[{number}]
function = workload.jitted(m, api)
compiled = function.lower(*given(workload.arguments())).compile()
finish(compiled(*given(workload.arguments())))
def held():
    arguments = given(workload.arguments())
    forget()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the highest is from now on
    before, start = status("VmRSS"), resident()
    results = finish(compiled(*arguments))
    new = 0 if workload.donates else sum(np.asarray(leaf).nbytes for leaf in api.tree.leaves(results))
    return max(status("VmHWM") - before, resident() - start) - new
print(json.dumps([planned(), sorted(held() for _ in range(5))[2]]))
"""
# What is free is given back to the system, and every large allocation at once, so that resident memory is what is held.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "FUNCTRANS_DISK_CACHE": "0"}


@dataclass(frozen=True)
class Held:
    """What a call holds, in bytes: as planned when it was compiled, and in its process, a page if it is less than can be told."""

    planned: int
    process: int


def held(module: str, table: str, number: int, contender: str) -> Held:
    """What a call of a workload, one of a table of a module here, holds."""
    folder = str(Path(__file__).parent)
    code = CODE.format(folder=folder, contender=CONTENDERS[contender], module=module, table=table, number=number)
    planned, process = in_new_process(code, ENVIRONMENT)
    return Held(int(planned), max(4096, int(process)))
