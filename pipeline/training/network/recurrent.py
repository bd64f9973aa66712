"""Recurrent layers: one or two directions over padded utterances.

In:   padded activations, masks, the indices that reverse each utterance.
Out:  activations; those in the padding are arbitrary.
Not here: normalisation (normalisation.py), how layers are put together (model.py).
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.shapes import Bool, Float, Int
from pipeline.training.network.masks import reorder_time
from pipeline.training.network.normalisation import InputTermNorm

Cell = Literal["lstm", "gru", "tanh", "relu"]
Norm = Literal["sequence", "sequence-unmasked"]


class RecurrentDirection(nn.Module):
    """A recurrence from the first frame to the last. Its input bias is the shift of `norm`."""

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        *,
        clamp: float | None = None,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        self.cell = _make_cell(cell, input_size, hidden_size)
        self.recur = _RNN_RUNNERS[cell]
        self.clamp = clamp if cell == "relu" else None
        gates = len(self.weights[0])
        self.norm = InputTermNorm(gates, masked=norm == "sequence") if norm else None

    @property
    def weights(self) -> list[Tensor]:
        """The weights of the input and of the state, then their biases."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        return [self.cell.get_parameter(name) for name in names]

    def forward(
        self, x_BTF: Float[Tensor, "B T F"], mask_BT: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T H"]:
        if self.norm is None and self.clamp is None:
            h_BTH: Tensor = self.cell(_to_autocast_dtype(x_BTF))[0]
            return h_BTH
        weight, weight_HH, bias, bias_H = self.weights
        if self.norm is not None:
            weight, bias = self.norm(x_BTF, mask_BT, weight, bias)
        h_BTH = self.recur(
            _to_autocast_dtype(x_BTF), [weight, weight_HH, bias, bias_H], self.training
        )
        # If no activation exceeds the ceiling, the result without it is the same.
        if self.clamp is None or bool(h_BTH.detach().amax() <= self.clamp):
            return h_BTH
        term_BTH = nn.functional.linear(x_BTF, weight, bias + bias_H)
        return _run_clamped_rnn(term_BTH, weight_HH, self.clamp)


class RecurrentLayer(nn.Module):
    """One recurrent layer; with two directions their outputs are concatenated.

    The second direction runs on utterances that are reversed within their true lengths. Nothing is
    packed: on a CPU, packed sequences take time quadratic in the length.
    """

    def __init__(self, directions: Sequence[RecurrentDirection]) -> None:
        super().__init__()
        self.directions = nn.ModuleList(directions)

    def forward(
        self,
        x_BTF: Float[Tensor, "B T F"],
        mask_BT: Bool[Tensor, "B T"],
        reversal_BT: Int[Tensor, "B T"],
    ) -> Float[Tensor, "B T H"]:
        outputs = [self.directions[0](x_BTF, mask_BT)]
        for backward in self.directions[1:]:
            reverse_BTH = backward(reorder_time(x_BTF, reversal_BT), mask_BT)
            outputs.append(reorder_time(reverse_BTH, reversal_BT))
        return torch.cat(outputs, -1)


def _to_autocast_dtype(x_BTF: Float[Tensor, "B T F"]) -> Float[Tensor, "B T F"]:
    """Return the input in the precision of autocast if that is on, so that torch sees it.

    Given float32, as BatchNorm returns it, torch chooses oneDNN's kernel, casts the input to the
    lower precision afterwards, and fails on CPUs for which oneDNN has no such kernel.
    """
    kind = x_BTF.device.type
    return x_BTF.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x_BTF


def _make_cell(kind: Cell, input_size: int, hidden_size: int) -> nn.LSTM | nn.GRU | nn.RNN:
    if kind == "lstm":
        return nn.LSTM(input_size, hidden_size, batch_first=True)
    if kind == "gru":
        return nn.GRU(input_size, hidden_size, batch_first=True)
    rnn = nn.RNN(input_size, hidden_size, nonlinearity=kind, batch_first=True)
    if kind == "relu":  # random weights explode or vanish; Le, Jaitly and Hinton (arXiv:1504.00941)
        rnn.weight_hh_l0.data = torch.eye(hidden_size) / 2
    return rnn


def _run_lstm(
    x_BTF: Float[Tensor, "B T F"], weights: list[Tensor], training: bool
) -> Float[Tensor, "B T H"]:
    initial = x_BTF.new_zeros(1, len(x_BTF), weights[1].shape[1])
    return torch.lstm(x_BTF, [initial, initial], weights, True, 1, 0.0, training, False, True)[0]


def _make_simple_runner(recurrence: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., Tensor]:
    def recur(
        x_BTF: Float[Tensor, "B T F"], weights: list[Tensor], training: bool
    ) -> Float[Tensor, "B T H"]:
        initial = x_BTF.new_zeros(1, len(x_BTF), weights[1].shape[1])
        return recurrence(x_BTF, initial, weights, True, 1, 0.0, training, False, True)[0]

    return recur


_RNN_RUNNERS: dict[Cell, Callable[..., Tensor]] = {
    "lstm": _run_lstm,
    "gru": _make_simple_runner(torch.gru),
    "tanh": _make_simple_runner(torch.rnn_tanh),
    "relu": _make_simple_runner(torch.rnn_relu),
}


def _run_clamped_rnn(
    term_BTH: Float[Tensor, "B T H"], weight_HH: Float[Tensor, "H H"], clamp: float
) -> Float[Tensor, "B T H"]:
    """Return h = min(max(term + U h, 0), clamp), step by step, because no kernel has a ceiling."""
    h_BH, steps = term_BTH.new_zeros(len(term_BTH), term_BTH.shape[2]), []
    for term_BH in term_BTH.unbind(1):
        h_BH = nn.functional.hardtanh(term_BH + h_BH @ weight_HH.T, 0.0, clamp)
        steps.append(h_BH)
    return torch.stack(steps, 1)
