"""Gradient accumulation does what the large batch does, and resumes to the same bits."""

from pathlib import Path

import pytest
import torch

from pipeline.features.feature_set import FeatureSet
from pipeline.runs.folder import RunFolder, Stopped
from tests.training.letters import make_experiment
from tests.training.loop.training_runs import (
    RESTLESS,
    assert_same,
    fit,
    saved_state,
    stop_after,
    with_train,
)

# Masks and tempo are drawn for each utterance, whatever its batch. Without Adam, whose updates do
# not become small where the gradient is small, so that they enlarge a difference of rounding.
DRAWN = {"tempo": 0.1, "time_masks": 1, "time_mask_frames": 3, "shift": True}
TRAIN = {"optimiser": "sgd", "learning_rate": 1e-2, "clip": 1.0, "epochs": 3, **DRAWN}


def train_large_and_accumulated(
    letters: FeatureSet, folder: Path, **model: object
) -> list[RunFolder]:
    pairs = {"large": {"batch": 6}, "accumulated": {"batch": 2, "accumulate": 3}}
    return [
        fit(
            make_experiment(model=model, train={**TRAIN, **batches}),
            letters,
            RunFolder(folder / name),
        )
        for name, batches in pairs.items()
    ]


def test_accumulated_gradients_train_as_the_large_batch(
    letter_features: FeatureSet, tmp_path: Path
):
    large, accumulated = train_large_and_accumulated(letter_features, tmp_path)
    weights = [saved_state(run)["network"] for run in (large, accumulated)]
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-6)
    for one, other in zip(large.rows(), accumulated.rows(), strict=True):
        assert (one["updates"], one["utterances"]) == (other["updates"], other["utterances"])
        for name in ("loss_per_character", "grad_norm", "update_size"):
            assert one[name] == pytest.approx(other[name], rel=1e-4, nan_ok=True)


def test_batch_norm_sees_each_batch_alone(letter_features: FeatureSet, tmp_path: Path):
    runs = train_large_and_accumulated(letter_features, tmp_path, batch_norm="input")
    weights = [saved_state(run)["network"]["fc1.weight"] for run in runs]
    assert float((weights[0] - weights[1]).abs().max()) > 1e-3


def test_stopped_at_any_update_it_continues_to_the_same_bits(
    letter_features: FeatureSet, tmp_path: Path
):
    settings = with_train(RESTLESS, batch=3, accumulate=2, epochs=2)
    undisturbed = fit(settings, letter_features, RunFolder(tmp_path / "undisturbed"))
    for calls in range(8):  # three updates and a batch of dev in each epoch
        run = RunFolder(tmp_path / str(calls))
        with pytest.raises(Stopped):
            fit(settings, letter_features, run, should_stop=stop_after(calls))
        assert_same(fit(settings, letter_features, run), undisturbed)
