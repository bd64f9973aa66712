"""Settings: what each swept setting does to the test CER, the others alike.

In:   a comparison of arms.
Out:  means and effects of each level, interactions of two settings, parts of variance; or a reason
      why the sweep has none.
Not here: the arithmetic (statistics/factorial.py, statistics/contrasts.py), the tables (tables.py).
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from pipeline.results.comparison.arms import Arm, SweepComparison
from pipeline.results.statistics.contrasts import Estimate, estimate_contrast
from pipeline.results.statistics.factorial import (
    effect_weights,
    interaction_weights,
    mean_weights,
    residual_weights,
)
from pipeline.results.statistics.variance import MIN_SPEAKERS, Variance
from pipeline.shapes import Float64, Int

MAX_LEVEL_SHARE = 0.5  # of the arms; a setting with more levels was searched, not crossed
LISTED = "This sweep lists its experiments one by one, so no setting has an effect of its own."
SEARCHED = "This sweep searches: hardly a value repeats, so no setting has an effect of its own."
ALONE = "One setting is swept, so its effects are the differences of the arms."
ALL_SETTINGS = "all settings together"
NO_TEST_SET = "No test utterance was decoded by all runs, so there are no effects of settings."


@dataclass(frozen=True)
class Factor:
    """A swept setting and its values, in the order of the sweep; numbers ascending."""

    key: str
    levels: tuple[Any, ...]

    @cached_property
    def is_numeric(self) -> bool:
        return all(isinstance(each, int | float) and not isinstance(each, bool)
                   for each in self.levels)  # fmt: skip


def level_text(level: Any) -> str:
    """Return a value of a setting as text."""
    return "none" if level is None else f"{level:g}" if isinstance(level, float) else str(level)


@dataclass(frozen=True)
class LevelEffect:
    factor: Factor
    level: Any
    arms: int
    mean: Estimate  # test CER at this level, the other settings in equal shares
    difference: Estimate | None  # from the first level; None for the first level


@dataclass(frozen=True)
class Interaction:
    """How much more the first setting changes the CER at a level of the second one."""

    factors: tuple[Factor, Factor]
    levels: tuple[Any, Any]
    estimate: Estimate


@dataclass(frozen=True)
class VariancePart:
    """How far one source moves the test CER of a run."""

    source: str
    deviation: float  # standard deviation, as a rate
    share: float  # of the sum of all variances


@dataclass(frozen=True)
class SweepEffects:
    factors: tuple[Factor, ...]
    levels: tuple[LevelEffect, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    parts: tuple[VariancePart, ...] = ()
    reason: str = ""  # why the sweep has no effects of settings

    @property
    def is_search(self) -> bool:
        return self.reason == SEARCHED


def find_effects(comparison: SweepComparison) -> SweepEffects | None:
    """Return the effects of all swept settings; None with fewer than two arms."""
    arms = comparison.arms
    if len(arms) < 2:
        return None
    factors = _find_factors(arms)
    if comparison.inference is None:
        return SweepEffects(factors, reason=NO_TEST_SET)
    variance = comparison.inference.variance
    parts = partial(_variance_parts, variance=variance, folds=comparison.folds > 0)
    of_arms = np.eye(len(arms)) - 1 / len(arms)
    if not factors or any(set(arm.settings) != set(arms[0].settings) for arm in arms):
        return SweepEffects(factors, parts=parts({ALL_SETTINGS: of_arms}), reason=LISTED)
    places = np.array([[_place(each, arm) for each in factors] for arm in arms])
    if len(factors) > 1 and any(
        len(each.levels) > max(2, MAX_LEVEL_SHARE * len(arms)) for each in factors
    ):
        return SweepEffects(factors, parts=parts({ALL_SETTINGS: of_arms}), reason=SEARCHED)
    levels = tuple(_level_effects(factors, places, variance))
    if len(factors) == 1:
        alone = {factors[0].key: of_arms}
        return SweepEffects(factors, levels, parts=parts(alone), reason=ALONE)
    return SweepEffects(
        factors,
        levels,
        tuple(_interactions(factors, places, variance)),
        parts(_setting_weights(factors, places)),
    )


def _find_factors(arms: Sequence[Arm]) -> tuple[Factor, ...]:
    found = []
    for key in dict.fromkeys(key for arm in arms for key in arm.settings):
        levels = {repr(arm.settings[key]): arm.settings[key] for arm in arms if key in arm.settings}
        factor = Factor(key, tuple(levels.values()))
        if factor.is_numeric:
            factor = Factor(key, tuple(sorted(factor.levels)))
        if len(levels) > 1:
            found.append(factor)
    return tuple(found)


def _place(factor: Factor, arm: Arm) -> int:
    return [repr(each) for each in factor.levels].index(repr(arm.settings[factor.key]))


def _comparisons(factors: Sequence[Factor]) -> int:
    """Return how many effects and interactions are tested: the family of the adjustment."""
    free = [len(each.levels) - 1 for each in factors]
    return sum(free) + sum(a * b for a, b in itertools.combinations(free, 2))


def _level_effects(
    factors: Sequence[Factor], places: Int[np.ndarray, "K F"], variance: Variance
) -> Iterator[LevelEffect]:
    family = _comparisons(factors)
    for number, factor in enumerate(factors):
        for place, level in enumerate(factor.levels):
            mean = mean_weights(places, number, place)
            effect = effect_weights(places, number, place, 0) if place else None
            if mean is None:
                continue
            yield LevelEffect(
                factor,
                level,
                int((places[:, number] == place).sum()),
                _limit(estimate_contrast(variance, mean)),
                None if effect is None else estimate_contrast(variance, effect, family=family),
            )


def _limit(mean: Estimate) -> Estimate:
    """Return the mean rate with no limit below 0."""
    low = mean.low if math.isnan(mean.low) else max(mean.low, 0.0)
    return Estimate(mean.value, low, mean.high, mean.p)


def _interactions(
    factors: Sequence[Factor], places: Int[np.ndarray, "K F"], variance: Variance
) -> Iterator[Interaction]:
    family = _comparisons(factors)
    for a, b in itertools.combinations(range(len(factors)), 2):
        pair = factors[a], factors[b]
        free = (range(1, len(each.levels)) for each in pair)
        for to in itertools.product(*free):
            weights = interaction_weights(places, (a, b), (to[0], to[1]), (0, 0))
            if weights is not None:
                levels = pair[0].levels[to[0]], pair[1].levels[to[1]]
                found = estimate_contrast(variance, weights, family=family)
                yield Interaction(pair, levels, found)


def _setting_weights(
    factors: Sequence[Factor], places: Int[np.ndarray, "K F"]
) -> dict[str, Float64[np.ndarray, "_ K"]]:
    """Return setting -> weights of what each of its levels changes; last what they leave."""
    found: dict[str, np.ndarray] = {}
    for number, factor in enumerate(factors):
        weights = [mean_weights(places, number, place) for place in range(len(factor.levels))]
        known = np.array([each for each in weights if each is not None])
        if len(known) > 1:
            found[factor.key] = known - known.mean(0)
    return {**found, "interactions of settings": residual_weights(places)}


def _variance_parts(
    of_settings: Mapping[str, Float64[np.ndarray, "_ K"]], variance: Variance, *, folds: bool
) -> tuple[VariancePart, ...]:
    """Return the variances of settings, less what chance alone would show, then those of chance.

    Nothing where chance is not known. With folds that over folds holds that over seeds.
    """
    if not variance.freedom or len(variance.totals) < MIN_SPEAKERS:
        return ()
    found = {source: _variance_of(weights, variance) for source, weights in of_settings.items()}
    squares = float((variance.rates[variance.learnt] ** 2).sum()) / len(variance.rates)
    if not folds:
        found["seed"] = variance.deviation**2 * squares
    units, who = ("folds", "that") if folds else ("speakers", "who")
    found[f"{units} {who} favour an arm"] = variance.interaction * squares
    mean = np.full(len(variance.rates), 1 / len(variance.rates))
    found[f"{units}, for all arms"] = variance.of_contrast(mean)[0]
    total = sum(found.values())
    return tuple(
        VariancePart(source, math.sqrt(each), each / total if total else math.nan)
        for source, each in found.items()
    )


def _variance_of(weights: Float64[np.ndarray, "_ K"], variance: Variance) -> float:
    """Return the mean square of weighted sums, less the part of chance; at least 0."""
    chance = [sum(variance.of_contrast(each)) for each in weights]
    return max(float(((weights @ variance.rates) ** 2).mean()) - float(np.mean(chance)), 0.0)
