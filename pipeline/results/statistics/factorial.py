"""Factorial: which sums of arms are the effect of one setting, or the interaction of two.

In:   the level of each factor in each arm, (K, F); arms may be missing.
Out:  weights of the arms, whose weighted sum of rates is the effect; None where it is not defined.
Not here: the chance of such a sum (contrasts.py), which settings are factors (results/effects/).

The main effects are those of an additive model, fitted to the arms by least squares. With all arms
of a grid they are differences of plain means over the other settings.
"""

import itertools

import numpy as np

from pipeline.shapes import Float64, Int

TOLERANCE = 1e-8  # of the test whether the arms define an effect

Levels = Int[np.ndarray, "K F"]
Weights = Float64[np.ndarray, " K"]


def mean_weights(levels: Levels, factor: int, level: int) -> Weights | None:
    """Return the weights of the mean at one level, over equal shares of the others' levels."""
    design, columns = _additive_design(levels)
    wanted = np.zeros(design.shape[1])
    wanted[0] = 1
    for other, (begin, count) in enumerate(columns):
        wanted[begin : begin + count] = 1 / count
        if other == factor:
            wanted[begin : begin + count] = np.arange(count) == level
    return _solve(design, wanted)


def effect_weights(levels: Levels, factor: int, level: int, reference: int) -> Weights | None:
    """Return the weights of the difference of two levels of a factor, the others alike."""
    design, columns = _additive_design(levels)
    begin, _ = columns[factor]
    wanted = np.zeros(design.shape[1])
    wanted[begin + level] += 1
    wanted[begin + reference] -= 1
    return _solve(design, wanted)


def interaction_weights(
    levels: Levels, pair: tuple[int, int], to: tuple[int, int], reference: tuple[int, int]
) -> Weights | None:
    """Return the weights of: how much more one factor changes at one level of the other.

    `to` and `reference` are the levels of the two factors.
    """
    count = int(levels[:, pair[1]].max()) + 1
    cells = levels[:, pair[0]] * count + levels[:, pair[1]]
    others = [factor for factor in range(levels.shape[1]) if factor not in pair]
    design, columns = _additive_design(np.column_stack([cells, levels[:, others]]))
    wanted = np.zeros(design.shape[1])
    begin, cell_count = columns[0]
    for (sign_a, a), (sign_b, b) in itertools.product(
        ((1, to[0]), (-1, reference[0])), ((1, to[1]), (-1, reference[1]))
    ):
        cell = a * count + b
        if cell >= cell_count:
            return None
        wanted[begin + cell] += sign_a * sign_b
    return _solve(design, wanted)


def residual_weights(levels: Levels) -> Float64[np.ndarray, "K K"]:
    """Return the weights of what the additive model leaves of each arm, a row per arm."""
    design, _ = _additive_design(levels)
    return np.asarray(np.eye(len(levels)) - design @ np.linalg.pinv(design))


def _additive_design(
    levels: Levels,
) -> tuple[Float64[np.ndarray, "K P"], list[tuple[int, int]]]:
    """Return a column of ones and one of each level; of each factor its first column and count."""
    parts, columns, begin = [np.ones((len(levels), 1))], [], 1
    for factor in levels.T:
        count = int(factor.max()) + 1
        parts.append((factor[:, None] == np.arange(count)).astype(float))
        columns.append((begin, count))
        begin += count
    return np.concatenate(parts, axis=1), columns


def _solve(design: Float64[np.ndarray, "K P"], wanted: Float64[np.ndarray, " P"]) -> Weights | None:
    inverse = np.linalg.pinv(design)
    weights = wanted @ inverse
    if np.abs(weights @ design - wanted).max() > TOLERANCE:
        return None
    return np.asarray(weights)
