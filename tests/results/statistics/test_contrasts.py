"""Tests of contrasts: Student's t where only seeds matter, coverage where the truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.results.statistics.contrasts import estimate_contrast
from pipeline.results.statistics.inference import compare_arms
from tests.results.statistics.test_inference import draw_sweep

PAIR = np.array([1.0, -1.0])


def test_the_difference_of_two_arms_has_the_variance_of_their_pair():
    rng = np.random.default_rng(0)
    for factors in ([1.0, 1.0], [1.0, 0.4]):
        said = compare_arms(*draw_sweep(rng, factors, seeds=3, speakers=10, seed_deviation=0.1))
        assert math.sqrt(sum(said.variance.of_contrast(PAIR))) == pytest.approx(
            said.standard_error(0, 1)
        )


@pytest.mark.parametrize("family", [1, 10])
def test_where_only_seeds_matter_it_is_students_t(family: int):
    rng = np.random.default_rng(1)
    factors = 1 + 0.01 * rng.standard_normal((4, 5, 1))
    errors = [np.round(80_000 * each * np.ones((1, 40))).astype(int) for each in factors]
    variance = compare_arms(errors, np.full(40, 10**6), [str(n % 8) for n in range(40)]).variance
    weights = np.array([0.5, 0.5, -0.5, -0.5])
    found = estimate_contrast(variance, weights, family=family)
    rates = np.array([each[:, 0] / 10**6 for each in errors])
    error = math.sqrt(rates.var(1, ddof=1).mean() / 5)  # of each mean; four halves squared are 1
    half = stats.t.ppf(1 - 0.025 / family, 16) * error
    assert found.value == pytest.approx(weights @ rates.mean(1))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.03)
    p = family * 2 * stats.t.sf(abs(found.value) / error, 16)
    assert found.p == pytest.approx(min(p, 1), abs=0.02)


@pytest.mark.parametrize(("speakers", "seed_deviation"), [(6, 0.0), (6, 0.15), (30, 0.15)])
def test_the_interval_of_a_main_effect_covers_the_truth(speakers: int, seed_deviation: float):
    """The first two of four arms have 30 % more errors: 0.08 * 0.3 * E(chance) points."""
    rng = np.random.default_rng(2)
    inside, sweeps = 0, 150
    chance = math.exp((0.5**2 + 0.5**2 + 0.2**2 + 0.3**2 + seed_deviation**2) / 2)
    for _ in range(sweeps):
        drawn = draw_sweep(
            rng, [1.3, 1.3, 1, 1], seeds=3, speakers=speakers, seed_deviation=seed_deviation
        )
        variance = compare_arms(*drawn, draws=20).variance
        found = estimate_contrast(variance, np.array([0.5, 0.5, -0.5, -0.5]))
        inside += found.low <= 0.08 * 0.3 * chance <= found.high
    assert inside / sweeps >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / sweeps)


def test_without_a_second_seed_or_a_third_speaker_chance_is_not_known():
    rng = np.random.default_rng(3)
    for seeds, speakers in ((1, 10), (3, 2)):
        drawn = draw_sweep(rng, [1, 0.5], seeds=seeds, speakers=speakers, seed_deviation=0.1)
        variance = compare_arms(*drawn).variance
        found = estimate_contrast(variance, PAIR)
        assert found.value == pytest.approx(variance.rates[0] - variance.rates[1])
        assert math.isnan(found.low)
        assert math.isnan(found.p)


def test_equal_arms_differ_by_nothing():
    same = np.full((2, 12), 5)
    variance = compare_arms([same, same], np.full(12, 10), [str(n) for n in range(12)]).variance
    found = estimate_contrast(variance, PAIR)
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
