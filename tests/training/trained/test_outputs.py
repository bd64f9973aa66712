"""Outputs of a run for several splits: normalised as training normalised each of them."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch

from pipeline.features.feature_set import FeatureSet
from pipeline.runs.folder import RunFolder
from pipeline.training.trained.outputs import write_outputs
from pipeline.training.trained.trained_run import TrainedRun
from tests.training.letters import make_experiment
from tests.training.loop.training_runs import fit


def test_a_speaker_of_two_splits_is_normalised_in_each_as_in_training(
    letter_features: FeatureSet, tmp_path: Path
):
    shards = tuple(
        replace(shard, utterances=tuple(u._replace(speaker="one") for u in shard.utterances))
        for shard in letter_features.shards
    )
    features = replace(letter_features, shards=shards)
    run = RunFolder(tmp_path / "run")
    experiment = make_experiment(train={"epochs": 1}, input={"normalisation": "speaker"})
    run.write_experiment(experiment)
    fit(experiment, features, run)
    trained = TrainedRun.load(run, features, torch.device("cpu"))
    write_outputs(tmp_path / "x.h5", run, features, features, ("dev", "test"), device="cpu")
    expected = {
        utterance.id: logs_SC
        for split in ("dev", "test")
        for utterance, logs_SC in trained.log_probabilities(trained.split(features, split))
    }
    with h5py.File(tmp_path / "x.h5") as stored:
        ids = [value.decode() for value in stored["utterance_ids"]]
        logs = np.concatenate([expected[name] for name in ids])
        np.testing.assert_allclose(stored["log_probabilities"][()], logs, atol=1e-5)
