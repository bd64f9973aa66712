"""BatchNorm over padded frames against torch's on the valid frames alone."""

import pytest
import torch
from torch import nn

from pipeline.training.network.masks import make_valid_mask
from pipeline.training.network.normalisation import MaskedBatchNorm
from tests.training.network.padded_frames import LENGTHS, frames


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_masked_batch_norm_is_torchs_on_the_valid_frames():
    norm, torchs = MaskedBatchNorm(4), nn.BatchNorm1d(4)
    x, mask = frames().requires_grad_(), make_valid_mask(LENGTHS, 7)
    again = x.detach()[mask].requires_grad_()
    y, expected = norm(x, mask), torchs(again)
    (y[mask] ** 3).sum().backward()
    (expected**3).sum().backward()
    torch.testing.assert_close(y[mask], expected)
    torch.testing.assert_close(x.grad[mask], again.grad)
    assert not x.grad[~mask].any()
    assert not y[~mask].any()
    torch.testing.assert_close(norm.norm.running_var, torchs.running_var)
    norm.eval()
    torchs.eval()
    torch.testing.assert_close(norm(x, mask)[mask], torchs(again))


def test_unmasked_batch_norm_counts_the_padding():
    norm, torchs = MaskedBatchNorm(4, masked=False), nn.BatchNorm1d(4)
    x = frames()
    y = norm(x, make_valid_mask(LENGTHS, 7))
    torch.testing.assert_close(y.flatten(0, 1), torchs(x.flatten(0, 1)))
    torch.testing.assert_close(norm.norm.running_mean, torchs.running_mean)


def test_batch_norm_of_a_convolution_is_per_channel():
    norm, torchs = MaskedBatchNorm(5), nn.BatchNorm2d(5)
    x = torch.randn(3, 7, 6, 5)
    y = norm(x, torch.ones(3, 7, dtype=torch.bool))
    torch.testing.assert_close(y.permute(0, 3, 1, 2), torchs(x.permute(0, 3, 1, 2)))


def test_a_single_frame_is_normalised_by_the_running_moments():
    norm = MaskedBatchNorm(4)
    x = torch.randn(1, 1, 4)
    torch.testing.assert_close(
        norm(x, make_valid_mask(torch.tensor([1]), 1)), x, rtol=1e-4, atol=1e-4
    )
    assert norm.norm.running_var.isfinite().all()


def test_nan_in_the_padding_is_not_read():
    x, mask = frames(), make_valid_mask(LENGTHS, 7)
    x[~mask] = torch.nan
    assert MaskedBatchNorm(4)(x, mask)[mask].isfinite().all()
