"""Tests of the figures of a sweep: what they draw, and the numbers of their descriptions."""

import re
import xml.etree.ElementTree as ET

import pytest

from pipeline.results.comparison.arms import SweepComparison
from pipeline.results.effects.settings import SweepEffects, find_effects
from pipeline.results.figures.style import BACKGROUND_RUN_COLOUR, PALETTE
from pipeline.results.figures.sweep import panels
from pipeline.results.figures.sweep.effects import describe_effects, draw_effects
from pipeline.results.figures.sweep.escape import describe_escapes, draw_escapes
from pipeline.results.figures.sweep.search import (
    count_best,
    describe_search,
    draw_parallel_coordinates,
    draw_rate_against_settings,
)
from tests.results.effects.test_escape import escapes
from tests.results.effects.test_settings import RATES, compare_grid

SIZE = (760, 330)
RATE, HIDDEN = "train.learning_rate", "model.hidden"


def texts(svg: str) -> list[str]:
    root = ET.fromstring(svg)  # noqa: S314  our own
    return [
        "".join(each.itertext()).strip() for each in root.iter("{http://www.w3.org/2000/svg}text")
    ]


def effects_of(comparison: SweepComparison) -> SweepEffects:
    found = find_effects(comparison)
    assert found is not None
    return found


def test_each_setting_has_a_panel_with_its_values():
    found = effects_of(compare_grid(RATES, "features.spectrum", RATE))
    svg = draw_effects(found, *SIZE)
    assert svg is not None
    assert {"features.spectrum", RATE, "mel", "power", "0.001", "0.01"} <= set(texts(svg))
    assert describe_effects(found) == (
        "Mean test CER at each level. features.spectrum: mel 9.0 %, power 6.5 %; "
        "train.learning_rate: 0.001 8.0 %, 0.01 7.5 %."
    )


def test_a_setting_of_numbers_is_a_curve_with_a_band_on_a_logarithmic_axis():
    found = effects_of(compare_grid({(10.0**-n,): 0.05 * n for n in range(1, 5)}, RATE))
    svg = draw_effects(found, *SIZE)
    assert svg is not None
    assert "fill-opacity: 0.18" in svg or "opacity: 0.18" in svg
    ticks = [
        float(each)
        for each in re.findall(r'<use xlink:href="#[^"]*" x="([\d.]+)" y="2[\d.]+"[^>]*/>', svg)
    ]
    gaps = [b - a for a, b in zip(sorted(set(ticks)), sorted(set(ticks))[1:], strict=False)]
    assert max(gaps) == pytest.approx(min(gaps), rel=0.01)  # powers of ten are equally far apart


def test_narrow_numbers_have_a_linear_axis():
    assert not panels.is_wide([128.0, 256.0, 512.0])
    assert panels.is_wide([1e-4, 1e-3])
    assert not panels.is_wide([0.0, 100.0])


def test_escapes_are_falling_steps_with_a_tick_for_each_run_that_is_lost():
    found = escapes(early=[50, 100, 100], late=[300, 350, None])
    svg = draw_escapes(found, {"early": (2, 3), "late": (1, 0)}, *SIZE)
    assert [each for each in texts(svg) if each[:2] in {"1 ", "2 "}] == ["1 late", "2 early"]
    assert {"0 %", "100 %"} <= set(texts(svg))
    assert PALETTE[0] in svg
    assert PALETTE[3] in svg, "the colour that the arm has in all figures"
    assert 'id="lost-of-run-1"' in svg
    assert 'id="lost-of-run-2"' not in svg, "all of its runs escape"
    described = describe_escapes(found)
    assert "early: 3 of 3 runs escaped; late: 2 of 3 runs escaped" in described
    assert found.sentence in described


def test_arms_without_a_colour_are_grey_and_counted():
    found = escapes(**{f"arm{n:02}": [50 * (1 + n)] for n in range(10)})
    marks = {f"arm{n:02}": (n + 1, n if n < 8 else None) for n in range(10)}
    svg = draw_escapes(found, marks, *SIZE)
    assert BACKGROUND_RUN_COLOUR in svg
    assert "grey: 2 more arms" in texts(svg)
    many = escapes(**{f"arm{n:02}": [50] for n in range(14)})
    assert "; and 2 more arms." in describe_escapes(many)


def test_a_search_has_a_line_and_points_for_each_arm_and_names_both_ends():
    rates = {(10.0**-n, 16 * n): 0.1 + 0.01 * n for n in range(1, 9)}
    comparison = compare_grid(rates, RATE, HIDDEN)
    factors = effects_of(comparison).factors
    marks = {arm.name: (number, None) for number, arm in enumerate(comparison.arms, start=11)}
    svg = draw_parallel_coordinates(comparison.arms, factors, marks, *SIZE)
    assert all(f'id="line-of-run-{number}"' in svg for number in range(11, 19))
    assert {"learning_rate", "hidden", "test CER", "11.0 %", "18.0 %", "128"} <= set(texts(svg))
    assert svg.count(f"stroke: {PALETTE[0]}") == 2  # a quarter of eight arms
    assert svg.count(f"stroke: {BACKGROUND_RUN_COLOUR}") == 6
    points = draw_rate_against_settings(comparison.arms, factors, *SIZE)
    assert {RATE, HIDDEN} <= set(texts(points))
    assert describe_search(comparison.arms, factors) == (
        "8 arms. Lowest test CER 11.0 % with train.learning_rate 0.1, model.hidden 16. "
        "Highest test CER 18.0 % with train.learning_rate 1e-08, model.hidden 128."
    )


def test_few_values_of_a_setting_are_each_named_and_of_many_arms_few_are_coloured():
    few = compare_grid({(10.0**-n, 16): 0.1 * n for n in range(1, 5)}, RATE, HIDDEN)
    factors = effects_of(few).factors
    svg = draw_parallel_coordinates(few.arms, factors, {}, *SIZE)
    assert {"0.0001", "0.001", "0.01", "0.1"} <= set(texts(svg))
    many = compare_grid({(10.0**-n, 16): 0.01 * n for n in range(1, 61)}, RATE, HIDDEN)
    svg = draw_parallel_coordinates(many.arms, effects_of(many).factors, {}, *SIZE)
    assert svg.count(f"stroke: {PALETTE[0]}") == count_best(many.arms) == 12
    assert "1e-30" not in texts(svg)


def test_the_same_input_gives_the_same_bytes():
    found = effects_of(compare_grid(RATES, "features.spectrum", RATE))
    assert draw_effects(found, *SIZE) == draw_effects(found, *SIZE)
