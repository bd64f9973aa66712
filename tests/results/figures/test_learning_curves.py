"""Tests of the learning curves: lines, scales, and labels with any characters."""

import math
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from pipeline.results.figures import learning_curves
from pipeline.results.figures.figure_specs import FIGURE_SPECS
from pipeline.results.figures.learning_curves import Curve, draw_figure
from pipeline.results.summary.run_summary import SweepRun, read_run
from tests.results.examples import NOW

LOSS = FIGURE_SPECS[0]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def curves(sweep_runs: list[SweepRun]) -> list[Curve]:
    return [Curve(read_run(run, NOW), index + 1, index) for index, run in enumerate(sweep_runs)]


def relabelled(curve: Curve, label: str) -> Curve:
    run = replace(curve.run_summary.run, label=label)
    return replace(curve, run_summary=replace(curve.run_summary, run=run))


def drawn(*arguments, **keywords) -> str:
    svg = draw_figure(*arguments, 480, 330, **{"with_labels": True, **keywords})
    assert svg is not None
    return svg


def texts(svg: str) -> list[str]:
    root = ET.fromstring(svg)  # noqa: S314  (written by our code)
    return [text.text or "" for text in root.iter(f"{SVG}text")]


def heights(svg: str, gid: str) -> list[float]:
    """Return the distance of each point of a line from the top of the figure."""
    root = ET.fromstring(svg)  # noqa: S314  (written by our code)
    (group,) = (element for element in root.iter(f"{SVG}g") if element.get("id") == gid)
    path = next(group.iter(f"{SVG}path")).get("d") or ""
    return [float(y) for y in re.findall(r"[ML] \S+ (\S+)", path)]


@pytest.mark.parametrize("spec", FIGURE_SPECS, ids=lambda spec: spec.name)
def test_every_figure_has_a_line_for_each_run_with_an_epoch(spec, curves: list[Curve]):
    svg = drawn(spec, curves)
    lines = re.findall(r'id="dev-of-run-(\d)"', svg)
    assert sorted(lines) == ["1", "2", "3", "4", "5", "6"]


def test_the_plateau_lies_on_the_reference_line_and_the_others_far_below(curves: list[Curve]):
    svg = drawn(LOSS, curves)
    line = heights(svg, "reference-loss")[0]
    plateau, escaped = heights(svg, "dev-of-run-1"), heights(svg, "dev-of-run-2")
    assert abs(plateau[-1] - line) < 6
    assert escaped[-1] - line > 120
    assert any("reference loss 3.02" in text for text in texts(svg))


def test_a_run_that_never_comes_down_to_the_line_stays_in_the_figure(curves: list[Curve]):
    rows = [{**row, "loss_per_character": 20.0} for row in curves[0].run_summary.rows]
    high = replace(curves[0], run_summary=replace(curves[0].run_summary, rows=rows))
    svg = drawn(LOSS, [high, *curves[1:]])
    assert 30 < heights(svg, "dev-of-run-1")[-1] < heights(svg, "reference-loss")[0]


def test_reference_lines_that_look_the_same_are_one(curves: list[Curve]):
    def with_line(curve: Curve, value: float) -> Curve:
        rows = [{**row, "reference_loss": value} for row in curve.run_summary.rows]
        return replace(curve, run_summary=replace(curve.run_summary, rows=rows))

    near = [with_line(curves[0], 3.02), with_line(curves[1], 3.04)]
    assert drawn(LOSS, near).count('id="reference-loss"') == 1
    far = [with_line(curves[0], 3.02), with_line(curves[1], 3.4)]
    assert "reference loss 3.02 to 3.40" in " ".join(texts(drawn(LOSS, far)))


def test_rates_that_stay_high_get_a_linear_axis_from_zero(curves: list[Curve]):
    high = drawn(FIGURE_SPECS[1], [curves[0]])
    assert {"0 %", "50 %", "100 %"} <= set(texts(high))
    assert "10 %" in texts(drawn(FIGURE_SPECS[1], curves))


def test_the_blank_share_is_scaled_to_the_later_epochs(curves: list[Curve]):
    rows = [
        {**row, "blank_argmax": 0.1 if row["epoch"] == 1 else 0.9}
        for row in curves[0].run_summary.rows
    ]
    begun = replace(curves[0], run_summary=replace(curves[0].run_summary, rows=rows))
    assert "10 %" not in texts(drawn(FIGURE_SPECS[3], [begun]))


def test_losses_that_are_no_numbers_leave_a_gap(curves: list[Curve]):
    rows = [
        {**row, "loss_per_character": math.nan, "cer": math.nan}
        for row in curves[0].run_summary.rows
    ]
    lost = replace(curves[0], run_summary=replace(curves[0].run_summary, rows=rows))
    for spec in FIGURE_SPECS:
        assert draw_figure(spec, [lost], 480, 330, with_labels=False)


def test_rates_of_zero_do_not_break_the_logarithmic_axis(curves: list[Curve]):
    rows = [{**row, "cer": 0.0} for row in curves[0].run_summary.rows]
    perfect = replace(curves[0], run_summary=replace(curves[0].run_summary, rows=rows))
    assert "dev-of-run-1" in drawn(FIGURE_SPECS[1], [perfect])


def test_nothing_is_drawn_before_the_first_epoch(curves: list[Curve]):
    assert draw_figure(LOSS, [curves[6]], 480, 330, with_labels=True) is None
    assert draw_figure(LOSS, [], 480, 330, with_labels=True) is None


def test_the_same_runs_give_the_same_drawing(curves: list[Curve]):
    assert drawn(LOSS, curves) == drawn(LOSS, curves)


@pytest.mark.parametrize(
    "label",
    [
        "<script>alert(1)</script>",
        "$\\frac{$",
        "-->",
        "]]>",
        "emoji 🎈",
        "a\x00b\x1b",
        "ﷺ" * 40,
        "",
    ],
)
def test_a_label_is_text_whatever_it_holds(curves: list[Curve], label: str):
    svg = drawn(LOSS, [relabelled(curves[1], label)])
    kept = "".join(letter if letter.isprintable() else " " for letter in label)
    assert any(kept[:20].strip() in text for text in texts(svg))


def test_a_run_in_the_background_has_a_line_and_no_name(curves: list[Curve]):
    svg = drawn(LOSS, [curves[0], replace(curves[1], palette_index=None)])
    assert 'id="dev-of-run-2"' in svg
    assert 'id="end-of-run-2"' not in svg
    assert 'id="train-of-run-2"' not in svg


def test_long_runs_are_thinned_and_keep_their_last_epoch(curves: list[Curve]):
    row = curves[0].run_summary.rows_for("dev")[0]
    rows = [{**row, "epoch": epoch, "updates": epoch} for epoch in range(1, 5002)]
    long = replace(curves[0], run_summary=replace(curves[0].run_summary, rows=rows))
    x, _ = long.points(LOSS, "dev")
    assert len(x) <= learning_curves.MAX_POINTS_WITH_COLOUR + 1
    assert (x[0], x[-1]) == (1, 5001)
    x, _ = replace(long, palette_index=None).points(LOSS, "dev")
    assert len(x) <= learning_curves.MAX_POINTS_IN_BACKGROUND + 1
    assert (x[0], x[-1]) == (1, 5001)
