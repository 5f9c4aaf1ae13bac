"""The backward pass: `backward` and `grad`.

It goes through nodes by falling number, so each has all its cotangents when its turn comes, and frees them as it passes.
Without ``create_graph`` cotangents are arrays. With it they are tracers of a `GraphTrace`, which is current meanwhile.
Complex cotangents are those of functrans inside, without conjugation, and torch's, conjugated, where users see them.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.core.trace import TracedValue, current
from functrans.errors import describe_origin, user_origin
from functrans.torch.autograd.graph import Node, tensor_title
from functrans.torch.autograd.modes import state
from functrans.torch.autograd.trace import GraphTrace
from functrans.torch.tensor import Tensor, clock, current_edge, made

__all__ = ["Pass", "backward", "grad"]


class Pass:
    """One backward pass.

    Args:
        keep: whether nodes keep what they saved.
        trace: the trace that records the pass, or None.
        captured: edges whose cotangents are wanted instead of being accumulated at leaves, or None.
        accumulate: whether captured leaves have theirs accumulated.
    """

    def __init__(self, keep: bool, trace: GraphTrace | None, captured: Sequence[Any] | None = None, accumulate: bool = True) -> None:
        self.keep = keep
        self.trace = trace
        self.accumulates = accumulate
        self.captured: dict[Node, dict[int, Any]] | None = None
        self.taken: set[int] = set()
        if captured is not None:
            self.captured = {}
            for node, place in captured:
                self.captured.setdefault(node, {})[place] = None

    def run(self, roots: Sequence[Any], cotangents: Sequence[Any]) -> None:
        """Send cotangents back from the edges `roots`."""
        pending: dict[Node, Any] = {}
        flagged: set[Node] = set()
        heap: list[Any] = []
        for (node, place), ct in zip(roots, cotangents):
            self.taken.add(id(ct))
            self._send(pending, heap, node, place, ct)
        needed = None if self.captured is None else self._needed(heap)
        pop, push, trace, keep, captured = heapq.heappop, heapq.heappush, self.trace, self.keep, self.captured
        anomaly = state.anomaly
        while heap:
            node = pop(heap)[1]
            cts = pending.pop(node)
            if node.hooks is not None:
                cts = self._before(node, cts)
            if captured is not None and node in captured:
                self._capture(node, cts)
                if not node.is_leaf and not needed[node]:  # type: ignore[index]
                    continue
            if node.is_leaf:
                if captured is None or node in captured and self.accumulates:
                    self._accumulate(node, cts[0])
                continue
            flag = node in flagged
            results = node.pull(cts, flag, trace)
            if anomaly:
                look_for_nan(node, results)
            if not keep:
                node.free()
            if node.hooks is not None and node.hooks.after:
                results = self._after(node, results, cts)
            flag = flag or node.selects
            for edge, ct in zip(node.edges, results):
                if ct is None or edge is None:
                    continue
                target, place = edge
                if needed is not None and target not in needed:
                    continue
                waiting = pending.get(target)
                if waiting is None:
                    pending[target] = waiting = [None] * target.outputs
                    push(heap, (-target.sequence, target))
                previous = waiting[place]
                waiting[place] = ct if previous is None else previous + ct
                if flag:
                    flagged.add(target)

    @staticmethod
    def _send(pending: dict[Node, Any], heap: list[Any], target: Node, place: int, ct: Any) -> None:
        waiting = pending.get(target)
        if waiting is None:
            pending[target] = waiting = [None] * target.outputs
            heapq.heappush(heap, (-target.sequence, target))
        waiting[place] = ct if waiting[place] is None else waiting[place] + ct

    def _needed(self, heap: list[Any]) -> dict[Node, bool]:
        """The nodes that captured ones can be reached from, and whether through their own edges."""
        captured = self.captured
        assert captured is not None
        order: list[Node] = []
        seen: set[Node] = set()
        stack = [node for _, node in heap]
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            order.append(node)
            stack.extend([edge[0] for edge in node.edges if edge is not None])
        needed: dict[Node, bool] = {}
        for node in sorted(order, key=lambda node: node.sequence):
            through = any(edge is not None and edge[0] in needed for edge in node.edges)
            if through or node in captured:
                needed[node] = through
        return needed

    def _before(self, node: Node, cts: list[Any]) -> list[Any]:
        """The cotangents after the hooks of the tensors they belong to, and of the node."""
        hooks = node.hooks
        if hooks.tensor or hooks.retain:
            cts = list(cts)
            for place, own in hooks.tensor.items():
                for hook in list(own.values()):
                    if cts[place] is not None:
                        given = hook(self.shown(cts[place]))
                        if given is not None:
                            cts[place] = self.hidden(checked_grad(given, cts[place], "hook"))
            for place, reference in hooks.retain.items():
                tensor = reference()
                if tensor is not None and cts[place] is not None:
                    self._keep(tensor, cts[place])
        for hook in list(hooks.before.values()):
            given = hook(tuple(None if ct is None else self.shown(ct) for ct in cts))
            if given is not None:
                given = given if isinstance(given, tuple) else (given,)
                cts = [None if ct is None else self.hidden(ct) for ct in given]
        return cts

    def _after(self, node: Node, results: Sequence[Any], cts: Sequence[Any]) -> Sequence[Any]:
        """The cotangents of the operands after the node's hooks."""
        for hook in list(node.hooks.after.values()):
            outgoing = tuple(None if ct is None else self.shown(ct) for ct in results)
            given = hook(outgoing, tuple(None if ct is None else self.shown(ct) for ct in cts))
            if given is not None:
                given = given if isinstance(given, tuple) else (given,)
                results = [None if ct is None else self.hidden(ct) for ct in given]
        return results

    def _capture(self, node: Node, cts: list[Any]) -> None:
        assert self.captured is not None
        wanted = self.captured[node]
        for place in wanted:
            wanted[place] = cts[place]

    def shown(self, ct: Any) -> Tensor:
        """A cotangent as the user sees it: a tensor, of torch's convention."""
        if ct.dtype.kind == "c":
            ct = np.conjugate(ct)
        return made(ct) if self.trace is None else self.trace.give(ct)

    def hidden(self, tensor: Tensor) -> Any:
        """What a user gives for a cotangent, as the pass has it."""
        ct = tensor._array if self.trace is None else self.trace.take(tensor)
        return np.conjugate(ct) if ct.dtype.kind == "c" else ct

    def own(self, ct: Any) -> Any:
        """A cotangent whose memory is nobody else's."""
        if type(ct) is np.ndarray:
            if ct.base is not None or not ct.flags.writeable or id(ct) in self.taken:
                ct = ct.copy()
            self.taken.add(id(ct))
        return ct

    def _keep(self, tensor: Tensor, ct: Any) -> None:
        """Add a cotangent to ``.grad``."""
        old = tensor._grad
        if self.trace is not None:
            new = self.shown(ct)
            new._array = self.own(new._array)
            tensor._grad = new if old is None else old + new  # type: ignore[operator]
            return
        array = self.own(np.conjugate(ct) if ct.dtype.kind == "c" else ct)
        if old is None:
            tensor._grad = made(array)
        elif type(old._array) is np.ndarray and old._edge is None:
            np.add(old._array, array, out=old._array)
            old._changes.append((next(clock), None, array.dtype, array.shape))
        elif old._edge is not None or isinstance(old._array, TracedValue):
            tensor._grad = made(old._array + array)
        else:
            old._array = old._array + array
            old._changes.append((next(clock), None, array.dtype, array.shape))

    def _accumulate(self, node: Any, ct: Any) -> None:
        leaf = node.leaf()
        if leaf is None or ct is None:
            return
        self._keep(leaf, ct)
        if node.after_accumulation:
            for hook in list(node.after_accumulation.values()):
                hook(leaf)


