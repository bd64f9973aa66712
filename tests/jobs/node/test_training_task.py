"""Runs on the node: what is refused before torch trains, and what the last heartbeat says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jobs.exit_codes import FAILED
from jobs.local.executor import ExitStatus
from jobs.node import task_file, training_task
from jobs.node.signals import StopRequest
from jobs.node.task_file import Run, RunTask
from jobs.node.training_task import RunResources
from pipeline.config.experiment import load_experiment
from pipeline.corpus import readers
from pipeline.features import precompute
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from tests.jobs.conftest import TinyProject


def test_a_run_of_a_strict_corpus_is_refused_where_audio_was(
    make_project: Callable[..., TinyProject],
):
    """On SLURM it waits for its features in the queue, and nobody is there to look at them."""
    bench = make_project("csv")
    samples = np.full(16_000, np.nan, np.float32)
    soundfile.write(bench.corpus / "u3.wav", samples, 16_000, subtype="FLOAT")
    lines = (bench.corpus / "list.csv").read_text().replace("broken.wav,NO,faaa\n", "")
    (bench.corpus / "list.csv").write_text(lines)
    path = bench.configs / "corpora" / "tiny.yaml"
    path.write_text(path.read_text() + "strict: true\n")
    experiment = load_experiment(bench.configs / "experiments" / "tiny.yaml")
    manifest = readers.build_manifest(experiment.corpus, bench.work)
    identity, features = precompute.prepare_feature_set(manifest, experiment.features, bench.work)
    precompute.precompute_slice(manifest, 0, [(experiment.features, features, identity)])
    assert [refusal.utterance for refusal in FeatureSet.open(features).refusals] == ["u3"]
    folder = RunFolder(bench.work / "runs" / "0123456789ab")
    folder.write_experiment(experiment)
    with pytest.raises(InputError, match="tiny is strict, and 1 of its utterances cannot be used"):
        training_task._fit(folder, Path(features), RunResources("cpu", 1), lambda: False)


def test_a_finished_run_shows_its_last_dev_cer_however_short_an_epoch_is(
    make_project: Callable[..., TinyProject],
):
    bench = make_project("demo", epochs=1)
    experiment = load_experiment(bench.configs / "experiments" / "tiny.yaml")
    manifest = readers.build_manifest(experiment.corpus, bench.work)
    identity, features = precompute.prepare_feature_set(manifest, experiment.features, bench.work)
    precompute.precompute_slice(manifest, 0, [(experiment.features, features, identity)])
    folder = RunFolder(bench.work / "runs" / "0123456789ab")
    folder.write_experiment(experiment)
    training_task._fit(folder, Path(features), RunResources("cpu", 1), lambda: False)
    (dev,) = [row for row in folder.rows() if row["split"] == "dev"]
    beat = folder.heartbeat()
    assert beat is not None
    assert (beat.epoch, beat.update, beat.dev_cer) == (1, dev["updates"], dev["cer"])


def test_a_failing_run_records_its_cause_with_the_traceback(tmp_path: Path):
    runs = (Run("a1", "mel-0"),)
    code = training_task.train_runs(tmp_path, runs, RunResources("cpu", 1), StopRequest())
    failure = RunFolder(tmp_path / "runs" / "a1").failure()
    assert code == FAILED
    assert failure is not None
    assert (failure.cause, failure.job) == ("missing features", "")
    assert failure.traceback.startswith("Traceback")
    assert "MissingFeaturesError" in failure.traceback


def test_a_run_whose_process_was_killed_gets_a_failure_without_traceback(tmp_path: Path):
    task = RunTask(work=str(tmp_path), runs=(Run("a1", "mel-0"),), device="cpu", threads=1)
    file = task_file.write_task(task, tmp_path)
    training_task.record_silent_failure(ExitStatus(file, -9), tmp_path)
    failure = RunFolder(tmp_path / "runs" / "a1").failure()
    assert failure is not None
    assert (failure.cause, failure.traceback) == ("killed", "")
