"""Tests of the learning curves: lines, scales, and labels with any characters."""

import math
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from pipeline.results.figures import learning_curves
from pipeline.results.figures.figure_specs import FIGURE_SPECS
from pipeline.results.figures.learning_curves import Curve, choose_curves, draw_figure
from pipeline.results.summary.run_summary import SweepRun, read_run
from tests.results.examples import NOW

LOSS = FIGURE_SPECS[0]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def curves(sweep_runs: list[SweepRun]) -> list[Curve]:
    return [
        Curve([read_run(run, NOW)], run.label, index + 1, index)
        for index, run in enumerate(sweep_runs)
    ]


def with_rows(curve: Curve, **changes) -> Curve:
    """Return the curve of runs whose rows have other values."""
    return replace(
        curve,
        run_summaries=[
            replace(run, rows=[{**row, **changes} for row in run.rows])
            for run in curve.run_summaries
        ],
    )


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


def test_a_figure_names_what_it_shows_and_its_axes_have_units(curves: list[Curve]):
    rows = [{**row, "updates": 900 * row["updates"]} for row in curves[0].run_summaries[0].rows]
    long = replace(curves[0], run_summaries=[replace(curves[0].run_summaries[0], rows=rows)])
    cer = next(spec for spec in FIGURE_SPECS if spec.percent)
    shown = texts(drawn(cer, [long]))
    assert {cer.title, "updates"} <= set(shown)
    ticks = [text for text in shown if re.fullmatch(r"\d+(\u202f\d{3})+", text)]
    assert 1 < len(ticks) <= 6, shown
    assert any(text.endswith(" %") for text in shown)


def test_the_plateau_lies_on_the_reference_line_and_the_others_far_below(curves: list[Curve]):
    svg = drawn(LOSS, curves)
    line = heights(svg, "reference-loss-dev")[0]
    plateau, escaped = heights(svg, "dev-of-run-1"), heights(svg, "dev-of-run-2")
    assert abs(plateau[-1] - line) < 6
    assert escaped[-1] - line > 120
    assert any("reference loss of dev 3.02" in text for text in texts(svg))


def test_a_run_that_never_comes_down_to_the_line_stays_in_the_figure(curves: list[Curve]):
    high = with_rows(curves[0], loss_per_character=20.0)
    svg = drawn(LOSS, [high, *curves[1:]])
    assert 30 < heights(svg, "dev-of-run-1")[-1] < heights(svg, "reference-loss-dev")[0]


def test_a_reference_loss_above_the_figure_is_named_inside_it(curves: list[Curve]):
    """A run can be below the line before its first epoch ends, or begin from a trained one."""
    svg = drawn(LOSS, [with_rows(curves[1], loss_per_character=0.5)])
    assert any("reference loss of dev 3.02, above this figure" in text for text in texts(svg))
    (height,) = re.findall(r'<text[^>]* y="([^"]*)"[^>]*>reference loss of dev', svg)
    assert 34 < float(height) < 80, "below the title, above the lines"


def test_reference_lines_that_look_the_same_are_one(curves: list[Curve]):
    near = [with_rows(curves[0], reference_loss=3.02), with_rows(curves[1], reference_loss=3.04)]
    assert drawn(LOSS, near).count('id="reference-loss-dev"') == 1
    far = [with_rows(curves[0], reference_loss=3.02), with_rows(curves[1], reference_loss=3.4)]
    assert "reference loss of dev 3.02 to 3.40" in " ".join(texts(drawn(LOSS, far)))


def test_dev_and_train_have_reference_lines_of_their_own(curves: list[Curve]):
    (run,) = curves[1].run_summaries
    rows = [
        {**row, "reference_loss": {"train": 2.0, "dev": 3.0, "test": 4.0}[row["split"]]}
        for row in run.rows
    ]
    svg = drawn(LOSS, [replace(curves[1], run_summaries=[replace(run, rows=rows)])])
    dev, train = (heights(svg, f"reference-loss-{split}")[0] for split in ("dev", "train"))
    assert train > dev, "a lower loss is further down"
    assert "reference loss of dev 3.00" in " ".join(texts(svg))


