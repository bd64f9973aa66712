"""Loggers: TensorBoard always, others on request; a logger that fails does not end a run."""

import logging
import math
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder, Stopped
from pipeline.training.loop import loggers
from pipeline.training.loop.fit import fit as fit_run
from pipeline.training.loop.loggers import LOGGERS_VARIABLE
from tests.training.letters import make_experiment
from tests.training.loop.event_files import event_files, read_events, read_points
from tests.training.loop.training_runs import stop_after


class Session:
    """A W&B session: it ignores a step below the last one."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.summary: dict[str, float] = {}
        self.broken = False

    def log(self, values: dict[str, float], step: int) -> None:
        if self.broken:
            raise RuntimeError("the server is on fire")
        if not self.logged or step >= self.logged[-1][0]:
            self.logged.append((step, values))


class Wandb(ModuleType):
    """The part of wandb that is used; as in 0.31, one session stays open until it is finished."""

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
        return [step for session in self.sessions for step, _ in session.logged]


class MlflowClient:
    """The part of mlflow that is used; all clients share its data."""

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
        assert key not in self.runs[int(run)].params  # mlflow rejects a second value
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
    fit_run(make_experiment(), features, run, device="cpu", threads=1, **options)
    return run


def curve(run: RunFolder, split: str) -> list[int]:
    return [step for step, _ in read_points(run.path, f"cer/{split}")]


def test_every_run_has_a_file_for_tensorboard(features: FeatureSet, tmp_path: Path):
    run = fit(features, tmp_path)
    assert curve(run, "train") == curve(run, "dev") == [4, 8, 12]
    assert len(curve(run, "test")) == 1
    assert "wandb" not in sys.modules


def test_a_run_that_was_interrupted_has_no_step_twice(features: FeatureSet, tmp_path: Path):
    with pytest.raises(Stopped):
        fit(features, tmp_path, should_stop=stop_after(6))
    (first_file,) = event_files(tmp_path / "0123456789ab")
    first_file.rename(first_file.with_name("events.out.tfevents.0000000001.x"))  # an older file
    run = fit(features, tmp_path)
    assert len(event_files(run.path)) == 2
    assert curve(run, "train") == curve(run, "dev") == [4, 8, 12]
    fit(features, tmp_path)
    assert curve(run, "train") == [4, 8, 12]
    assert len(curve(run, "test")) == 1


def test_wandb_gets_each_row_once_and_stays_offline(
    features: FeatureSet, tmp_path: Path, wandb: Wandb
):
    fit(features, tmp_path)
    fit(features, tmp_path)
    assert wandb.steps == [4, 4, 8, 8, 12, 12]
    first = wandb.sessions[0].options
    assert (first["mode"], first["id"], first["resume"]) == ("offline", "0123456789ab", "allow")
    assert first["config"]["train"]["batch"] == 4
    assert wandb.sessions[0].logged[1][1]["dev/cer"] >= 0
    assert wandb.sessions[0].summary["test/cer"] >= 0


def test_each_run_of_a_process_has_its_own_session(
    features: FeatureSet, tmp_path: Path, wandb: Wandb
):
    for name in ("first", "second"):
        fit(features, tmp_path, name)
    assert [session.options["id"] for session in wandb.sessions] == ["first", "second"]
    assert wandb.steps == [4, 4, 8, 8, 12, 12] * 2


@pytest.mark.parametrize("saves", [2, 4], ids=["of the second epoch", "of the test"])
def test_saved_rows_have_been_logged(
    saves: int, features: FeatureSet, tmp_path: Path, wandb: Wandb, monkeypatch: pytest.MonkeyPatch
):
    """Killed right after a save: the next process assumes that the saved rows are logged."""
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


def test_mlflow_gets_each_row_once_and_a_resumed_run_continues(
    features: FeatureSet, tmp_path: Path, mlflow: type[MlflowClient]
):
    with pytest.raises(Stopped):
        fit(features, tmp_path, should_stop=stop_after(7))
    fit(features, tmp_path)
    (run,) = mlflow.runs
    assert run.tags == {"run_id": "0123456789ab"}
    assert run.params["train.batch"] == 4
    logged = [(key, step) for key, _, step in run.metrics]
    assert [step for key, step in logged if key == "dev/cer"] == [4, 8, 12]
    assert len(set(logged)) == len(logged)
    assert any(key == "test/cer" for key, _ in logged)
    assert mlflow.uris[0].endswith("/mlflow.db")


def test_two_runs_may_create_the_mlflow_experiment_at_once(
    features: FeatureSet, tmp_path: Path, mlflow: type[MlflowClient]
):
    """The other run creates the experiment after this one has looked for it."""

    def too_late(client: MlflowClient, name: str) -> str:
        client.experiments[name] = "8"
        raise OSError(f"experiment {name} already exists")

    mlflow.create_experiment = too_late
    fit(features, tmp_path)
    assert len(mlflow.runs) == 1


def test_wandb_mode_can_be_set_to_online(
    features: FeatureSet, tmp_path: Path, wandb: Wandb, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WANDB_MODE", "online")
    fit(features, tmp_path)
    assert wandb.sessions[0].options["mode"] == "online"


def test_a_logger_that_fails_is_reported_once_and_the_run_continues(
    features: FeatureSet, tmp_path: Path, wandb: Wandb, caplog: pytest.LogCaptureFixture
):
    wandb.broken = True
    with caplog.at_level(logging.WARNING):
        run = fit(features, tmp_path)
    assert run.finished
    warnings = [record.message for record in caplog.records if "wandb" in record.message]
    assert warnings == [
        "wandb failed: RuntimeError: the server is on fire; the run continues without it"
    ]


def test_a_logger_that_is_not_installed_is_reported(
    features: FeatureSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setenv(LOGGERS_VARIABLE, "mlflow")
    with caplog.at_level(logging.WARNING):
        assert fit(features, tmp_path).finished
    assert f"mlflow is not installed, but {LOGGERS_VARIABLE} requests it" in caplog.text


def test_an_unknown_logger_is_refused(
    features: FeatureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(LOGGERS_VARIABLE, "wandb, wanbd")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        InputError, match=rf"{LOGGERS_VARIABLE}: unknown logger 'wanbd'; use wandb or mlflow"
    ):
        fit(features, tmp_path)


def test_an_event_file_that_cannot_be_made_does_not_end_a_run(
    features: FeatureSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    def full(path: str) -> None:
        raise OSError(f"No space left on device: {path}")

    monkeypatch.setattr("tensorboardX.record_writer.open_file", full)
    assert fit(features, tmp_path).finished
    assert "TensorBoard failed: OSError: No space left on device" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_event_file_that_cannot_grow_does_not_block_a_run(
    features: FeatureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The writer's thread dies at its first event; an epoch has more events than a short queue."""

    def full(thread: threading.Thread) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("tensorboardX.event_file_writer._EventLoggerThread.run", full)
    assert fit(features, tmp_path).finished


