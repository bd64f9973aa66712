"""Losses and expected frames of constant outputs against torch's forward-backward."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.loss.constant_output import ConstantOutputStatistics, uniform_loss
from tests.training.constant_outputs import corpora, forward_backward


@given(st.integers(1, 60), st.lists(st.integers(1, 3), min_size=1, max_size=12))
def test_the_uniform_formula_equals_forward_backward(frames: int, labels: list[int]):
    (expected,), _ = forward_backward(np.full(5, 1 / 5), [frames], [labels])
    assert uniform_loss(frames, labels, 5) == pytest.approx(expected, rel=1e-9)


@given(corpora(), st.lists(st.floats(0.01, 1), min_size=6, max_size=6))
@settings(max_examples=30, deadline=None)
def test_constant_losses_and_occupancies_equal_forward_backward(
    corpus: tuple[list[int], list[list[int]]], weights: list[float]
):
    probabilities = np.array(weights) / sum(weights)
    losses, occupancy = forward_backward(probabilities, *corpus)
    found, found_occupancy = ConstantOutputStatistics.of(*corpus, classes=6).e_step(probabilities)
    np.testing.assert_allclose(found, losses, rtol=1e-9)
    np.testing.assert_allclose(found_occupancy, occupancy, atol=1e-8)


@pytest.mark.parametrize("blank", [1e-5, 1e-12, 1e-60])
def test_expected_frames_stay_right_where_the_blank_is_far_below_a_label(blank: float):
    """The powers of label / blank overflow float64; the second utterance lacks that label."""
    probabilities = np.array([blank, 0.9 - blank, 0.1])
    corpus = [60, 50, 40], [[1, 2], [2], [2, 1]]
    losses, occupancy = forward_backward(probabilities, *corpus)
    with np.errstate(over="raise", invalid="raise"):
        found = ConstantOutputStatistics.of(*corpus, classes=3).e_step(probabilities)
    np.testing.assert_allclose(found[0], losses, rtol=1e-9)
    np.testing.assert_allclose(found[1], occupancy, rtol=1e-7, atol=1e-7)


def test_a_label_without_probability_makes_the_loss_infinite():
    statistics = ConstantOutputStatistics.of([4], [[2]], classes=3)
    assert statistics.e_step(np.array([0.5, 0.5, 0.0]))[0] == math.inf


@pytest.mark.parametrize(("frames", "labels"), [([], []), ([2], [[1, 1]]), ([2], [[]])])
def test_utterances_that_cannot_be_aligned_are_refused(frames: list[int], labels: list[list[int]]):
    with pytest.raises(ValueError, match="utterances, and each of them feasible"):
        ConstantOutputStatistics.of(frames, labels, classes=3)
