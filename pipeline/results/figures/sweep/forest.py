"""Forest: the mean test CER of each arm with its interval, an arm a line.

In:   names, rates and intervals, the best arm on dev first.   Out: SVG text.
Not here: the intervals (comparison/arms.py), the same on the page (page/forest.html).
"""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipeline.results.figures.line_labels import shorten_label
from pipeline.results.figures.style import AXIS_COLOUR, GRID_COLOUR, PALETTE
from pipeline.results.figures.sweep import panels

WIDTH_PX, LINE_PX, MARGIN_PX = 640, 26, 66
CHARACTER_PX = 7  # about, of a label

ForestRow = tuple[str, float, float, float, bool]  # arm, rate, interval, whether it is the best


def draw_forest(
    rows: Sequence[ForestRow], end: float, copies: Path | None = None, *, rate: str = "CER"
) -> str:
    """Return an SVG document; an arm beyond `end`, the end of the axis, is an arrow there."""
    height = MARGIN_PX + LINE_PX * len(rows)
    names = [shorten_label(name) for name, *_ in rows]
    left = min(0.45, (20 + CHARACTER_PX * max(map(len, names))) / WIDTH_PX)
    with panels.report_style():
        figure = panels.new_figure(WIDTH_PX, height)
        axes = figure.add_axes((left, 44 / height, 0.88 - left, LINE_PX * len(rows) / height))
        for place, (_, value, low, high, is_best) in enumerate(rows):
            colour = PALETTE[0] if is_best else AXIS_COLOUR
            if low < high:
                axes.plot([low, min(high, end)], [place, place], color=colour, linewidth=2)
            beyond = value > end
            axes.plot(min(value, end), place, color=colour, marker=">" if beyond else "o")
            text = f"{100 * value:.1f} %"
            axes.annotate(text, (1.02, place), xycoords=("axes fraction", "data"), va="center")
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, end)
        axes.grid(axis="x", color=GRID_COLOUR, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
        axes.set_xlabel(f"test {rate}", loc="right")
        return panels.svg_text(figure, copies)


def describe_forest(rows: Sequence[ForestRow], rate: str = "CER") -> str:
    """Return the numbers of the figure in words."""
    parts = [
        f"{name} {100 * value:.1f} %"
        + (f" ({100 * low:.1f} to {100 * high:.1f})" if math.isfinite(low) else "")
        for name, value, low, high, _ in rows
    ]
    return f"Test {rate}: {'; '.join(parts)}."
