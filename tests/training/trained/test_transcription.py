"""Windows of long recordings: nothing is lost, cuts are quiet, memory is bounded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.trained.transcription import WINDOW_SECONDS, cut_windows

RATE = 1000


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 30_000), max_size=6),
)
def test_the_windows_are_the_recording(seed, sizes):
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(size=size).astype(np.float32) for size in sizes]
    windows = list(cut_windows(iter(blocks), RATE))
    whole = np.concatenate([np.zeros(0, np.float32), *blocks])
    np.testing.assert_array_equal(np.concatenate([np.zeros(0, np.float32), *windows]), whole)
    assert all(0 < len(each) <= WINDOW_SECONDS * RATE for each in windows)
    # A window ends in the last half of what it may hold.
    assert all(len(each) >= WINDOW_SECONDS * RATE / 2 for each in windows[:-1])


def test_a_window_ends_where_it_is_quiet():
    sound = np.ones(45_000, np.float32)
    sound[14_500:14_700] = 0
    first = next(cut_windows(iter([sound]), RATE))
    assert 14_500 <= len(first) <= 14_700


def test_two_windows_at_most_are_held():
    taken = 0

    def blocks():
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield np.ones(5_000, np.float32)

    windows = cut_windows(blocks(), RATE)
    next(windows)
    assert taken <= 2 * WINDOW_SECONDS * RATE / 5_000 + 1


def test_no_sound_has_no_window():
    assert list(cut_windows(iter([]), RATE)) == []
    assert [len(each) for each in cut_windows(iter([np.ones(1, np.float32)]), RATE)] == [1]


@pytest.mark.parametrize("samples", [20_000, 20_001])
def test_a_recording_of_a_window_is_one(samples: int):
    windows = list(cut_windows(iter([np.ones(samples, np.float32)]), RATE))
    assert len(windows) == (1 if samples == 20_000 else 2)
