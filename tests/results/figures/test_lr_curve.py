"""Tests of the table and the figure of a learning-rate range test."""

import csv
import io
import re

from pipeline.results.figures import lr_curve
from pipeline.runs.health.lr_range import LRRangeResult, LRStep

RESULT = LRRangeResult(
    tuple(LRStep(10 ** (-6 + n / 10), 9 - n / 8, 9.5 - n / 8) for n in range(41)), 3.03, False
)


def test_the_table_has_a_line_per_update():
    lines = list(csv.DictReader(io.StringIO(lr_curve.lr_range_csv(RESULT))))
    assert [float(line["learning_rate"]) for line in lines] == [
        step.learning_rate for step in RESULT.steps
    ]
    assert {*lines[0]} == {"learning_rate", "loss", "smoothed"}


def test_the_figure_shows_rates_reference_and_suggestion_and_is_the_same_again():
    drawn = lr_curve.draw_lr_range(RESULT, "baseline: <range test>")
    texts = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", drawn))
    for words in ("baseline: &lt;range test&gt;", "learning rate", "reference loss", "1.0e-03"):
        assert words in texts
    assert drawn == lr_curve.draw_lr_range(RESULT, "baseline: <range test>")


def test_a_loss_that_soars_leaves_the_figure_readable():
    soaring = LRRangeResult((*RESULT.steps, LRStep(0.1, 1e30, 1e28)), 3.03, True)
    drawn = lr_curve.draw_lr_range(soaring, "x")
    ticks = re.findall(r"<text[^>]*>([\d.]+)</text>", drawn)
    assert max(map(float, ticks)) < 20  # 1.5 times the first smoothed loss is 14
