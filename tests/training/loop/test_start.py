"""What a run starts from: a shorter run that it continues, or another run's weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config.experiment import Experiment
from pipeline.config.identity import run_id, shorter_run_ids
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder, Stopped
from pipeline.runs.origin import read_sentence
from pipeline.runs.records import read_environments
from pipeline.training.loop.checkpoint import load_best_weights
from tests.training.letters import (
    make_experiment,
    make_utterances,
    write_feature_set,
)
from tests.training.loop.training_runs import (
    RESTLESS,
    assert_same,
    fit,
    saved_state,
    stop_after,
    with_train,
)

CPU = torch.device("cpu")
CONSTANT = with_train(RESTLESS, schedule="constant", warmup_updates=3)


def train_in(runs: Path, settings: Experiment, letters: FeatureSet, **options: Any) -> RunFolder:
    """Train a run under its own identity, as the commands do."""
    return fit(settings, letters, RunFolder(runs / run_id(settings, letters.feature_id)), **options)


@pytest.mark.parametrize(
    "train",
    [
        {},
        {"ema": 0.8},
        {"average": {"last": 3}},
        {"schedule": "plateau", "plateau_epochs": 1},
    ],
    ids=str,
)
def test_a_run_with_more_epochs_continues_a_finished_one_to_the_same_bits(
    train: dict[str, Any], letter_features: FeatureSet, tmp_path: Path
):
    short, long = (with_train(CONSTANT, epochs=epochs, **train) for epochs in (2, 4))
    undisturbed = train_in(tmp_path / "undisturbed", long, letter_features)
    runs = tmp_path / "runs"
    shorter = train_in(runs, short, letter_features)
    before = saved_state(shorter)["network"]
    calls = 0

    def count_batches() -> bool:
        nonlocal calls
        calls += 1
        return False

    continued = train_in(runs, long, letter_features, should_stop=count_batches)
    assert calls <= 17  # of two epochs and their evaluations; 23 or 27 from the start
    assert_same(continued, undisturbed)
    assert {row["run_id"] for row in continued.rows()} == {continued.run_id}
    assert read_sentence(continued) == f"continues run {shorter.run_id} after epoch 2, its last one"
    assert len(read_environments(continued.path)) == 2
    torch.testing.assert_close(saved_state(shorter)["network"], before, rtol=0, atol=0)
    assert shorter.finished


def test_stopped_while_it_continues_another_run_it_ends_with_the_same_bits(
    letter_features: FeatureSet, tmp_path: Path
):
    short, long = (with_train(CONSTANT, epochs=epochs) for epochs in (1, 2))
    undisturbed = train_in(tmp_path / "undisturbed", long, letter_features)
    for calls in (0, 2, 5):
        runs = tmp_path / str(calls)
        train_in(runs, short, letter_features)
        with pytest.raises(Stopped):
            train_in(runs, long, letter_features, should_stop=stop_after(calls))
        continued = train_in(runs, long, letter_features)
        assert_same(continued, undisturbed)
        assert len(read_environments(continued.path)) == 3


def test_a_schedule_over_all_epochs_starts_anew_and_says_why(
    letter_features: FeatureSet, tmp_path: Path
):
    short, long = (with_train(RESTLESS, epochs=epochs) for epochs in (1, 2))
    undisturbed = train_in(tmp_path / "undisturbed", long, letter_features)
    shorter = train_in(tmp_path / "runs", short, letter_features)
    anew = train_in(tmp_path / "runs", long, letter_features)
    assert_same(anew, undisturbed)
    assert read_sentence(anew) == (
        "starts anew: train.schedule warmup-cosine spreads the learning rate over train.epochs, so "
        f"its first 1 epochs are not those of run {shorter.run_id}"
    )
    assert read_sentence(undisturbed) == ""


def test_a_state_without_the_last_weights_is_not_continued(
    letter_features: FeatureSet, tmp_path: Path
):
    short, long = (with_train(CONSTANT, epochs=epochs) for epochs in (1, 2))
    undisturbed = train_in(tmp_path / "undisturbed", long, letter_features)
    shorter = train_in(tmp_path / "runs", short, letter_features)
    for file in shorter.path.glob("state*.pt"):
        state = torch.load(file, weights_only=True)
        del state["kept"]  # as an earlier program wrote it
        torch.save(state, file)
    anew = train_in(tmp_path / "runs", long, letter_features)
    assert_same(anew, undisturbed)
    assert "is damaged or of an earlier version" in read_sentence(anew)


def test_the_identities_of_shorter_runs_are_those_that_they_have():
    found = list(shorter_run_ids(with_train(RESTLESS, epochs=4), "mel-x"))
    assert found == [(n, run_id(with_train(RESTLESS, epochs=n), "mel-x")) for n in (3, 2, 1)]


@pytest.fixture(scope="module")
def source(letter_features: FeatureSet, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_in(tmp_path_factory.mktemp("runs"), make_experiment(), letter_features)


STILL = {"epochs": 1, "batch": 14, "optimiser": "sgd", "learning_rate": 1e-30}


def test_layers_that_fit_get_the_weights_of_the_run(source: RunFolder, letter_features: FeatureSet):
    settings = make_experiment(model={"fc2": 10}, train={**STILL, "init": f"run:{source.run_id}"})
    run = train_in(source.path.parent, settings, letter_features)
    theirs, ours = load_best_weights(source, CPU), saved_state(run)["network"]
    same = {name for name in ours if name in theirs and torch.equal(ours[name], theirs[name])}
    assert same == {"fc1.weight", "fc1.bias", "fc3.weight", "fc3.bias"}
    assert read_sentence(run) == (
        f"starts from the weights of run {source.run_id} in fc1, fc3; random: fc2, "
        "recurrent.0.directions.0.cell, recurrent.0.directions.1.cell, which do not fit"
    )


def test_another_alphabet_makes_the_output_layer_random(source: RunFolder, tmp_path: Path):
    swapped = str.maketrans("AC", "CA")  # as many letters, in another order
    letters = write_feature_set(
        [(name, split, text.translate(swapped), n) for name, split, text, n in make_utterances()],
        tmp_path / "features",
    )
    settings = make_experiment(
        alphabet=("C", "B", "A"), train={**STILL, "init": f"run:{source.run_id}"}
    )
    same_classes = make_experiment(alphabet=("A", "B", "C"), train={"epochs": 1})
    other = train_in(source.path.parent, same_classes, letters)
    settings = with_train(settings, init=f"run:{other.run_id}")
    run = train_in(source.path.parent, settings, letters)
    theirs, ours = load_best_weights(other, CPU), saved_state(run)["network"]
    assert torch.equal(ours["fc2.weight"], theirs["fc2.weight"])
    assert not torch.equal(ours["fc3.weight"], theirs["fc3.weight"])
    assert read_sentence(run).endswith(
        "random: fc3, which do not fit; the letters of the output differ"
    )


def test_it_resumes_to_the_same_bits_also_when_the_source_is_gone(
    source: RunFolder, letter_features: FeatureSet, tmp_path: Path
):
    settings = with_train(RESTLESS, epochs=1, init=f"run:{source.run_id}")
    undisturbed = train_in(source.path.parent, settings, letter_features)
    run = RunFolder(source.path.parent / "resumed")
    with pytest.raises(Stopped):
        fit(settings, letter_features, run, should_stop=stop_after(2))
    moved = run.path.rename(tmp_path / "alone")
    assert_same(fit(settings, letter_features, RunFolder(moved)), undisturbed)


def test_a_missing_or_unfinished_source_is_refused_in_one_line(
    source: RunFolder, letter_features: FeatureSet
):
    runs = source.path.parent
    settings = make_experiment(train={"init": "run:0123456789ab"})
    with pytest.raises(InputError, match=r"^train.init: run:0123456789ab: there is no such run"):
        train_in(runs, settings, letter_features)
    unfinished = RunFolder(runs / "0123456789ab")
    with pytest.raises(Stopped):
        fit(make_experiment(), letter_features, unfinished, should_stop=stop_after(2))
    with pytest.raises(InputError, match="that run is not finished, or its files have changed"):
        train_in(runs, settings, letter_features)
    damaged = RunFolder(runs / "ba9876543210")
    damaged.path.mkdir()
    for file in source.path.iterdir():
        if file.is_file():
            (damaged.path / file.name).write_bytes(file.read_bytes())
    for file in damaged.path.glob("state*.pt"):
        file.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"state.pt: missing or damaged"):
        train_in(runs, make_experiment(train={"init": "run:ba9876543210"}), letter_features)
