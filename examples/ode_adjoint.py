"""Train a neural ODE through an adaptive Runge-Kutta solver, and compare with the adjoint method.

The data are scikit-learn's 178 bundled wines: 13 measurements each, of three cultivars. A linear map takes a wine to a point
of the plane, a flow z' = f(t, z) moves it from t = 0 to t = 1, and where it ends says which cultivar it is. The solver is a
`ft.while_loop` in plain NumPy, whose number of steps depends on the values; `ft.grad` goes back through the steps it
took. The adjoint method (`ft.custom_vjp`) keeps none of them and solves another equation, backwards in time: its
gradient is that of the exact solution, and of the solver's only up to the tolerance.

Sources: Dormand and Prince, A family of embedded Runge-Kutta formulae (1980); Hairer, Norsett and Wanner, Solving ordinary
differential equations I (1993), section II.4; Chen et al., Neural ordinary differential equations (2018).
"""

from __future__ import annotations

import argparse
import time

import matplotlib
import numpy as np
from sklearn.datasets import load_wine

import functrans as ft

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)

# The method of Dormand and Prince: the times of its stages after the first, the weights of the slopes before each, of which
# the last are those of the solution of order 5, and the weights of the error, its difference from one of order 4.
TIMES = 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0
WEIGHTS = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = 71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40


def moved(state, size, weights, slopes):
    """The state after a step of a size along weighted slopes, all of them trees."""
    return ft.tree.map(lambda z, *k: z + size * sum(w * slope for w, slope in zip(weights, k) if w), state, *slopes)


def error_norm(state, new, size, slopes, tolerance):
    """The root mean square of the error of a step, in units of what is allowed."""
    errors = ft.tree.map(lambda *k: size * sum(w * slope for w, slope in zip(ERROR, k) if w), *slopes)
    allowed = ft.tree.map(lambda a, b: tolerance * (1.0 + np.maximum(np.abs(a), np.abs(b))), state, new)
    leaves = list(zip(ft.tree.leaves(errors), ft.tree.leaves(allowed)))
    return np.sqrt(sum(np.sum((e / a) ** 2) for e, a in leaves) / sum(e.size for e, _ in leaves))


def integrate(field, state, begin, end, tolerance):
    """The solution of z' = field(t, z) at `end`, from the state at `begin`, and how often the field was evaluated.

    The steps are as long as the error allows, and constants to derivatives: these are of the result with the steps as
    they were (Bock, Numerical treatment of inverse problems in chemical reaction kinetics, 1981).
    """

    def is_before_end(carry):
        t, *_ = carry
        return np.abs(end - t) > 0.0

    def attempt(carry):
        t, state, slope, size, count = carry
        is_last = np.abs(size) >= np.abs(end - t)
        size = np.where(is_last, end - t, size)
        slopes = [slope]
        for fraction, weights in zip(TIMES, WEIGHTS):
            new = moved(state, size, weights, slopes)
            slopes.append(field(t + fraction * size, new))
        error = ft.stop_gradient(error_norm(state, new, size, slopes, tolerance))
        accepted = error <= 1.0
        t = np.where(accepted, np.where(is_last, end, t + size), t)
        state, slope = ft.tree.map(lambda a, b: np.where(accepted, a, b), (new, slopes[-1]), (state, slope))
        factor = np.clip(0.9 * np.maximum(error, 1e-12) ** -0.2, 0.2, 5.0)
        return t, state, slope, size * factor, count + len(TIMES)

    start = begin, state, field(begin, state), 0.1 * (end - begin), 1
    _, state, _, _, count = ft.while_loop(is_before_end, attempt, start)
    return state, count


def field(weights, t, z):
    """The velocity float64[n,2] of the flow at points z: a network with one hidden layer."""
    hidden = np.tanh(z @ weights["in"] + weights["time"] * t + weights["bias"])
    return hidden @ weights["out"]


def flow_through_solver(weights, z, tolerance):
    """Where the flow takes points z, differentiated through the steps of the solver."""
    return integrate(lambda t, z: field(weights, t, z), z, 0.0, 1.0, tolerance)[0]


@ft.custom_vjp
def flow_with_adjoint(weights, z, tolerance):
    """Where the flow takes points z, differentiated by the adjoint method."""
    return flow_through_solver(weights, z, tolerance)


def adjoint(weights, z, cotangent, tolerance):
    """The cotangents of the weights and of the first points, from that of the last ones, and the evaluations it took.

    The flow runs back from its end, and beside it the cotangent a' = -a df/dz, and the weights' share, the sum of
    -a df/dw.
    """

    def joint_field(t, state):
        z, a, _ = state
        velocity, pullback = ft.vjp(lambda weights, z: field(weights, t, z), weights, z)
        of_weights, of_z = pullback(a)
        return velocity, -of_z, ft.tree.map(np.negative, of_weights)

    start = z, cotangent, ft.tree.map(np.zeros_like, weights)
    (_, of_z, of_weights), count = integrate(joint_field, start, 1.0, 0.0, tolerance)
    return of_weights, of_z, count


