"""Recurrent layers: RNN (Elman 1990), LSTM (Hochreiter and Schmidhuber 1997), GRU (Cho et al. 2014).

Gates are rows of one weight, in torch's order: input, forget, cell, output of an LSTM; reset, update, new of a GRU.
Sequences are computed packed (`nn.utils.rnn`): a batch of one length is a packed one with as many elements at each time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import functrans.torch.nn.functional as F
from functrans import nn
from functrans.control.scan import scan
from functrans.errors import at_user_line
from functrans.torch.nn.modules.layers import parameter, spread_
from functrans.torch.nn.modules.module import Module
from functrans.torch.nn.utils.rnn import PackedSequence
from functrans.torch.ops.table import FUNCTIONS, define
from functrans.torch.tensor import Tensor, made

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]


def rnn_step(x: Any, hidden: Any, state: Any, bias: Any, activation: Any) -> tuple[Any, Any]:
    """The state after one element: `x` and `hidden` are the products of weights with input and state."""
    return activation(x + hidden + bias), None


def lstm_step(x: Any, hidden: Any, state: Any, bias: Any, activation: Any) -> tuple[Any, Any]:
    """As `rnn_step`; the state has the cell beside it."""
    enter, forget, cell, out = np.split(x + hidden + bias, 4, axis=-1)
    kept = nn.sigmoid(forget) * state[1] + nn.sigmoid(enter) * np.tanh(cell)
    return nn.sigmoid(out) * np.tanh(kept), kept


def gru_step(x: Any, hidden: Any, state: Any, bias: Any, activation: Any) -> tuple[Any, Any]:
    """As `rnn_step`; the bias is that of the state's product, within which the reset gate acts."""
    x_reset, x_update, x_new = np.split(x, 3, axis=-1)
    reset, update, new = np.split(hidden + bias, 3, axis=-1)
    update = nn.sigmoid(x_update + update)
    proposed = np.tanh(x_new + nn.sigmoid(x_reset + reset) * new)
    return (1 - update) * proposed + update * state[0], None


def relu(x: Any) -> Any:
    """With derivative 0 at 0, as torch has it."""
    return np.where(x > 0, x, 0 * x)


# Times of one number of sequences from which a native loop is worth the time to compile it.
WORTH_COMPILING = 8
STEPS = {"RNN": (rnn_step, 1), "LSTM": (lstm_step, 4), "GRU": (gru_step, 3)}
ACTIVATIONS = {"tanh": np.tanh, "relu": relu}


