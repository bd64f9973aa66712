"""Early stopping on dev: the run is tested and finished, and says why it ended."""

from pathlib import Path

import pytest

from pipeline.features.feature_set import FeatureSet
from pipeline.runs.early_stop import is_stopped_early
from pipeline.runs.folder import RunFolder, Stopped
from pipeline.runs.plateau import selection_key
from pipeline.runs.state import read_early_stop
from tests.training.letters import make_experiment
from tests.training.loop.training_runs import assert_same, fit, settled, stop_after

TRAIN = {"epochs": 60, "batch": 2, "learning_rate": 3e-2}
PATIENT = make_experiment(input={"stack": 2}, train={**TRAIN, "patience": 3})


@pytest.fixture(scope="module")
def undisturbed(letter_features: FeatureSet, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fit(PATIENT, letter_features, RunFolder(tmp_path_factory.mktemp("undisturbed")))


def test_it_ends_after_its_patience_tested_and_finished(undisturbed: RunFolder):
    dev = [row for row in undisturbed.rows() if row["split"] == "dev"]
    best = min(dev, key=selection_key)
    assert dev[-1]["epoch"] < 60
    assert dev[-1]["epoch"] - best["epoch"] >= 3
    assert undisturbed.rows()[-1]["split"] == "test"
    assert undisturbed.rows()[-1]["epoch"] == best["epoch"]
    stop = read_early_stop(undisturbed)
    assert undisturbed.finished
    assert stop is not None
    assert f"of epoch {best['epoch']} (train.patience: 3)" in stop.message
    assert not is_stopped_early(undisturbed, None)  # no rule of a sweep did it
    report = undisturbed.epoch_report()
    assert report is not None
    assert report.sentence.endswith(stop.message)


def test_its_epochs_are_those_of_a_run_without_patience(
    undisturbed: RunFolder, letter_features: FeatureSet, tmp_path: Path
):
    epochs = undisturbed.rows()[-2]["epoch"]
    shorter = make_experiment(input={"stack": 2}, train={**TRAIN, "epochs": epochs})
    run = fit(shorter, letter_features, RunFolder(tmp_path))
    assert settled(run.rows()) == settled(undisturbed.rows())
    assert read_early_stop(run) is None


def test_stopped_after_its_last_epoch_it_does_not_train_on(
    undisturbed: RunFolder, letter_features: FeatureSet, tmp_path: Path
):
    run, updates = RunFolder(tmp_path), undisturbed.rows()[-2]["updates"]
    calls = updates + undisturbed.rows()[-2]["epoch"]  # a batch of dev in each epoch
    with pytest.raises(Stopped):
        fit(PATIENT, letter_features, run, should_stop=stop_after(calls))
    assert_same(fit(PATIENT, letter_features, run), undisturbed)