def flow_forward(weights, z, tolerance):
    """The rule's forward part: of the flow, its end alone is kept."""
    end = flow_through_solver(weights, z, tolerance)
    return end, (weights, end, tolerance)


def flow_backward(kept, cotangent):
    """The rule's backward part."""
    weights, end, tolerance = kept
    of_weights, of_z, _ = adjoint(weights, end, cotangent, tolerance)
    return of_weights, of_z, 0.0


flow_with_adjoint.defvjp(flow_forward, flow_backward)
METHODS = {"through the solver": flow_through_solver, "by the adjoint": flow_with_adjoint}


def load(seed):
    """Training and held-out measurements float64[n,13], standardised, and cultivars int64[n]: four fifths and one fifth."""
    wines, cultivars = load_wine(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(cultivars))
    wines, cultivars = wines[order], cultivars[order]
    held_out = len(cultivars) // 5
    wines = (wines - wines[held_out:].mean(axis=0)) / wines[held_out:].std(axis=0)
    return wines[held_out:], cultivars[held_out:], wines[:held_out], cultivars[:held_out]


def initial_parameters(seed, width=32):
    """Weights of the map to the plane, of the flow, and of the scores at its end."""
    g = np.random.default_rng(seed)
    flow = {
        "in": g.standard_normal((2, width)),
        "time": g.standard_normal(width),
        "bias": g.standard_normal(width),
        "out": g.standard_normal((width, 2)) / np.sqrt(width),
    }
    return {"plane": g.standard_normal((13, 2)) / 13, "flow": flow, "scores": g.standard_normal((2, 3)), "bias": np.zeros(3)}


def scores(flow, parameters, wines, tolerance):
    """The scores float64[n,3] for each cultivar."""
    return flow(parameters["flow"], wines @ parameters["plane"], tolerance) @ parameters["scores"] + parameters["bias"]


def loss_by(flow):
    """The mean cross-entropy, with a little weight decay, as a function of parameters, wines, cultivars and tolerance."""

    def loss(parameters, wines, cultivars, tolerance):
        z = scores(flow, parameters, wines, tolerance)
        top = np.max(z, axis=1, keepdims=True)
        log_total = top[:, 0] + np.log(np.sum(np.exp(z - top), axis=1))
        decay = sum(np.sum(leaf**2) for leaf in ft.tree.leaves(parameters))
        return np.mean(log_total - z[np.arange(len(cultivars)), cultivars]) + 1e-4 * decay

    return loss


def train(step, parameters, data, tolerance, epochs, rate=0.03):
    """Parameters after Adam (Kingma and Ba 2015) on all wines at once, the losses, and the seconds of a step."""
    mean, square = ft.tree.map(np.zeros_like, parameters), ft.tree.map(np.zeros_like, parameters)
    step(parameters, *data, tolerance)  # compiles
    history, start = [], time.perf_counter()
    for count in range(1, epochs + 1):
        value, gradient = step(parameters, *data, tolerance)
        mean = ft.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
        square = ft.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, square, gradient)
        size = rate * np.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        parameters = ft.tree.map(lambda p, m, s: p - size * m / (np.sqrt(s) + 1e-8), parameters, mean, square)
        history.append(float(value))
    return parameters, history, (time.perf_counter() - start) / epochs


def distance(one, other):
    """The norm of the difference of two trees, relative to the second."""
    difference = ft.tree.map(np.subtract, one, other)
    return norm(difference) / norm(other)


def norm(tree):
    """The Euclidean norm of all numbers of a tree."""
    return float(np.sqrt(sum(np.sum(leaf**2) for leaf in ft.tree.leaves(tree))))


def evaluations(parameters, wines, tolerance):
    """How often the field is evaluated by the solver, and by the adjoint method on its way back."""

    def both(weights, z, tolerance):
        end, forward = integrate(lambda t, z: field(weights, t, z), z, 0.0, 1.0, tolerance)
        *_, backward = adjoint(weights, end, np.ones_like(end) / len(end), tolerance)
        return forward, backward

    return tuple(map(int, ft.jit(both)(parameters["flow"], wines @ parameters["plane"], tolerance)))


