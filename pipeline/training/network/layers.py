"""Layers that padding cannot touch: BatchNorm over valid frames, recurrence, convolutions.

In:   padded activations, true lengths.   Out: activations; what stands in the padding is arbitrary.
Not here: how the layers are put together (model.py).

Nothing is packed: on a CPU, packed sequences take time quadratic in the length.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.shapes import Bool, Float, Int

Cell = Literal["lstm", "gru", "tanh", "relu"]
Norm = Literal["sequence", "sequence-unmasked"]

CONV_CHANNELS = 32
CONV_KERNELS = (
    (11, 41),
    (11, 21),
)  # (time, frequency) of the two convolutions, as in Deep Speech 2

BATCH_NORM_MOMENTUM, BATCH_NORM_EPSILON = 0.1, 1e-5  # torch's own defaults of BatchNorm


def make_valid_mask(lengths_B: Int[Tensor, " B"], max_length: int) -> Bool[Tensor, "B T"]:
    return torch.arange(max_length, device=lengths_B.device) < lengths_B[:, None]


def reversed_time_indices(lengths_B: Int[Tensor, " B"], max_length: int) -> Int[Tensor, "B T"]:
    """The frame to read at each place so that utterances run backwards and padding stays last."""
    t = torch.arange(max_length, device=lengths_B.device)
    return torch.where(t < lengths_B[:, None], lengths_B[:, None] - 1 - t, t)


def reorder_time(
    x_BTF: Float[Tensor, "B T F"], order_BT: Int[Tensor, "B T"]
) -> Float[Tensor, "B T F"]:
    return x_BTF.gather(1, order_BT[:, :, None].expand_as(x_BTF))


class MaskedBatchNorm(nn.Module):
    """BatchNorm of the last axis over valid frames alone; 0 in the padding.

    Not `masked`, every position counts, padding included: the careless arm of experiments.
    """

    def __init__(self, units: int, *, masked: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(units)
        self.masked = masked

    def forward(
        self, x: Float[Tensor, "B T *G F"], mask_BT: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T *G F"]:
        rows = x.float().reshape(-1, x.shape[-1])
        if not self.masked:
            return self._apply_norm(rows).view(x.shape)
        inner = x[0, 0, ..., 0].numel()
        counted = mask_BT.flatten().repeat_interleave(inner).nonzero()[:, 0]
        normed = self._apply_norm(rows.index_select(0, counted))
        return torch.zeros_like(rows).index_copy(0, counted, normed).view(x.shape)

    def _apply_norm(self, rows: Float[Tensor, "N F"]) -> Float[Tensor, "N F"]:
        if len(rows) > 1 or not self.training:
            normed: Tensor = self.norm(rows)
            return normed
        norm = self.norm  # one row has no variance: take the running one
        return nn.functional.batch_norm(
            rows, norm.running_mean, norm.running_var, norm.weight, norm.bias
        )


class Dropout(nn.Module):
    """As torch's; on a CPU in a third of its time, from 16 random bits per unit."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "B T *F"]) -> Float[Tensor, "B T *F"]:
        if x.device.type != "cpu" or not self.training or not self.p:
            return nn.functional.dropout(x, self.p, self.training)
        dropped = min(round(self.p * 2**16), 2**16 - 1)  # of 2^16 equally likely draws
        drawn = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = drawn.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 2**15
        return x * kept.to(x.dtype).mul_(2**16 / (2**16 - dropped))


class InputTermNorm(nn.Module):
    """Deep Speech 2's sequence-wise BatchNorm: h = f(B(W x) + U h), over all valid time steps.

    B(W x) is affine in W x, so it is folded into the weights: with the mean m and the covariance S
    of x over valid frames, W x has mean W m and variance diag(W S W'). That is exact, gradients
    included, leaves the recurrence to the fast kernel, and never forms W x twice.

    Not `masked`, the padding counts as well: the careless arm of experiments.
    """

    def __init__(self, units: int, *, masked: bool = True) -> None:
        super().__init__()
        self.masked = masked
        self.weight = nn.Parameter(torch.ones(units))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(units))
        self.register_buffer("running_var", torch.ones(units))

    def forward(
        self,
        x_BTF: Float[Tensor, "B T F"],
        mask_BT: Bool[Tensor, "B T"],
        weight_GF: Float[Tensor, "G F"],
        bias_G: Float[Tensor, " G"],
    ) -> tuple[Float[Tensor, "G F"], Float[Tensor, " G"]]:
        """The weight and the bias that make W x + b the normalised, scaled and shifted term."""
        with torch.autocast(x_BTF.device.type, enabled=False):
            mean, variance = self.running_mean, self.running_var
            if self.training:
                counted_BT = mask_BT if self.masked else torch.ones_like(mask_BT)
                mean, variance = self._batch_statistics(x_BTF.float(), counted_BT, weight_GF)
            scale = self.weight * (variance + BATCH_NORM_EPSILON).rsqrt()
            return scale[:, None] * weight_GF, bias_G - scale * mean

    def _batch_statistics(
        self,
        x_BTF: Float[Tensor, "B T F"],
        counted_BT: Bool[Tensor, "B T"],
        weight_GF: Float[Tensor, "G F"],
    ) -> tuple[Float[Tensor, " G"], Float[Tensor, " G"]]:
        padding, count = ~counted_BT[:, :, None], counted_BT.sum().float()
        mean = x_BTF.masked_fill(padding, 0).sum((0, 1)) / count
        centred = (x_BTF - mean).masked_fill(padding, 0).flatten(0, 1)
        covariance = centred.T @ centred / count
        mean_G, variance_G = weight_GF @ mean, ((weight_GF @ covariance) * weight_GF).sum(1)
        with torch.no_grad():  # running averages; of the variance without bias, as in torch
            self.running_mean.lerp_(mean_G, BATCH_NORM_MOMENTUM)
            self.running_var.lerp_(
                variance_G * count / (count - 1).clamp(min=1), BATCH_NORM_MOMENTUM
            )
        return mean_G, variance_G


