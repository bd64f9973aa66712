"""Trackers: TensorBoard always, others where asked; none of them is needed, none ends a run."""

import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder, Stopped
from pipeline.training.loop import trainer
from pipeline.training.loop.loggers import LOGGERS_VARIABLE
from tests.training.letters import make_experiment
from tests.training.loop.test_tensorboard import points


class Session:
    """A run of W&B: a step below the last one is ignored."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.told: list[tuple[int, dict[str, float]]] = []
        self.summary: dict[str, float] = {}
        self.broken = False

    def log(self, values: dict[str, float], step: int) -> None:
        if self.broken:
            raise RuntimeError("the server is on fire")
        if not self.told or step >= self.told[-1][0]:
            self.told.append((step, values))


class Wandb(ModuleType):
    """What is called of wandb; as 0.31 does, it has one session until that is to be finished."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.sessions: list[Session] = []
        self.broken = False

    def init(self, **options: Any) -> Session:
        if not self.sessions or options.get("reinit") == "finish_previous":
            self.sessions.append(Session(options))
        self.sessions[-1].broken = self.broken
        return self.sessions[-1]

    @property
    def steps(self) -> list[int]:
        return [step for session in self.sessions for step, _ in session.told]


class MlflowClient:
    """What is called of mlflow; all clients see the same."""

    uris: ClassVar[list[str]] = []
    experiments: ClassVar[dict[str, str]] = {}
    runs: ClassVar[list[SimpleNamespace]] = []

    def __init__(self, uri: str) -> None:
        self.uris.append(uri)

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        found = self.experiments.get(name)
        return found and SimpleNamespace(experiment_id=found)

    def create_experiment(self, name: str) -> str:
        return self.experiments.setdefault(name, "7")

    def search_runs(self, homes: list[str], wanted: str) -> list[SimpleNamespace]:
        return [run for run in self.runs if f"tags.run_id = '{run.tags['run_id']}'" == wanted]

    def create_run(self, home: str, run_name: str, tags: dict[str, str]) -> SimpleNamespace:
        made = SimpleNamespace(info=SimpleNamespace(run_id=str(len(self.runs))), tags=tags)
        made.params, made.metrics = {}, []
        self.runs.append(made)
        return made

    def log_param(self, run: str, key: str, value: object) -> None:
        assert key not in self.runs[int(run)].params  # mlflow refuses another value
        self.runs[int(run)].params[key] = value

    def log_metric(self, run: str, key: str, value: float, step: int) -> None:
        assert " " not in key
        self.runs[int(run)].metrics.append((key, value, step))


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    module = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv(LOGGERS_VARIABLE, "wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return module


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> type[MlflowClient]:
    module = ModuleType("mlflow")
    client = type("Fresh", (MlflowClient,), {"uris": [], "experiments": {}, "runs": []})
    module.MlflowClient = client
    module.exceptions = SimpleNamespace(MlflowException=OSError)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setenv(LOGGERS_VARIABLE, "mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return client


def fit(
    features: FeatureSet, folder: Path, name: str = "0123456789ab", **options: Any
) -> RunFolder:
    run = RunFolder(folder / name)
    trainer.fit(make_experiment(), features, run, device="cpu", threads=1, **options)
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
    assert wandb.steps == [4, 4, 8, 8, 12, 12]
    first = wandb.sessions[0].options
    assert (first["mode"], first["id"], first["resume"]) == ("offline", "0123456789ab", "allow")
    assert first["config"]["train"]["batch"] == 4
    assert wandb.sessions[0].told[1][1]["dev/cer"] >= 0
    assert wandb.sessions[0].summary["test/cer"] >= 0


def test_each_run_of_a_process_has_its_own_session(
    features: FeatureSet, tmp_path: Path, wandb: Wandb
):
    for name in ("first", "second"):
        fit(features, tmp_path, name)
    assert [session.options["id"] for session in wandb.sessions] == ["first", "second"]
    assert wandb.steps == [4, 4, 8, 8, 12, 12] * 2


@pytest.mark.parametrize("saves", [2, 4], ids=["of the second epoch", "of the test"])
def test_what_was_saved_has_been_told(
    saves: int, features: FeatureSet, tmp_path: Path, wandb: Wandb, monkeypatch: pytest.MonkeyPatch
):
    """Killed as soon as it is saved: the next process takes it for told."""
    commit, left = RunFolder.commit, iter(range(1, saves))

    def killed_after(run: RunFolder, *content: Any) -> None:
        commit(run, *content)
        next(left)

    monkeypatch.setattr(RunFolder, "commit", killed_after)
    with pytest.raises(StopIteration):
        fit(features, tmp_path)
    monkeypatch.setattr(RunFolder, "commit", commit)
    assert fit(features, tmp_path).finished
    assert sorted(set(wandb.steps)) == [4, 8, 12]
    assert any("test/cer" in session.summary for session in wandb.sessions)


def test_mlflow_is_told_each_row_once_and_a_resumed_run_goes_on_in_its_place(
    features: FeatureSet, tmp_path: Path, mlflow: type[MlflowClient]
):
    asked = iter(range(7))
    with pytest.raises(Stopped):
        fit(features, tmp_path, should_stop=lambda: next(asked, None) is None)
    fit(features, tmp_path)
    (run,) = mlflow.runs
    assert run.tags == {"run_id": "0123456789ab"}
    assert run.params["train.batch"] == 4
    told = [(key, step) for key, _, step in run.metrics]
    assert [step for key, step in told if key == "dev/cer"] == [4, 8, 12]
    assert len(set(told)) == len(told)
    assert any(key == "test/cer" for key, _ in told)
    assert mlflow.uris[0].endswith("/mlflow.db")


def test_of_two_first_runs_each_has_its_place_in_mlflow(
    features: FeatureSet, tmp_path: Path, mlflow: type[MlflowClient]
):
    """The other one makes the experiment between this one's question and its own attempt."""

    def too_late(client: MlflowClient, name: str) -> str:
        client.experiments[name] = "8"
        raise OSError(f"experiment {name} already exists")

    mlflow.create_experiment = too_late
    fit(features, tmp_path)
    assert len(mlflow.runs) == 1


def test_a_person_may_send_it_online(
    features: FeatureSet, tmp_path: Path, wandb: Wandb, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WANDB_MODE", "online")
    fit(features, tmp_path)
    assert wandb.sessions[0].options["mode"] == "online"


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
    monkeypatch.setenv(LOGGERS_VARIABLE, "mlflow")
    with caplog.at_level(logging.WARNING):
        assert fit(features, tmp_path).finished
    assert f"mlflow: is not installed, and was asked for by {LOGGERS_VARIABLE}" in caplog.text


def test_a_tracker_that_nobody_knows_is_refused(
    features: FeatureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(LOGGERS_VARIABLE, "wandb, wanbd")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        InputError, match=rf"{LOGGERS_VARIABLE}: 'wanbd' — choose among wandb, mlflow"
    ):
        fit(features, tmp_path)


def test_a_file_that_cannot_be_written_ends_no_run(
    features: FeatureSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "0123456789ab" / "events.out.tfevents.blankslate").mkdir(parents=True)
    assert fit(features, tmp_path).finished
    assert "TensorBoard: " in caplog.text


def test_three_utterances_of_dev_are_heard_each_epoch(features: FeatureSet, tmp_path: Path):
    run = fit(features, tmp_path)
    account = run.epoch_report()
    assert account is not None
    assert (account.epoch, len(account.samples)) == (3, 3)
    said = {u.id: u.transcript for u in features.utterances if u.split == "dev"}
    assert all(said[name] == reference for name, reference, _ in account.samples)
    heard = {h.utterance_id: h.hypothesis for h in run.hypotheses()}
    assert {name for name, _, _ in account.samples} <= set(heard)