def test_an_arm_is_the_mean_of_its_seeds_with_a_band_from_the_lowest_to_the_highest(
    curves: list[Curve],
):
    (run,) = curves[1].run_summaries
    seeds = [
        replace(run, rows=[{**row, "cer": cer} for row in run.rows]) for cer in (0.3, 0.4, 0.8)
    ]
    arm = replace(curves[1], run_summaries=seeds)
    band = arm.band(FIGURE_SPECS[1], "dev")
    assert band.mean == pytest.approx([0.5] * 20)
    assert (set(band.low), set(band.high)) == ({0.3}, {0.8})
    assert 'id="band-of-run-2"' in drawn(FIGURE_SPECS[1], [arm])
    assert "band-of-run" not in drawn(FIGURE_SPECS[1], curves)


def test_an_arm_is_drawn_as_far_as_all_its_seeds_have_come(curves: list[Curve]):
    (run,) = curves[1].run_summaries
    short = replace(run, rows=[row for row in run.rows if row["epoch"] <= 7])
    x, _ = replace(curves[1], run_summaries=[run, short]).points(LOSS, "dev")
    assert x == [90 * epoch for epoch in range(1, 8)]


def test_of_many_arms_without_a_colour_the_best_are_drawn(curves: list[Curve]):
    grey = [replace(curves[1], number=number, palette_index=None) for number in range(2, 500)]
    chosen = choose_curves([curves[0], *grey])
    assert [curve.number for curve in chosen] == list(
        range(1, learning_curves.MAX_BACKGROUND_CURVES + 2)
    )


def test_rates_that_stay_high_get_a_linear_axis_from_zero(curves: list[Curve]):
    high = drawn(FIGURE_SPECS[1], [curves[0]])
    assert {"0 %", "50 %", "100 %"} <= set(texts(high))
    assert "10 %" in texts(drawn(FIGURE_SPECS[1], curves))


def test_the_blank_share_is_scaled_to_the_later_epochs(curves: list[Curve]):
    (run,) = curves[0].run_summaries
    rows = [{**row, "blank_argmax": 0.1 if row["epoch"] == 1 else 0.9} for row in run.rows]
    begun = replace(curves[0], run_summaries=[replace(run, rows=rows)])
    assert "10 %" not in texts(drawn(FIGURE_SPECS[3], [begun]))


def test_losses_that_are_no_numbers_leave_a_gap(curves: list[Curve]):
    lost = with_rows(curves[0], loss_per_character=math.nan, cer=math.nan)
    for spec in FIGURE_SPECS:
        assert draw_figure(spec, [lost], 480, 330, with_labels=False)


def test_rates_of_zero_do_not_break_the_logarithmic_axis(curves: list[Curve]):
    perfect = with_rows(curves[0], cer=0.0)
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
    svg = drawn(LOSS, [replace(curves[1], label=label)])
    kept = "".join(letter if letter.isprintable() else " " for letter in label)
    assert any(kept[:20].strip() in text for text in texts(svg))


def test_a_run_in_the_background_has_a_line_and_no_name(curves: list[Curve]):
    svg = drawn(LOSS, [curves[0], replace(curves[1], palette_index=None)])
    assert 'id="dev-of-run-2"' in svg
    assert 'id="end-of-run-2"' not in svg
    assert 'id="train-of-run-2"' not in svg


def test_long_runs_are_thinned_and_keep_their_last_epoch(curves: list[Curve]):
    (run,) = curves[0].run_summaries
    row = run.rows_for("dev")[0]
    rows = [{**row, "epoch": epoch, "updates": epoch} for epoch in range(1, 5002)]
    long = replace(curves[0], run_summaries=[replace(run, rows=rows)])
    x, _ = long.points(LOSS, "dev")
    assert len(x) <= learning_curves.MAX_POINTS_WITH_COLOUR + 1
    assert (x[0], x[-1]) == (1, 5001)
    x, _ = replace(long, palette_index=None).points(LOSS, "dev")
    assert len(x) <= learning_curves.MAX_POINTS_IN_BACKGROUND + 1
    assert (x[0], x[-1]) == (1, 5001)
