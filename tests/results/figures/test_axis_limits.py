"""Tests of the axis limits, with a few points of which the right limits are known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.results.figures.axis_limits import set_limits

X = [10, 20, 30, 40]


def limits(scale, *values: list[float], reference_losses: tuple[float, ...] = ()) -> Axes:
    axes = Figure().add_axes((0, 0, 1, 1))
    set_limits(axes, scale, [(X[: len(y)], y) for y in values], reference_losses)
    return axes


def test_the_loss_axis_ends_above_the_reference_loss_not_at_the_first_loss():
    axes = limits("capped", [27.0, 3.2, 1.0, 0.5], reference_losses=(2.8, 3.0))
    assert axes.get_ylim() == pytest.approx((0, 4.5))


def test_a_loss_axis_without_high_losses_ends_at_the_highest_one():
    axes = limits("capped", [2.0, 1.0], reference_losses=(3.0,))
    assert axes.get_ylim() == pytest.approx((0, 2.1))


def test_a_run_whose_loss_stays_high_stays_in_the_figure():
    axes = limits("capped", [30.0, 20.0], [3.0, 1.0], reference_losses=(3.0,))
    assert axes.get_ylim() == pytest.approx((0, 22.0))


def test_a_loss_axis_without_a_reference_loss_ends_at_the_highest_loss():
    assert limits("capped", [6.0, 5.0]).get_ylim() == pytest.approx((0, 6.0))


def test_the_late_scale_ignores_the_first_half():
    low, high = limits("late", [0.0, 0.1, 0.9, 0.86]).get_ylim()
    assert (low, high) == pytest.approx((0.83, 1.006))


@pytest.mark.parametrize(("lowest", "scale"), [(0.19, "log"), (0.2, "linear")])
def test_rates_below_a_fifth_get_a_logarithmic_axis(lowest: float, scale: str):
    assert limits("log", [1.0, lowest]).get_yscale() == scale


def test_the_ticks_of_a_logarithmic_axis_lie_within_its_limits():
    axes = limits("log", [1.0, 0.03])
    assert axes.get_ylim() == pytest.approx((0.03 / 1.4, 1.15))
    assert list(axes.get_yticks()) == pytest.approx([0.05, 0.1, 0.2, 0.5, 1.0])


@given(st.lists(st.floats(0.0003, 6.0), min_size=1, max_size=4), st.floats(0.0003, 0.19))
def test_a_logarithmic_axis_shows_all_rates_up_to_three_and_ticks_at_1_2_and_5(rates, lowest):
    shown = [*rates, lowest][-4:]
    axes = limits("log", shown)
    bottom, top = axes.get_ylim()
    assert bottom < min(shown)
    assert top == pytest.approx(min(max(1.15, 1.1 * max(shown)), 3))
    powers = [10.0**n for n in range(-5, 2)]
    expected = [digit * power for power in powers for digit in (1, 2, 5)]
    assert list(axes.get_yticks()) == pytest.approx([n for n in expected if bottom <= n <= top])
    assert list(axes.get_yticks(minor=True)) == []


def test_a_run_whose_losses_are_all_no_numbers_does_not_change_the_loss_axis():
    axes = limits("capped", [math.nan, math.nan], [2.0, 1.0], reference_losses=(3.0,))
    assert axes.get_ylim() == pytest.approx((0, 2.1))


def test_values_that_are_no_numbers_are_ignored():
    assert limits("linear", [math.nan, 0.5]).get_ylim() == pytest.approx((0, 0.54))
    assert limits("linear", [math.nan, math.nan]).get_ylim() == pytest.approx((0, 1.08))


def test_the_longest_run_sets_the_horizontal_limit():
    assert limits("linear", [0.1], [0.1, 0.2, 0.3]).get_xlim() == pytest.approx((0, 30 * 1.005))