def look_for_nan(node: Node, results: Sequence[Any]) -> None:
    """Raise if a node gave nan, in anomaly mode."""
    for place, ct in enumerate(results):
        if ct is not None:
            value = ct.peek("detect_anomaly") if isinstance(ct, TracedValue) else ct
            if np.isnan(np.sum(value)):
                raise RuntimeError(
                    f"Function '{node.name()}' returned nan values in its {place}th output."
                    f"\n  made at {describe_origin(node.origin)}"
                )


def checked_grad(given: Any, ct: Any, what: str) -> Tensor:
    """What a hook returned, if it can stand for the cotangent."""
    if not isinstance(given, Tensor):
        raise TypeError(f"hook {what!r} must return None or a Tensor, got {type(given).__name__}")
    if given._array.shape != ct.shape:
        raise RuntimeError(f"{what} has changed the size of value")
    if given._array.dtype != ct.dtype:
        raise RuntimeError(f"{what} has changed the type of value (was {tensor_title(ct)} got {tensor_title(given._array)})")
    return given


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def root_edge(tensor: Tensor, place: int) -> Any:
    """The edge a backward pass begins at."""
    edge = current_edge(tensor)
    if edge is None:
        raise RuntimeError(
            f"element {place} of tensors does not require grad and does not have a grad_fn"
            "\n  Remedy: make what it is computed from with requires_grad=True, and outside of torch.no_grad(); .detach(), .item(), "
            f".numpy() and torch.tensor(x) cut the graph.\n  at {describe_origin(user_origin())}"
        )
    return edge


