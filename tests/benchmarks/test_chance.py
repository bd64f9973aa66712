"""Tests of the simulated sweeps: a few cells of the large table, in seconds, and its parts."""

import math

import numpy as np
import pytest

from tests.benchmarks.chance import (
    ARMS,
    DEVIATIONS,
    FOLDS,
    SEEDS,
    SPEAKERS,
    SweepShape,
    all_shapes,
    chance_table,
    simulate,
)
from tests.benchmarks.same_runs import _splits


@pytest.mark.parametrize(
    "shape",
    [
        SweepShape(2, 3, 0.1, 10),
        SweepShape(9, 3, 0.1, 4),
        SweepShape(3, 10, 0.0, 30),
        SweepShape(30, 3, 0.1, 10),
        SweepShape(2, 1, 0.1, 74, folds=5),
        SweepShape(9, 1, 0.15, 74, folds=5),
    ],
    ids=str,
)
def test_claims_are_rarely_false_and_intervals_hold_the_truth(shape: SweepShape):
    found = simulate(shape, sweeps=100, draws=100)
    assert found.false_claims <= 0.06 + 3 * math.sqrt(0.06 * 0.94 / 100)
    assert found.difference_covered >= 0.93 - 3 * math.sqrt(0.07 * 0.93 / 50)
    assert found.relative_covered >= 0.93 - 3 * math.sqrt(0.07 * 0.93 / 50)
    assert found.rate_covered >= 0.93 - 3 * math.sqrt(0.07 * 0.93 / 50)


def test_more_seeds_and_speakers_show_more():
    little, much = (simulate(SweepShape(2, *each), 60, draws=100).power
                    for each in ((3, 0.15, 4), (10, 0.0, 100)))  # fmt: skip
    assert little < 0.5
    assert much > 0.9


def test_the_table_has_a_line_per_arms_seeds_speakers_and_folds():
    lines = len(ARMS) * (len(SEEDS) * len(SPEAKERS) + len(FOLDS))
    assert len(all_shapes()) == lines * len(DEVIATIONS)
    assert chance_table([]).row_count == lines


@pytest.mark.parametrize(("count", "sizes", "ways"), [(8, (2, 2, 2, 2), 105), (8, (3, 3), 280),
                                                      (4, (2, 2), 3)])  # fmt: skip
def test_the_splits_are_all_ways_to_share_out_the_runs(
    count: int, sizes: tuple[int, ...], ways: int
):
    found = list(_splits(list(np.arange(count)), sizes))  # type: ignore[arg-type]
    assert len(found) == ways
    assert all(tuple(map(len, each)) == sizes for each in found)