class RecurrentDirection(nn.Module):
    """A recurrence from the first frame to the last. Its input bias is also the shift of `norm`."""

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
        """Of the input and of the state, then their biases."""
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
        # Where the ceiling never binds, the kernel without one has computed the same thing.
        if self.clamp is None or bool(h_BTH.detach().amax() <= self.clamp):
            return h_BTH
        term_BTH = nn.functional.linear(x_BTF, weight, bias + bias_H)
        return _run_clamped_rnn(term_BTH, weight_HH, self.clamp)


class RecurrentLayer(nn.Module):
    """One recurrent layer; the outputs of two directions stand side by side.

    The second is a recurrence of its own, on utterances reversed within their true lengths.
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


class Lookahead(nn.Module):
    """Deep Speech 2's row convolution: of each unit, a weighted sum of this and later steps.

    A network of one direction sees so much of what comes, and waits no longer than for that.
    """

    def __init__(self, units: int, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead
        self.convolve = nn.Conv1d(units, units, ahead + 1, groups=units, bias=False)

    def forward(
        self, x_BTF: Float[Tensor, "B T F"], mask_BT: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T F"]:
        x_BFT = x_BTF.masked_fill(~mask_BT[:, :, None], 0).transpose(1, 2)
        y_BFT: Tensor = self.convolve(nn.functional.pad(x_BFT, (0, self.ahead)))
        return y_BFT.transpose(1, 2)


class Convolution(nn.Module):
    """A 2-D convolution over time and frequency, blind to what stands in the padding.

    Kernels are odd: half of one as padding on either side gives ceil(T / stride) steps.
    """

    def __init__(self, channels: int, kernel: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.convolve = nn.Conv2d(channels, CONV_CHANNELS, kernel, stride, padding)

    def forward(
        self, x_BKTF: Float[Tensor, "B K T F"], lengths_B: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B J S G"], Int[Tensor, " B"]]:
        mask_BT = make_valid_mask(lengths_B, x_BKTF.shape[2])
        y_BJSG = self.convolve(x_BKTF.masked_fill(~mask_BT[:, None, :, None], 0))
        return y_BJSG, -(-lengths_B // self.stride[0])


def _to_autocast_dtype(x_BTF: Float[Tensor, "B T F"]) -> Float[Tensor, "B T F"]:
    """In the precision of autocast, if that is on, for which torch then chooses the kernel.

    Else it sees float32, as a BatchNorm leaves it, chooses oneDNN's kernel, lowers the precision
    behind its own back, and fails on a CPU where oneDNN has no such kernel, forward or backward.
    """
    kind = x_BTF.device.type
    return x_BTF.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x_BTF


def _make_cell(kind: Cell, input_size: int, hidden_size: int) -> nn.LSTM | nn.GRU | nn.RNN:
    if kind == "lstm":
        return nn.LSTM(input_size, hidden_size, batch_first=True)
    if kind == "gru":
        return nn.GRU(input_size, hidden_size, batch_first=True)
    rnn = nn.RNN(input_size, hidden_size, nonlinearity=kind, batch_first=True)
    if kind == "relu":  # random weights explode or die; Le, Jaitly and Hinton (2015)
        rnn.weight_hh_l0.data = torch.eye(hidden_size) / 2
    return rnn


def _run_lstm(
    x_BTF: Float[Tensor, "B T F"], weights: list[Tensor], training: bool
) -> Float[Tensor, "B T H"]:
    rest = x_BTF.new_zeros(1, len(x_BTF), weights[1].shape[1])
    return torch.lstm(x_BTF, [rest, rest], weights, True, 1, 0.0, training, False, True)[0]


def _make_simple_runner(recurrence: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., Tensor]:
    def recur(
        x_BTF: Float[Tensor, "B T F"], weights: list[Tensor], training: bool
    ) -> Float[Tensor, "B T H"]:
        rest = x_BTF.new_zeros(1, len(x_BTF), weights[1].shape[1])
        return recurrence(x_BTF, rest, weights, True, 1, 0.0, training, False, True)[0]

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
    """Give h = min(max(term + U h, 0), clamp), step by step: no kernel has a ceiling."""
    h_BH, steps = term_BTH.new_zeros(len(term_BTH), term_BTH.shape[2]), []
    for term_BH in term_BTH.unbind(1):
        h_BH = nn.functional.hardtanh(term_BH + h_BH @ weight_HH.T, 0.0, clamp)
        steps.append(h_BH)
    return torch.stack(steps, 1)