def seed(tensor: Tensor, gradient: Tensor | None, batched: bool = False) -> Tensor:
    """The cotangent a pass begins with at `tensor`."""
    if gradient is None:
        array = tensor._array
        if array.size != 1:
            raise RuntimeError(
                "grad can be implicitly created only for scalar outputs"
                f"\n  Remedy: this one has shape {list(array.shape)}: sum it, or pass gradient=torch.ones_like(y).\n  at {describe_origin(user_origin())}"
            )
        if array.dtype.kind == "c":
            raise RuntimeError("grad can be implicitly created only for real scalar outputs but got " + tensor.dtype.__repr__())
        return made(np.ones(array.shape, array.dtype)[()])
    if not isinstance(gradient, Tensor):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
    if gradient._array.shape != tensor._array.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[0] has a shape of {gradient.shape} and output[0] has a shape of {tensor.shape}."
        )
    if (gradient._array.dtype.kind == "c") != (tensor._array.dtype.kind == "c"):
        raise RuntimeError(
            "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in dtype: "
            f"grad_output[0] has a dtype of {gradient.dtype} and output[0] has a dtype of {tensor.dtype}."
        )
    if gradient._array.dtype != tensor._array.dtype:
        gradient = gradient.to(tensor.dtype)  # type: ignore[attr-defined]
    return gradient


