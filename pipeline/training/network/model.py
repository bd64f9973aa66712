"""The network: convolutions? -> FC1 -> FC2 -> recurrent layers -> look-ahead? -> FC3.

In:   frames (B, T, F), padded, and their true lengths.
Out:  logits (B, S, C) and their true lengths; how many activations of each layer are at either end
of the clamp.
Not here: the layers (recurrent.py, convolution.py, normalisation.py), the loss (loss/ctc.py), the
size of a network (cost.py).

Padding never changes the logits of a valid step, a gradient or a statistic. The only exceptions are
the unmasked kinds of `batch_norm`.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.config.network import ModelSettings
from pipeline.shapes import Bool, Float, Int, Int64
from pipeline.training.network.convolution import (
    CONV_CHANNELS,
    CONV_KERNELS,
    Convolution,
    Lookahead,
)
from pipeline.training.network.dropout import Dropout
from pipeline.training.network.masks import make_valid_mask, reversed_time_indices
from pipeline.training.network.normalisation import MaskedBatchNorm
from pipeline.training.network.recurrent import RecurrentDirection, RecurrentLayer

# What a clamp follows, in this order: two convolutions, fc1, fc2, all recurrent layers together.
CLAMP_COUNT_ROWS, _FC1_ROW = 5, 2

Length = TypeVar("Length", int, Tensor, Int64[np.ndarray, " U"])


class NetworkOutput(NamedTuple):
    logits: Float[Tensor, "B S C"]
    lengths: Int[Tensor, " B"]
    clamp_counts: Float[Tensor, "L 3"]  # on valid steps: activations, those at 0, at the ceiling


class Clamp(nn.Module):
    """min(max(x, 0), ceiling), or max(x, 0); counts the activations at either end."""

    def __init__(self, ceiling: float | None) -> None:
        super().__init__()
        self.ceiling = ceiling
        self.count_in_training = True  # evaluation always counts

    def forward(
        self, x: Float[Tensor, "B T *F"], mask_BT: Bool[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B T *F"], Float[Tensor, "3"]]:
        y = x.relu() if self.ceiling is None else nn.functional.hardtanh(x, 0.0, self.ceiling)
        return y, self.count_saturated(y.detach(), mask_BT)

    def count_saturated(
        self, y: Float[Tensor, "B T *F"], mask_BT: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "3"]:
        """Return the numbers of activations on valid steps: all, at 0, at the ceiling."""
        if self.training and not self.count_in_training:
            return y.new_zeros(3, dtype=torch.float64)
        width, steps = y[0, 0].numel(), mask_BT.sum().double()
        apart = [y] if self.ceiling is None else [y, self.ceiling - y]
        # The sign is 0 at an end; adding signs takes half the time of comparing and counting.
        signs_BT = [x.flatten(2).sign().sum(-1, dtype=torch.float32).double() for x in apart]
        at_ends = [((width - each_BT) * mask_BT).sum() for each_BT in signs_BT]
        return torch.stack([steps * width, *at_ends, steps * 0][:3])


class Network(nn.Module):
    """The network of the settings. An input frame is `stack` frames of `bins` values, concatenated.

    Convolutions take the `stack` frames as channels, so that neighbouring bins stay neighbours.
    """

    def __init__(self, settings: ModelSettings, bins: int, stack: int, classes: int) -> None:
        super().__init__()
        self.settings, self.bins, self.stack = settings, bins, stack
        self.clamp = Clamp(settings.clamp)
        self.dropout = Dropout(settings.dropout)
        strides = zip(settings.time_strides, settings.frequency_strides, strict=True)
        self.strides = list(strides)[: settings.convolutions]
        self.convolutions = nn.ModuleList(
            Convolution(CONV_CHANNELS if index else stack, CONV_KERNELS[index], stride)
            for index, stride in enumerate(self.strides)
        )
        frames = [[bins * stack]]  # shape of one frame at the input of each layer
        for _, stride in self.strides:
            bins = -(-bins // stride)
            frames.append([bins, CONV_CHANNELS])
        width = settings.hidden * (2 if settings.bidirectional else 1)
        self.fc1 = nn.Linear(math.prod(frames[-1]), settings.fc1)
        self.fc2 = nn.Linear(settings.fc1, settings.fc2)
        widths = [settings.fc2] + [width] * settings.layers
        self.recurrent = nn.ModuleList(
            _make_recurrent_layer(settings, units) for units in widths[:-1]
        )
        self.lookahead = Lookahead(width, settings.lookahead) if settings.lookahead else None
        widths += [width] if settings.lookahead else []
        self.fc3 = nn.Linear(width, classes)
        nn.init.zeros_(self.fc3.bias)
        frames += [[units] for units in (settings.fc1, *widths)]
        self.norms = nn.ModuleList(
            norm for frame in frames if (norm := _make_norm(settings, frame))
        )

    def output_length(self, frames: Length) -> Length:
        """Return the number of output steps for that many input frames."""
        for stride, _ in self.strides:
            frames = -(-frames // stride)
        return frames

    def forward(self, x_BTF: Float[Tensor, "B T F"], lengths_B: Int[Tensor, " B"]) -> NetworkOutput:
        norms = iter(self.norms)
        x_BTF = self._apply_norm(
            next(norms, None), x_BTF, make_valid_mask(lengths_B, x_BTF.shape[1])
        )
        ends = x_BTF.new_zeros(CLAMP_COUNT_ROWS, 3, dtype=torch.float64)
        if self.convolutions:
            x_BTF, lengths_B = self._apply_convolutions(x_BTF, lengths_B, norms, ends)
        mask_BT = make_valid_mask(lengths_B, x_BTF.shape[1])
        for place, linear in enumerate((self.fc1, self.fc2), _FC1_ROW):
            x_BTF, ends[place] = self.clamp(linear(x_BTF), mask_BT)
            x_BTF = self.dropout(self._apply_norm(next(norms, None), x_BTF, mask_BT))
        reversal_BT = reversed_time_indices(lengths_B, x_BTF.shape[1])
        for layer in self.recurrent:
            x_BTF = layer(x_BTF, mask_BT, reversal_BT)
            if self.settings.cell == "relu":
                ends[-1] += self.clamp.count_saturated(x_BTF.detach(), mask_BT)
            x_BTF = self.dropout(self._apply_norm(next(norms, None), x_BTF, mask_BT))
        if self.lookahead is not None:
            x_BTF = self.lookahead(x_BTF, mask_BT)
            x_BTF = self.dropout(self._apply_norm(next(norms, None), x_BTF, mask_BT))
        return NetworkOutput(self.fc3(x_BTF), lengths_B, ends)

    def _apply_convolutions(
        self,
        x_BTF: Float[Tensor, "B T F"],
        lengths_B: Int[Tensor, " B"],
        norms: Iterator[nn.Module],
        ends: Float[Tensor, "L 3"],
    ) -> tuple[Float[Tensor, "B S G"], Int[Tensor, " B"]]:
        x_BKTF = x_BTF.reshape(*x_BTF.shape[:2], self.stack, self.bins).transpose(1, 2)
        for place, convolution in enumerate(self.convolutions):
            x_BKTF, lengths_B = convolution(x_BKTF, lengths_B)
            mask_BT = make_valid_mask(lengths_B, x_BKTF.shape[2])
            x_BTFK, ends[place] = self.clamp(x_BKTF.permute(0, 2, 3, 1), mask_BT)
            x_BTFK = self._apply_norm(next(norms, None), x_BTFK, mask_BT)
            x_BKTF = x_BTFK.permute(0, 3, 1, 2)
        return x_BKTF.transpose(1, 2).flatten(2), lengths_B

    def _apply_norm(
        self,
        norm: nn.Module | None,
        x: Float[Tensor, "B T *F"],
        mask_BT: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "B T *F"]:
        if norm is None:
            return x
        normed: Tensor = norm(x, mask_BT) if isinstance(norm, MaskedBatchNorm) else norm(x)
        return normed


def _make_norm(settings: ModelSettings, shape: list[int]) -> nn.Module | None:
    """Return the norm of a layer's input; BatchNorm after a convolution is per channel."""
    if settings.layer_norm:
        return nn.LayerNorm(shape)
    if settings.batch_norm.startswith("input"):
        return MaskedBatchNorm(shape[-1], masked=settings.batch_norm == "input")
    return None


def _make_recurrent_layer(settings: ModelSettings, input_size: int) -> RecurrentLayer:
    norm = settings.batch_norm
    return RecurrentLayer(
        [
            RecurrentDirection(
                settings.cell,
                input_size,
                settings.hidden,
                clamp=settings.clamp,
                norm=norm if norm in ("sequence", "sequence-unmasked") else None,
            )
            for _ in range(2 if settings.bidirectional else 1)
        ]
    )
