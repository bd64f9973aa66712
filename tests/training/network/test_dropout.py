"""Dropout: its share, its scale, and independent draws."""

import pytest
import torch

from pipeline.training.network.dropout import Dropout
from tests.training.network.padded_frames import frames


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.99])
def test_dropout_zeroes_its_share_and_scales_the_rest_up(share: float):
    x = torch.ones(50, 101, 33, requires_grad=True)
    y = Dropout(share)(x)
    y.sum().backward()
    assert torch.equal(y, x.grad)  # a factor, for the gradient too
    assert y.detach().unique().tolist() == pytest.approx([0, 1 / (1 - share)], rel=1e-3)
    deviation = (share * (1 - share) / x.numel()) ** 0.5
    assert abs(float((y == 0).double().mean()) - share) < 4 * deviation + 2**-17


def test_dropout_draws_for_each_unit_by_itself():
    y = Dropout(0.5)(torch.ones(64, 100, 64)).flatten() - 1  # -1 or 1
    for lag in (1, 2, 3, 4, 64, 6400):
        assert abs(float((y[lag:] * y[:-lag]).mean())) < 4 / len(y) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_of_nothing_and_outside_training_changes_nothing(dtype: torch.dtype):
    x = frames().to(dtype)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert Dropout(0.5)(x).dtype == dtype
