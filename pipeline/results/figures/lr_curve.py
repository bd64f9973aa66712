"""Rates: what a learning-rate range test found, as a table and a figure.

In:   the test's updates.   Out: CSV text, SVG text; the same for the same input.
Not here: the test (training/ranging.py).
"""

import csv
import io
from dataclasses import astuple, fields

import matplotlib as mpl
from matplotlib.figure import Figure

from pipeline.results.figures.learning_curves import (
    AXIS_COLOUR,
    BACKGROUND_RUN_COLOUR,
    FIGURE_RC,
    PALETTE,
    TEXT_COLOUR,
)
from pipeline.runs.lr_range import LRStep, Range

LR_FIGURE_WIDTH, LR_FIGURE_HEIGHT = 720, 400  # units of the SVG
LR_AXIS_HEADROOM = 1.5  # height over what is drawn first, or over the reference line


def lr_range_csv(result: Range) -> str:
    """One line per update."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in fields(LRStep)])
    writer.writerows(astuple(tried) for tried in result.tried)
    return text.getvalue()


def draw_lr_range(result: Range, title: str) -> str:
    """Loss over the rate: batch by batch, smoothed, the reference line, the suggestion."""
    with mpl.rc_context(FIGURE_RC):
        drawn = Figure(figsize=(LR_FIGURE_WIDTH / 72, LR_FIGURE_HEIGHT / 72))
        axes = drawn.add_axes((0.08, 0.12, 0.89, 0.78))
        x = [tried.learning_rate for tried in result.tried]
        axes.plot(
            x, [tried.loss for tried in result.tried], color=BACKGROUND_RUN_COLOUR, linewidth=0.9
        )
        axes.plot(x, [tried.smoothed for tried in result.tried], color=PALETTE[0], linewidth=2.2)
        axes.axhline(result.reference_loss, color=TEXT_COLOUR, linewidth=1, linestyle=(0, (4, 3)))
        axes.axvline(result.suggestion, color=PALETTE[1], linewidth=1.5)
        axes.set_xscale("log")
        highest = max(result.tried[0].smoothed, result.reference_loss)
        axes.set_ylim(
            0, max(LR_AXIS_HEADROOM * result.reference_loss, min(LR_AXIS_HEADROOM * highest, 1e3))
        )
        axes.set_xlabel("learning rate")
        axes.set_title(title, loc="left", color=TEXT_COLOUR)
        notes = {
            (x[0], result.reference_loss): ("the best output that ignores the input", TEXT_COLOUR),
            (result.suggestion, 0): (f" {result.suggestion:.1e}", PALETTE[1]),
        }
        for (at, height), (words, colour) in notes.items():
            axes.annotate(words, (at, height), (4, 5), textcoords="offset points", color=colour)
        axes.set_ylabel("nats per character", color=AXIS_COLOUR)
        file = io.StringIO()
        drawn.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
