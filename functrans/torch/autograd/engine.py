"""The backward pass: `backward` and `grad`.

It goes through nodes by falling number, so each has all its cotangents when its turn comes, and frees them as it passes.
Without ``create_graph`` cotangents are arrays. With it they are tracers of a `GraphTrace`, which is current meanwhile.
Complex cotangents are those of functrans inside, without conjugation, and torch's, conjugated, where users see them.
"""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.core.trace import TracedValue, current
from functrans.errors import at_user_line, describe_origin, user_origin
from functrans.torch.autograd.checks import (
    checked_count,
    checked_grad,
    conjugate,
    input_edge,
    look_for_nan,
    root_edge,
    seed,
    seeds_given,
    tensors_given,
)
from functrans.torch.autograd.edges import GradientEdge
from functrans.torch.autograd.graph import Node
from functrans.torch.autograd.modes import cut, state, switch
from functrans.torch.autograd.trace import GraphTrace, Transform, with_history
from functrans.torch.tensor import Tensor, clock, current_edge, made
from functrans.transforms.batch import vmap

__all__ = ["Pass", "backward", "grad"]


class Pass:
    """One backward pass.

    Args:
        keep: whether nodes keep what they saved.
        trace: the trace that records the pass, or None.
        captured: edges whose cotangents are wanted instead of being accumulated at leaves, or None.
        accumulate: whether captured leaves have theirs accumulated.
    """

    # Of the nodes that are gone through, where hooks ask; and which hooks have.
    roots: Sequence[Any] = ()
    needed: dict[Node, bool] | None = None
    reached: set[Node] | None = None
    called: frozenset[int] = frozenset()

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
        self.roots, self.transform = roots, state.transform
        pending: dict[Node, Any] = {}
        flagged: set[Node] = set()
        heap: list[Any] = []
        for (node, place), ct in zip(roots, cotangents):
            self.taken.add(id(ct))
            self._send(pending, heap, node, place, ct)
        needed = self.needed = None if self.captured is None else self._needed(heap)
        pop, push, trace, keep, captured = heapq.heappop, heapq.heappush, self.trace, self.keep, self.captured
        anomaly = all(state.anomaly)
        while heap:
            node = pop(heap)[1]
            cts = pending.pop(node)
            if captured is not None and node in captured:
                # As torch has it: what only passes by is captured before hooks.
                passes = needed[node] and not self.accumulates  # type: ignore[index]
                if passes:
                    self._capture(node, cts)
                if node.hooks is not None:
                    cts = self._tensor_hooks(node, cts)
                if not passes:
                    self._capture(node, cts)
                    if not (needed[node] or node.is_leaf and self.accumulates):  # type: ignore[index]
                        continue
                if node.hooks is not None:
                    cts = self._before(node, cts)
            elif node.hooks is not None:
                cts = self._before(node, self._tensor_hooks(node, cts))
            if node.is_leaf:
                if captured is None or node in captured:
                    self._accumulate(node, cts[0])
                    if node.hooks is not None and node.hooks.after:
                        self._after(node, (), cts)
                continue
            flag = node in flagged
            results = node.pull(cts, flag, trace)
            if trace is not None:
                results = with_history(node, results, trace)
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

    def will_visit(self, node: Node) -> bool:
        """Whether the pass comes to `node`, or came."""
        if self.needed is not None:
            return node in self.needed
        if self.reached is None:
            self.reached = set()
            stack = [each for each, _ in self.roots]
            while stack:
                each = stack.pop()
                if each not in self.reached:
                    self.reached.add(each)
                    stack.extend([edge[0] for edge in each.edges if edge is not None])
        return node in self.reached

    def seen_by(self, hook: Any) -> bool:
        """Whether `hook` has asked before; it has now."""
        before = id(hook) in self.called
        self.called |= {id(hook)}
        return before

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

    def _tensor_hooks(self, node: Node, cts: list[Any]) -> list[Any]:
        """The cotangents after the hooks of the tensors they belong to."""
        hooks = node.hooks
        if hooks.tensor or hooks.retain:
            cts = list(cts)
            for place, own in hooks.tensor.items():
                for hook in list(own.values()):
                    if cts[place] is not None:
                        given = hook(self.shown(cts[place]))
                        if given is not None:
                            cts[place] = self.hidden(checked_grad(given, cts[place], hook))
            for place, reference in hooks.retain.items():
                tensor = reference()
                if tensor is not None and cts[place] is not None:
                    self._keep(tensor, cts[place])
        return cts

    def _before(self, node: Node, cts: list[Any]) -> list[Any]:
        """The cotangents after the node's hooks that come before it."""
        for hook in list(node.hooks.before.values()):
            given = hook(tuple(None if ct is None else self.shown(ct) for ct in cts))
            if given is not None:
                given = checked_count(given, len(cts), hook)
                cts = [None if ct is None else self.hidden(ct) for ct in given]
        return cts

    def _after(self, node: Node, results: Sequence[Any], cts: Sequence[Any]) -> Sequence[Any]:
        """The cotangents of the operands after the node's hooks."""
        for hook in list(node.hooks.after.values()):
            outgoing = tuple(None if ct is None else self.shown(ct) for ct in results)
            given = hook(outgoing, tuple(None if ct is None else self.shown(ct) for ct in cts))
            if given is not None:
                given = checked_count(given, len(results), hook)
                results = [None if ct is None else self.hidden(ct) for ct in given]
        return results

    def _capture(self, node: Node, cts: list[Any]) -> None:
        assert self.captured is not None
        wanted = self.captured[node]
        for place in wanted:
            wanted[place] = cts[place]

    def shown(self, ct: Any) -> Tensor:
        """A cotangent as the user sees it: a tensor, of torch's convention."""
        ct = conjugate(ct)
        return made(cut(ct)) if self.trace is None else self.trace.give(ct)

    def hidden(self, tensor: Tensor) -> Any:
        """What a user gives for a cotangent, as the pass has it."""
        ct = tensor._array if self.trace is None else self.trace.take(tensor)
        return conjugate(ct)

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
            tensor._grad = new if old is None else old + new
            return
        if ct.dtype.kind == "c":
            ct = np.conjugate(ct)
        array = self.own(ct if type(ct) is np.ndarray else cut(ct))
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
        if self.transform is not None:
            self.transform.accumulates(leaf)
        self._keep(leaf, ct)
        if node.after_accumulation:
            for hook in list(node.after_accumulation.values()):
                hook(leaf)


