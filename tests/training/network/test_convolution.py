"""Convolution and look-ahead: sums written out, exact lengths, and padding without effect."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.training.network.convolution import CONV_CHANNELS, Convolution, Lookahead
from pipeline.training.network.masks import make_valid_mask
from tests.training.network.padded_frames import LENGTHS, frames


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("ahead", [1, 3, 20])
def test_look_ahead_is_the_sum_over_the_steps_to_come_within_the_utterance(ahead: int):
    layer, x = Lookahead(4, ahead), frames()
    assert torch.equal(layer(x, make_valid_mask(LENGTHS, 7))[0], x[0])  # a new one changes nothing
    nn.init.normal_(layer.convolve.weight)
    y = layer(x, make_valid_mask(LENGTHS, 7))
    weight = layer.convolve.weight[:, 0]  # (F, ahead + 1)
    for b, length in enumerate(LENGTHS.tolist()):
        for t in range(length):
            there = range(min(ahead + 1, length - t))
            expected = sum(weight[:, j] * x[b, t + j] for j in there)
            torch.testing.assert_close(y[b, t], expected)


odd = st.integers(0, 6).map(lambda n: 2 * n + 1)
strides = st.integers(1, 4)


@given(
    kernel=st.tuples(odd, odd),
    stride=st.tuples(strides, strides),
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    padding=st.integers(0, 5),
    bins=st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_a_convolutions_lengths_are_exact_whatever_its_kernel_and_stride(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    lengths: list[int],
    padding: int,
    bins: int,
):
    layer = Convolution(2, kernel, stride)
    x = torch.randn(len(lengths), 2, max(lengths) + padding, bins)
    y, steps = layer(x, torch.tensor(lengths))
    for b, length in enumerate(lengths):
        alone, one = layer(x[b : b + 1, :, :length], torch.tensor([length]))
        assert alone.shape[1:3] == (CONV_CHANNELS, int(steps[b])) == (CONV_CHANNELS, int(one))
        torch.testing.assert_close(y[b : b + 1, :, : int(one)], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [Lookahead(4, 2), Convolution(1, (3, 3), (1, 1))])
def test_nan_in_the_padding_is_not_read(layer: nn.Module):
    x, mask = frames(), make_valid_mask(LENGTHS, 7)
    x[~mask] = torch.nan
    if isinstance(layer, Convolution):
        y = layer(x[:, None], LENGTHS)[0].permute(0, 2, 1, 3)
    else:
        y = layer(x, mask)
    assert y[mask].isfinite().all()
