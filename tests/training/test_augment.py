"""Stripes: of the right width, over valid frames, and moved by nothing but (seed, epoch, place)."""

import numpy as np
import torch
from torch import Tensor

from pipeline.config import TrainSettings
from pipeline.training.augment import LONGEST_SHARE, draws, masked

SETTINGS = TrainSettings(
    time_masks=2, time_mask_frames=7, frequency_masks=1, frequency_mask_bins=3, seed=5
)
BINS, STACK, LENGTHS = 8, 2, torch.tensor([40, 10, 25])


def ones(padding: int = 0) -> Tensor:
    return torch.ones(3, 40 + padding, BINS * STACK)


def stripes(settings: TrainSettings, epoch: int) -> Tensor:
    """(B, T, F) of single frames: where a batch of ones became zero."""
    x = masked(ones(), LENGTHS, draws(settings, epoch, 3), settings, STACK)
    return x.view(3, 40 * STACK, BINS) == 0


def runs(line: Tensor) -> list[int]:
    """Lengths of the runs of True."""
    words = "".join("x" if hit else " " for hit in line.tolist()).split()
    return [len(word) for word in words]


def test_stripes_have_at_most_the_width_that_was_asked_for():
    seen_time, seen_frequency = set(), set()
    for epoch in range(1, 200):
        zero = stripes(SETTINGS, epoch)
        for b, length in enumerate(LENGTHS.tolist()):
            in_time, in_frequency = zero[b].all(1), zero[b].all(0)
            assert torch.equal(zero[b], in_time[:, None] | in_frequency)
            assert not in_time[length * STACK :].any()
            limit = min(7, int(length * STACK * LONGEST_SHARE))
            assert sum(runs(in_time)) <= 2 * limit
            assert sum(runs(in_frequency)) <= 3
            if b == 0:
                seen_time |= set(runs(in_time))
                seen_frequency |= set(runs(in_frequency)) or {0}
    assert {1, 7} <= seen_time
    assert seen_frequency == {0, 1, 2, 3}


def test_stripes_come_anywhere_in_the_utterance():
    hit = sum(stripes(SETTINGS, epoch)[1].all(1).int() for epoch in range(1, 300))
    assert (hit[: 10 * STACK] > 0).all()


def test_neither_neighbours_nor_padding_move_a_stripe():
    table = draws(SETTINGS, 3, 3)
    together = masked(ones(9), LENGTHS, table, SETTINGS, STACK)
    for b in range(3):
        alone = masked(ones()[b : b + 1], LENGTHS[b : b + 1], table[b : b + 1], SETTINGS, STACK)
        length = LENGTHS[b]
        assert torch.equal(together[b, :length], alone[0, :length])


def test_draws_differ_between_epochs_seeds_and_utterances():
    one, two = draws(SETTINGS, 1, 3), draws(SETTINGS, 2, 3)
    other = draws(SETTINGS.model_copy(update={"seed": 6}), 1, 3)
    assert len({*one.flatten(), *two.flatten(), *other.flatten()}) == 3 * one.size
    assert np.array_equal(one, draws(SETTINGS, 1, 3))


def test_without_masks_there_is_nothing_to_draw():
    assert draws(TrainSettings(), 1, 3) is None


def test_one_kind_of_stripe_alone():
    only_time = SETTINGS.model_copy(update={"frequency_masks": 0})
    only_frequency = SETTINGS.model_copy(update={"time_masks": 0})
    assert not stripes(only_time, 1).all(1).any()
    assert not stripes(only_frequency, 1).all(2).any()
