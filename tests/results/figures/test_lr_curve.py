"""Tests of the table and the figure of a learning-rate range test."""

import csv
import io
import math
import re

from pipeline.results.figures import lr_curve
from pipeline.runs.health.lr_range import LRRangeResult, ShortTraining

RESULT = LRRangeResult(
    tuple(
        ShortTraining(rate, 300, loss, 3.03)
        for rate, loss in ((3e-3, 1.9), (1e-2, 1.4), (3e-2, 1.7), (1e-1, math.inf))
    )
)


def test_the_table_has_a_line_per_training():
    lines = list(csv.DictReader(io.StringIO(lr_curve.lr_range_csv(RESULT))))
    assert [float(line["learning_rate"]) for line in lines] == [3e-3, 1e-2, 3e-2, 1e-1]
    assert {*lines[0]} == {"learning_rate", "updates", "loss", "reference_loss"}
    assert lines[-1]["loss"] == "inf"


def test_the_figure_shows_rates_reference_and_suggestion_and_is_the_same_again():
    drawn = lr_curve.draw_lr_range(RESULT, "baseline: <range test>")
    texts = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", drawn))
    for words in ("baseline: &lt;range test&gt;", "learning rate", "reference loss", "0.01"):
        assert words in texts
    assert drawn == lr_curve.draw_lr_range(RESULT, "baseline: <range test>")


def test_a_test_in_which_all_diverges_is_drawn():
    diverged = LRRangeResult((ShortTraining(1e-6, 300, math.inf, 3.03),))
    assert "reference loss" in lr_curve.draw_lr_range(diverged, "x")


def test_a_loss_that_soars_leaves_the_figure_readable():
    soaring = LRRangeResult((*RESULT.trainings, ShortTraining(0.3, 300, 1e30, 3.03)))
    drawn = lr_curve.draw_lr_range(soaring, "x")
    ticks = re.findall(r"<text[^>]*>([\d.]+)</text>", drawn)
    assert max(map(float, ticks)) < 20
