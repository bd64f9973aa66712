"""The network of a finished run: its outputs batch by batch, the seconds of its steps."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from pipeline.training.network.model import Network
from pipeline.training.trained import trained_run
from pipeline.training.trained.trained_run import TrainedRun, step_seconds
from tests.training.letters import make_experiment


def test_the_size_of_batches_changes_no_output(
    finished: RunFolder, letter_features: FeatureSet, monkeypatch: pytest.MonkeyPatch
):
    trained = TrainedRun.load(finished, letter_features, torch.device("cpu"))
    split = trained.split(letter_features, "train")
    whole = list(trained.log_probabilities(split))
    assert [utterance for utterance, _ in whole] == list(split.utterances)
    monkeypatch.setattr(trained_run, "BATCH_UTTERANCES", 4)  # 14 utterances
    parts = list(trained.log_probabilities(split))
    assert [utterance for utterance, _ in parts] == list(split.utterances)
    for (_, one), (_, other) in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    for utterance, logs_SC in whole:  # without the padding of its batch
        assert len(logs_SC) == trained.network.output_length(utterance.frames)


def test_the_network_is_the_one_that_was_tested(finished: RunFolder, letter_features: FeatureSet):
    """Its loss on test, by torch, is that of the test row: the chosen weights, without dropout."""
    trained = TrainedRun.load(finished, letter_features, torch.device("cpu"))
    assert not trained.network.training
    split = trained.split(letter_features, "test")
    losses = []
    for utterance, logs_SC in trained.log_probabilities(split):
        labels = torch.tensor(trained.alphabet.encode(utterance.transcript))
        lengths = torch.tensor(len(logs_SC)), torch.tensor(len(labels))
        logs = torch.from_numpy(logs_SC.copy())
        loss = torch.nn.functional.ctc_loss(logs, labels, *lengths, reduction="sum")
        losses.append(float(loss) / len(labels))
    (row,) = (row for row in finished.rows() if row["split"] == "test")
    assert row["loss_per_character"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_network_of_other_settings_is_refused_in_words(
    finished: RunFolder, letter_features: FeatureSet, tmp_path: Path
):
    run = RunFolder(tmp_path / "run")
    shutil.copytree(finished.path, run.path)
    run.write_experiment(make_experiment(train={"epochs": 12}, model={"hidden": 5}))
    with pytest.raises(InputError, match=r"experiment\.yaml: its model does not fit .*state\.pt"):
        TrainedRun.load(run, letter_features, torch.device("cpu"))


def test_without_its_newest_state_a_run_has_the_same_network(
    finished: RunFolder, letter_features: FeatureSet, tmp_path: Path
):
    run, device = RunFolder(tmp_path / "run"), torch.device("cpu")
    shutil.copytree(finished.path, run.path)
    run.state_file.write_bytes(run.state_file.read_bytes()[:1000])
    whole, other = (TrainedRun.load(each, letter_features, device) for each in (finished, run))
    states = (each.network.state_dict() for each in (whole, other))
    torch.testing.assert_close(*states, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("stack", "strides", "seconds"), [(1, [1, 1], 0.01), (3, [1, 1], 0.03), (2, [3, 1], 0.06)]
)
def test_a_step_lasts_stacked_frames_times_strides(stack: int, strides: list[int], seconds: float):
    model = {"convolutions": len(strides), "time_strides": strides}
    experiment = make_experiment(model=model, input={"stack": stack})
    network = Network(experiment.model, experiment.features.bins, stack, 4)
    assert experiment.features.hop_ms == 10
    assert step_seconds(experiment, network) == pytest.approx(seconds)
