"""Training learns, and a run that is stopped or killed at any point ends as if it never was."""

import contextlib
import csv
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import torch

from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.runs.folder import Heartbeat, RunFolder, Stopped
from pipeline.runs.hypotheses import TRAIN_FILE, hypotheses_from_csv
from pipeline.runs.plateau import escape_updates, selection_key
from pipeline.runs.posteriors import read_posteriors
from pipeline.training.loop import devices, trainer
from pipeline.training.loop.evaluator import Evaluator
from pipeline.training.loop.fit import fit as fit_run
from pipeline.training.loop.train_step import DivergedError
from pipeline.training.loss import reference_loss
from pipeline.training.trained.trained_run import TrainedRun
from tests.training.letters import make_experiment
from tests.training.loop.training_runs import (
    RESTLESS,
    assert_same,
    fit,
    saved_state,
    settled,
    stop_after,
)

REPOSITORY = Path(__file__).resolve().parents[3]
UPDATES = 16  # 4 epochs of 14 utterances in batches of 4
# Calls of `should_stop` before the first batch of dev and before the batch of test: there is one
# call before each batch, and after the last epoch dev, train and test are evaluated.
IN_DEV, IN_TEST = 4, 22


@pytest.fixture(scope="module")
def undisturbed(letter_features: FeatureSet, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fit(RESTLESS, letter_features, RunFolder(tmp_path_factory.mktemp("undisturbed")))


def test_training_learns_the_letters(letter_features: FeatureSet, tmp_path: Path):
    settings = make_experiment(
        input={"stack": 2}, train={"epochs": 25, "batch": 2, "learning_rate": 3e-2}
    )
    run = fit(settings, letter_features, RunFolder(tmp_path))
    *_, train, dev, test = run.rows()
    assert train["cer"] < 0.4
    assert test["cer"] < 0.6
    assert dev["blank_argmax"] < 1
    assert dev["input_dependence"] > 0.5
    assert escape_updates(run.rows()) is not None
    assert run.finished


def test_each_epoch_has_a_train_and_a_dev_row_and_test_comes_once(undisturbed: RunFolder):
    rows = undisturbed.rows()
    assert [row["split"] for row in rows] == ["train", "dev"] * 4 + ["test"]
    assert [row["epoch"] for row in rows[:-1]] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert [row["updates"] for row in rows[:-1]] == [4, 4, 8, 8, 12, 12, 16, 16]
    assert [row["utterances"] for row in rows[-3:]] == [2 * 14, 5, 4]  # two views of each
    assert all(row["run_id"] == undisturbed.run_id for row in rows)


def test_a_row_counts_what_its_split_holds(undisturbed: RunFolder, letter_features: FeatureSet):
    dev = undisturbed.rows()[-2]
    members = [utterance for utterance in letter_features.utterances if utterance.split == "dev"]
    assert dev["frames"] == sum(utterance.frames for utterance in members)
    assert dev["chars"] == sum(len(utterance.transcript) for utterance in members)
    assert dev["cer"] == dev["char_errors"] / dev["chars"]
    assert all(0 < row["loader_wait"] < 1 for row in undisturbed.rows())
    assert dev["peak_memory_bytes"] > 1e6
    assert math.isnan(dev["grad_norm"])
    assert undisturbed.rows()[-3]["grad_norm"] > 0


def test_the_weights_are_those_of_the_best_dev_epoch(undisturbed: RunFolder):
    dev = [row for row in undisturbed.rows() if row["split"] == "dev"]
    best = min(dev, key=selection_key)
    test = undisturbed.rows()[-1]
    assert (test["epoch"], test["updates"]) == (best["epoch"], best["updates"])


def test_the_rates_of_the_rows_equal_jiwers_on_the_file_of_hypotheses(undisturbed: RunFolder):
    test, dev = undisturbed.rows()[-1], undisturbed.rows()
    with undisturbed.hypotheses_file.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    for row in (test, dev[2 * test["epoch"] - 1]):
        pairs = [(x["reference"], x["hypothesis"]) for x in lines if x["split"] == row["split"]]
        references, hypotheses = map(list, zip(*pairs, strict=True))
        assert len(references) == row["utterances"]
        assert row["cer"] == jiwer.cer(references, hypotheses)
        assert row["wer"] == jiwer.wer(references, hypotheses)


def test_the_losses_of_the_utterances_have_the_mean_of_the_row(undisturbed: RunFolder):
    row = undisturbed.rows()[-1]
    losses = {h.utterance_id: (h.loss, h.chars) for h in undisturbed.hypotheses()}
    tested = [losses[h.utterance_id] for h in undisturbed.hypotheses() if h.split == "test"]
    assert row["loss_per_utterance"] == pytest.approx(np.mean([loss for loss, _ in tested]))
    per_label = [loss / chars for loss, chars in tested]  # a label is a character here
    assert row["loss_per_character"] == pytest.approx(np.mean(per_label))


def test_training_utterances_are_ranked_by_their_loss(
    undisturbed: RunFolder, letter_features: FeatureSet
):
    ranked = hypotheses_from_csv((undisturbed.path / TRAIN_FILE).read_text("utf-8"))
    losses = [each.loss_per_character for each in ranked]
    assert losses == sorted(losses, reverse=True)
    undisturbed.write_experiment(RESTLESS)
    trained = TrainedRun.load(undisturbed, letter_features, torch.device("cpu"))
    again = {}
    for utterance, logs in trained.log_probabilities(trained.split(letter_features, "train")):
        labels = trained.alphabet.encode(utterance.transcript)
        again[utterance.id] = torch.nn.functional.ctc_loss(
            torch.from_numpy(logs)[:, None], torch.tensor([labels]), (len(logs),), (len(labels),),
            reduction="sum",
        ).item()  # fmt: skip
    assert {each.utterance_id: each.loss for each in ranked} == pytest.approx(again, rel=1e-5)


def test_posteriors_decode_to_the_hypotheses_and_give_their_losses(
    undisturbed: RunFolder, letter_features: FeatureSet
):
    tested = {h.utterance_id: h for h in undisturbed.hypotheses() if h.split == "test"}
    found = read_posteriors(undisturbed.posteriors_file)
    assert {each.utterance_id for each in found} == tested.keys()  # the split has only four
    frames = {each.id: each.frames for each in letter_features.utterances}
    for each in found:
        assert each.frames == frames[each.utterance_id]
        assert each.symbols[0] == ""
        logs = torch.from_numpy(each.log_probabilities.astype(np.float32))
        assert 0 < float(logs.exp().sum(-1).max()) < 1.01
        best = torch.unique_consecutive(logs.argmax(-1)).tolist()
        text = "".join(each.symbols[c] for c in best)
        hypothesis = tested[each.utterance_id]
        assert " ".join(text.split()) == hypothesis.hypothesis
        if all(c in each.symbols for c in hypothesis.reference):
            labels = torch.tensor([[each.symbols.index(c) for c in hypothesis.reference]])
            loss = torch.nn.functional.ctc_loss(
                logs[:, None], labels, (len(logs),), (labels.shape[1],), reduction="sum"
            )
            assert hypothesis.loss == pytest.approx(float(loss), rel=0.01, abs=0.02)


def test_hypotheses_name_the_speaker_of_the_feature_set(
    letter_features: FeatureSet, undisturbed: RunFolder
):
    speakers = {each.id: each.speaker for each in letter_features.utterances}
    found = {each.utterance_id: each.speaker for each in undisturbed.hypotheses()}
    assert found == {name: speakers[name] for name in found}
    assert all(found.values())


@pytest.mark.parametrize("calls", [0, 3, IN_DEV, 9, 12, 16, 20, IN_TEST])
def test_stopped_at_any_step_it_continues_to_the_same_bits(
    calls: int, letter_features: FeatureSet, undisturbed: RunFolder, tmp_path: Path
):
    run = RunFolder(tmp_path)
    with pytest.raises(Stopped):
        fit(RESTLESS, letter_features, run, should_stop=stop_after(calls))
    assert not run.finished
    assert_same(fit(RESTLESS, letter_features, run), undisturbed)


def test_a_state_with_the_keys_of_an_earlier_program_is_continued(
    letter_features: FeatureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trainer, "MIN_EVALUATION_BATCH", 1)
    run, former = RunFolder(tmp_path / "now"), RunFolder(tmp_path / "former")
    with pytest.raises(Stopped):
        fit(RESTLESS, letter_features, run, should_stop=stop_after(2 * IN_DEV + 3))
    shutil.copytree(run.path, former.path)
    state = saved_state(former)
    assert state["evaluations"]["dev"]["batches"] == 1
    for each in (state, *state["evaluations"].values()):
        each["tally"] = each.pop("metrics")
        each["tally"]["health"] = each["tally"].pop("output_stats")
    state["heard"], best = state.pop("evaluations"), state["best"]
    best["rank"] = best.pop("selection_key")
    torch.save(state, former.state_file)
    once, again = (fit(RESTLESS, letter_features, each) for each in (run, former))
    assert_same(once, again)


@pytest.mark.parametrize("options", [{}, {"resident_gb": 0.0, "workers": 2}], ids=str)
def test_killed_in_an_evaluation_it_keeps_all_updates_and_evaluated_batches(
    options: dict[str, Any],
    letter_features: FeatureSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(trainer, "SAVE_INTERVAL_S", 0.0)
    monkeypatch.setattr(trainer, "MIN_EVALUATION_BATCH", 1)  # then dev is two batches of up to four
    undisturbed = fit(RESTLESS, letter_features, RunFolder(tmp_path / "undisturbed"))
    left, evaluate_batch = [1], Evaluator._evaluate_batch

    def evaluate_or_die(self: Evaluator, *arguments: Any) -> None:
        left.pop()
        evaluate_batch(self, *arguments)

    monkeypatch.setattr(Evaluator, "_evaluate_batch", evaluate_or_die)
    run = RunFolder(tmp_path / "killed")
    with pytest.raises(IndexError):  # as with SIGKILL, nothing is saved at the end
        fit(RESTLESS, letter_features, run, **options)
    saved = saved_state(run)
    assert (saved["epoch"], saved["position"], saved["update"], saved["rows"]) == (1, 4, 4, [])
    assert saved["evaluations"]["dev"]["batches"] == 1
    left[:] = [1] * (1 + 2 * 3 + 2 + 4 + 1)  # the rest of dev, three times dev; dev, train, test
    assert_same(fit(RESTLESS, letter_features, run, **options), undisturbed)
    assert left == []
    assert saved_state(run)["evaluations"] == {}


def test_stopped_before_each_batch_it_evaluates_each_once(
    letter_features: FeatureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trainer, "MIN_EVALUATION_BATCH", 1)
    undisturbed = fit(RESTLESS, letter_features, RunFolder(tmp_path / "undisturbed"))
    run, attempts = RunFolder(tmp_path / "stopped"), 0
    while not run.finished:
        attempts += 1
        with contextlib.suppress(Stopped):
            fit(RESTLESS, letter_features, run, should_stop=stop_after(1))
    assert attempts == UPDATES + 2 * 4 + 2 + 4 + 1
    assert_same(run, undisturbed)


def test_stopped_again_and_again_it_ends_with_the_same_bits(
    letter_features: FeatureSet, undisturbed: RunFolder, tmp_path: Path
):
    run, stops = RunFolder(tmp_path), 0
    while not run.finished:
        try:
            fit(
                RESTLESS, letter_features, run, should_stop=stop_after(3)
            )  # dev and test fit between two stops
        except Stopped:
            stops += 1
    assert stops >= UPDATES // 3
    assert_same(run, undisturbed)


def test_fitting_a_finished_run_changes_nothing(
    letter_features: FeatureSet, undisturbed: RunFolder, tmp_path: Path
):
    run = fit(RESTLESS, letter_features, RunFolder(tmp_path))
    assert_same(fit(RESTLESS, letter_features, run), undisturbed)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_rows_and_weights_do_not_depend_on_the_loader(
    workers: int, letter_features: FeatureSet, undisturbed: RunFolder, tmp_path: Path
):
    """Mapped instead of resident frames, and stopped once in the middle of an epoch."""
    run, options = RunFolder(tmp_path), {"resident_gb": 0.0, "workers": workers}
    with pytest.raises(Stopped):
        fit(RESTLESS, letter_features, run, should_stop=stop_after(6), **options)
    assert_same(fit(RESTLESS, letter_features, run, **options), undisturbed)


SPAWNED = """
import json, multiprocessing, pathlib, sys
from pipeline.config.experiment import Experiment
from pipeline.features.feature_set import FeatureSet
from pipeline.runs.folder import RunFolder
from tests.training.loop.training_runs import fit
multiprocessing.set_start_method("spawn")
settings = Experiment.model_validate_json(sys.argv[1])
features, run = FeatureSet.open(pathlib.Path(sys.argv[2])), RunFolder(pathlib.Path(sys.argv[3]))
fit(settings, features, run, resident_gb=0.0, workers=1)
compiler = [name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules]
sys.exit(f"imported {compiler}, which takes longer than a short run" if compiler else 0)
"""


def test_it_trains_where_processes_are_spawned_and_without_torchs_compiler(
    letter_features: FeatureSet, undisturbed: RunFolder, tmp_path: Path
):
    """Worker processes are spawned on Windows and macOS."""
    arguments = [RESTLESS.model_dump_json(), str(letter_features.folder), str(tmp_path)]
    subprocess.run(
        [sys.executable, "-c", SPAWNED, *arguments], cwd=REPOSITORY, check=True, timeout=300
    )
    assert_same(RunFolder(tmp_path), undisturbed)


def test_a_stopped_run_continues_its_plateau_schedule(letter_features: FeatureSet, tmp_path: Path):
    """The learning rate is so large that dev losses rise and the schedule lowers it often."""
    train = {"schedule": "plateau", "plateau_epochs": 1, "learning_rate": 1.0, "clip": 1.0}
    settings = make_experiment(train={**train, "batch_frames": 100, "epochs": 6})
    whole = fit(settings, letter_features, RunFolder(tmp_path / "whole"))
    rates = [row["learning_rate"] for row in whole.rows() if row["split"] == "train"]
    assert rates[0] == 1
    assert rates[-1] < 0.5
    run = RunFolder(tmp_path / "stopped")
    while not run.finished:
        with contextlib.suppress(Stopped):
            fit(settings, letter_features, run, should_stop=stop_after(9))
    assert_same(run, whole)


def test_another_seed_is_another_run(
    letter_features: FeatureSet, undisturbed: RunFolder, tmp_path: Path
):
    changed = RESTLESS.model_copy(update={"train": RESTLESS.train.model_copy(update={"seed": 1})})
    other = fit(changed, letter_features, RunFolder(tmp_path))
    assert settled(other.rows()) != settled(undisturbed.rows())


def test_the_deterministic_setting_reaches_torch(
    letter_features: FeatureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = []
    monkeypatch.setattr(
        trainer.devices,
        "set_deterministic",
        lambda enabled, device: calls.append((enabled, device.type)),
    )
    for enabled in (True, False):
        settings = make_experiment(train={"epochs": 1, "deterministic": enabled})
        fit(settings, letter_features, RunFolder(tmp_path / str(enabled)))
    assert calls == [(True, "cpu"), (False, "cpu")]


def test_an_optimum_bias_starts_near_the_reference_loss(
    letter_features: FeatureSet, tmp_path: Path
):
    losses = {}
    for bias in ("zero", "optimum"):
        settings = make_experiment(model={"bias": bias}, train={"epochs": 1, "learning_rate": 1e-9})
        row = fit(settings, letter_features, RunFolder(tmp_path / bias)).rows()[0]
        losses[bias] = row["loss_per_character"] - row["reference_loss"]
    assert losses["zero"] > 5
    assert 0 < losses["optimum"] < 1


def test_the_reference_loss_is_that_of_the_best_constant_output(
    undisturbed: RunFolder, letter_features: FeatureSet
):
    dev = undisturbed.rows()[1]
    texts = [
        (-(-u.frames // 2), u.transcript) for u in letter_features.utterances if u.split == "dev"
    ]
    labels = [[" ABC".index(c) + 1 for c in text] for _, text in texts]
    reference = reference_loss.fit_constant_reference([frames for frames, _ in texts], labels, 38)
    assert dev["reference_loss"] == pytest.approx(reference.loss_per_character)


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        ("model", {"cell": "relu", "convolutions": 1, "batch_norm": "input"}),
        ("model", {"cell": "gru", "bidirectional": False, "batch_norm": "input-unmasked"}),
        ("train", {"precision": "bfloat16"}),
        ("train", {"optimiser": "sgd", "order": "random", "sortagrad_epochs": 1}),
        ("train", {"order": "sorted", "optimiser": "adam", "weight_decay": 0.1}),
        ("train", {"order": "reversed", "schedule": "one-cycle", "batch_frames": 120}),
        ("input", {"normalisation": "zca", "stack": 3}),
        ("decode", {"beam": 3}),
    ],
    ids=str,
)
def test_every_setting_trains(
    section: str, settings: dict[str, object], letter_features: FeatureSet, tmp_path: Path
):
    run = fit(make_experiment(**{section: settings}), letter_features, RunFolder(tmp_path))
    train = [row["loss_per_character"] for row in run.rows() if row["split"] == "train"]
    assert train[-1] < train[0]


def test_divergence_names_the_utterances_the_rate_and_the_update(
    letter_features: FeatureSet, tmp_path: Path
):
    settings = make_experiment(
        input={"normalisation": "none"},
        train={"learning_rate": 10.0, "optimiser": "sgd", "epochs": 50},
        model={"clamp": None, "cell": "relu"},
    )
    message = (
        r"^after \d+ updates, at learning rate 10: the (loss|gradient) of train-\d\d.*train\.clip"
    )
    with pytest.raises(DivergedError, match=message):
        fit(settings, letter_features, RunFolder(tmp_path))


def test_heartbeats_report_the_progress(
    letter_features: FeatureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trainer, "HEARTBEAT_INTERVAL_S", 0.0)
    beats: list[Heartbeat] = []
    fit(RESTLESS, letter_features, RunFolder(tmp_path), on_heartbeat=beats.append)
    assert [beat.update for beat in beats] == sorted(beat.update for beat in beats)
    assert {beat.epochs for beat in beats} == {4}
    last = beats[-1]
    assert (last.status, last.epoch, last.update) == ("running", 4, UPDATES)
    assert last.dev_cer >= 0
    assert last.frames_per_second > 0
    assert beats[3].seconds_left > last.seconds_left == 0
    assert [beat.update for beat in beats].count(
        4
    ) == 3  # after the update, in the evaluation, after it
    assert [beat.epoch for beat in beats if beat.update == 4] == [
        1,
        1,
        1,
    ]  # the epoch of their loss


def test_a_stop_is_announced(letter_features: FeatureSet, tmp_path: Path):
    beats: list[Heartbeat] = []
    with pytest.raises(Stopped):
        fit(
            RESTLESS,
            letter_features,
            RunFolder(tmp_path),
            on_heartbeat=beats.append,
            should_stop=stop_after(2),
        )
    assert (beats[-1].status, beats[-1].update) == ("stopped", 2)


def test_the_environment_is_recorded(undisturbed: RunFolder):
    environment = undisturbed.environment()
    assert environment["torch"] == torch.__version__
    assert environment["threads"] == 1
    assert environment["device"] == "cpu"
    assert environment["features_engine"] == "numpy"


def test_a_state_of_another_version_is_refused(
    letter_features: FeatureSet, undisturbed: RunFolder, tmp_path: Path
):
    state = {**saved_state(undisturbed), "version": 99}
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(
        InputError, match=r"has version 99, but this program reads version 4; delete"
    ):
        fit(RESTLESS, letter_features, RunFolder(tmp_path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(letter_features: FeatureSet, tmp_path: Path):
    with pytest.raises(InputError, match=r"finds no GPU|is built for the CPU"):
        fit_run(RESTLESS, letter_features, RunFolder(tmp_path), device="cuda")
    assert devices.gpu_names() == []


def test_rows_are_json_that_any_reader_takes(undisturbed: RunFolder):
    for line in undisturbed.rows_file.read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_new_state_is_saved_only_after_progress(letter_features: FeatureSet, tmp_path: Path):
    """Jobs that restart again and again without a newer state are given up."""
    run, seen = RunFolder(tmp_path), []
    for calls in (0, 0, 3, 0, 0, IN_DEV - 3, 0, 4):
        with pytest.raises(Stopped):
            fit(RESTLESS, letter_features, run, should_stop=stop_after(calls))
        seen.append(run.state_version)
    first, again, three, third, fourth, in_dev, still, further = seen
    assert first == again == ""
    assert three == third == fourth != ""
    assert in_dev == still != three
    assert further != still
