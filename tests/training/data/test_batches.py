"""Batches of stacked and padded frames."""

import math

import numpy as np
import pytest
import torch

from pipeline.config.network import InputSettings
from pipeline.corpus.text.alphabet import ALPHABETS
from pipeline.features.feature_set import FeatureSet
from pipeline.training.data import batches
from pipeline.training.data.augment import FrameIndex
from pipeline.training.data.batches import SplitData

LETTERS = ALPHABETS["english-38"]


def mapped(features: FeatureSet, split: str = "train", **settings: object) -> SplitData:
    return SplitData.from_shards(features, split, InputSettings(**settings), LETTERS)


def gathered(features: FeatureSet, split: str = "train", **settings: object) -> SplitData:
    return mapped(features, split, **settings).to_resident(torch.device("cpu"))


def stored(features: FeatureSet, split: str = "train") -> list[np.ndarray]:
    return [features.frames(u) for u in features.utterances if u.split == split]


def stacked(frames: np.ndarray, stack: int) -> np.ndarray:
    """Neighbours side by side, the last frame repeated to fill the last row."""
    rows = []
    for start in range(0, len(frames), stack):
        group = [frames[min(start + k, len(frames) - 1)] for k in range(stack)]
        rows.append(np.concatenate(group))
    return np.stack(rows)


@pytest.mark.parametrize("stack", [1, 2, 3, 8])
def test_a_batch_is_its_utterances_joined_and_padded_with_zeros(features: FeatureSet, stack: int):
    split = gathered(features, normalisation="none", stack=stack)
    places = np.array([3, 0, 7])
    batch = split.make_batch(places)
    assert batch.utterances == tuple(split.utterances[p] for p in places)
    for b, place in enumerate(places):
        own = stacked(stored(features)[place], stack)
        length = int(batch.lengths[b])
        assert length == len(own) == split.lengths[place]
        assert np.array_equal(batch.frames[b, :length], own)
        assert not batch.frames[b, length:].any()
    labels = [LETTERS.encode(utterance.transcript) for utterance in batch.utterances]
    assert batch.targets.tolist() == [label for y in labels for label in y]
    assert batch.target_lengths.tolist() == [len(y) for y in labels]


def test_a_batch_has_the_frames_of_its_frame_index(features: FeatureSet):
    split = gathered(features, normalisation="none", stack=2)
    first, pace = np.full(14, 1), np.linspace(0.7, 1.5, 14)
    timing = FrameIndex.of(first, pace, split.frame_counts)
    places = np.array([13, 4, 0])
    batch = split.make_batch(places, timing)
    for b, place in enumerate(places):
        own = stored(features)[place]
        shown = []
        while (n := 1 + int(len(shown) * pace[place])) < len(own):
            shown.append(own[n])
        expected = stacked(np.stack(shown), 2)
        length = int(batch.lengths[b])
        assert length == len(expected)
        # Where half a frame is missing, the frame that comes next may fill it, if there is one.
        assert np.array_equal(batch.frames[b, : length - 1], expected[:-1])
        assert not batch.frames[b, length:].any()


def test_a_batch_owns_its_frames(features: FeatureSet):
    split = gathered(features)
    split.make_batch(np.array([1])).frames.zero_()
    assert split.make_batch(np.array([1])).frames.any()


def test_selected_utterances_keep_their_frames(features: FeatureSet):
    split = gathered(features)
    few = split.take([5, 2])
    assert [u.id for u in few.utterances] == [split.utterances[p].id for p in (5, 2)]
    one, same = few.make_batch(np.array([0, 1])), split.make_batch(np.array([5, 2]))
    assert torch.equal(one.frames, same.frames)
    assert torch.equal(one.targets, same.targets)


def test_an_absent_split_is_empty(features: FeatureSet):
    assert len(gathered(features, "nonsense")) == 0


def test_an_utterance_with_a_value_that_is_not_finite_is_found_and_its_largest_value_says_so():
    x = torch.full((3, 4, 2), -2.0)
    assert batches.max_abs(x) == 2.0
    x[1, 3, 1] = math.nan
    x[2, 0, 0] = -math.inf
    assert batches.find_finite(x).tolist() == [True, False, False]
    assert math.isnan(batches.max_abs(x))
    assert batches.max_abs(x[2:]) == math.inf
