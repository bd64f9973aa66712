"""Trackers: TensorBoard always, others where asked; none of them is needed, none ends a run."""

import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.training import trainer
from pipeline.training.run import RunFolder, Stopped
from pipeline.training.tracking import VARIABLE
from tests.training.letters import experiment
from tests.training.test_tensorboard import points


class Wandb(ModuleType):
    """What is called of wandb, with what it was called."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.sessions: list[dict[str, Any]] = []
        self.told: list[tuple[int, dict[str, float]]] = []
        self.broken = False

    def init(self, **options: Any) -> SimpleNamespace:
        self.sessions.append(options)
        return SimpleNamespace(log=self._log)

    def _log(self, values: dict[str, float], step: int) -> None:
        if self.broken:
            raise RuntimeError("the server is on fire")
        self.told.append((step, values))


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    module = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv(VARIABLE, "wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return module


def fit(features: FeatureSet, folder: Path, **options: Any) -> RunFolder:
    run = RunFolder(folder / "0123456789ab")
    trainer.fit(experiment(), features, run, device="cpu", threads=1, **options)
    return run


def curve(run: RunFolder, split: str) -> list[int]:
    return [step for step, _ in points(run.events_file, f"cer/{split}")]


def test_every_run_has_a_file_for_tensorboard(features: FeatureSet, tmp_path: Path):
    run = fit(features, tmp_path)
    assert curve(run, "train") == curve(run, "dev") == [4, 8, 12]
    assert len(curve(run, "test")) == 1
    assert "wandb" not in sys.modules


def test_a_run_that_was_interrupted_has_no_step_twice(features: FeatureSet, tmp_path: Path):
    asked = 0

    def after_six() -> bool:
        nonlocal asked
        asked += 1
        return asked > 6

    with pytest.raises(Stopped):
        fit(features, tmp_path, should_stop=after_six)
    run = fit(features, tmp_path)
    assert curve(run, "train") == curve(run, "dev") == [4, 8, 12]
    fit(features, tmp_path)
    assert len(curve(run, "test")) == 1


def test_wandb_is_told_each_row_once_and_offline(
    features: FeatureSet, tmp_path: Path, wandb: Wandb
):
    fit(features, tmp_path)
    fit(features, tmp_path)
    assert [step for step, _ in wandb.told] == [4, 4, 8, 8, 12, 12, wandb.told[-1][0]]
    first = wandb.sessions[0]
    assert (first["mode"], first["id"], first["resume"]) == ("offline", "0123456789ab", "allow")
    assert first["config"]["train"]["batch"] == 4
    assert wandb.told[1][1]["dev/cer"] >= 0


def test_a_person_may_send_it_online(
    features: FeatureSet, tmp_path: Path, wandb: Wandb, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WANDB_MODE", "online")
    fit(features, tmp_path)
    assert wandb.sessions[0]["mode"] == "online"


def test_a_tracker_that_fails_is_told_of_once_and_the_run_goes_on(
    features: FeatureSet, tmp_path: Path, wandb: Wandb, caplog: pytest.LogCaptureFixture
):
    wandb.broken = True
    with caplog.at_level(logging.WARNING):
        run = fit(features, tmp_path)
    assert run.finished
    said = [record.message for record in caplog.records if "wandb" in record.message]
    assert said == ["wandb: RuntimeError: the server is on fire; the run goes on without it"]


def test_a_tracker_that_is_not_installed_is_told_of(
    features: FeatureSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setenv(VARIABLE, "mlflow")
    with caplog.at_level(logging.WARNING):
        assert fit(features, tmp_path).finished
    assert f"mlflow: is not installed, and was asked for by {VARIABLE}" in caplog.text


def test_a_tracker_that_nobody_knows_is_refused(
    features: FeatureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(VARIABLE, "wandb, wanbd")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=rf"{VARIABLE}: 'wanbd' — choose among wandb, mlflow"):
        fit(features, tmp_path)


def test_a_file_that_cannot_be_written_ends_no_run(
    features: FeatureSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "0123456789ab" / "events.out.tfevents.blankslate").mkdir(parents=True)
    assert fit(features, tmp_path).finished
    assert "TensorBoard: " in caplog.text


def test_three_utterances_of_dev_are_heard_each_epoch(features: FeatureSet, tmp_path: Path):
    run = fit(features, tmp_path)
    account = run.account()
    assert account is not None
    assert (account.epoch, len(account.samples)) == (3, 3)
    said = {u.id: u.transcript for u in features.utterances if u.split == "dev"}
    assert all(said[name] == reference for name, reference, _ in account.samples)
    heard = {h.utterance_id: h.hypothesis for h in run.hypotheses()}
    assert {name for name, _, _ in account.samples} <= set(heard)
