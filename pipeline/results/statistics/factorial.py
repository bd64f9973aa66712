"""Factorial: which sums of arms are the effect of one setting, or the interaction of two.

In:   the level of each factor in each arm, (K, F); arms may be missing.
Out:  weights of the arms, whose weighted sum of rates is the effect; None where it is not defined.
Not here: the chance of such a sum (contrasts.py), which settings are factors (results/effects/).

The main effects are those of an additive model, fitted to the arms by least squares. With all arms
of a grid they are differences of plain means over the other settings.
"""

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pipeline.shapes import Float64, Int

TOLERANCE = 1e-8  # of the test whether the arms define an effect

Levels = Int[np.ndarray, "K F"]
Weights = Float64[np.ndarray, " K"]


class _AdditiveModel(NamedTuple):
    """A column of ones and one column of each level."""

    design: Float64[np.ndarray, "K P"]
    inverse: Float64[np.ndarray, "P K"]
    columns: list[tuple[int, int]]  # of each factor: its first column, how many it has


def mean_weights(levels: Levels, factor: int, level: int) -> Weights | None:
    """Return the weights of the mean at one level, over equal shares of the others' levels."""
    model = _fit(levels)
    wanted = np.zeros(len(model.inverse))
    wanted[0] = 1
    for other, (begin, count) in enumerate(model.columns):
        wanted[begin : begin + count] = 1 / count
        if other == factor:
            wanted[begin : begin + count] = np.arange(count) == level
    return _solve(model, wanted)


def effect_weights(levels: Levels, factor: int, level: int, reference: int) -> Weights | None:
    """Return the weights of the difference of two levels of a factor, the others alike."""
    model = _fit(levels)
    begin, _ = model.columns[factor]
    wanted = np.zeros(len(model.inverse))
    wanted[begin + level] += 1
    wanted[begin + reference] -= 1
    return _solve(model, wanted)


def interaction_weights(
    levels: Levels, pair: tuple[int, int], to: tuple[int, int], reference: tuple[int, int]
) -> Weights | None:
    """Return the weights of: how much more one factor changes at one level of the other.

    `to` and `reference` are the levels of the two factors.
    """
    count = int(levels[:, pair[1]].max()) + 1
    cells = levels[:, pair[0]] * count + levels[:, pair[1]]
    others = [factor for factor in range(levels.shape[1]) if factor not in pair]
    model = _fit(np.column_stack([cells, levels[:, others]]))
    wanted = np.zeros(len(model.inverse))
    begin, cell_count = model.columns[0]
    for (sign_a, a), (sign_b, b) in itertools.product(
        ((1, to[0]), (-1, reference[0])), ((1, to[1]), (-1, reference[1]))
    ):
        cell = a * count + b
        if cell >= cell_count:
            return None
        wanted[begin + cell] += sign_a * sign_b
    return _solve(model, wanted)


def residual_weights(levels: Levels) -> Float64[np.ndarray, "K K"]:
    """Return the weights of what the additive model leaves of each arm, a row per arm."""
    model = _fit(levels)
    return np.asarray(np.eye(len(levels)) - model.design @ model.inverse)


def _fit(levels: Levels) -> _AdditiveModel:
    return _fit_columns(tuple(map(tuple, levels.T.tolist())))


@lru_cache(maxsize=4)
def _fit_columns(levels: tuple[tuple[int, ...], ...]) -> _AdditiveModel:
    """Return the model of the levels of each factor; a sweep asks for it once per level."""
    parts, columns, begin = [np.ones((len(levels[0]), 1))], [], 1
    for factor in levels:
        count = max(factor) + 1
        parts.append((np.array(factor)[:, None] == np.arange(count)).astype(float))
        columns.append((begin, count))
        begin += count
    design = np.concatenate(parts, axis=1)
    return _AdditiveModel(design, np.linalg.pinv(design), columns)


def _solve(model: _AdditiveModel, wanted: Float64[np.ndarray, " P"]) -> Weights | None:
    weights = wanted @ model.inverse
    if np.abs(weights @ model.design - wanted).max() > TOLERANCE:
        return None
    return np.asarray(weights)
