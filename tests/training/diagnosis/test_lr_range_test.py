"""The range test: each rate from the same start, past the plateau; recipes are told apart."""

import math
from typing import Any

import pytest
import torch

from pipeline.config.experiment import TrainSettings
from pipeline.features.feature_set import FeatureSet
from pipeline.runs.health.lr_range import LRRangeResult
from pipeline.training.data.batches import SplitData
from pipeline.training.diagnosis import lr_range_test
from pipeline.training.diagnosis.lr_range_test import run_lr_range_test
from tests.training.letters import make_experiment


def run_test(features: FeatureSet, updates: int = 60, **settings: Any) -> LRRangeResult:
    settings.setdefault("train", {}).setdefault("epochs", 1000)
    experiment = make_experiment(**settings)
    lengths = {"updates": updates, "max_updates": 4 * updates}
    return LRRangeResult(tuple(run_lr_range_test(experiment, features, threads=1, **lengths)))


def test_recipes_have_different_suggestions(features: FeatureSet):
    adam = run_test(features, train={"optimiser": "adamw"})
    sgd = run_test(features, train={"optimiser": "sgd"})
    assert adam.outcome == sgd.outcome == "found"
    assert sgd.suggestion > adam.suggestion


def test_the_experiments_own_rate_changes_nothing(features: FeatureSet):
    one = run_test(features, 20, train={"learning_rate": 7.0})
    assert one == run_test(features, 20, train={"learning_rate": 1e-5})


def test_each_rate_is_trained_from_the_same_weights(features: FeatureSet):
    """A rate's loss does not depend on the rates that were tried before it."""
    losses = {each.learning_rate: each.loss for each in run_test(features, 20).trainings}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lr_range_test, "FIRST_STEP", {"adamw": -6, "adam": -6})
        again = {each.learning_rate: each.loss for each in run_test(features, 20).trainings}
    both = losses.keys() & again.keys()
    assert len(both) >= 2
    assert {rate: losses[rate] for rate in both} == {rate: again[rate] for rate in both}


def test_updates_are_doubled_while_no_rate_leaves_the_plateau(features: FeatureSet):
    found = run_test(features, 2)
    lengths = sorted({each.updates for each in found.trainings})
    assert lengths == [2, 4, 8]


def test_no_training_has_more_updates_than_the_experiment(features: FeatureSet):
    found = run_test(features, 60, train={"epochs": 3, "batch": 7})
    assert {each.updates for each in found.trainings} == {6}


def test_a_training_that_diverges_has_an_infinite_loss(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch
):
    make_updates = lr_range_test._RangeTest._make_updates

    def diverge(self: Any, learning_rate: float, updates: int) -> None:
        if learning_rate > 1e-3:
            raise lr_range_test.DivergedError("diverged")
        make_updates(self, learning_rate, updates)

    monkeypatch.setattr(lr_range_test._RangeTest, "_make_updates", diverge)
    found = run_test(features, 20)
    assert [each.learning_rate for each in found.trainings][:2] == [3e-3, 1e-3]
    assert math.isinf(found.trainings[0].loss)
    assert found.best.learning_rate <= 1e-3


def test_the_schedule_of_the_experiment_is_kept_with_a_shorter_warm_up(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch
):
    rates, learning_rate = [], lr_range_test.TrainStep.step

    def record(self: Any, *arguments: Any) -> None:
        learning_rate(self, *arguments)
        rates.append(self.learning_rate)

    monkeypatch.setattr(lr_range_test.TrainStep, "step", record)
    warm_up = {"epochs": 1000, "schedule": "warmup-cosine", "warmup_updates": 100}
    next(run_lr_range_test(make_experiment(train=warm_up), features, threads=1, updates=30))
    assert rates[9] == max(rates) == pytest.approx(3e-3)
    assert rates[0] == pytest.approx(3e-4)
    assert rates[-1] < 1e-4


def test_the_test_goes_through_one_epoch_after_another_with_the_threads_that_it_is_given(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch
):
    epochs, threads, plan_epoch = [], torch.get_num_threads(), lr_range_test.epoch_plan.plan_epoch

    def record_epoch(split: SplitData, settings: TrainSettings, epoch: int, *rest: Any) -> Any:
        epochs.append(epoch)
        return plan_epoch(split, settings, epoch, *rest)

    monkeypatch.setattr(lr_range_test.epoch_plan, "plan_epoch", record_epoch)
    experiment = make_experiment(train={"epochs": 1000})
    try:
        next(run_lr_range_test(experiment, features, threads=threads + 1, updates=10))
        assert torch.get_num_threads() == threads + 1
        assert epochs == [1, 2, 3]
        next(run_lr_range_test(experiment, features, updates=1))
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)


def test_each_update_is_reported(features: FeatureSet):
    seen: list[tuple[float, int, int]] = []
    tried = run_lr_range_test(
        make_experiment(train={"epochs": 1000}),
        features,
        threads=1,
        updates=5,
        on_update=lambda *each: seen.append(each),
    )
    assert next(tried).learning_rate == 3e-3
    assert seen == [(3e-3, done, 5) for done in range(1, 6)]
