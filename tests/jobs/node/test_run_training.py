"""Training of one run: strict corpora, the last heartbeat, and the record of a failure."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jobs.exit_codes import FAILED
from jobs.node import run_training
from jobs.node.run_training import RunResources
from jobs.node.signals import StopRequest
from jobs.node.usage import Allocation
from pipeline.config.experiment import load_experiment
from pipeline.corpus import readers
from pipeline.features import precompute
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
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


def test_a_finished_run_shows_its_last_dev_cer_however_short_an_epoch_is(
    make_project: Callable[..., TinyProject],
):
    project = make_project("demo", epochs=1)
    experiment = load_experiment(project.configs / "experiments" / "tiny.yaml")
    manifest = readers.build_manifest(experiment.corpus, project.work)
    identity, features = precompute.prepare_feature_set(manifest, experiment.features, project.work)
    precompute.precompute_slice(manifest, 0, [(experiment.features, features, identity)])
    folder = RunFolder(project.work / "runs" / "0123456789ab")
    folder.write_experiment(experiment)
    run_training._fit(folder, Path(features), RunResources("cpu", 1), lambda: False)
    (dev,) = [row for row in folder.rows() if row["split"] == "dev"]
    heartbeat = folder.heartbeat()
    assert heartbeat is not None
    assert (heartbeat.epoch, heartbeat.update, heartbeat.dev_cer) == (1, dev["updates"], dev["cer"])


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
