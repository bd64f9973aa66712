"""Tests of the labels at the ends of lines: near each other, but not overlapping."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from pipeline.results.figures.line_labels import (
    MAX_LABEL_CHARS,
    LineEnd,
    draw_line_labels,
    shorten_label,
    spread_apart,
)


@given(st.lists(st.floats(-1000, 1000), max_size=12), st.floats(1, 50))
def test_heights_end_up_apart_and_stay_where_there_is_room(heights: list[float], gap: float):
    heights = sorted(heights)
    moved = spread_apart(heights, gap)
    assert all(above - below >= gap - 1e-6 for below, above in itertools.pairwise(moved))
    if all(above - below > gap for below, above in itertools.pairwise(heights)):
        assert moved == pytest.approx(heights)
    assert sum(moved) == pytest.approx(sum(heights), abs=1e-6)


def test_two_heights_move_by_the_same_distance_and_a_third_one_stays():
    assert spread_apart([10.0, 12.0, 90.0], 8.0) == pytest.approx([7.0, 15.0, 90.0])


def offsets(line_ends: list[LineEnd], *, with_labels: bool) -> dict[str, float]:
    """Return text -> how far it was moved up, in points."""
    axes = Figure(figsize=(10, 4)).add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 1)
    draw_line_labels(axes, line_ends, with_labels=with_labels)
    return {text.get_text(): text.xyann[1] for text in axes.texts}


def test_only_texts_that_would_overlap_are_moved():
    near = [LineEnd(1, "mel", "red", 50.0, 0.5), LineEnd(2, "power", "red", 50.0, 0.5)]
    far = LineEnd(3, "amplitude", "red", 95.0, 0.5)  # 324 points to the right
    moved = offsets([*near, far], with_labels=True)
    assert moved["3 amplitude"] == 0
    assert moved["1 mel"] == pytest.approx(-moved["2 power"])
    assert moved["1 mel"] > 5, "at the same height the first run is on top"


def test_numbers_need_less_room_than_labels():
    line_ends = [LineEnd(1, "mel", "red", 50.0, 0.5), LineEnd(2, "power", "red", 60.0, 0.5)]
    assert set(offsets(line_ends, with_labels=False).values()) == {0}  # 72 points apart
    assert 0 not in offsets(line_ends, with_labels=True).values()


def test_a_label_is_cut_only_if_it_is_too_long():
    assert shorten_label("x" * MAX_LABEL_CHARS) == "x" * MAX_LABEL_CHARS
    assert shorten_label("x" * (MAX_LABEL_CHARS + 1)) == "x" * (MAX_LABEL_CHARS - 1) + "…"
