"""Differentiate a simulation of 100,000 steps in bounded memory, and look at the memory over time.

A pulse runs around a ring of 500 excitable cells, as on a nerve or in the muscle of the heart (the equations of FitzHugh and
Nagumo). The result is the signal at one place in the end; its derivative with respect to the conductivity between
any two cells says where the pulse would have to be faster. Reverse mode needs the states in reverse: `ft.scan` keeps what each step
needs, or with ``checkpoint`` a few states, from which it computes the others again. Each way runs in a process of its own,
whose resident memory a thread reads from /proc (Linux) meanwhile.

Sources: FitzHugh, Impulses and physiological states in theoretical models of nerve membrane (1961); Griewank and Walther,
Algorithm 799: revolve (2000).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import threading
import time

import matplotlib
import numpy as np

import functrans as ft

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)

CELLS = 500
MODES = {"every step": None, "sqrt": "sqrt", "recursive": "recursive", "40 states": 40}


def pulse():
    """A state float64[2,500], of potentials and of recoveries: a pulse that runs to the right."""
    place = np.arange(CELLS)
    return np.stack([np.where((place >= 50) & (place < 80), 1.0, 0.0), np.where(place < 50, 0.2, 0.0)])


def simulated(conductivity, state, steps, checkpoint=None, size=0.1):
    """The state after so many steps of Euler's method."""

    def step(state, _):
        potential, recovery = state
        current = conductivity * (np.roll(potential, -1) - potential)
        rate = current - np.roll(current, 1) + potential * (1 - potential) * (potential - 0.1) - recovery
        return np.stack([potential + size * rate, recovery + size * 0.005 * (potential - 2.0 * recovery)]), None

    return ft.scan(step, state, None, length=steps, checkpoint=checkpoint)[0]


def gradient_by(steps, checkpoint):
    """The signal around a place in the end, and its derivative with respect to conductivities, as a function of these."""

    def signal(conductivity, state, weights):
        return np.sum(weights * simulated(conductivity, state, steps, checkpoint)[0])

    return ft.jit(ft.value_and_grad(signal))


def inputs(steps):
    """Conductivities, the first state, and weights around where the front of the pulse is in the end."""
    conductivity, state = np.ones(CELLS), pulse()
    end = ft.jit(lambda *args: simulated(*args, steps))(conductivity, state)
    front = np.argmax(end[0] - np.roll(end[0], -5))
    away = (np.arange(CELLS) - front + CELLS // 2) % CELLS - CELLS // 2
    return conductivity, state, np.exp(-((away / 10) ** 2))


def resident():
    """The resident memory of this process, in bytes: the sum over its pages, while /proc/self/statm is off by some of them."""
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Rss"))


def sampled(call, interval=5e-3):
    """What a call gives, how long it takes, and the memory over time: pairs of seconds and bytes beyond those before."""
    samples, done = [], threading.Event()
    ctypes.CDLL(None).malloc_trim(0)  # what is free, and may be used again unseen, goes back to the system
    before, start = resident(), time.perf_counter()

    def sample():
        while not done.is_set():
            samples.append((time.perf_counter() - start, resident() - before))
            done.wait(interval)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        result = call()
        took = time.perf_counter() - start
    finally:
        done.set()
        thread.join()
    samples.append((took, resident() - before))
    return result, took, samples


def available():
    """The memory there is for new processes, in bytes."""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))


def measure(mode, steps):
    """Compile and run one way, in this process: its plan, time, memory and result, or that there is no room for it."""
    given = inputs(steps)
    compiled = gradient_by(steps, MODES[mode]).lower(*given).compile()
    analysis = compiled.memory_analysis()
    planned = analysis.workspace + analysis.between
    if planned > 0.8 * available():
        return {"planned": planned, "fits": False}
    (value, gradient), seconds, samples = sampled(lambda: compiled(*given))
    peak = max(nbytes for _, nbytes in samples)
    return {
        "planned": planned, "fits": True, "peak": peak, "seconds": seconds, "samples": samples,
        "value": float(value), "gradient": gradient.tolist(),
    }  # fmt: skip


def measured_apart(mode, steps):
    """`measure` in a process of its own."""
    # Memory that is freed goes back to the system at once, so that what is resident is what is held.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, "--mode", mode, "--steps", str(steps)]
    out = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out.splitlines()[-1])


def show(found, steps):
    """Print a line for each way."""
    print(f"{steps:,} steps; a state is {2 * CELLS:,} numbers, {CELLS / 62.5:g} kB, all are {steps * CELLS / 62500:,.0f} MB")
    print("what is kept   planned memory   peak of the process   seconds")
    for mode, item in found.items():
        measured = f"{item['peak'] / 1e6:12.1f} MB        {item['seconds']:8.2f}" if item["fits"] else "   does not fit"
        print(f"{mode:<14} {item['planned'] / 1e6:10.1f} MB   {measured}")


def draw(path, found, steps):
    """Save the memory over time of each way, the pulse on its way, and the gradient."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    for mode, item in found.items():
        if item["fits"]:
            times, sizes = np.transpose(item["samples"])
            left.plot(times, np.maximum(sizes, 1e4) / 1e6, label=mode)
    left.set(title="memory of the gradient over time", xlabel="seconds", ylabel="MB", yscale="log")
    left.legend(title="states that are kept", loc="center right")
    conductivity, state = np.ones(CELLS), pulse()
    chunk = ft.jit(lambda *args: simulated(*args, max(1, min(steps, 20_000) // 200)))
    rows = [state[0]]
    for _ in range(200):
        state = chunk(conductivity, state)
        rows.append(state[0])
    middle.imshow(rows, aspect="auto", origin="lower", extent=(0, CELLS, 0, 0.1 * min(steps, 20_000)))
    middle.set(title="the pulse, at first", xlabel="cell", ylabel="time")
    right.plot(next(item["gradient"] for item in found.values() if item["fits"]))
    right.set(title="derivative by the conductivity", xlabel="cell")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(arguments=None):
    """Measure each way, compare the gradients, and draw; returns what was found, by way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="2,000 steps")
    parser.add_argument("--output", default="long_scan.png", help="where the picture goes")
    parser.add_argument("--mode", choices=MODES, help="measure this way only, in this process, and print JSON")
    options = parser.parse_args(arguments)
    if options.mode is not None:
        print(json.dumps(measure(options.mode, options.steps)))
        return None
    steps = 2000 if options.quick else options.steps
    found = {mode: measured_apart(mode, steps) for mode in MODES}
    show(found, steps)
    gradients = [np.array(item["gradient"]) for item in found.values() if item["fits"]]
    difference = max(np.linalg.norm(one - gradients[0]) for one in gradients) / np.linalg.norm(gradients[0])
    print(f"greatest relative difference of the gradients: {difference:.1e}")
    draw(options.output, found, steps)
    print(f"saved {options.output}")
    if not difference < 1e-10:
        raise SystemExit("the gradients differ")
    return found


if __name__ == "__main__":
    main()
