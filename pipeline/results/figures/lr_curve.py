"""Learning-rate curve: the result of a learning-rate range test as a table and as a figure.

In:   the test's updates.   Out: CSV text, SVG text; the same result gives the same bytes.
Not here: the test itself, which `make lr-range` runs.
"""

import csv
import io
from dataclasses import astuple, fields

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.results.figures.style import (
    AXIS_COLOUR,
    BACKGROUND_RUN_COLOUR,
    FIGURE_RC,
    PALETTE,
    TEXT_COLOUR,
)
from pipeline.runs.health.lr_range import LRRangeResult, LRStep

LR_FIGURE_WIDTH, LR_FIGURE_HEIGHT = 720, 400  # pixels
# Height of the loss axis, as a multiple of the first loss or of the reference loss.
LR_AXIS_HEADROOM = 1.5
MAX_AXIS_LOSS = 1e3  # nats per character; a higher first loss may leave the figure


def lr_range_csv(result: LRRangeResult) -> str:
    """Return one line per update."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in fields(LRStep)])
    writer.writerows(astuple(step) for step in result.steps)
    return text.getvalue()


def draw_lr_range(result: LRRangeResult, title: str) -> str:
    """Draw loss over learning rate: of each batch, smoothed, the reference, the suggestion."""
    with mpl.rc_context(FIGURE_RC):
        figure = Figure(figsize=(LR_FIGURE_WIDTH / 72, LR_FIGURE_HEIGHT / 72))
        axes = figure.add_axes((0.08, 0.12, 0.89, 0.78))
        rates = [step.learning_rate for step in result.steps]
        losses, smoothed = zip(*((step.loss, step.smoothed) for step in result.steps), strict=True)
        axes.plot(rates, losses, color=BACKGROUND_RUN_COLOUR, linewidth=0.9)
        axes.plot(rates, smoothed, color=PALETTE[0], linewidth=2.2)
        axes.axhline(result.reference_loss, color=TEXT_COLOUR, linewidth=1, linestyle=(0, (4, 3)))
        axes.axvline(result.suggestion, color=PALETTE[1], linewidth=1.5)
        axes.set_xscale("log")
        highest = min(LR_AXIS_HEADROOM * max(smoothed[0], result.reference_loss), MAX_AXIS_LOSS)
        axes.set_ylim(0, max(LR_AXIS_HEADROOM * result.reference_loss, highest))
        axes.set_xlabel("learning rate")
        axes.set_ylabel("nats per character", color=AXIS_COLOUR)
        axes.set_title(title, loc="left", color=TEXT_COLOUR)
        _write_note(axes, rates[0], result.reference_loss, "reference loss", TEXT_COLOUR)
        _write_note(axes, result.suggestion, 0.0, f" {result.suggestion:.1e}", PALETTE[1])
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _write_note(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    axes.annotate(text, (x, y), (4, 5), textcoords="offset points", color=colour)