def run_pass(
    tensors: Sequence[Tensor], gradients: Sequence[Any], captured: Any, keep: bool, create: bool, accumulate: bool
) -> tuple[Pass, Any]:
    """A pass from tensors."""
    roots = [root_edge(tensor, place) for place, tensor in enumerate(tensors)]
    seeds = [seed(tensor, gradient) for tensor, gradient in zip(tensors, gradients)]
    previous = state.grad, state.since
    switch(create)
    trace = GraphTrace("backward(create_graph=True)", current.get()) if create else None
    step = Pass(keep, trace, captured, accumulate)
    token = trace.begin() if trace is not None else None
    state.passes.append(step)
    try:
        with np.errstate(all="ignore"):
            step.run(roots, [step.hidden(each) for each in seeds])
            found = None
            if captured is not None:
                assert step.captured is not None
                found = [step.captured[node][place] for node, place in captured]
                found = [None if ct is None else step.shown(ct) for ct in found]
    finally:
        state.passes.pop()
        state.grad, state.since = previous
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
    if grad_variables is not None:  # its name before it was `grad_tensors`
        if grad_tensors is not None:
            raise RuntimeError(
                "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to `backward()`. Please only use `grad_tensors`."
                + at_user_line()
            )
        grad_tensors = grad_variables
    tensors = tensors_given(tensors)
    gradients = seeds_given(grad_tensors, len(tensors))
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        run_pass(tensors, gradients, None, keep, create_graph, True)
        return
    inputs = tensors_given(inputs)
    if not inputs:
        raise RuntimeError(f"`inputs` argument to `backward()` cannot be empty.{at_user_line()}")
    for each in inputs:
        if not isinstance(each, GradientEdge) and current_edge(each) is None:
            raise RuntimeError(f"can't retain_grad on Tensor that has requires_grad=False{at_user_line()}")
    edges = [input_edge(tensor) for tensor in inputs]
    step, found = run_pass(tensors, gradients, edges, keep, create_graph, True)
    for tensor, gradient, edge in zip(inputs, found, edges):
        if gradient is not None and not edge[0].is_leaf and isinstance(tensor, Tensor):
            if tensor._grad is None:
                gradient._array = step.own(gradient._array)
                tensor._grad = gradient
            else:
                tensor._grad = tensor._grad + gradient


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
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
        only_inputs: has no effect, as in torch; False warns.
        allow_unused: whether inputs that outputs do not depend on get None, instead of an error.
        is_grads_batched: whether the cotangents have a batch axis; the pass goes through `vmap`, and so have the gradients.
        materialize_grads: zeros instead of None.

    Returns:
        a tuple, one tensor or None per input.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(2.0, requires_grad=True)
        >>> torch.autograd.grad(x ** 3, x)
        (tensor(12.),)
    """
    outputs, inputs = tensors_given(outputs), tensors_given(inputs)
    gradients = seeds_given(grad_outputs, len(outputs))
    if not only_inputs:
        warnings.warn(
            "only_inputs argument is deprecated and is ignored now (defaults to True). To accumulate gradient for other parts of the "
            "graph, please use torch.autograd.backward.",
            FutureWarning,
            stacklevel=2,
        )
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False.")
    keep = create_graph if retain_graph is None else retain_graph
    edges = [input_edge(tensor) for tensor in inputs]
    if is_grads_batched:
        found = batched_pass(outputs, gradients, edges, keep, create_graph)
    else:
        found = run_pass(outputs, gradients, edges, keep, create_graph, False)[1]
    if materialize_grads:
        return tuple([made(np.zeros_like(x._array)) if ct is None and isinstance(x, Tensor) else ct for x, ct in zip(inputs, found)])
    unused = [place for place, ct in enumerate(found) if ct is None]
    if unused and not allow_unused:
        raise RuntimeError(
            f"The differentiated Tensor at index {unused[0]} appears to not have been used in the graph. Set allow_unused=True if "
            "this is the desired behavior."
            f"\n  at {describe_origin(user_origin())}"
        )
    return tuple(found)


def batched_pass(outputs: Sequence[Tensor], gradients: Sequence[Any], edges: Sequence[Any], keep: bool, create: bool) -> list[Any]:
    """One pass for cotangents with a batch axis in front: what `vmap` of a pass gives."""
    roots = [root_edge(tensor, place) for place, tensor in enumerate(outputs)]
    for place, (gradient, output) in enumerate(zip(gradients, outputs)):
        if gradient is not None and gradient._array.shape[1:] != output._array.shape:
            raise RuntimeError(
                "If `is_grads_batched=True`, we interpret the first dimension of each grad_output as the batch dimension. The sizes of "
                "the remaining dimensions are expected to match the shape of corresponding output, but a mismatch was detected: "
                f"grad_output[{place}] has a shape of {gradient.shape} and output[{place}] has a shape of {output.shape}. If you only want "
                f"some tensors in `grad_output` to be considered batched, consider using vmap.{at_user_line()}"
            )
    unused: list[bool] = []

    def one(cotangents: list[Any]) -> Any:
        remaining = iter(cotangents)
        seeds = [seed(out, None if ct is None else made(next(remaining))) for out, ct in zip(outputs, gradients)]
        own = Pass(keep, step.trace if create else None, edges, False)
        if not create:
            switch(False)
        state.passes.append(own)
        try:
            own.run(roots, [own.hidden(each) for each in seeds])
        finally:
            state.passes.pop()
        assert own.captured is not None
        found = [own.captured[node][place] for node, place in edges]
        unused[:] = [ct is None for ct in found]
        return [own.shown(ct)._array if not create else conjugate(ct) for ct in found if ct is not None]

    step = Transform()
    step.records = create
    with step, np.errstate(all="ignore"):
        taken = [step.take(each)._array if create else each._array for each in gradients if each is not None]
        rows = iter(vmap(one)(taken))
        results = [None if none else next(rows) for none in unused]
    return [None if ct is None else step.trace.give(ct) if create else made(ct) for ct in results]
