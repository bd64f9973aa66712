"""Learning-rate curve: the result of a learning-rate range test as a table and as a figure.

In:   the test's short trainings.   Out: CSV text, SVG text; the same result gives the same bytes.
Not here: the test itself, which `make lr-range` runs.
"""

import csv
import io
import math
from dataclasses import astuple, fields

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.results.figures.style import AXIS_COLOUR, FIGURE_RC, PALETTE, TEXT_COLOUR
from pipeline.runs.health.lr_range import LRRangeResult, ShortTraining

LR_FIGURE_WIDTH, LR_FIGURE_HEIGHT = 720, 400  # pixels
LR_AXIS_HEADROOM = 1.5  # height of the loss axis, as a multiple of the reference loss


def lr_range_csv(result: LRRangeResult) -> str:
    """Return one line per short training; a loss that was not finite is `inf`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in fields(ShortTraining)])
    writer.writerows(astuple(each) for each in result.trainings)
    return text.getvalue()


def draw_lr_range(result: LRRangeResult, title: str) -> str:
    """Draw dev loss over learning rate, the reference loss, the suggested rate if there is one."""
    with mpl.rc_context(FIGURE_RC):
        figure = Figure(figsize=(LR_FIGURE_WIDTH / 72, LR_FIGURE_HEIGHT / 72))
        axes = figure.add_axes((0.08, 0.12, 0.89, 0.78))
        reference = result.best.reference_loss
        finite = [each for each in result.longest if math.isfinite(each.loss)]
        rates = [each.learning_rate for each in finite]
        losses = [each.loss for each in finite]
        axes.plot(rates, losses, color=PALETTE[0], linewidth=2.2, marker="o")
        axes.axhline(reference, color=TEXT_COLOUR, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_xscale("log")
        lowest, highest = result.longest[0].learning_rate, result.longest[-1].learning_rate
        axes.set_xlim(lowest / 2, 2 * highest)
        axes.set_ylim(0, LR_AXIS_HEADROOM * reference)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("dev loss, nats per character", color=AXIS_COLOUR)
        axes.set_title(title, loc="left", color=TEXT_COLOUR)
        _write_note(axes, lowest / 2, reference, "reference loss", TEXT_COLOUR)
        if result.outcome == "found":
            axes.axvline(result.suggestion, color=PALETTE[1], linewidth=1.5)
            _write_note(axes, result.suggestion, 0.0, f" {result.suggestion:g}", PALETTE[1])
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _write_note(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    axes.annotate(text, (x, y), (4, 5), textcoords="offset points", color=colour)
