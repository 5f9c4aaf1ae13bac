"""Recurrent layers: RNN (Elman 1990), LSTM (Hochreiter and Schmidhuber 1997), GRU (Cho et al. 2014).

Gates are rows of one weight, in torch's order: input, forget, cell, output of an LSTM; reset, update, new of a GRU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import functrans.torch.nn.functional as F
from functrans import nn
from functrans.errors import at_user_line
from functrans.torch.nn.modules.layers import parameter, spread_
from functrans.torch.nn.modules.module import Module
from functrans.torch.ops.table import FUNCTIONS, define
from functrans.torch.tensor import Tensor, made

__all__ = ["GRU", "LSTM", "RNN"]


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


STEPS = {"RNN": (rnn_step, 1), "LSTM": (lstm_step, 4), "GRU": (gru_step, 3)}
ACTIVATIONS = {"tanh": np.tanh, "relu": relu}


def pass_over(
    x: Any, h: Any, c: Any, w_in: Any, w_state: Any, b_in: Any, b_state: Any, kind: str, nonlinearity: str, backwards: bool
) -> tuple[Any, ...]:
    """One layer in one direction over ``[time, batch, n]``: all states, the last, and the last cell of an LSTM."""
    step, activation = STEPS[kind][0], ACTIVATIONS[nonlinearity]
    products = x @ w_in.T
    bias = 0 if b_state is None else b_state
    if b_in is not None:
        products = products + b_in
    states = []
    for time in reversed(range(x.shape[0])) if backwards else range(x.shape[0]):
        h, c = step(products[time], h @ w_state.T, (h, c), bias, activation)
        states.append(h)
    out = np.stack(states[::-1] if backwards else states)
    return (out, h) if c is None else (out, h, c)


_pass = define("_nn_recurrent", pass_over, node="TransposeBackward1", method=False, public=False)


class _Recurrent(Module):
    """Layers of recurrence, each over the states of the one before."""

    kind: str
    nonlinearity = "tanh"

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if proj_size:
            raise NotImplementedError(f"torch.nn.{self.kind}: proj_size is not supported\n  Remedy: apply a Linear to the states.{at_user_line()}")
        if hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError("dropout should be a number in range [0, 1] representing the probability of an element being zeroed")
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional = batch_first, float(dropout), bidirectional
        rows = STEPS[self.kind][1] * hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * (1 + bidirectional)
            for suffix in self._suffixes(layer):
                setattr(self, f"weight_ih{suffix}", parameter((rows, width), dtype))
                setattr(self, f"weight_hh{suffix}", parameter((rows, hidden_size), dtype))
                if bias:
                    setattr(self, f"bias_ih{suffix}", parameter((rows,), dtype))
                    setattr(self, f"bias_hh{suffix}", parameter((rows,), dtype))
        self.reset_parameters()

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"] if self.bidirectional else [f"_l{layer}"]

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        spread_(self.parameters(), self.hidden_size)

    def flatten_parameters(self) -> None:
        """Nothing, here."""

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        if input.ndim not in (2, 3):
            raise ValueError(f"{self.kind}: Expected input to be 2D or 3D, got {input.ndim}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.shape[-1]}{at_user_line()}")
        single = input.ndim == 2
        x = input.unsqueeze(1) if single else input.transpose(0, 1) if self.batch_first else input
        states = self._states(x, hx, single)
        firsts: list[list[Tensor]] = [[] for _ in states]
        for layer in range(self.num_layers):
            outs = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                place = len(firsts[0])
                start = [state[place] for state in states] + [None] * (2 - len(states))
                biases = (getattr(self, f"bias_ih{suffix}"), getattr(self, f"bias_hh{suffix}")) if self.bias else (None, None)
                weights = getattr(self, f"weight_ih{suffix}"), getattr(self, f"weight_hh{suffix}")
                out, *last = _pass(x, *start, *weights, *biases, self.kind, self.nonlinearity, bool(direction))
                outs.append(out)
                for kept, value in zip(firsts, last):
                    kept.append(value)
            x = outs[0] if len(outs) == 1 else FUNCTIONS["cat"](outs, -1)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        ends = [FUNCTIONS["stack"](kept) for kept in firsts]
        if single:
            x, ends = x.squeeze(1), [end.squeeze(1) for end in ends]
        elif self.batch_first:
            x = x.transpose(0, 1)
        return x, tuple(ends) if len(ends) == 2 else ends[0]

    def _states(self, x: Tensor, given: Any, single: bool) -> list[Tensor]:
        """The states to begin with, ``[layers * directions, batch, hidden]`` each."""
        count = 2 if self.kind == "LSTM" else 1
        shape = self.num_layers * (1 + self.bidirectional), x.shape[1], self.hidden_size
        if given is None:
            return [made(np.zeros(shape, x._array.dtype)) for _ in range(count)]
        states = [state.unsqueeze(1) if single else state for state in (given if count == 2 else (given,))]
        for state in states:
            if tuple(state.shape) != shape:
                raise RuntimeError(f"Expected hidden size {shape}, got {list(state.shape)}{at_user_line()}")
        return states

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        standard = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        return text + "".join(f", {key}={getattr(self, key)}" for key, value in standard.items() if getattr(self, key) != value)


class RNN(_Recurrent):
    """States ``tanh(W x + b + V h + c)``, or `relu` of it: ``[time, batch, n]`` to all states and the last."""

    kind = "RNN"

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", *args: Any, **kwargs: Any) -> None:
        if nonlinearity not in ACTIVATIONS:
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(input_size, hidden_size, num_layers, *args, **kwargs)
        self.nonlinearity = nonlinearity


class LSTM(_Recurrent):
    """States with gates and a cell: ``[time, batch, n]`` to all states, and the last states and cells."""

    kind = "LSTM"


class GRU(_Recurrent):
    """States with a reset and an update gate: ``[time, batch, n]`` to all states and the last."""

    kind = "GRU"
