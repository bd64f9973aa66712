"""Runs whose weights are averaged: which weights are evaluated, selected, tested, resumed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config.experiment import Experiment
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder, Stopped
from pipeline.runs.plateau import selection_key
from pipeline.training.loop.checkpoint import load_best_weights
from pipeline.training.optim.epoch_weights import EpochWeights, keep_epochs
from pipeline.training.trained.trained_run import TrainedRun
from tests.training.letters import make_experiment
from tests.training.loop.training_runs import (
    RESTLESS,
    assert_same,
    fit,
    saved_state,
    settled,
    stop_after,
    with_train,
)

CPU = torch.device("cpu")
CASES: dict[str, dict[str, Any]] = {
    "ema": {"ema": 0.8},
    "last": {"average": {"last": 2}},
    "best": {"average": {"best": 2}},
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Experiment:
    return with_train(RESTLESS, **CASES[request.param])


@pytest.fixture(scope="module")
def undisturbed(
    case: Experiment, letter_features: FeatureSet, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    return fit(case, letter_features, RunFolder(tmp_path_factory.mktemp("undisturbed")))


def labels(run: RunFolder, split: str) -> list[str]:
    return [row["weights"] for row in run.rows() if row["split"] == split]


def test_stopped_it_continues_to_the_same_bits(
    case: Experiment, letter_features: FeatureSet, undisturbed: RunFolder, tmp_path: Path
):
    """Stopped in train, in dev, while batch norm is measured, in the last dev, in test."""
    last = [20] if case.train.ema else [22, 24]  # calls of `should_stop` before it stops
    for calls in [3, 4, 18, *last, last[-1] + 1]:
        run = RunFolder(tmp_path / str(calls))
        with pytest.raises(Stopped):
            fit(case, letter_features, run, should_stop=stop_after(calls))
        assert_same(fit(case, letter_features, run), undisturbed)


def test_each_row_names_its_weights(case: Experiment, undisturbed: RunFolder):
    assert labels(undisturbed, "train") == ["each update"] * 4
    if case.train.ema:
        assert labels(undisturbed, "dev") == ["ema"] * 4
        assert labels(undisturbed, "test") == ["ema"]
        return
    *epochs, mean = labels(undisturbed, "dev")
    assert epochs == ["epoch"] * 4
    assert labels(undisturbed, "test") == [mean]
    dev = [row for row in undisturbed.rows() if row["split"] == "dev"][:4]
    best = sorted(range(4), key=lambda place: selection_key(dev[place]))[:2]
    chosen = [3, 4] if case.train.average.last else sorted(place + 1 for place in best)
    assert mean == f"mean of epochs {chosen[0]} {chosen[1]}"


def test_the_tested_weights_give_the_dev_row_and_the_hypotheses(
    undisturbed: RunFolder, letter_features: FeatureSet
):
    """What is exported and decoded later are these weights."""
    *_, row = [row for row in undisturbed.rows() if row["split"] == "test"]
    undisturbed.write_experiment(RESTLESS)
    trained = TrainedRun.load(undisturbed, letter_features, CPU)
    split = trained.split(letter_features, "test")
    found = [
        trained.alphabet.decode(
            [c for c in torch.unique_consecutive(torch.from_numpy(logs.argmax(-1))).tolist() if c]
        )
        for _, logs in trained.log_probabilities(split)
    ]
    tested = [each for each in undisturbed.hypotheses() if each.split == "test"]
    assert [" ".join(text.split()) for text in found] == [each.hypothesis for each in tested]
    assert row["char_errors"] == sum(each.char_errors for each in tested)


def test_training_does_not_depend_on_what_is_averaged(
    case: Experiment, undisturbed: RunFolder, letter_features: FeatureSet, tmp_path: Path
):
    plain = fit(RESTLESS, letter_features, RunFolder(tmp_path))
    weights = [saved_state(run)["network"] for run in (plain, undisturbed)]
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    trains = [[r for r in run.rows() if r["split"] == "train"] for run in (plain, undisturbed)]
    assert settled(trains[0]) == settled(trains[1])


def test_the_mean_is_that_of_the_weights_after_the_epochs(
    letter_features: FeatureSet, tmp_path: Path
):
    """Runs that end after two and after three epochs show the weights of these epochs."""
    ends = []
    for epochs in (2, 3):
        run = RunFolder(tmp_path / str(epochs))
        fit(make_experiment(train={"epochs": epochs}), letter_features, run)
        ends.append(saved_state(run)["network"])
    settings = make_experiment(train={"epochs": 3, "average": {"last": 2}})
    averaged = fit(settings, letter_features, RunFolder(tmp_path / "mean"))
    for name, found in load_best_weights(averaged, CPU).items():
        expected = (ends[0][name].double() + ends[1][name].double()) / 2
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6)
    averaged.state_file.unlink()
    with pytest.raises(InputError, match="older than the mean of epochs that was tested"):
        load_best_weights(averaged, CPU)


def test_the_moving_average_follows_the_updates(letter_features: FeatureSet, tmp_path: Path):
    """One update per epoch: the weights after each are those of runs that end there."""
    ends, expected = [], None
    for epochs in (1, 2, 3):
        run = RunFolder(tmp_path / str(epochs))
        fit(make_experiment(train={"epochs": epochs, "batch": 14}), letter_features, run)
        ends.append(saved_state(run)["network"]["fc3.weight"].double())
    for update, weights in enumerate(ends, 1):
        factor = min(0.5, (1 + update) / (10 + update))
        expected = weights if expected is None else factor * expected + (1 - factor) * weights
    settings = make_experiment(train={"epochs": 3, "batch": 14, "ema": 0.5})
    averaged = fit(settings, letter_features, RunFolder(tmp_path / "ema"))
    found = saved_state(averaged)["ema"]["fc3.weight"].double()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_kept_epochs_are_the_last_or_the_best_the_earlier_one_of_equals():
    keys = [0.5, 0.3, 0.4, 0.3, 0.9]
    for settings, expected in (
        ({"last": 2}, [4, 5]),
        ({"best": 2}, [2, 4]),
        ({"best": 3}, [2, 3, 4]),
    ):
        kept: list[EpochWeights] = []
        average = with_train(RESTLESS, average=settings).train.average
        for epoch, key in enumerate(keys, 1):
            kept = keep_epochs(kept, EpochWeights(epoch, epoch, (key, 0.0), {}), average)
        assert [each.epoch for each in kept] == expected
    assert keep_epochs([], EpochWeights(1, 1, (0.0, 0.0), {}), None) == []
