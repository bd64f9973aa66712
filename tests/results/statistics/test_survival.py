"""Tests of survival curves and the log-rank test, against statsmodels and scipy."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight, survdiff

from pipeline.results.statistics.survival import chi_square_tail, kaplan_meier, log_rank


def draw_runs(seed: int, groups: int = 3) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Updates in steps of an epoch, so that many are equal; a third is censored."""
    rng = np.random.default_rng(seed)
    updates = 53.0 * rng.integers(1, 9, 40)
    return updates, rng.random(40) < 0.67, [f"arm {n % groups}" for n in range(40)]


@pytest.mark.parametrize("seed", range(4))
def test_the_curve_is_that_of_statsmodels(seed: int):
    updates, escaped, _ = draw_runs(seed)
    curve, judge = kaplan_meier(updates, escaped), SurvfuncRight(updates, escaped.astype(int))
    where = curve.escaped > 0
    assert curve.updates[where] == pytest.approx(judge.surv_times[judge.n_events > 0])
    assert curve.share[where] == pytest.approx(judge.surv_prob[judge.n_events > 0])
    assert curve.at_risk[where] == pytest.approx(judge.n_risk[judge.n_events > 0])
    assert curve.escaped.sum() + curve.censored.sum() == 40


def test_runs_that_never_escape_leave_the_curve_at_one():
    assert kaplan_meier(np.array([90.0, 90.0]), np.array([False, False])).share.tolist() == [1.0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("groups", [2, 3, 5])
def test_the_log_rank_test_is_that_of_statsmodels(seed: int, groups: int):
    updates, escaped, names = draw_runs(seed, groups)
    found = log_rank(updates, escaped, names)
    statistic, p = survdiff(updates, escaped.astype(int), names)
    assert (found.statistic, found.p) == pytest.approx((statistic, p))
    assert found.freedom == groups - 1


def test_the_log_rank_test_of_two_groups_is_that_of_scipy():
    updates, escaped, names = draw_runs(5, 2)
    sides = [
        stats.CensoredData.right_censored(updates[chosen], ~escaped[chosen])
        for chosen in ([n == f"arm {g}" for n in names] for g in range(2))
    ]
    judge = stats.logrank(*sides)
    found = log_rank(updates, escaped, names)
    assert (found.statistic, found.p) == pytest.approx((judge.statistic**2, judge.pvalue))


def test_without_an_escape_or_a_second_group_nothing_is_tested():
    updates, never = np.array([5.0, 9.0]), np.array([False, False])
    assert math.isnan(log_rank(updates, never, ["a", "b"]).p)
    assert math.isnan(log_rank(updates, ~never, ["a", "a"]).p)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 8, 29, 30])
def test_the_tail_of_chi_square_is_that_of_scipy(freedom: int):
    for statistic in (0.0, 0.01, 1.0, 5.5, 40.0, 300.0):
        expected = stats.chi2.sf(statistic, freedom)
        assert chi_square_tail(statistic, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-300)
