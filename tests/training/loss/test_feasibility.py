"""Which utterances can be aligned, against torch's loss, which is infinite for the others."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.loss import feasibility
from tests.training.ctc_loss import ctc_loss


@pytest.mark.parametrize(
    ("labels", "repeats"), [([], 0), ([1], 0), ([1, 1], 1), ([1, 1, 1, 2, 1], 2)]
)
def test_repeats_and_minimum_frames(labels: list[int], repeats: int):
    assert feasibility.count_repeats(labels) == repeats
    assert feasibility.minimum_frames(labels) == len(labels) + repeats


@given(st.integers(1, 6), st.lists(st.integers(1, 3), max_size=5))
def test_feasible_is_a_finite_loss_of_a_target_that_is_not_empty(frames: int, labels: list[int]):
    if labels:
        finite = math.isfinite(
            ctc_loss(
                torch.zeros(1, frames, 4),
                torch.tensor([frames]),
                torch.tensor([labels]),
                torch.tensor([len(labels)]),
            ).item()
        )
        assert feasibility.is_feasible(frames, labels) == finite
    else:
        assert not feasibility.is_feasible(frames, labels)


@given(st.integers(1, 40), st.lists(st.integers(1, 3), max_size=9))
def test_the_largest_stride_is_the_last_one_that_fits(frames: int, labels: list[int]):
    fits = [
        s for s in range(1, frames + 1) if feasibility.is_feasible(math.ceil(frames / s), labels)
    ]
    assert feasibility.largest_stride(frames, labels) == max(fits, default=0)
