"""Masks, shift, tempo and warp: their size; they depend on (seed, epoch, utterance) only."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torchaudio
from torch import Tensor

from pipeline.config.experiment import TrainSettings
from pipeline.config.features import FeatureSettings
from pipeline.training.data.augment import (
    MAX_TIME_MASK_SHARE,
    FrameIndex,
    apply_masks,
    draw_frame_index,
    draw_masks,
    draw_warp,
    warp_frequencies,
)

SETTINGS = TrainSettings(
    time_masks=2, time_mask_frames=7, frequency_masks=1, frequency_mask_bins=3, seed=5
)
BINS, STACK, LENGTHS = 8, 2, np.array([80, 20, 50])  # lengths: of single frames


def ones(longest: int = 80) -> Tensor:
    return torch.ones(3, longest // STACK, BINS * STACK)


def masked(settings: TrainSettings, epoch: int, places: Sequence[int] = (0, 1, 2)) -> Tensor:
    """Return where a batch of ones became zero, (B, T, F) in single frames."""
    found = draw_masks(settings, epoch, LENGTHS, BINS)
    chosen = np.array(places)
    x = apply_masks(ones()[chosen], found.take(chosen), STACK)
    return x.view(len(places), 80, BINS) == 0


def runs(line: Tensor) -> list[int]:
    """Return the lengths of the runs of True."""
    words = "".join("x" if hit else " " for hit in line.tolist()).split()
    return [len(word) for word in words]


def test_masks_have_at_most_the_width_of_the_settings():
    seen_time, seen_frequency = set(), set()
    for epoch in range(1, 200):
        zero = masked(SETTINGS, epoch)
        for b, length in enumerate(LENGTHS.tolist()):
            in_time, in_frequency = zero[b].all(1), zero[b].all(0)
            assert torch.equal(zero[b], in_time[:, None] | in_frequency)
            assert not in_time[length:].any()
            limit = min(7, int(length * MAX_TIME_MASK_SHARE))
            assert sum(runs(in_time)) <= 2 * limit
            assert sum(runs(in_frequency)) <= 3
            if b == 0:
                seen_time |= set(runs(in_time))
                seen_frequency |= set(runs(in_frequency)) or {0}
    assert {1, 6} <= seen_time
    assert seen_frequency == {0, 1, 2}


def test_masks_come_anywhere_in_the_utterance():
    """Except in the last frame, as in torchaudio."""
    hit = sum(masked(SETTINGS, epoch)[1].all(1).int() for epoch in range(1, 300))
    assert (hit[:19] > 0).all()


def by_torchaudio(
    u_M2: np.ndarray, frames: int, widest: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> np.ndarray:
    """Return which frames torchaudio masks if it draws these random numbers."""
    draws = iter(torch.from_numpy(u_M2).T[:, :, None])
    with monkeypatch.context() as patched:
        patched.setattr(torch, "rand", lambda *size, **kind: next(draws))
        x = torch.ones(len(u_M2), 1, 1, frames, dtype=torch.float64)
        shown = torchaudio.functional.mask_along_axis_iid(x, widest, 0.0, axis=3, p=share)
    return (shown == 0).any(0)[0, 0].numpy()


@pytest.mark.parametrize("epoch", range(1, 30))
def test_masks_equal_those_of_torchaudio_on_valid_frames(
    epoch: int, monkeypatch: pytest.MonkeyPatch
):
    zero = masked(SETTINGS, epoch)
    u_UM2 = np.random.default_rng([SETTINGS.seed, epoch, 1]).random((3, 3, 2))
    for b, length in enumerate(LENGTHS.tolist()):
        in_time = by_torchaudio(u_UM2[b, :2], length, 7, MAX_TIME_MASK_SHARE, monkeypatch)
        in_frequency = by_torchaudio(u_UM2[b, 2:], BINS, 3, 1.0, monkeypatch)
        assert np.array_equal(zero[b, :length].numpy(), in_time[:, None] | in_frequency)


def test_masks_are_zero_and_nothing_else_changes():
    found = draw_masks(SETTINGS, 4, LENGTHS, BINS)
    x = torch.randn(3, 80, BINS)
    ours = apply_masks(x.clone(), found, 1)
    for b in range(3):
        by_hand = x[b].clone()
        for start, stop in found.time[b].tolist():
            by_hand[start:stop] = 0
        for start, stop in found.frequency[b].tolist():
            by_hand[:, start:stop] = 0
        assert torch.equal(ours[b], by_hand)


def test_a_mask_depends_neither_on_other_utterances_nor_on_padding():
    found = draw_masks(SETTINGS, 3, LENGTHS, BINS)
    together = apply_masks(ones(98), found, STACK)
    for b in range(3):
        alone = apply_masks(ones()[b : b + 1], found.take(np.array([b])), STACK)
        length = LENGTHS[b] // STACK
        assert torch.equal(together[b, :length], alone[0, :length])


def edges(settings: TrainSettings, epoch: int) -> tuple[int, ...]:
    return tuple(draw_masks(settings, epoch, np.full(9, 10_000), BINS).time.ravel())


def test_masks_differ_between_epochs_seeds_and_utterances():
    wide = SETTINGS.model_copy(update={"time_mask_frames": 1000})
    other = wide.model_copy(update={"seed": 6})
    one, two, three = edges(wide, 1), edges(wide, 2), edges(other, 1)
    assert len({*one, *two, *three}) > 0.95 * 3 * len(one)
    assert one == edges(wide, 1)


def test_without_masks_there_is_nothing_to_draw():
    assert draw_masks(TrainSettings(), 1, LENGTHS, BINS) is None


def test_one_kind_of_mask_alone():
    only_time = SETTINGS.model_copy(update={"frequency_masks": 0})
    only_frequency = SETTINGS.model_copy(update={"time_masks": 0})
    assert not masked(only_time, 1).all(1).any()
    assert not masked(only_frequency, 1).all(2).any()


STORED = np.random.default_rng(0).integers(4, 300, 400)


def everything(frames: np.ndarray) -> np.ndarray:
    return np.ones(len(frames), bool)


def frame_index(stack: int = 3, epoch: int = 1, **settings: object) -> FrameIndex:
    return draw_frame_index(TrainSettings(**settings), epoch, stack, STORED, everything)


def test_without_shift_and_tempo_every_frame_comes_once():
    plain = frame_index()
    assert not plain.first_frame.any()
    assert (plain.tempo_factor == 1).all()
    assert np.array_equal(plain.frames, STORED)


def test_a_shift_begins_at_each_of_the_first_frames():
    shifted = frame_index(shift=True)
    assert set(shifted.first_frame) == {0, 1, 2}
    assert np.array_equal(shifted.frames, STORED - shifted.first_frame)
    assert set(frame_index(stack=1, shift=True).first_frame) == {0}


def test_a_tempo_makes_an_utterance_longer_or_shorter_by_at_most_its_share():
    changed = frame_index(tempo=0.25)
    ratio = STORED / changed.frames
    assert ratio[STORED > 100].min() == pytest.approx(0.8, abs=0.02)
    assert ratio[STORED > 100].max() == pytest.approx(1.25, abs=0.02)
    last = changed.first_frame + ((changed.frames - 1) * changed.tempo_factor).astype(int)
    beyond = changed.first_frame + (changed.frames * changed.tempo_factor).astype(int)
    assert (last < STORED).all()
    assert (beyond >= STORED).all()


def test_the_frames_of_an_utterance_are_as_far_apart_as_its_tempo_says():
    ones = np.ones(2, np.int64)
    index = FrameIndex(np.array([0, 2]), np.array([1.25, 0.5]), 10 * ones)
    assert index.frame_indices(0, 6, 100).tolist() == [0, 1, 2, 3, 5, 6]
    assert index.frame_indices(1, 6, 100).tolist() == [2, 2, 3, 3, 4, 4]
    assert index.frame_indices(0, 6, 5).tolist() == [0, 1, 2, 3, 4, 4]  # there are five


def test_an_utterance_that_could_no_longer_be_aligned_stays_as_it_is():
    def even(frames: np.ndarray) -> np.ndarray:
        return frames % 2 == 0

    settings = TrainSettings(tempo=0.25, shift=True)
    changed = draw_frame_index(settings, 1, 3, STORED, even)
    odd = (frame_index(tempo=0.25, shift=True).frames % 2).astype(bool)
    assert np.array_equal(changed.frames[odd], STORED[odd])
    assert (changed.tempo_factor[odd] == 1).all()
    assert (changed.frames[~odd] % 2 == 0).all()


def test_shift_and_tempo_depend_on_seed_and_epoch():
    paces = {
        tuple(frame_index(epoch=e, seed=s, tempo=0.1).tempo_factor) for e in (1, 2) for s in (0, 1)
    }
    assert len(paces) == 4
    assert np.array_equal(frame_index(tempo=0.1).tempo_factor, frame_index(tempo=0.1).tempo_factor)


def test_even_a_single_frame_can_be_shifted():
    one = np.ones(50, np.int64)
    shifted = draw_frame_index(TrainSettings(shift=True), 1, 8, one, everything)
    assert (shifted.frames == 1).all()
    assert not shifted.first_frame.any()


def test_masks_and_frame_indices_use_different_random_numbers():
    """With the same numbers an utterance's tempo would follow from the place of its mask."""
    frames = np.full(400, 10_000)
    settings = TrainSettings(time_masks=1, time_mask_frames=1000, tempo=0.25)
    masks = draw_masks(settings, 1, frames, BINS)
    index = draw_frame_index(settings, 1, 1, frames, everything)
    start, stop = masks.time[:, 0].T
    for value in (stop - start, start / (10_000 - (stop - start))):
        correlation = np.corrcoef(value, np.log(index.tempo_factor))[0, 1]
        assert abs(correlation) < 4 / len(frames) ** 0.5


