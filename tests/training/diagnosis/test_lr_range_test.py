"""The range test uses the stated learning rates and stops when training diverges."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from pipeline.config.experiment import TrainSettings
from pipeline.features.feature_set import FeatureSet
from pipeline.training.data.batches import SplitData
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
    own = {"learning_rate": 0.1, "schedule": "warmup-cosine", "warmup_updates": 50}
    again = run_lr_range_test(make_experiment(train=own), features, threads=1, updates=120)
    assert found == again  # the experiment's own rate and schedule do not matter
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


@pytest.mark.parametrize(("last", "steps", "diverged"), [(50.0, 101, False), (100.0, 100, True)])
def test_training_diverges_at_four_times_the_lowest_smoothed_loss(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch, last: float, steps: int, diverged: bool
):
    """After a hundred losses of 1 the average becomes 1 + 0.05 (last - 1): 3.5 or 6.0."""
    losses = iter([1.0] * 100 + [last])
    monkeypatch.setattr(lr_range_test, "_update_loss", lambda *_: next(losses))
    found = run_lr_range_test(make_experiment(), features, threads=1, updates=101)
    assert (len(found.steps), found.diverged) == (steps, diverged)


def test_the_test_goes_through_one_epoch_after_another_with_the_threads_that_it_is_given(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch
):
    epochs, threads, plan_epoch = [], torch.get_num_threads(), lr_range_test.batches.plan_epoch

    def record_epoch(split: SplitData, settings: TrainSettings, epoch: int, *rest: Any) -> Any:
        epochs.append(epoch)
        return plan_epoch(split, settings, epoch, *rest)

    monkeypatch.setattr(lr_range_test.batches, "plan_epoch", record_epoch)
    try:
        run_lr_range_test(make_experiment(), features, threads=threads + 1, updates=10)
        assert torch.get_num_threads() == threads + 1
        run_lr_range_test(make_experiment(), features, updates=1)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert epochs == [1, 2, 3, 1]
