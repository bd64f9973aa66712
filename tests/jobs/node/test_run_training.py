"""Training of one run: strict corpora, the last heartbeat, and the record of a failure."""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json
import pytest
import soundfile

from jobs.exit_codes import DONE, FAILED, STOPPED
from jobs.node import folder_lock, run_training
from jobs.node.folder_lock import FolderLock, LockHeld, LockOwner
from jobs.node.run_training import RunResources
from jobs.node.signals import StopRequest
from jobs.node.usage import Allocation
from pipeline.config.experiment import load_experiment
from pipeline.corpus import readers
from pipeline.features import precompute
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.results.summary import row_table
from pipeline.results.summary.row_table import COLUMNS_FILE, read_row_table
from pipeline.runs.folder import RunFolder, Stopped
from tests.jobs.conftest import TinyProject


def test_a_run_of_a_strict_corpus_fails_if_an_utterance_was_refused(
    make_project: Callable[..., TinyProject],
):
    """On SLURM nobody reads the feature task's output before the run starts."""
    project = make_project("csv")
    samples = np.full(16_000, np.nan, np.float32)
    soundfile.write(project.corpus / "u3.wav", samples, 16_000, subtype="FLOAT")
    lines = (project.corpus / "list.csv").read_text().replace("broken.wav,NO,faaa\n", "")
    (project.corpus / "list.csv").write_text(lines)
    (project.corpus / "broken.wav").unlink()
    path = project.configs / "corpora" / "tiny.yaml"
    path.write_text(path.read_text() + "strict: true\n")
    experiment = load_experiment(project.configs / "experiments" / "tiny.yaml")
    manifest = readers.build_manifest(experiment.corpus, project.work)
    identity, features = precompute.prepare_feature_set(manifest, experiment.features, project.work)
    precompute.precompute_slice(manifest, 0, [(experiment.features, features, identity)])
    assert [refusal.utterance for refusal in FeatureSet.open(features).refusals] == ["u3"]
    folder = RunFolder(project.work / "runs" / "0123456789ab")
    folder.write_experiment(experiment)
    with pytest.raises(InputError, match="tiny is strict, and 1 of its utterances cannot be used"):
        run_training._fit(folder, Path(features), RunResources("cpu", 1), lambda: False)


def test_a_run_does_not_train_on_a_shard_with_a_changed_byte(
    make_project: Callable[..., TinyProject],
):
    project = make_project("an4")
    experiment = load_experiment(project.configs / "experiments" / "tiny.yaml")
    manifest = readers.build_manifest(experiment.corpus, project.work)
    identity, features = precompute.prepare_feature_set(manifest, experiment.features, project.work)
    precompute.precompute_slice(manifest, 0, [(experiment.features, features, identity)])
    (shard,) = FeatureSet.open(features).shards
    content = bytearray(shard.path.read_bytes())
    content[shard.offset + 50] ^= 1
    shard.path.write_bytes(content)
    folder = RunFolder(project.work / "runs" / "0123456789ab")
    folder.write_experiment(experiment)
    resources, allocation = RunResources("cpu", 1), Allocation(1)
    code = run_training.train_run(folder, features, resources, allocation, StopRequest())
    failure = folder.failure()
    assert code == FAILED
    assert failure is not None
    assert failure.cause == "missing features"
    assert "the bytes of frames do not match their checksum" in failure.message
    assert not folder.state_file.exists()
    assert not shard.path.exists()  # so that make sweep computes it again


def fit_demo(make_project: Callable[..., TinyProject]) -> RunFolder:
    """Train a run for one epoch."""
    project = make_project("demo", epochs=1)
    experiment = load_experiment(project.configs / "experiments" / "tiny.yaml")
    manifest = readers.build_manifest(experiment.corpus, project.work)
    identity, features = precompute.prepare_feature_set(manifest, experiment.features, project.work)
    precompute.precompute_slice(manifest, 0, [(experiment.features, features, identity)])
    folder = RunFolder(project.work / "runs" / "0123456789ab")
    folder.write_experiment(experiment)
    run_training._fit(folder, Path(features), RunResources("cpu", 1), lambda: False)
    return folder


def test_a_finished_run_shows_its_last_dev_cer_however_short_an_epoch_is(
    make_project: Callable[..., TinyProject],
):
    folder = fit_demo(make_project)
    assert not (folder.path / COLUMNS_FILE).exists()  # so few rows are read as fast without
    (dev,) = [row for row in folder.rows() if row["split"] == "dev"]
    heartbeat = folder.heartbeat()
    assert heartbeat is not None
    assert (heartbeat.epoch, heartbeat.update, heartbeat.dev_cer) == (1, dev["updates"], dev["cer"])