CENTRES_HZ = np.array(FeatureSettings(spectrum="mel", mel_bins=40, n_fft=1024).centres_hz)


def warped(x_BTF: Tensor, *factors: float) -> Tensor:
    return warp_frequencies(x_BTF, np.array(factors), CENTRES_HZ)


def test_a_factor_of_one_changes_nothing():
    x = torch.randn(2, 7, 3 * len(CENTRES_HZ))
    assert torch.equal(warped(x, 1.0, 1.0), x)


@pytest.mark.parametrize("factor", [0.8, 0.95, 1.1])
def test_a_bin_shows_what_was_at_its_frequency_times_the_factor(factor: float):
    """The judge: np.interp of each frame over the frequencies."""
    x = torch.randn(1, 5, len(CENTRES_HZ))
    judged = [np.interp(factor * CENTRES_HZ, CENTRES_HZ, frame.numpy()) for frame in x[0]]
    np.testing.assert_allclose(warped(x, factor)[0].numpy(), judged, atol=1e-5)


def test_a_tone_moves_to_its_frequency_divided_by_the_factor():
    """A voice whose formants lie higher by a tenth is shown as one whose formants are in place."""
    at = 25
    x = torch.zeros(1, 1, len(CENTRES_HZ))
    x[0, 0, at] = 1
    target = int(np.abs(CENTRES_HZ - CENTRES_HZ[at] / 1.1).argmin())
    assert target < at
    assert abs(int(warped(x, 1.1)[0, 0].argmax()) - target) <= 1


