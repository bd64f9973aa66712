"""Panels: several small axes side by side, as one SVG.

In:   a width and height in pixels, a number of panels.   Out: a figure and its axes; SVG text.
Not here: what the panels show (effects.py, search.py).
"""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from pipeline.results.figures.style import FIGURE_RC, FONT_SIZE_PX, GRID_COLOUR, TEXT_COLOUR
from pipeline.results.figures.svg_embed import save_copies

# Name of an arm -> its number and its place in the palette (None: grey), as in all figures.
# A name that two arms have is left out.
ArmMarks = Mapping[str, tuple[int, int | None]]

LOG_SPREAD = 8.0  # numbers whose largest is as many times the smallest get a logarithmic axis
MAX_LEVEL_CHARACTERS = 14


def run_gid(kind: str, marks: ArmMarks, name: str) -> str | None:
    """Return the id by which the page finds the line of an arm; None if its name is not unique."""
    return f"{kind}-of-run-{marks[name][0]}" if name in marks else None


@contextmanager
def report_style() -> Any:
    """Draw with the settings of the report; a label may hold characters that the font lacks."""
    with mpl.rc_context(FIGURE_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def new_figure(width: int, height: int) -> Figure:
    return Figure(figsize=(width / 72, height / 72))


def panel_axes(figure: Figure, number: int, count: int) -> Axes:
    """Return one of `count` axes of a row; all have the y axis of the first."""
    left, right, gap = 0.08, 0.02, 0.05
    width = (1 - left - right - gap * (count - 1)) / count
    shared = figure.axes[0] if figure.axes else None
    axes = figure.add_axes((left + number * (width + gap), 0.17, width, 0.7), sharey=shared)
    axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.8)
    axes.set_axisbelow(True)
    if shared:
        axes.tick_params(labelleft=False)
    return axes


def percent_axis(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def number_axis(axes: Axes, values: Sequence[float]) -> None:
    """Mark the values on the x axis, which is logarithmic where they spread widely."""
    if is_wide(values):
        axes.set_xscale("log")
    shown = list(values)
    if len(values) > 6:  # the nearest ones to five places that are evenly apart on the axis
        space = np.geomspace if is_wide(values) else np.linspace
        places = space(min(values), max(values), 5)
        distances = np.abs(np.subtract.outer(places, values))
        shown = sorted({values[nearest] for nearest in distances.argmin(1)})
    names = [f"{value:g}" for value in shown]
    if len(values) > 6:
        names = [name if len(name) < 6 else f"{float(name):.2g}" for name in names]
    axes.set_xticks(shown, names)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)


def level_axis(axes: Axes, names: Sequence[str]) -> None:
    turned = sum(map(len, names)) > 28
    short = [each if len(each) <= MAX_LEVEL_CHARACTERS else f"{each[:12]}…" for each in names]
    axes.set_xticks(range(len(names)), short, rotation=20 if turned else 0)
    axes.set_xlim(-0.5, len(names) - 0.5)


def is_wide(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) >= LOG_SPREAD * min(values)


def title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=FONT_SIZE_PX, pad=10, color=TEXT_COLOUR)


def svg_text(figure: Figure, copies: Path | None = None) -> str:
    """Return the figure as SVG; `copies`: also as PNG and PDF, at this path without suffix."""
    if copies:
        save_copies(figure, copies)
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def log_share(value: float, low: float, high: float) -> float:
    """Return where the value lies between two others, by logarithms: 0 to 1."""
    return math.log(value / low) / math.log(high / low)
