"""Normalisation layers: BatchNorm whose statistics are those of valid frames.

In:   padded activations, masks.   Out: activations; normalised weights for a recurrent layer.
Not here: normalisation of the input features (data/normalisation.py).
"""

import torch
from torch import Tensor, nn

from pipeline.shapes import Bool, Float

BATCH_NORM_MOMENTUM, BATCH_NORM_EPSILON = 0.1, 1e-5  # torch's defaults


class MaskedBatchNorm(nn.Module):
    """BatchNorm of the last axis over valid frames only; the output is 0 in the padding.

    With masked=False the padding counts as well: for experiments that show what that costs.
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
        norm = self.norm  # one row has no variance, so the running statistics serve
        return nn.functional.batch_norm(
            rows, norm.running_mean, norm.running_var, norm.weight, norm.bias
        )


class InputTermNorm(nn.Module):
    """Sequence-wise BatchNorm of a recurrent layer's input term: h = f(B(W x) + U h).

    From Deep Speech 2 (Amodei et al., arXiv:1512.02595); the statistics are over all valid frames.
    B(W x) is affine in W x, so it is folded into the weights: with the mean m and the covariance S
    of x, W x has mean W m and variance diag(W S W'). This is exact, gradients included, and the
    recurrence still runs in torch's fast kernel.

    With masked=False the padding counts as well: for experiments that show what that costs.
    """

    def __init__(self, units: int, *, masked: bool = True) -> None:
        super().__init__()
        self.masked = masked
        self.momentum = BATCH_NORM_MOMENTUM
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
        """Return the weight and the bias with which W x + b is the normalised term."""
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
        with torch.no_grad():  # the running variance is the unbiased one, as in torch
            self.running_mean.lerp_(mean_G, self.momentum)
            self.running_var.lerp_(variance_G * count / (count - 1).clamp(min=1), self.momentum)
        return mean_G, variance_G
