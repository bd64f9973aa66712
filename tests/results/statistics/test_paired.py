"""Paired systems against a simulation with a known truth, and against hand-made cases."""

import numpy as np
import pytest

from pipeline.results.statistics.paired import compare_paired


def simulate(rng: np.random.Generator, effect: float) -> tuple[np.ndarray, ...]:
    """Errors of three networks on ten speakers of ten utterances; b has `effect` fewer errors."""
    speakers = np.repeat(np.arange(10), 10)
    hard = rng.gamma(4, 0.25, 10)[speakers]
    liked = np.exp(rng.normal(0, 0.1, 10))[speakers]  # how much each speaker favours b
    seeds = np.exp(rng.normal(0, 0.1, 3))[:, None]
    chance = np.clip(0.15 * seeds * hard, 0, 1)
    totals = np.full(100, 20)
    a = rng.binomial(20, chance)
    b = rng.binomial(20, np.clip(chance * (1 - effect) * liked, 0, 1))
    return a, b, totals, speakers.astype(str)


def test_the_interval_holds_the_truth_in_95_of_100_cases():
    rng = np.random.default_rng(0)
    shown = 0
    for _ in range(150):
        a, b, totals, speakers = simulate(rng, 0.0)
        found = compare_paired(a, b, totals, list(speakers))
        shown += found.low > 0 or found.high < 0
    assert shown <= 15  # 5 % of 150, and three standard errors


def test_a_large_difference_is_shown_with_its_size():
    a, b, totals, speakers = simulate(np.random.default_rng(1), 0.5)
    found = compare_paired(a, b, totals, list(speakers))
    assert found.difference == pytest.approx((b.sum() - a.sum()) / 3 / totals.sum())
    assert found.low < found.difference < found.high < 0
    wider = compare_paired(a, b, totals, list(speakers), comparisons=10)
    assert wider.low < found.low


def test_few_speakers_tell_nothing_and_equal_systems_do_not_differ():
    a, b, totals, _ = simulate(np.random.default_rng(2), 0.5)
    found = compare_paired(a, b, totals, ["one"] * 100)
    assert np.isnan([found.low, found.high]).all()
    same = compare_paired(a, a, totals, list(np.repeat(np.arange(10), 10).astype(str)))
    assert (same.difference, same.low, same.high) == (0, 0, 0)


def test_one_network_has_an_interval_over_speakers():
    a, b, totals, speakers = simulate(np.random.default_rng(3), 0.5)
    found = compare_paired(a[:1], b[:1], totals, list(speakers))
    assert found.low < found.difference < found.high
