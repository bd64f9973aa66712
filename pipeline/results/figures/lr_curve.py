"""Rates: what a learning-rate range test found, as a table and a figure.

In:   the test's updates.   Out: CSV text, SVG text; the same for the same input.
Not here: the test (training/ranging.py).
"""

import csv
import io
from dataclasses import astuple, fields

import matplotlib as mpl
from matplotlib.figure import Figure

from pipeline.results.figures.learning_curves import INK, MUTED, PALETTE, RC, REST
from pipeline.runs.lr_range import Range, Tried

WIDTH, HEIGHT = 720, 400  # units of the SVG
ROOM = 1.5  # height over what is drawn first, or over the reference line


def table(found: Range) -> str:
    """One line per update."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in fields(Tried)])
    writer.writerows(astuple(tried) for tried in found.tried)
    return text.getvalue()


def figure(found: Range, title: str) -> str:
    """Loss over the rate: batch by batch, smoothed, the reference line, the suggestion."""
    with mpl.rc_context(RC):
        drawn = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        axes = drawn.add_axes((0.08, 0.12, 0.89, 0.78))
        x = [tried.learning_rate for tried in found.tried]
        axes.plot(x, [tried.loss for tried in found.tried], color=REST, linewidth=0.9)
        axes.plot(x, [tried.smoothed for tried in found.tried], color=PALETTE[0], linewidth=2.2)
        axes.axhline(found.reference_loss, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.axvline(found.suggestion, color=PALETTE[1], linewidth=1.5)
        axes.set_xscale("log")
        highest = max(found.tried[0].smoothed, found.reference_loss)
        axes.set_ylim(0, max(ROOM * found.reference_loss, min(ROOM * highest, 1e3)))
        axes.set_xlabel("learning rate")
        axes.set_title(title, loc="left", color=INK)
        notes = {
            (x[0], found.reference_loss): ("the best output that ignores the input", INK),
            (found.suggestion, 0): (f" {found.suggestion:.1e}", PALETTE[1]),
        }
        for (at, height), (words, colour) in notes.items():
            axes.annotate(words, (at, height), (4, 5), textcoords="offset points", color=colour)
        axes.set_ylabel("nats per character", color=MUTED)
        file = io.StringIO()
        drawn.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
