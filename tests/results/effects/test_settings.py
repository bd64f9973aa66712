"""Tests of the effects of settings: from arms whose rates are given."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest

from pipeline.results.comparison.arms import SweepComparison, compare_runs
from pipeline.results.effects.settings import (
    ALONE,
    LISTED,
    NO_TEST_SET,
    SEARCHED,
    Factor,
    SweepEffects,
    find_effects,
)
from pipeline.results.effects.tables import effects_table, variance_table
from pipeline.results.statistics.contrasts import estimate_contrast
from pipeline.results.summary.run_summary import RunSummary
from tests.results.comparison.test_answer import make_arm

AROUND = (0.98, 1.0, 1.02)  # three seeds
RATES = {("mel", 0.001): 0.10, ("mel", 0.01): 0.08, ("power", 0.001): 0.06, ("power", 0.01): 0.07}


def make_setting_arm(settings: Mapping[str, Any], rate: float) -> list[RunSummary]:
    runs = make_arm(", ".join(map(str, settings.values())), [rate * each for each in AROUND])
    return [
        replace(run, run=replace(run.run, settings={**settings, "train.seed": seed}))
        for seed, run in enumerate(runs)
    ]


def compare_grid(rates: Mapping[Sequence[Any], float], *names: str) -> SweepComparison:
    return compare_runs(
        [
            run
            for levels, rate in rates.items()
            for run in make_setting_arm(dict(zip(names, levels, strict=True)), rate)
        ]
    )


def grid_effects() -> SweepEffects:
    found = find_effects(compare_grid(RATES, "features.spectrum", "train.learning_rate"))
    assert found is not None
    return found


def test_a_main_effect_is_the_difference_of_means_over_the_other_setting():
    found = grid_effects()
    assert found.reason == ""
    values = {(each.factor.key, each.level): each for each in found.levels}
    assert values["features.spectrum", "mel"].mean.value == pytest.approx(0.09)
    assert values["features.spectrum", "mel"].difference is None
    power = values["features.spectrum", "power"].difference
    assert power is not None
    assert power.value == pytest.approx(-0.025)
    assert power.low < power.value < power.high < 0
    rate = values["train.learning_rate", 0.01].difference
    assert rate is not None
    assert rate.value == pytest.approx(-0.005)


def test_an_interaction_is_a_difference_of_differences():
    (found,) = grid_effects().interactions
    assert found.levels == ("power", 0.01)
    assert found.estimate.value == pytest.approx((0.07 - 0.08) - (0.06 - 0.10))


def test_the_parts_of_the_variance_sum_to_one_and_the_larger_setting_has_more():
    parts = {each.source: each for each in grid_effects().parts}
    assert sum(each.share for each in parts.values()) == pytest.approx(1)
    assert parts["features.spectrum"].deviation == pytest.approx(0.0125, rel=0.05)
    assert parts["features.spectrum"].share > parts["train.learning_rate"].share
    assert parts["seed"].deviation == pytest.approx(
        0.02 * math.sqrt(sum(rate**2 for rate in RATES.values()) / 4), rel=0.05
    )
    assert parts["speakers who favour an arm"].share == pytest.approx(0, abs=1e-9)


def test_intervals_are_adjusted_for_all_effects_and_interactions_of_the_sweep():
    """Two and three levels: 1 + 2 effects and 1 * 2 interactions are one family of five."""
    rates = {(a, b): 0.1 + 0.01 * n for n, (a, b) in enumerate(itertools.product("xy", (1, 2, 3)))}
    comparison = compare_grid(rates, "features.spectrum", "input.stack")
    found = find_effects(comparison)
    assert found is not None
    assert comparison.inference is not None
    (difference,) = [each.difference for each in found.levels if each.level == "y"]
    weights = np.array([-1, -1, -1, 1, 1, 1]) / 3
    expected = estimate_contrast(comparison.inference.variance, weights, family=5)
    assert astuple(difference) == pytest.approx(astuple(expected))
    assert len(found.interactions) == 2


def test_with_one_seed_the_variance_has_no_parts():
    """What seeds move is not known, and cannot be taken off what settings move."""
    runs = [
        run
        for n, (levels, rate) in enumerate(RATES.items())
        for run in make_setting_arm(dict(zip(("a.b", "c.d"), levels, strict=True)), rate)[:1]
    ]
    found = find_effects(compare_runs(runs))
    assert found is not None
    assert found.parts == ()


def test_the_variance_of_one_setting_has_the_parts_of_setting_seed_and_speakers():
    found = find_effects(compare_grid({("mel",): 0.10, ("power",): 0.06}, "features.spectrum"))
    assert found is not None
    assert found.reason == ALONE
    assert [each.source for each in found.parts] == [
        *("features.spectrum", "seed", "speakers who favour an arm", "speakers, for all arms")
    ]
    parts = {each.source: each for each in found.parts}
    assert parts["features.spectrum"].deviation == pytest.approx(0.02, rel=0.05)
    assert parts["seed"].deviation == pytest.approx(
        0.02 * math.sqrt((0.10**2 + 0.06**2) / 2), rel=0.1
    )


@pytest.mark.parametrize(
    "settings",
    [
        ({"features.spectrum": "mel"}, {"features.spectrum": "power", "train.epochs": 9}),
        ({"train.epochs": 9}, {"train.epochs": 9}),  # entries with bases of their own
    ],
)
def test_arms_without_a_setting_that_all_of_them_vary_are_a_list(settings):
    arms = [make_setting_arm(each, 0.1 * (n + 1)) for n, each in enumerate(settings)]
    renamed = [
        replace(run, run=replace(run.run, label=f"arm {n}, seed {seed}"))
        for n, runs in enumerate(arms)
        for seed, run in enumerate(runs)
    ]
    comparison = compare_runs(renamed)
    assert len(comparison.arms) == 2
    found = find_effects(comparison)
    assert found is not None
    assert (found.reason, found.levels) == (LISTED, ())


def test_true_and_false_are_no_numbers():
    assert Factor("a.b", (1, 2.5)).is_numeric
    assert not Factor("a.b", (True, False)).is_numeric
    assert not Factor("a.b", (1, None)).is_numeric


def test_a_grid_with_failed_arms_still_has_the_effects_that_are_defined():
    some = {levels: rate for levels, rate in RATES.items() if levels != ("power", 0.01)}
    found = find_effects(compare_grid(some, "features.spectrum", "train.learning_rate"))
    assert found is not None
    assert found.interactions == ()
    differences = {each.level: each.difference for each in found.levels if each.difference}
    assert differences["power"].value == pytest.approx(0.06 - 0.10)
    assert differences[0.01].value == pytest.approx(0.08 - 0.10)


def test_numbers_are_in_ascending_order():
    rates = {(0.01,): 0.2, (0.0001,): 0.1, (0.001,): 0.15}
    found = find_effects(compare_grid(rates, "train.learning_rate"))
    assert found is not None
    assert [each.level for each in found.levels] == [0.0001, 0.001, 0.01]
    assert found.factors[0].is_numeric
    assert found.reason == ALONE


def test_a_list_has_no_effects_and_says_so():
    runs = [
        *make_setting_arm({"features.spectrum": "mel"}, 0.1),
        *make_setting_arm({"train.learning_rate": 0.1}, 0.2),
    ]
    found = find_effects(compare_runs(runs))
    assert found is not None
    assert (found.reason, found.levels) == (LISTED, ())
    assert found.parts[0].source == "all settings together"
    assert found.parts[0].deviation == pytest.approx(0.05, rel=0.05)  # around 15 %


def test_a_search_has_no_effects_and_says_so():
    rates = {(10.0**-n, 16 * n): 0.1 + 0.01 * n for n in range(1, 7)}
    found = find_effects(compare_grid(rates, "train.learning_rate", "model.hidden"))
    assert found is not None
    assert found.is_search
    assert found.reason == SEARCHED
    assert found.parts[0].source == "all settings together"


def test_one_arm_has_nothing_and_no_common_test_set_has_a_reason():
    assert find_effects(compare_runs(make_setting_arm({"a.b": 1}, 0.1))) is None
    comparison = compare_grid(RATES, "features.spectrum", "train.learning_rate")
    found = find_effects(replace(comparison, inference=None))
    assert found is not None
    assert found.reason == NO_TEST_SET


def test_equal_arms_rarely_have_an_effect():
    """All rates are alike, so each adjusted interval should hold 0."""
    rates = dict.fromkeys(itertools.product(("mel", "power"), (1, 2, 3)), 0.1)
    found = find_effects(compare_grid(rates, "features.spectrum", "input.stack"))
    assert found is not None
    for each in [level.difference for level in found.levels if level.difference] + [
        interaction.estimate for interaction in found.interactions
    ]:
        assert each.low <= 0 <= each.high
    # What the settings move is less than what chance alone moves them.
    assert [each.share for each in found.parts][:2] == [0, 0]


def test_the_tables_have_a_line_per_level_interaction_and_source():
    table = effects_table(grid_effects())
    assert table.effect_of.tolist() == ["setting"] * 4 + ["interaction"]
    assert table["values"].tolist() == ["mel", "power", "0.001", "0.01", "power × 0.01"]
    assert table.effect.tolist()[4] == pytest.approx(0.03)
    assert math.isnan(table.effect.tolist()[0])
    assert len(variance_table(grid_effects())) == 6
