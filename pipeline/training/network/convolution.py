"""Convolutions: over time and frequency before FC1, and over later steps after the recurrence.

In:   padded activations, true lengths or masks.
Out:  activations; those in the padding are arbitrary.
Not here: which strides and channels a network has (model.py).
"""

from torch import Tensor, nn

from pipeline.shapes import Bool, Float, Int
from pipeline.training.network.masks import make_valid_mask

CONV_CHANNELS = 32
CONV_KERNELS = ((11, 41), (11, 21))  # (time, frequency) of the two layers, as in Deep Speech 2


class Convolution(nn.Module):
    """A 2-D convolution over time and frequency that ignores the content of the padding.

    Kernel sizes are odd: zeros of half a kernel on either side give ceil(T / stride) steps.
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
        return y_BJSG, (lengths_B + self.stride[0] - 1) // self.stride[0]  # ONNX rounds to 0


class Lookahead(nn.Module):
    """Row convolution: each unit becomes a weighted sum of its values at this and later steps.

    From Deep Speech 2. It shows a network of one direction `ahead` later steps. At first each unit
    is its own value: with random weights, runs on AN4 ended with more errors than without it.
    """

    def __init__(self, units: int, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead
        self.convolve = nn.Conv1d(units, units, ahead + 1, groups=units, bias=False)
        nn.init.zeros_(self.convolve.weight)
        nn.init.ones_(self.convolve.weight[:, :, 0])

    def forward(
        self, x_BTF: Float[Tensor, "B T F"], mask_BT: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T F"]:
        x_BFT = x_BTF.masked_fill(~mask_BT[:, :, None], 0).transpose(1, 2)
        y_BFT: Tensor = self.convolve(nn.functional.pad(x_BFT, (0, self.ahead)))
        return y_BFT.transpose(1, 2)
