"""Orders with each utterance once, by seed and epoch; the changes of each view; updates."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.experiment import TrainSettings
from pipeline.config.network import InputSettings
from pipeline.corpus.text.alphabet import ALPHABETS
from pipeline.features.feature_set import FeatureSet
from pipeline.training.data.batches import SplitData
from pipeline.training.data.epoch_plan import (
    count_updates,
    order_batches,
    order_updates,
    plan_epoch,
)

KINDS = st.sampled_from(["random", "bucketed", "sorted", "reversed"])
LENGTHS = np.random.default_rng(0).integers(10, 500, 1000)


def mapped(features: FeatureSet, **settings: object) -> SplitData:
    letters = ALPHABETS["english-38"]
    return SplitData.from_shards(features, "train", InputSettings(**settings), letters)


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=80),
    kind=KINDS,
    batch=st.integers(1, 20),
    epoch=st.integers(1, 3),
)
def test_every_order_has_each_utterance_once(lengths: list[int], kind: str, batch: int, epoch: int):
    plan = order_batches(np.array(lengths), TrainSettings(order=kind, batch=batch), epoch)
    assert sorted(np.concatenate(plan)) == list(range(len(lengths)))
    assert len(plan) == -(-len(lengths) // batch)
    assert all(1 <= len(places) <= batch for places in plan)


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=80),
    kind=KINDS,
    batch=st.integers(1, 20),
    most=st.integers(900, 4000),
    stack=st.integers(1, 3),
)
def test_batches_by_frames_have_each_utterance_once_and_no_more_frames_than_allowed(
    lengths: list[int], kind: str, batch: int, most: int, stack: int
):
    joined = np.array(lengths)
    settings = TrainSettings(order=kind, batch=batch, batch_frames=most)
    plan = order_batches(joined, settings, 2, stack)
    assert sorted(np.concatenate(plan)) == list(range(len(lengths)))
    for places in plan:
        assert len(places) <= batch
        assert len(places) * joined[places].max() * stack <= most


def test_a_batch_by_frames_is_as_full_as_the_next_utterance_lets_it_be():
    lengths = np.array([10, 10, 10, 20, 20, 30])
    settings = TrainSettings(order="sorted", batch_frames=60)
    assert [list(lengths[p]) for p in order_batches(lengths, settings, 1)] == [
        [10, 10, 10],
        [20, 20],
        [30],
    ]
    assert len(order_batches(lengths, settings, 1, stack=2)) == 4


def test_bucketed_batches_by_frames_waste_as_little_as_those_by_count():
    by_frames = {"batch": 4096, "batch_frames": 16 * 250}
    assert waste("bucketed", **by_frames) < 1.5 * waste("bucketed")


@pytest.mark.parametrize("kind", ["random", "bucketed"])
def test_an_order_depends_on_seed_and_epoch_only(kind: str):
    plans = {}
    for seed in (0, 1):
        for epoch in (1, 2):
            settings = TrainSettings(order=kind, seed=seed)
            one, again = (
                order_batches(LENGTHS, settings, epoch),
                order_batches(LENGTHS, settings, epoch),
            )
            assert all(map(np.array_equal, one, again))
            plans[seed, epoch] = tuple(np.concatenate(one))
    assert len(set(plans.values())) == 4


def waste(kind: str, epoch: int = 1, **settings: int) -> float:
    """Share of the frames of padded batches that is padding."""
    plan = order_batches(LENGTHS, TrainSettings(order=kind, **settings), epoch)
    padded = sum(len(places) * LENGTHS[places].max() for places in plan)
    return 1 - LENGTHS.sum() / padded


def test_batches_of_similar_length_waste_little_and_do_not_ascend():
    assert waste("sorted") < waste("bucketed") < waste("random") / 5
    plan = order_batches(LENGTHS, TrainSettings(order="bucketed"), 1)
    assert [LENGTHS[p].max() for p in plan] != sorted(LENGTHS[p].max() for p in plan)


def test_neighbours_change_from_epoch_to_epoch():
    settings = TrainSettings(order="bucketed")
    one, two = ({frozenset(p) for p in order_batches(LENGTHS, settings, e)} for e in (1, 2))
    assert len(one & two) < 3


def test_sortagrad_sorts_its_first_epochs_only():
    settings = TrainSettings(order="random", sortagrad_epochs=2)
    for epoch, ascends in ((1, True), (2, True), (3, False)):
        longest = [LENGTHS[places].max() for places in order_batches(LENGTHS, settings, epoch)]
        assert (longest == sorted(longest)) == ascends


def test_reversed_order_is_descending_except_in_the_epochs_of_sortagrad():
    settings = TrainSettings(order="reversed", sortagrad_epochs=1)
    ascending, descending = (np.concatenate(order_batches(LENGTHS, settings, e)) for e in (1, 2))
    assert (np.diff(LENGTHS[ascending]) >= 0).all()
    assert (np.diff(LENGTHS[descending]) <= 0).all()


def everything(frames: np.ndarray) -> np.ndarray:
    return np.ones(len(frames), bool)


@pytest.mark.parametrize("changes", [{"batch": 3}, {"batch_frames": 80, "tempo": 0.2}], ids=str)
def test_the_updates_of_a_training_are_its_batches(features: FeatureSet, changes: dict[str, float]):
    split, settings = mapped(features), TrainSettings(epochs=5, order="random", **changes)
    epochs = [plan_epoch(split, settings, epoch, everything) for epoch in range(1, 6)]
    assert count_updates(split, settings, everything) == sum(map(len, epochs))


def test_frames_that_a_tempo_adds_count_for_a_batch_by_frames(features: FeatureSet):
    split = mapped(features, stack=2)
    settings = TrainSettings(batch_frames=80, tempo=0.5, batch=9)
    for epoch in range(1, 20):
        for chosen in plan_epoch(split, settings, epoch, everything):
            frames = split.store.gather(chosen.indices, chosen.frame_index)
            assert frames.shape[0] * frames.shape[1] * 2 <= 80


def test_a_batch_of_two_views_holds_each_utterance_twice_with_changes_of_its_own(
    features: FeatureSet,
):
    split = mapped(features, stack=2)
    settings = TrainSettings(
        batch=4,
        accumulate=2,
        shift=True,
        tempo=0.1,
        frequency_warp=0.1,
        time_masks=1,
        time_mask_frames=9,
    )
    one, two = (plan_epoch(split, settings, 1, everything, views) for views in (1, 2))
    moved = 0
    for single, double in zip(one, two, strict=True):
        assert np.array_equal(double.indices, np.tile(single.indices, 2))
        assert np.array_equal(double.frame_index.frames, np.tile(single.frame_index.frames, 2))
        assert single.ends_update == double.ends_update
        first, second = np.split(double.masks.time, 2)
        assert np.array_equal(first, single.masks.time)
        assert np.array_equal(double.warp[: len(single.warp)], single.warp)
        assert not np.isin(double.warp[len(single.warp) :], single.warp).any()
        moved += (first != second).any(axis=(1, 2)).sum()
        for masks, frames in zip(second, single.frame_index.frames, strict=True):
            assert masks.min() >= 0
            assert masks.max() <= frames + 1  # the last stack may be padded
    assert moved > len(split) / 2


@pytest.mark.parametrize("kind", ["random", "bucketed", "sorted", "reversed"])
@pytest.mark.parametrize("limits", [{"batch": 3}, {"batch": 3, "batch_frames": 300}], ids=str)
def test_accumulated_batches_make_the_updates_of_large_batches(kind: str, limits: dict[str, int]):
    settings = TrainSettings(order=kind, accumulate=4, **limits)
    large = TrainSettings(order=kind, **{name: 4 * limit for name, limit in limits.items()})
    for epoch in (1, 2):
        found = order_updates(LENGTHS, settings, epoch)
        expected = order_batches(LENGTHS, large, epoch)
        assert [np.concatenate(update).tolist() for update in found] == [
            batch.tolist() for batch in expected
        ]
        for batch in (batch for update in found for batch in update):
            assert len(batch) <= 3
            padded = len(batch) * LENGTHS[batch].max()
            assert len(batch) == 1 or padded <= limits.get("batch_frames", math.inf)


@pytest.mark.parametrize("limits", [{"batch": 2}, {"batch": 2, "batch_frames": 60}], ids=str)
def test_updates_are_counted_with_accumulation(features: FeatureSet, limits: dict[str, int]):
    split = mapped(features)
    settings = TrainSettings(epochs=3, accumulate=3, **limits)
    plans = [plan_epoch(split, settings, epoch, everything) for epoch in (1, 2, 3)]
    ends = [selection.ends_update for plan in plans for selection in plan]
    assert count_updates(split, settings, everything) == sum(ends) < len(ends)
    assert all(plan[-1].ends_update for plan in plans)
