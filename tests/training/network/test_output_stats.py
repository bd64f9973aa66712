"""Output statistics against their definitions, written out for each valid step."""

import math

import numpy as np
import pytest
import torch

from pipeline.training.data.batches import find_finite, max_abs
from pipeline.training.network.output_stats import OutputStats

NONE = torch.zeros(5, 3)


def test_every_statistic_is_its_definition_over_valid_steps():
    torch.manual_seed(0)
    logits, lengths = torch.randn(3, 6, 4) * 2, torch.tensor([6, 2, 4])
    activations = torch.zeros(5, 3)
    activations[2:4] = torch.tensor([[150.0, 90.0, 2.0], [50.0, 0.0, 8.0]])
    stats = OutputStats.of(logits.log_softmax(-1), lengths, activations)
    steps = np.concatenate([logits[b, :n].double().numpy() for b, n in enumerate(lengths)])
    p = np.exp(steps) / np.exp(steps).sum(1, keepdims=True)
    entropy = lambda q: -(q * np.log(q)).sum(-1)  # noqa: E731
    assert stats.blank_argmax == np.mean(steps.argmax(1) == 0)
    assert stats.blank_posterior == pytest.approx(p[:, 0].mean(), rel=1e-6)
    expected = entropy(p.mean(0)) - entropy(p).mean()
    assert stats.input_dependence == pytest.approx(expected, rel=1e-5)
    assert stats.ceiling_share == 0.05
    assert stats.clamp_shares[2:4] == [(0.6, 2 / 150), (0, 0.16)]
    assert math.isnan(stats.clamp_shares[0][0])  # no convolution


def test_batches_add_up_to_the_whole():
    torch.manual_seed(1)
    logits, lengths = torch.randn(4, 5, 3), torch.tensor([5, 3, 1, 4])
    whole = OutputStats.of(logits.log_softmax(-1), lengths, NONE)
    parts = [
        OutputStats.of(logits[i : i + 2].log_softmax(-1), lengths[i : i + 2], NONE) for i in (0, 2)
    ]
    np.testing.assert_allclose((parts[0] + parts[1]).sums, whole.sums, rtol=1e-6)


def test_a_constant_output_does_not_depend_on_the_input():
    logits = torch.tensor([2.0, 0.0, -1.0]).expand(2, 5, 3)
    stats = OutputStats.of(logits.log_softmax(-1), torch.tensor([5, 3]), NONE)
    assert stats.input_dependence == pytest.approx(0, abs=1e-6)
    assert stats.blank_argmax == 1


def test_an_output_that_follows_the_input_depends_on_it_by_up_to_the_logarithm_of_the_classes():
    logits = 100 * torch.eye(4)[None]
    stats = OutputStats.of(logits.log_softmax(-1), torch.tensor([4]), NONE)
    assert stats.input_dependence == pytest.approx(math.log(4))
    assert stats.blank_argmax == stats.blank_posterior == 0.25


def test_without_steps_all_statistics_are_nan():
    empty = OutputStats.empty(4)
    statistics = (
        empty.blank_argmax,
        empty.blank_posterior,
        empty.input_dependence,
        empty.ceiling_share,
    )
    assert all(map(math.isnan, statistics))


def test_the_largest_z_looks_at_both_sides_and_hides_nothing():
    frames = torch.tensor([[[1.0, -7.5], [0.0, 2.0]]])
    assert max_abs(frames) == max_abs(-frames) == 7.5
    frames[0, 1, 0] = math.nan
    assert math.isnan(max_abs(frames))
    assert max_abs(torch.tensor([[[math.inf, 1.0]]])) == math.inf


def test_an_utterance_with_one_value_that_is_no_number_is_found():
    frames = torch.zeros(3, 4, 2)
    frames[0, 3, 1], frames[2, 0, 0] = math.inf, math.nan
    assert find_finite(frames).tolist() == [False, True, False]
