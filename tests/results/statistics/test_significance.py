"""Tests of intervals and tests against scipy, normal theory and a published result on AN4."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from pipeline.results.statistics.significance import (
    bootstrap_interval,
    bootstrap_intervals,
    mapsswe,
    paired_bootstraps,
)


def corpus(utterances: int = 400, rate: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    totals = rng.integers(1, 12, utterances)
    return rng.binomial(totals, rate), totals


def ratio_error(errors: np.ndarray, totals: np.ndarray) -> float:
    """Return the standard error of a ratio of sums, by linearisation."""
    rate = errors.sum() / totals.sum()
    residual = errors - rate * totals
    return math.sqrt(len(totals) * residual.var(ddof=1)) / totals.sum()


def test_the_interval_equals_scipys():
    errors, totals = corpus()
    theirs = stats.bootstrap(
        (errors, totals),
        lambda e, t, axis: e.sum(axis) / t.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert bootstrap_interval(errors, totals) == pytest.approx(tuple(theirs), abs=0.001)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_interval_equals_normal_theory_on_many_utterances(level: float):
    errors, totals = corpus(utterances=2000)
    half = stats.norm.ppf((1 + level) / 2) * ratio_error(errors, totals)
    rate = errors.sum() / totals.sum()
    low, high = bootstrap_interval(errors, totals, level=level)
    assert (rate - low, high - rate) == pytest.approx((half, half), rel=0.06)


def test_an4_at_a_word_error_rate_of_seven_point_four():
    # 57 errors of 773 words in 39 of 130 sentences (ESPnet's counts): about [5.4, 9.5] percent.
    errors = np.array([1] * 26 + [2] * 9 + [3] * 3 + [4] + [0] * 91)
    totals = np.array([6] * 123 + [5] * 7)
    assert (errors.sum(), totals.sum()) == (57, 773)
    low, high = bootstrap_interval(errors, totals)
    assert low == pytest.approx(0.054, abs=0.004)
    assert high == pytest.approx(0.095, abs=0.004)


def test_drawing_whole_speakers_is_wider_where_speakers_differ():
    totals = np.full(200, 6)
    errors = np.repeat([0, 2], 100)
    speakers = [f"s{i // 20}" for i in range(200)]
    narrow = bootstrap_interval(errors, totals)
    wide = bootstrap_interval(errors, totals, speakers)
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])
    alone = bootstrap_interval(errors, totals, [str(i) for i in range(1000, 1200)])
    assert alone == narrow


def test_a_seed_repeats_and_another_differs_a_little():
    errors, totals = corpus()
    one = bootstrap_interval(errors, totals, seed=3)
    assert bootstrap_interval(errors, totals, seed=3) == one
    other = bootstrap_interval(errors, totals, seed=4)
    assert other != one
    assert other == pytest.approx(one, abs=0.001)


def test_many_utterances_are_drawn_in_pieces():
    errors, totals = corpus(utterances=30_000)
    low, high = bootstrap_interval(errors, totals, draws=200)
    assert low < errors.sum() / totals.sum() < high
    assert high - low == pytest.approx(2 * 1.96 * ratio_error(errors, totals), rel=0.25)


def test_large_counts_are_added_as_exactly_as_small_ones():
    rng = np.random.default_rng(0)
    totals = rng.integers(10, 40, 200)
    errors = rng.binomial(totals, 0.1)
    small = bootstrap_interval(errors, totals)
    factor = 1_000_003  # the sums of the draws are above 2**24
    assert bootstrap_interval(errors * factor, totals * factor) == pytest.approx(small, rel=1e-14)


def test_without_references_there_is_no_interval():
    nothing = np.array([], int)
    assert all(map(math.isnan, bootstrap_interval(nothing, nothing)))
    assert all(map(math.isnan, bootstrap_interval(np.array([1]), np.array([0]))))
    (empty,) = paired_bootstraps(nothing, nothing[:, None], nothing)
    assert all(map(math.isnan, (empty.difference, empty.low, empty.high, empty.probability)))


def test_rates_that_are_resampled_together_have_the_intervals_of_each_alone():
    rng = np.random.default_rng(0)
    errors, totals = rng.poisson(2, (40, 6)), rng.integers(0, 3, (40, 6))
    totals[:, 4], totals[:, 5] = totals[:, 1], 0
    together = bootstrap_intervals(errors, totals, draws=500)
    alone = [bootstrap_interval(*each, draws=500) for each in zip(errors.T, totals.T, strict=True)]
    assert together[:5] == alone[:5]
    assert all(map(math.isnan, (*together[5], *alone[5])))


def test_groups_must_be_as_many_as_utterances():
    with pytest.raises(ValueError, match="1 groups for 2 utterances"):
        bootstrap_interval(np.array([0, 1]), np.array([1, 1]), ["s"])


def test_the_paired_interval_equals_normal_theory_and_its_probability():
    a, totals = corpus(utterances=2000, rate=0.11)
    b = np.random.default_rng(2).binomial(totals, 0.10)
    (found,) = paired_bootstraps(a, b[:, None], totals)
    error = ratio_error(b - a, totals)
    assert found.difference == pytest.approx((b.sum() - a.sum()) / totals.sum())
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert found.probability == pytest.approx(stats.norm.cdf(-found.difference / error), abs=0.01)


def test_pairing_sees_what_two_intervals_hide():
    a, totals = corpus()
    b = np.where(np.arange(len(a)) % 20 == 0, np.maximum(a - 1, 0), a)  # better on a few
    (found,) = paired_bootstraps(a, b[:, None], totals)
    assert found.high < 0
    assert found.probability > 0.99
    assert bootstrap_interval(a, totals)[0] < bootstrap_interval(b, totals)[1]


def test_a_system_does_not_improve_on_itself():
    errors, totals = corpus()
    (same,) = paired_bootstraps(errors, errors[:, None], totals)
    assert (same.difference, same.low, same.high, same.probability) == (0, 0, 0, 0.5)


segments = arrays.arrays(np.int64, st.integers(2, 40), elements=st.integers(0, 5))


@given(segments, st.integers(0, 2**31))
def test_mapsswe_is_the_matched_pairs_statistic_on_the_normal_curve(a: np.ndarray, seed: int):
    b = np.random.default_rng(seed).integers(0, 6, len(a))
    found = mapsswe(a, b)
    if len(set(b - a)) > 1:
        theirs = stats.ttest_rel(b, a).statistic
        assert found.z == pytest.approx(theirs)
        assert found.p == pytest.approx(2 * stats.norm.sf(abs(theirs)))
    assert mapsswe(b, a).p == found.p
    assert mapsswe(b, a).z == -found.z


def test_mapsswe_at_the_edges():
    three = np.array([1, 2, 3])
    same = mapsswe(three, three)
    assert (same.difference, same.z, same.p) == (0, 0, 1)
    worse = mapsswe(three, three + 1)
    assert (worse.difference, worse.z, worse.p) == (1, math.inf, 0)
    assert math.isnan(mapsswe(three[:1], three[:1]).p)
    assert math.isnan(mapsswe(three[:0], three[:0]).difference)