def test_a_run_with_many_rows_copies_them_as_columns(
    make_project: Callable[..., TinyProject], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run_training, "MAX_BYTES_WITHOUT_COLUMNS", 0)
    folder = fit_demo(make_project)
    assert folder.finished
    with monkeypatch.context() as without_lines:
        without_lines.setattr(pa.json, "read_json", None)
        found = [dict(row) for row in read_row_table(folder)]
    assert repr(found) == repr([dict(row) for row in folder.rows()])


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ImportError("no pyarrow")])
def test_a_run_is_finished_also_if_the_copy_of_its_rows_cannot_be_written(
    make_project: Callable[..., TinyProject],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
):
    def write_bytes(path: Path, content: bytes) -> None:
        raise error

    monkeypatch.setattr(run_training, "MAX_BYTES_WITHOUT_COLUMNS", 0)
    monkeypatch.setattr(row_table, "write_bytes", write_bytes)
    folder = fit_demo(make_project)
    assert folder.finished
    assert not (folder.path / COLUMNS_FILE).exists()
    assert f"rows.arrow is not written: {error}" in caplog.text


def test_a_failing_run_records_its_cause_with_the_traceback(tmp_path: Path):
    folder = RunFolder(tmp_path / "runs" / "a1")
    features = tmp_path / "features" / "mel-0"
    code = run_training.train_run(
        folder, features, RunResources("cpu", 1), Allocation(1), StopRequest()
    )
    failure = folder.failure()
    assert code == FAILED
    assert failure is not None
    assert (failure.cause, failure.job) == ("missing features", "")
    assert failure.traceback.startswith("Traceback")
    assert "MissingFeaturesError" in failure.traceback


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "a1")


def train(folder: RunFolder, stop: StopRequest) -> int:
    return run_training.train_run(
        folder, Path("mel-0"), RunResources("cpu", 1), Allocation(1), stop
    )


def test_a_stopped_process_and_a_finished_run_start_no_training(folder, monkeypatch):
    monkeypatch.setattr(run_training, "_fit", lambda *_: pytest.fail("the run was trained"))
    stop = StopRequest()
    stop.handle_signal(15)
    assert train(folder, stop) == STOPPED
    folder.finish([])
    assert train(folder, StopRequest()) == DONE
    assert not folder.log_file.exists()


def test_a_run_that_finishes_leaves_no_former_lock(folder, monkeypatch):
    monkeypatch.setattr(run_training, "_fit", lambda folder, *_: folder.finish([]))
    assert train(folder, StopRequest()) == DONE
    assert folder.finished
    assert not list(folder.path.glob("*claim*"))


def test_a_process_that_is_stopped_while_it_waits_for_the_lock_does_not_train(folder, monkeypatch):
    monkeypatch.setattr(run_training, "_fit", lambda *_: pytest.fail("the run was trained"))
    stop = StopRequest()

    def stop_then_wait(folder: Path, should_give_up: Callable[[], bool]) -> None:
        stop.handle_signal(15)
        assert should_give_up()
        raise LockHeld(folder, LockOwner.current_process())

    monkeypatch.setattr(folder_lock, "acquire", stop_then_wait)
    assert train(folder, stop) == STOPPED


def test_a_run_that_its_former_owner_has_finished_is_not_trained_again(folder, monkeypatch):
    monkeypatch.setattr(run_training, "_fit", lambda *_: pytest.fail("the run was trained"))

    @contextmanager
    def acquire_after_the_end(path: Path, _: Callable[[], bool]) -> Iterator[FolderLock]:
        folder.finish([])
        yield FolderLock(path, LockOwner.current_process())

    monkeypatch.setattr(folder_lock, "acquire", acquire_after_the_end)
    assert train(folder, StopRequest()) == DONE


@pytest.mark.parametrize(("is_lost", "code"), [(True, DONE), (False, STOPPED)])
def test_a_process_that_lost_its_lock_leaves_the_run_to_another(folder, monkeypatch, is_lost, code):
    monkeypatch.setattr(folder_lock, "LOCK_REFRESH_INTERVAL_S", 0.02)
    stop = StopRequest()

    def fit(folder: RunFolder, *rest: Any) -> None:
        should_stop = rest[2]
        assert not should_stop()
        if is_lost:
            (folder.path / "claim").rename(folder.path / "claim-0")
        else:
            stop.handle_signal(15)
        deadline = time.monotonic() + 10
        while not should_stop():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        raise Stopped

    monkeypatch.setattr(run_training, "_fit", fit)
    assert train(folder, stop) == code
    assert folder.failure() is None