def test_the_outermost_bins_are_repeated_and_the_padding_stays_zero():
    x = torch.ones(1, 4, len(CENTRES_HZ))
    x[:, 2:] = 0
    assert torch.allclose(warped(x, 1.3), x)


def test_each_utterance_has_its_own_factor_in_every_frame_of_a_stack():
    x = torch.randn(2, 6, 2 * len(CENTRES_HZ))
    both = warped(x, 0.9, 1.2)
    for b, factor in enumerate((0.9, 1.2)):
        alone = warped(x[b : b + 1].reshape(1, 12, -1), factor)
        assert torch.allclose(both[b : b + 1], alone.reshape(1, 6, -1), atol=1e-6)


def test_factors_lie_between_the_largest_and_its_reciprocal():
    factors = draw_warp(TrainSettings(frequency_warp=0.25), 1, 10_000)
    assert 0.8 <= factors.min() < 0.81
    assert 1.24 < factors.max() <= 1.25
    assert abs(np.log(factors).mean()) < 0.01
    assert draw_warp(TrainSettings(), 1, 5) is None


def test_the_warp_depends_on_seed_and_epoch_and_not_on_the_tempo():
    draws = [
        draw_warp(TrainSettings(seed=seed, frequency_warp=0.1), epoch, 500)
        for seed, epoch in ((0, 1), (0, 2), (1, 1), (0, 1))
    ]
    assert np.array_equal(draws[0], draws[3])
    assert len({tuple(draw) for draw in draws}) == 3
    tempo = draw_frame_index(
        TrainSettings(tempo=0.1), 1, 1, np.full(500, 10_000), everything
    ).tempo_factor
    assert abs(np.corrcoef(np.log(draws[0]), np.log(tempo))[0, 1]) < 4 / 500**0.5