def test_each_number_of_a_row_is_a_point_at_its_update(features: FeatureSet, tmp_path: Path):
    run = fit(features, tmp_path)
    rows = [row for row in run.rows() if row["split"] == "dev"]
    (file,) = event_files(run.path)
    tags = {value.tag for event in read_events(file) for value in event.summary.value}
    measured = {
        name
        for name, value in rows[0].items()
        if not isinstance(value, str) and not math.isnan(value)
    }
    assert {tag.removesuffix("/dev") for tag in tags if tag.endswith("/dev")} == measured
    assert "grad_norm/train" in tags
    assert "grad_norm/dev" not in tags  # it is NaN: dev makes no updates
    steps, losses = zip(*read_points(run.path, "loss_per_character/dev"), strict=True)
    assert steps == (4, 8, 12)
    assert losses == pytest.approx([row["loss_per_character"] for row in rows], rel=1e-6)


def test_tensorboard_can_read_an_epoch_while_the_run_goes_on(
    features: FeatureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loggers, "FLUSH_INTERVAL_S", 0.01)
    run, seen = RunFolder(tmp_path / "0123456789ab"), []

    def wait_for_two_epochs() -> bool:
        deadline = time.monotonic() + 60
        while len(run.rows()) == 4 and seen != [4, 8] and time.monotonic() < deadline:
            # The last column that is a number: without a flush, a buffer would still hold it.
            seen[:] = [step for step, _ in read_points(run.path, "saturation_fc2_ceiling/dev")]
        return False

    fit(features, tmp_path, should_stop=wait_for_two_epochs)
    assert seen == [4, 8]


def test_a_finished_run_leaves_no_thread(features: FeatureSet, tmp_path: Path):
    before = threading.active_count()
    fit(features, tmp_path)
    with pytest.raises(Stopped):
        fit(features, tmp_path, "stopped", should_stop=stop_after(6))
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)  # the queue's own thread needs a moment to end
    assert threading.active_count() == before


def test_the_epoch_report_shows_three_dev_utterances(features: FeatureSet, tmp_path: Path):
    run = fit(features, tmp_path)
    report = run.epoch_report()
    assert report is not None
    assert (report.epoch, len(report.samples)) == (3, 3)
    transcripts = {u.id: u.transcript for u in features.utterances if u.split == "dev"}
    assert all(transcripts[name] == reference for name, reference, _ in report.samples)
    assert {name for name, _, _ in report.samples} <= {h.utterance_id for h in run.hypotheses()}
