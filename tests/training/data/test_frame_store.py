"""Frames are normalised as the setting says, with the same bits in memory and in shards."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.config.experiment import TrainSettings
from pipeline.config.network import InputSettings
from pipeline.corpus.text.alphabet import ALPHABETS
from pipeline.features.feature_set import FeatureSet
from pipeline.training.data import augment
from pipeline.training.data.batches import SplitData
from pipeline.training.data.frame_store import resident_bytes

LETTERS = ALPHABETS["english-38"]
CPU = torch.device("cpu")


def mapped(features: FeatureSet, split: str = "train", **settings: object) -> SplitData:
    return SplitData.from_shards(features, split, InputSettings(**settings), LETTERS)


def gathered(features: FeatureSet, split: str = "train", **settings: object) -> SplitData:
    return mapped(features, split, **settings).to_resident(CPU)


def stored(features: FeatureSet, split: str = "train") -> list[np.ndarray]:
    return [features.frames(u) for u in features.utterances if u.split == split]


@pytest.mark.parametrize("stack", [1, 2, 3])
@pytest.mark.parametrize("normalisation", ["none", "standardise", "utterance", "pca", "zca"])
def test_mapped_frames_are_the_resident_ones_bit_for_bit(
    features: FeatureSet, normalisation: str, stack: int
):
    there = mapped(features, normalisation=normalisation, stack=stack)
    here = there.to_resident(CPU)
    everything = np.ones(len(there), bool)
    settings = TrainSettings(shift=True, tempo=0.3)
    timing = augment.draw_frame_index(
        settings, 1, stack, there.frame_counts, lambda frames: everything
    )
    for places in (np.array([3, 0, 7]), np.arange(len(there)), np.array([13])):
        for shown in (None, timing):
            one, other = (split.make_batch(places, shown) for split in (there, here))
            assert torch.equal(one.frames, other.frames)
            assert torch.equal(one.lengths, other.lengths)


def test_selected_utterances_are_the_same_in_memory_and_in_shards(features: FeatureSet):
    there = mapped(features).take([5, 2])
    here = gathered(features).take([5, 2])
    places = np.array([1, 0])
    assert torch.equal(there.make_batch(places).frames, here.make_batch(places).frames)
    assert there.frame_counts.tolist() == here.frame_counts.tolist()


class Largest(TorchDispatchMode):
    """Record the largest number of rows of a tensor that is made in memory inside the block."""

    rows = 0

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), named: Any = None):
        made = function(*given, **(named or {}))
        if isinstance(made, torch.Tensor) and made.device == CPU and made.dim():
            self.rows = max(self.rows, len(made))
        return made


def test_what_goes_to_a_device_passes_through_memory_one_utterance_at_a_time(features: FeatureSet):
    there = mapped(features)
    with Largest() as largest:
        frames = there.to_resident(torch.device("meta")).store.frames
    assert frames.device.type == "meta"
    assert len(frames) == there.frame_counts.sum() + 1
    assert largest.rows == there.frame_counts.max()


def test_resident_bytes_are_what_the_splits_take(features: FeatureSet):
    splits = [gathered(features, name) for name in ("train", "dev", "test")]
    padding = 3 * 6 * 4  # one row each
    taken = sum(split.store.frames.nbytes for split in splits)
    assert resident_bytes(features) == taken - padding


def frames_of(split: SplitData) -> np.ndarray:
    return split.store.frames[:-1].numpy().astype(np.float64)


def test_standardised_training_frames_have_mean_0_and_variance_1(features: FeatureSet):
    x = frames_of(gathered(features, normalisation="standardise"))
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(x.var(0), 1, rtol=1e-4)


@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_whitened_training_frames_have_the_identity_as_covariance(features: FeatureSet, kind: str):
    x = frames_of(gathered(features, normalisation=kind, epsilon=0.0))
    np.testing.assert_allclose(np.cov(x.T, bias=True), np.eye(6), atol=1e-4)
    damped = frames_of(gathered(features, normalisation=kind, epsilon=0.5))
    assert np.trace(np.cov(damped.T)) < 5


def test_dev_is_normalised_with_the_statistics_of_train(features: FeatureSet):
    train = np.concatenate(stored(features))
    x = frames_of(gathered(features, "dev", normalisation="standardise"))
    expected = (np.concatenate(stored(features, "dev")) - train.mean(0)) / train.std(0)
    np.testing.assert_allclose(x, expected, atol=1e-4)


def test_utterance_normalisation_uses_one_utterance(features: FeatureSet):
    split = gathered(features, normalisation="utterance")
    own = stored(features)[4]
    frames = split.make_batch(np.array([4])).frames[0]
    np.testing.assert_allclose(frames, (own - own.mean(0)) / own.std(0), atol=1e-5)


def test_without_normalisation_frames_are_as_stored(features: FeatureSet):
    split = gathered(features, normalisation="none")
    assert np.array_equal(frames_of(split), np.concatenate(stored(features)).astype(np.float64))
