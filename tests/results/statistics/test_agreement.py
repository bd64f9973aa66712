"""The statistics against independent implementations: kaldialign, scipy, a mixed model."""

import math

import kaldialign
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula import api as formulas

from pipeline.results.statistics.inference import compare_arms
from pipeline.results.statistics.significance import bootstrap_interval, paired_bootstraps


def spell(errors: int, length: int) -> list[str]:
    """Return a hypothesis of `length` words that has so many substitutions."""
    return ["wrong"] * errors + ["right"] * (length - errors)


def test_the_bootstrap_is_kaldialigns():
    rng = np.random.default_rng(0)
    totals = rng.integers(4, 30, 200)
    one = rng.binomial(totals, 0.3)
    other = rng.binomial(totals, 0.27)
    references = [["right"] * int(total) for total in totals]
    hypotheses = [
        [spell(int(wrong), int(total)) for wrong, total in zip(each, totals, strict=True)]
        for each in (one, other)
    ]
    judge = kaldialign.bootstrap_wer_ci(references, *hypotheses, replications=10_000)
    for name, errors in (("system1", one), ("system2", other)):
        found = judge[name]
        middle, half = found["wer"], found["ci95"]
        assert bootstrap_interval(errors, totals) == pytest.approx(
            (middle - half, middle + half), abs=0.004
        )
    (compared,) = paired_bootstraps(one, other[:, None], totals)
    assert compared.probability == pytest.approx(judge["p_s2_improv_over_s1"], abs=0.02)


def test_where_only_seeds_matter_the_intervals_are_tukeys():
    """The rates are close together, so that a relative deviation is as good as an absolute one."""
    rng = np.random.default_rng(1)
    errors = [
        np.round(80_000 * (1 + 0.01 * rng.standard_normal((4, 1))) * np.ones((1, 40))).astype(int)
        for _ in range(3)
    ]
    said = compare_arms(errors, np.full(40, 10**6), [str(n % 8) for n in range(40)], draws=20_000)
    judge = stats.tukey_hsd(*(each[:, 0] / 10**6 for each in errors))
    interval = judge.confidence_interval(0.95)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        found = said.difference(a, b)
        assert found.difference == pytest.approx(judge.statistic[a, b])
        width = interval.high[a, b] - interval.low[a, b]
        assert found.low == pytest.approx(interval.low[a, b], abs=0.03 * width)
        assert found.high == pytest.approx(interval.high[a, b], abs=0.03 * width)
        assert found.p == pytest.approx(judge.pvalue[a, b], abs=0.02)


def test_the_parts_of_chance_are_those_of_a_mixed_model():
    """Arms fixed; speakers who favour arms, and runs, are random effects of statsmodels' REML.

    The test set is balanced, so that both estimate the same: the variance over runs, and that of
    speakers by arms, of an arm's mean.
    """
    rng = np.random.default_rng(2)
    arms, seeds, speakers, length = 2, 8, 30, 20_000
    favour = rng.normal(0, 0.15, (arms, 1, speakers))
    training = rng.normal(0, 0.08, (arms, seeds, 1))
    noise = rng.normal(0, 0.10, (arms, seeds, speakers))
    rates = 0.10 * (1 + favour + training + noise)
    errors = np.round(rates * length).astype(int)
    variance = compare_arms(
        list(errors), np.full(speakers, length), [f"{n:02}" for n in range(speakers)], draws=20
    ).variance
    arm, seed, speaker = (each.ravel() for each in np.indices(errors.shape))
    data = pd.DataFrame({"arm": arm, "run": arm * seeds + seed, "pair": arm * speakers + speaker})
    data["y"] = 10 * errors.ravel() / length / variance.rates[arm]  # the solver minds small numbers
    parts = {"run": "0 + C(run)", "pair": "0 + C(pair)"}
    groups = np.ones(len(data))
    judge = formulas.mixedlm("y ~ C(arm)", data, groups=groups, vc_formula=parts).fit(reml=True)
    found = dict(zip(judge.model.exog_vc.names, judge.vcomp / 100, strict=True))
    scale = judge.scale / 100
    of_runs = found["run"] + scale / speakers  # the spread of a run's rate
    assert variance.deviation**2 == pytest.approx(of_runs, rel=0.02)
    of_means = found["pair"] / speakers + scale / speakers / seeds
    assert variance.interaction == pytest.approx(of_means, rel=0.4)  # of 30 pairs, not of 60
    assert variance.noise == pytest.approx(scale / speakers, rel=0.02)
    assert math.isfinite(judge.llf)
