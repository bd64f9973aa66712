"""The range test uses the stated learning rates and stops when training diverges."""

import math
from itertools import pairwise

import pytest

from pipeline.features.feature_set import FeatureSet
from pipeline.training.diagnosis import lr_range_test
from pipeline.training.diagnosis.lr_range_test import (
    range_learning_rates,
    run_lr_range_test,
    smooth_losses,
)
from tests.training.letters import make_experiment


def test_rates_grow_by_the_same_factor_from_1e_6_to_1e_2():
    rates = range_learning_rates(50)
    assert (rates[0], rates[-1]) == pytest.approx((1e-6, 1e-2))
    factors = [after / before for before, after in pairwise(rates)]
    assert factors == pytest.approx([factors[0]] * 49)
    assert range_learning_rates(1) == [1e-6]


def test_smoothing_is_a_weighted_mean_of_the_losses_so_far():
    losses = [4.0, 1.0, 3.0]
    weights = [0.95**age for age in (2, 1, 0)]
    mean = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)
    assert smooth_losses(losses)[-1] == pytest.approx(mean)
    assert smooth_losses([2.0] * 9) == pytest.approx([2.0] * 9)


def test_a_network_that_learns_is_tested_at_every_rate(features: FeatureSet):
    found = run_lr_range_test(
        make_experiment(train={"learning_rate": 7.0}), features, threads=1, updates=120
    )
    again = run_lr_range_test(
        make_experiment(train={"learning_rate": 0.1}), features, threads=1, updates=120
    )
    assert found == again  # the experiment's own rate does not matter
    assert len(found.steps) == 120
    assert not found.diverged
    assert found.lowest.smoothed < 0.8 * found.steps[0].smoothed
    assert found.suggestion > 1e-4
    assert found.reference_loss > 0


def test_the_test_ends_when_training_diverges(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch
):
    """SGD on unscaled input, without a clamp, up to a rate of 100."""
    monkeypatch.setattr(lr_range_test, "MAX_TEST_LR", 100.0)
    settings = make_experiment(
        input={"normalisation": "none"},
        model={"clamp": None, "cell": "relu", "layers": 3},
        train={"optimiser": "sgd", "batch": 1},
    )
    found = run_lr_range_test(settings, features, threads=1, updates=400)
    assert found.diverged
    assert len(found.steps) < 400
    assert all(math.isfinite(step.loss) for step in found.steps)
    assert found.suggestion < found.steps[-1].learning_rate