def pass_over(
    x: Any, sizes: Any, h: Any, c: Any, w_in: Any, w_state: Any, w_out: Any, b_in: Any, b_state: Any, kind: str, nonlinearity: str,
    backwards: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """One layer in one direction over ``[total, n]``, of which `sizes` says how many rows each time has.

    Returns:
        All states, the last of each sequence, and the last cells of an LSTM.
    """
    gates, activation = STEPS[kind][0], ACTIVATIONS[nonlinearity]
    products = x @ w_in.T
    bias = 0 if b_state is None else b_state
    if b_in is not None:
        products = products + b_in

    def step(state: Any, product: Any) -> Any:
        h, c = gates(product, state[0] @ w_state.T, state, bias, activation)
        h = h if w_out is None else h @ w_out.T
        return (h, c), h

    starts, first = np.cumsum(sizes) - sizes, np.flatnonzero(np.diff(sizes, prepend=-1))
    begin = h, c
    ended: list[tuple[Any, Any]] = []
    if backwards:
        h, c = cut(begin, 0, sizes[-1])
    states = []
    stretches = [(starts[time], sizes[time], count) for time, count in zip(first, np.diff(first, append=len(sizes)))]
    for start, size, count in reversed(stretches) if backwards else stretches:
        before = h.shape[0]
        if size < before:  # these sequences have ended
            ended.append(cut((h, c), size, before))
            h, c = cut((h, c), 0, size)
        elif size > before:  # these begin, from the end
            h, c = joined([(h, c), cut(begin, before, size)])
        stretch = products[start : start + size * count].reshape(count, size, -1)
        (h, c), found = repeated(step, (h, c), stretch, backwards)
        states.append(found.reshape(count * size, -1))
    out = np.concatenate(states[::-1] if backwards else states)
    h, c = joined([(h, c), *reversed(ended)])
    return (out, h) if c is None else (out, h, c)


def repeated(step: Any, state: Any, xs: Any, backwards: bool) -> Any:
    """``scan(step, state, xs)``, which is compiled, and so is for loops of some length."""
    if len(xs) >= WORTH_COMPILING:
        return scan(step, state, xs, reverse=backwards)
    found = []
    for x in reversed(list(xs)) if backwards else xs:
        state, result = step(state, x)
        found.append(result)
    return state, np.stack(found[::-1] if backwards else found)


def cut(state: Any, start: int, stop: int) -> Any:
    """The states of some sequences."""
    h, c = state
    return h[start:stop], None if c is None else c[start:stop]


def joined(states: Any) -> Any:
    """The states of groups of sequences as those of one."""
    if len(states) == 1:
        return states[0]
    hs, cs = zip(*states)
    return np.concatenate(hs), None if cs[0] is None else np.concatenate(cs)


_pass = define("_nn_recurrent", pass_over, node="TransposeBackward1", method=False, public=False)


class RNNBase(Module):
    """Layers of one kind on top of each other, each in one or both directions."""

    kind: str
    nonlinearity = "tanh"

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        _check_options(self.kind, input_size, hidden_size, num_layers, dropout, proj_size)
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional, self.proj_size = batch_first, float(dropout), bidirectional, proj_size
        rows, out = STEPS[self.kind][1] * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else out * (1 + bidirectional)
            for suffix in self._suffixes(layer):
                setattr(self, f"weight_ih{suffix}", parameter((rows, width), dtype, device=device))
                setattr(self, f"weight_hh{suffix}", parameter((rows, out), dtype, device=device))
                if bias:
                    setattr(self, f"bias_ih{suffix}", parameter((rows,), dtype, device=device))
                    setattr(self, f"bias_hh{suffix}", parameter((rows,), dtype, device=device))
                if proj_size:
                    setattr(self, f"weight_hr{suffix}", parameter((proj_size, hidden_size), dtype, device=device))
        self.reset_parameters()

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"] if self.bidirectional else [f"_l{layer}"]

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        spread_(self.parameters(), self.hidden_size)

    def flatten_parameters(self) -> None:
        """Nothing, here."""

    @property
    def all_weights(self) -> list[list[Any]]:
        """The parameters of each layer and direction."""
        return [self._weights(suffix) for layer in range(self.num_layers) for suffix in self._suffixes(layer)]

    def _weights(self, suffix: str) -> list[Any]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [self._parameters[name + suffix] for name in names if name + suffix in self._parameters]

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As the class says.

        Args:
            input: ``[time, batch, n]``, or batch first; ``[time, n]`` of one sequence; or packed sequences.
            hx: the states to begin with, ``[layers * directions, batch, hidden_size]``; zeros by default.

        Raises:
            ValueError: `input` has another number of axes, or another dtype than the weights.
            RuntimeError: sizes do not match.
        """
        if isinstance(input, PackedSequence):
            order = input.sorted_indices
            if order is not None and hx is not None:
                hx = tuple(state[:, order] for state in hx) if isinstance(hx, tuple) else hx[:, order]
            data, ends = self._run(input.data, input.batch_sizes._array, hx)
            if order is not None:
                ends = [end[:, input.unsorted_indices] for end in ends]
            return PackedSequence(data, *input[1:]), self._as_given(ends)
        if input.ndim not in (2, 3):
            raise ValueError(f"{self.kind}: Expected input to be 2D or 3D, got {input.ndim}D instead{at_user_line()}")
        single = input.ndim == 2
        x = input.unsqueeze(1) if single else input.transpose(0, 1) if self.batch_first else input
        time, batch = x.shape[:2]
        if hx is not None:
            hx = self._with_batch(hx, single)
        data, ends = self._run(x.reshape(time * batch, -1), np.full(time, batch), hx)
        out = data.reshape(time, batch, -1)
        if single:
            return out.squeeze(1), self._as_given([end.squeeze(1) for end in ends])
        return out.transpose(0, 1) if self.batch_first else out, self._as_given(ends)

    def _with_batch(self, given: Any, single: bool) -> Any:
        """States with a batch."""
        parts = list(given) if self.kind == "LSTM" else [given]
        if any(part.ndim != (2 if single else 3) for part in parts):
            axes = [part.ndim for part in parts]
            names, got = ("hx and cx", f"({axes[0]}-D, {axes[-1]}-D) tensors") if self.kind == "LSTM" else ("hx", f"{axes[0]}-D tensor")
            title = "unbatched 2-D input, {} should also be 2-D" if single else "batched 3-D input, {} should also be 3-D"
            raise RuntimeError(f"For {title.format(names)} but got {got}{at_user_line()}")
        parts = [part.unsqueeze(1) if single else part for part in parts]
        return tuple(parts) if self.kind == "LSTM" else parts[0]

    def _as_given(self, ends: list[Any]) -> Any:
        return tuple(ends) if self.kind == "LSTM" else ends[0]

    def _run(self, x: Any, sizes: Any, hx: Any) -> tuple[Any, list[Any]]:
        """All layers over ``[total, n]``: all states, and the last states and cells of each layer and direction."""
        if x.dtype is not self.weight_ih_l0.dtype:
            raise ValueError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({self.weight_ih_l0.dtype}). Convert input: "
                f"input.to({self.weight_ih_l0.dtype}), or convert model: model.to({x.dtype}){at_user_line()}"
            )
        if x.shape[-1] != self.input_size:
            raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}{at_user_line()}")
        states = self._states(x, int(sizes[0]), hx)
        lasts: list[list[Tensor]] = [[] for _ in states]
        for layer in range(self.num_layers):
            outs = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                start = [state[len(lasts[0])] for state in states] + [None] * (2 - len(states))
                w_in, w_state, *others = self._weights(suffix)
                biases = others[:2] if self.bias else (None, None)
                w_out = others[-1] if self.proj_size else None
                out, *last = _pass(x, sizes, *start, w_in, w_state, w_out, *biases, self.kind, self.nonlinearity, bool(direction))
                outs.append(out)
                for kept, value in zip(lasts, last):
                    kept.append(value)
            x = outs[0] if len(outs) == 1 else FUNCTIONS["cat"](outs, -1)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, [FUNCTIONS["stack"](kept) for kept in lasts]

    def _states(self, x: Tensor, batch: int, given: Any) -> list[Tensor]:
        """The states to begin with, ``[layers * directions, batch, hidden]`` each."""
        lead = self.num_layers * (1 + self.bidirectional), batch
        shapes = [(*lead, self.proj_size or self.hidden_size), (*lead, self.hidden_size)][: 2 if self.kind == "LSTM" else 1]
        if given is None:
            return [made(np.zeros(shape, x._array.dtype)) for shape in shapes]
        states = list(given) if self.kind == "LSTM" else [given]
        for place, (state, shape) in enumerate(zip(states, shapes)):
            if tuple(state.shape) != shape:
                title = f"hidden[{place}]" if self.kind == "LSTM" else "hidden"
                raise RuntimeError(f"Expected {title} size {shape}, got {list(state.shape)}{at_user_line()}")
        return states

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}" + (f", proj_size={self.proj_size}" if self.proj_size else "")
        standard = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        return text + "".join(f", {key}={getattr(self, key)}" for key, value in standard.items() if getattr(self, key) != value)


def _check_options(kind: str, input_size: Any, hidden_size: Any, num_layers: Any, dropout: Any, proj_size: int) -> None:
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(value, int):
            raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if value <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise ValueError("dropout should be a number in range [0, 1] representing the probability of an element being zeroed")
    if proj_size and kind != "LSTM":
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")


class RNN(RNNBase):
    """States ``tanh(W x + b + V h + c)``, or `relu` of it: ``[time, batch, n]`` to all states and the last.

    Example:
        >>> import functrans.torch as torch
        >>> out, last = torch.nn.RNN(3, 4)(torch.zeros(5, 2, 3))
        >>> out.shape, last.shape
        (torch.Size([5, 2, 4]), torch.Size([1, 2, 4]))
    """

    kind = "RNN"

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", *args: Any, **kwargs: Any) -> None:
        if nonlinearity not in ACTIVATIONS:
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(input_size, hidden_size, num_layers, *args, **kwargs)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """States with gates and a cell: ``[time, batch, n]`` to all states, and the last states and cells.

    With `proj_size` states are a linear map of what the gates give (Sak, Senior and Beaufays 2014).

    Example:
        >>> import functrans.torch as torch
        >>> out, (last, cell) = torch.nn.LSTM(3, 4, bidirectional=True)(torch.zeros(5, 2, 3))
        >>> out.shape, last.shape
        (torch.Size([5, 2, 8]), torch.Size([2, 2, 4]))
    """

    kind = "LSTM"


class GRU(RNNBase):
    """States with a reset and an update gate: ``[time, batch, n]`` to all states and the last.

    Example:
        >>> import functrans.torch as torch
        >>> out, last = torch.nn.GRU(3, 4, num_layers=2)(torch.zeros(5, 2, 3))
        >>> out.shape, last.shape
        (torch.Size([5, 2, 4]), torch.Size([2, 2, 4]))
    """

    kind = "GRU"


class RNNCellBase(Module):
    """One step of a recurrent layer."""

    kind: str
    nonlinearity = "tanh"

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = STEPS[self.kind][1] * hidden_size
        self.weight_ih = parameter((rows, input_size), dtype, device=device)
        self.weight_hh = parameter((rows, hidden_size), dtype, device=device)
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, parameter((rows,), dtype, device=device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        spread_(self.parameters(), self.hidden_size)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """The state, and the cell of an LSTM, after ``[batch, n]`` or ``[n]``.

        Raises:
            ValueError: `input` or `hx` has another number of axes.
            RuntimeError: sizes do not match.
        """
        states = [] if hx is None else list(hx) if self.kind == "LSTM" else [hx]
        if input.ndim not in (1, 2):
            raise ValueError(f"{self.kind}Cell: Expected input to be 1D or 2D, got {input.ndim}D instead{at_user_line()}")
        for place, state in enumerate(states):
            if state.ndim not in (1, 2):
                title = f"hx[{place}]" if self.kind == "LSTM" else "hidden"
                raise ValueError(f"{self.kind}Cell: Expected {title} to be 1D or 2D, got {state.ndim}D instead{at_user_line()}")
        single = input.ndim == 1
        x = input.unsqueeze(0) if single else input
        count = 2 if self.kind == "LSTM" else 1
        states = [state.unsqueeze(0) if state.ndim == 1 else state for state in states]
        states = states or [made(np.zeros((len(x), self.hidden_size), x._array.dtype)) for _ in range(count)]
        self._check(x, states)
        start = [*states, *[None] * (2 - count)]
        weights = self.weight_ih, self.weight_hh, None, self.bias_ih, self.bias_hh
        _, *last = _pass(x, np.array([len(x)]), *start, *weights, self.kind, self.nonlinearity, False)
        last = [each.squeeze(0) for each in last] if single else last
        return tuple(last) if count == 2 else last[0]

    def _check(self, x: Tensor, states: list[Any]) -> None:
        if x.shape[1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {x.shape[1]} expected {self.input_size}{at_user_line()}")
        for place, state in enumerate(states):
            if len(state) != len(x):
                raise RuntimeError(f"Input batch size {len(x)} doesn't match hidden{place} batch size {len(state)}{at_user_line()}")
            if state.shape[1] != self.hidden_size:
                raise RuntimeError(
                    f"hidden{place} has inconsistent hidden_size: got {state.shape[1]}, expected {self.hidden_size}{at_user_line()}"
                )

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else f", bias={self.bias}")
        return text + (f", nonlinearity={self.nonlinearity}" if self.nonlinearity != "tanh" else "")


class RNNCell(RNNCellBase):
    """The state ``tanh(W x + b + V h + c)``, or `relu` of it, after one element.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.RNNCell(3, 4)(torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    kind = "RNN"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        if self.nonlinearity not in ACTIVATIONS:
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}{at_user_line()}")
        return super().forward(input, hx)


class LSTMCell(RNNCellBase):
    """State and cell of an LSTM after one element.

    Example:
        >>> import functrans.torch as torch
        >>> state, cell = torch.nn.LSTMCell(3, 4)(torch.zeros(2, 3))
        >>> state.shape
        torch.Size([2, 4])
    """

    kind = "LSTM"


class GRUCell(RNNCellBase):
    """The state of a GRU after one element.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.GRUCell(3, 4)(torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    kind = "GRU"