def compare(steps, parameters, data, tolerances, repeats=5):
    """For each tolerance the evaluations, both gradients' errors, their difference, and the least seconds both take."""
    _, exact = steps["through the solver"](parameters, *data, 1e-12)
    rows = []
    for tolerance in tolerances:
        gradients, seconds = {}, {}
        for name, step in steps.items():
            times = []
            for _ in range(repeats):
                start = time.perf_counter()
                _, gradients[name] = step(parameters, *data, tolerance)
                times.append(time.perf_counter() - start)
            seconds[name] = min(times)
        rows.append({
            "tolerance": tolerance,
            "evaluations": evaluations(parameters, data[0], tolerance),
            "errors": {name: distance(gradient, exact) for name, gradient in gradients.items()},
            "difference": distance(gradients["by the adjoint"], gradients["through the solver"]),
            "seconds": seconds,
        })  # fmt: skip
    return rows


def show(rows):
    """Print the comparison."""
    print("the gradient of the trained network, through the solver / by the adjoint method; evaluations")
    print("of the velocity, which going back through the solver repeats for the steps it took, each with its pullback")
    print("tolerance  evaluations     relative error        difference  milliseconds")
    for row in rows:
        forward, backward = row["evaluations"]
        errors = " / ".join(f"{row['errors'][name]:.1e}" for name in METHODS)
        times = " / ".join(f"{1e3 * row['seconds'][name]:.2f}" for name in METHODS)
        counts = f"{forward} / {forward} + {backward}"
        print(f"{row['tolerance']:.0e}      {counts:<15} {errors:<21} {row['difference']:.1e}     {times}")


def paths(parameters, wines, tolerance, times):
    """The points float64[times,n,2] that wines pass."""
    move = ft.jit(lambda weights, z, a, b: integrate(lambda t, z: field(weights, t, z), z, a, b, tolerance)[0])
    points = [wines @ parameters["plane"]]
    for begin, end in zip(times, times[1:]):
        points.append(move(parameters["flow"], points[-1], begin, end))
    return np.stack(points)


def draw(path, histories, rows, points, cultivars):
    """Save the losses, the flow of the held-out wines, and the gradients' errors."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    for (name, history), style in zip(histories.items(), ("-", "--")):
        left.semilogy(history, style, label=name)
    left.set(title="training loss", xlabel="epoch")
    left.legend()
    for kind in np.unique(cultivars):
        own = points[:, cultivars == kind]
        middle.plot(own[..., 0], own[..., 1], color=f"C{kind}", linewidth=0.6, alpha=0.6)
        middle.scatter(*own[0].T, s=8, facecolors="none", edgecolors=f"C{kind}")
        middle.scatter(*own[-1].T, s=16, color=f"C{kind}", label=f"cultivar {kind}")
    middle.set(title="held-out wines on their way")
    middle.legend()
    tolerances = [row["tolerance"] for row in rows]
    for name, style in zip(METHODS, ("o-", "s--")):
        right.loglog(tolerances, [row["errors"][name] for row in rows], style, label=f"error {name}", markersize=4)
    right.loglog(tolerances, [row["difference"] for row in rows], "k^:", label="difference", markersize=4)
    right.set(title="the gradient by both methods", xlabel="tolerance of the solver", ylabel="relative to the gradient")
    right.invert_xaxis()
    right.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(arguments=None):
    """Train by both methods, compare them, and draw; returns the accuracies, the losses and the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--tolerance", type=float, default=1e-5, help="of the solver, in training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="fewer epochs and tolerances")
    parser.add_argument("--output", default="ode_adjoint.png", help="where the picture goes")
    options = parser.parse_args(arguments)
    epochs = min(options.epochs, 60) if options.quick else options.epochs
    wines, cultivars, test_wines, test_cultivars = load(options.seed)
    steps = {name: ft.jit(ft.value_and_grad(loss_by(flow))) for name, flow in METHODS.items()}
    histories, accuracies = {}, {}
    for name, step in steps.items():
        start = initial_parameters(options.seed)
        parameters, histories[name], seconds = train(step, start, (wines, cultivars), options.tolerance, epochs)
        found = np.argmax(scores(flow_through_solver, parameters, test_wines, options.tolerance), axis=1)
        accuracies[name] = float(np.mean(found == test_cultivars))
        losses = " ".join(f"{value:.4f}" for value in histories[name][:: max(1, epochs // 8)])
        print(f"{name}: losses {losses} ... {histories[name][-1]:.4f}; {1e3 * seconds:.1f} ms a step")
        print(f"{name}: held-out accuracy {accuracies[name]:.1%} on {len(test_cultivars)} wines")
    tolerances = [10.0**-power for power in ((3, 6) if options.quick else range(2, 10))]
    rows = compare(steps, parameters, (wines, cultivars), tolerances)
    show(rows)
    points = paths(parameters, test_wines, options.tolerance, np.linspace(0.0, 1.0, 11 if options.quick else 41))
    draw(options.output, histories, rows, points, test_cultivars)
    print(f"saved {options.output}")
    return accuracies, histories, rows


if __name__ == "__main__":
    main()