def run_pass(
    tensors: Sequence[Tensor], gradients: Sequence[Any], captured: Any, keep: bool, create: bool, accumulate: bool
) -> tuple[Pass, Any]:
    """A pass from tensors."""
    roots = [root_edge(tensor, place) for place, tensor in enumerate(tensors)]
    seeds = [seed(tensor, gradient) for tensor, gradient in zip(tensors, gradients)]
    previous = state.grad
    state.grad = create
    trace = GraphTrace("backward(create_graph=True)", current.get()) if create else None
    step = Pass(keep, trace, captured, accumulate)
    token = trace.begin() if trace is not None else None
    try:
        with np.errstate(all="ignore"):
            step.run(roots, [step.hidden(each) for each in seeds])
            found = None
            if captured is not None:
                assert step.captured is not None
                found = [step.captured[node][place] for node, place in captured]
                found = [None if ct is None else step.shown(ct) for ct in found]
    finally:
        state.grad = previous
        if trace is not None:
            trace.end(token)
    return step, found


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Add the gradients of the sum of `tensors`, each times its grad tensor, to ``.grad`` of the leaves they depend on.

    Args:
        tensors: a tensor or several; without `grad_tensors` each has one element.
        grad_tensors: cotangents of their shapes.
        retain_graph: whether the graph can be used again; as `create_graph` by default.
        create_graph: whether the gradients have a history themselves.
        inputs: the tensors whose gradients are wanted, not only leaves; all leaves by default.

    Raises:
        RuntimeError: there is no graph, it was freed, or what it saved was written into.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> torch.autograd.backward((x * x).sum())
        >>> x.grad
        tensor([2., 4.])
    """
    tensors = _tuple(tensors)
    gradients = (None,) * len(tensors) if grad_tensors is None else _tuple(grad_tensors)
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        run_pass(tensors, gradients, None, keep, create_graph, True)
        return
    inputs = _tuple(inputs)
    if not inputs:
        raise RuntimeError("'inputs' argument to backward() cannot be empty.")
    edges = [input_edge(tensor) for tensor in inputs]
    step, found = run_pass(tensors, gradients, edges, keep, create_graph, True)
    for tensor, gradient, edge in zip(inputs, found, edges):
        if gradient is not None and not edge[0].is_leaf:
            if tensor._grad is None:
                gradient._array = step.own(gradient._array)
                tensor._grad = gradient
            else:
                tensor._grad = tensor._grad + gradient


def input_edge(tensor: Tensor) -> Any:
    """The edge of a tensor whose gradient is asked for."""
    edge = current_edge(tensor)
    if edge is None:
        raise RuntimeError(f"One of the differentiated Tensors does not require grad\n  at {describe_origin(user_origin())}")
    return edge


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of the sum of `outputs`, each times its grad output, with respect to `inputs`; ``.grad`` stays as it is.

    Args:
        outputs: a tensor or several.
        inputs: the tensors to differentiate with respect to; need not be leaves.
        grad_outputs: cotangents; with `is_grads_batched` each has one more axis, in front.
        retain_graph: whether the graph can be used again; as `create_graph` by default.
        create_graph: whether the gradients have a history themselves.
        allow_unused: whether inputs that outputs do not depend on get None, instead of an error.
        is_grads_batched: whether to make one pass per item of the leading axis.
        materialize_grads: zeros instead of None.

    Returns:
        a tuple, one tensor or None per input.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(2.0, requires_grad=True)
        >>> torch.autograd.grad(x ** 3, x)
        (tensor(12.),)
    """
    outputs, inputs = _tuple(outputs), _tuple(inputs)
    gradients = (None,) * len(outputs) if grad_outputs is None else _tuple(grad_outputs)
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False.")
    keep = create_graph if retain_graph is None else retain_graph
    edges = [input_edge(tensor) for tensor in inputs]
    if is_grads_batched:
        return _batched(outputs, inputs, gradients, keep, create_graph, allow_unused, materialize_grads)
    found = run_pass(outputs, gradients, edges, keep, create_graph, False)[1]
    if materialize_grads:
        return tuple(made(np.zeros_like(x._array)) if ct is None else ct for x, ct in zip(inputs, found))
    unused = [place for place, ct in enumerate(found) if ct is None]
    if unused and not allow_unused:
        raise RuntimeError(
            f"The differentiated Tensor at index {unused[0]} appears to not have been used in the graph. Set allow_unused=True if "
            "this is the desired behavior."
            f"\n  at {describe_origin(user_origin())}"
        )
    return tuple(found)


def _batched(outputs: Any, inputs: Any, gradients: Any, keep: bool, create: bool, allow_unused: Any, materialize: bool) -> Any:
    """`grad` for each item of the leading axis of the cotangents, stacked."""
    count = next(gradient._array.shape[0] for gradient in gradients if gradient is not None)
    rows = []
    for place in range(count):
        own = [None if gradient is None else gradient[place] for gradient in gradients]
        last = place == count - 1
        rows.append(grad(outputs, inputs, own, keep or not last, create, allow_unused, False, materialize))
    return tuple(None if parts[0] is None else parts[0]._stacked(parts) for parts in zip(*rows))

