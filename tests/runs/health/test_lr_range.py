"""The rates that a range test tries, one after another, and the rate that it suggests."""

import math
from collections.abc import Callable

import pytest

from pipeline.runs.health.lr_range import (
    HIGHEST_STEP,
    LOWEST_STEP,
    LRRangeResult,
    ShortTraining,
    next_step,
    rate_at,
)


def walk(first: int, loss_at: Callable[[int], float]) -> list[int]:
    """The steps in the order in which they are tried."""
    losses: dict[int, float] = {}
    step: int | None = first
    while step is not None:
        losses[step] = float(loss_at(step))
        step = next_step(losses)
    return list(losses)


def test_the_rates_are_1_and_3_times_the_powers_of_ten():
    assert [rate_at(step) for step in (-6, -5, -4, -1, 0, 1, 2)] == [
        1e-3,
        3e-3,
        1e-2,
        0.3,
        1.0,
        3.0,
        10.0,
    ]


def test_the_walk_ends_when_both_neighbours_of_the_best_rate_are_known():
    assert walk(-5, lambda step: abs(step + 5)) == [-5, -4, -6]
    assert walk(-5, lambda step: abs(step + 2)) == [-5, -4, -3, -2, -1]
    assert walk(-5, lambda step: abs(step + 8)) == [-5, -4, -6, -7, -8, -9]


def test_the_walk_stays_among_the_rates_that_are_allowed():
    assert walk(1, lambda step: -step)[-1] == HIGHEST_STEP
    assert walk(-11, lambda step: step)[-1] == LOWEST_STEP


def test_where_all_diverge_the_rates_become_lower():
    diverging = walk(-1, lambda step: math.inf if step > -6 else float(-step))
    assert diverging == [-1, -2, -3, -4, -5, -6, -7]
    assert walk(-11, lambda step: math.inf) == [-11, -12]


def result(losses: dict[float, float], updates: int = 300) -> LRRangeResult:
    return LRRangeResult(
        tuple(ShortTraining(rate, updates, loss, 3.0) for rate, loss in losses.items())
    )


def test_of_the_rates_about_as_good_as_the_best_the_lowest_is_suggested():
    found = result({3e-3: 2.26, 1e-2: 1.73, 3e-2: 1.65, 1e-1: 1.7})
    assert found.best.learning_rate == 3e-2
    assert [each.learning_rate for each in found.similar] == [1e-2, 3e-2, 1e-1]
    assert found.suggestion == 1e-2
    assert found.outcome == "found"


@pytest.mark.parametrize(
    ("losses", "outcome"),
    [
        ({3e-3: 2.95, 1e-2: 3.1}, "on the plateau"),
        ({3e-3: math.inf, 1e-3: math.inf}, "diverged"),
        ({3e-3: 2.8, 1e-2: math.inf}, "found"),
    ],
)
def test_the_outcome_says_whether_a_rate_left_the_plateau(losses: dict[float, float], outcome: str):
    assert result(losses).outcome == outcome


def test_trainings_with_fewer_updates_are_not_compared_with_longer_ones():
    short, long = result({3e-3: 2.95}, 300), result({1e-2: 2.8, 1e-3: 2.7}, 600)
    found = LRRangeResult(short.trainings + long.trainings)
    assert [each.learning_rate for each in found.longest] == [1e-3, 1e-2]
