"""Tests of the weights of effects, against plain means and against least squares of statsmodels."""

import itertools

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula import api as formulas

from pipeline.results.statistics.factorial import (
    effect_weights,
    interaction_weights,
    mean_weights,
    residual_weights,
)

GRID = np.array(list(itertools.product(range(3), range(2), range(2))))
HOLES = GRID[[0, 1, 2, 4, 5, 6, 8, 9, 11]]  # three arms have failed


def fit(levels: np.ndarray, rates: np.ndarray, formula: str) -> pd.Series:
    data = pd.DataFrame(levels, columns=list("abc")).assign(y=rates)
    return formulas.ols(f"y ~ {formula}", data).fit().params


@pytest.fixture
def rates() -> np.ndarray:
    return np.random.default_rng(0).random(len(GRID))


def test_with_all_arms_effects_are_differences_of_plain_means(rates: np.ndarray):
    for factor, level in ((0, 1), (0, 2), (1, 1)):
        at, first = (rates[GRID[:, factor] == place].mean() for place in (level, 0))
        assert mean_weights(GRID, factor, level) @ rates == pytest.approx(at)
        assert effect_weights(GRID, factor, level, 0) @ rates == pytest.approx(at - first)


def test_with_missing_arms_effects_are_those_of_least_squares(rates: np.ndarray):
    some = rates[: len(HOLES)]
    params = fit(HOLES, some, "C(a) + C(b) + C(c)")
    assert effect_weights(HOLES, 0, 2, 0) @ some == pytest.approx(params["C(a)[T.2]"])
    assert effect_weights(HOLES, 1, 1, 0) @ some == pytest.approx(params["C(b)[T.1]"])
    mean = params["Intercept"] + params["C(a)[T.2]"] + params[["C(b)[T.1]", "C(c)[T.1]"]].sum() / 2
    assert mean_weights(HOLES, 0, 2) @ some == pytest.approx(mean)


@pytest.mark.parametrize("levels", [GRID, HOLES], ids=["whole", "holes"])
def test_interactions_are_those_of_least_squares(levels: np.ndarray, rates: np.ndarray):
    some = rates[: len(levels)]
    params = fit(levels, some, "C(a) * C(b) + C(c)")
    found = interaction_weights(levels, (0, 1), (2, 1), (0, 0))
    assert found is not None
    assert found @ some == pytest.approx(params["C(a)[T.2]:C(b)[T.1]"])


def test_weights_of_effects_sum_to_zero_and_of_means_to_one():
    assert effect_weights(HOLES, 0, 1, 0).sum() == pytest.approx(0)
    assert mean_weights(HOLES, 0, 1).sum() == pytest.approx(1)
    assert residual_weights(HOLES).sum(1) == pytest.approx(np.zeros(len(HOLES)))


def test_what_the_arms_do_not_define_has_no_weights():
    apart = np.array([[0, 0], [1, 1]])  # the two settings change together
    assert effect_weights(apart, 0, 1, 0) is None
    corner = np.array([[0, 0], [0, 1], [1, 0]])
    assert effect_weights(corner, 0, 1, 0) is not None
    assert interaction_weights(corner, (0, 1), (1, 1), (0, 0)) is None
