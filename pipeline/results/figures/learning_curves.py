"""Figures: one line per run over its updates. The only home of matplotlib.

In:   readings, each with a number and perhaps a colour.   Out: SVG, the same for the same input.
Not here: what a figure shows and how to read it (panels.py), which runs get a colour, the page
(report.py).
"""

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from pipeline.results.figures.figure_specs import FigureSpec
from pipeline.results.run_summary import RunSummary

# Okabe and Ito's colours, told apart by colour-blind readers; yellow darkened, to be seen on white.
PALETTE = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#9a8c00", "#1b1b1b"),
)
TEXT_COLOUR, AXIS_COLOUR, GRID_COLOUR, BACKGROUND_RUN_COLOUR = (
    "#222222",
    "#6b6b6b",
    "#e3e3e3",
    "#bdbdbd",
)

FONT_SIZE_PX = 12.0  # of text, in the units of the SVG: pixels where it is shown unscaled
MAX_POINTS = {True: 400, False: 60}  # of a line with and without a colour
LOG_SCALE_BELOW = 0.2  # an error rate below which small rates need the room of a logarithm
LOSS_AXIS_CAP_RATIO = 1.5  # height of the loss figure over the reference line
REFERENCE_LOSS_TOLERANCE = 0.05  # nats per character between reference lines that are drawn as one
MAX_LABEL_CHARS = 26  # characters beside a line; the page has the whole label

FIGURE_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "blankslate",
    "font.size": FONT_SIZE_PX,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": AXIS_COLOUR,
    "axes.labelcolor": AXIS_COLOUR,
    "text.color": TEXT_COLOUR,
    "xtick.color": AXIS_COLOUR,
    "ytick.color": AXIS_COLOUR,
    "ytick.major.size": 0,
    "xtick.major.size": 3,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True)
class Curve:
    run_summary: RunSummary
    number: int  # in the sweep, from 1
    colour: int | None  # place in the palette; None: in the background


def draw_figure(
    spec: FigureSpec, curves: Sequence[Curve], width: int, height: int, *, with_labels: bool
) -> str | None:
    """An SVG document; None if there is nothing to draw yet.

    Lines carry their run's number at their end and, if `named`, its label.
    """
    if not any(_points(curve, spec, "dev")[0] for curve in curves):
        return None
    with mpl.rc_context(FIGURE_RC), warnings.catch_warnings():
        # A label may hold characters that matplotlib's own font lacks; the reader's has them.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(width / 72, height / 72))
        axes = figure.add_axes(_axes_rectangle(curves, width, height, with_labels=with_labels))
        _draw_lines(axes, spec, curves)
        _set_scale(axes, spec, curves)
        _draw_references(axes, spec, curves)
        _draw_line_labels(axes, spec, curves, with_labels=with_labels)
        _style_axes(axes, spec)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _axes_rectangle(
    curves: Sequence[Curve], width: int, height: int, *, with_labels: bool
) -> tuple[float, float, float, float]:
    """Left, bottom, width, height of the axes as shares of the figure."""
    longest = max(
        (len(_short_label(curve)) for curve in curves if curve.colour is not None), default=0
    )
    left, right = 42.0, 28.0 + (longest * FONT_SIZE_PX * 0.57 if with_labels else 0)
    bottom, top = 38.0, 34.0
    return left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height


def _draw_lines(axes: Axes, spec: FigureSpec, curves: Sequence[Curve]) -> None:
    """The background first, then the colours, the earlier run on top."""
    for curve in sorted(curves, key=lambda curve: (curve.colour is not None, -curve.number)):
        colour = BACKGROUND_RUN_COLOUR if curve.colour is None else PALETTE[curve.colour]
        splits = ["train", "dev"] if spec.train and curve.colour is not None else ["dev"]
        for split in splits:
            x, y = _points(curve, spec, split)
            if not x:
                continue
            thick = split == "dev" and curve.colour is not None
            axes.plot(
                x,
                y,
                color=colour,
                linewidth=2.2 if thick else 0.9,
                marker="o" if len(x) == 1 else None,
                markersize=4,
                gid=f"{split}-of-run-{curve.number}",
            )
        if spec.train and curve.colour is not None:
            _draw_escape(axes, spec, curve, colour)


def _draw_escape(axes: Axes, spec: FigureSpec, curve: Curve, colour: str) -> None:
    updates = curve.run_summary.escape_updates
    for row in curve.run_summary.rows_for("dev"):
        if row["updates"] != updates:
            continue
        axes.plot(
            [row["updates"]],
            [spec.value(row)],
            marker="o",
            markersize=8,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=1.4,
            linestyle="none",
            gid=f"escape-of-run-{curve.number}",
        )


def _set_scale(axes: Axes, spec: FigureSpec, curves: Sequence[Curve]) -> None:
    points = [_points(curve, spec, "dev") for curve in curves]
    longest = max(x[-1] for x, _ in points if x)
    axes.set_xlim(0, longest * 1.005 or 1)
    values = [value for _, y in points for value in y if math.isfinite(value)] or [0.0, 1.0]
    lowest, highest = min(values), max(*values, 1e-3)
    if spec.scale == "log" and lowest < LOG_SCALE_BELOW:
        _set_logarithmic(axes, min((value for value in values if value > 0), default=0.01), highest)
    elif spec.scale == "log":
        axes.set_ylim(0, min(highest * 1.08, 2))
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    else:
        _set_linear(axes, spec, curves, highest)


def _set_linear(axes: Axes, spec: FigureSpec, curves: Sequence[Curve], highest: float) -> None:
    if spec.scale == "capped":
        _set_capped(axes, spec, curves, highest)
    elif spec.scale == "late":
        heights = [_points(curve, spec, "dev")[1] for curve in curves]
        late = [value for y in heights for value in y[len(y) // 2 :] if math.isfinite(value)]
        axes.set_ylim(max(0.0, min(late, default=0.0) - 0.03), 1.006)
    else:
        axes.set_ylim(0, highest * 1.08)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 4, 5, 10]))


def _set_logarithmic(axes: Axes, smallest: float, highest: float) -> None:
    bottom, top = max(smallest / 1.4, 1e-4), max(1.15, min(highest * 1.1, 3))
    axes.set_ylim(bottom, top)
    axes.set_yscale("log")
    axes.set_yticks([tick for tick in _LOG_TICKS if bottom <= tick <= top])
    axes.set_ylim(bottom, top)  # again: ticks move it
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _set_capped(axes: Axes, spec: FigureSpec, curves: Sequence[Curve], highest: float) -> None:
    """First losses, ten times the plateau, leave the figure; a run that never comes down stays."""
    cap = LOSS_AXIS_CAP_RATIO * max(
        _reference_losses(curves), default=highest / LOSS_AXIS_CAP_RATIO
    )
    heights = [[y for y in _points(curve, spec, "dev")[1] if math.isfinite(y)] for curve in curves]
    lows = [min(y) * 1.1 for y in heights if y]
    axes.set_ylim(0, min(highest * 1.05, max([cap, *lows])))


_LOG_TICKS = [digit * 10.0**power for power in range(-4, 0) for digit in (1, 2, 5)] + [1.0, 2.0]


def _reference_losses(curves: Sequence[Curve]) -> list[float]:
    """Distinct to the eye; runs with other frames or other text have other lines."""
    last = [
        rows[-1]["reference_loss"]
        for curve in curves
        if (rows := curve.run_summary.rows_for("dev"))
    ]
    lines: list[float] = []
    for value in sorted(filter(math.isfinite, last)):
        if not lines or value > lines[-1] + REFERENCE_LOSS_TOLERANCE:
            lines.append(value)
    return lines


def _draw_references(axes: Axes, spec: FigureSpec, curves: Sequence[Curve]) -> None:
    if spec.scale != "capped":
        return
    lines = _reference_losses(curves)
    for value in lines:
        axes.axhline(
            value, color=TEXT_COLOUR, linewidth=1.1, linestyle=(0, (5, 3)), zorder=5, gid="line"
        )
    if lines:
        span = f"{lines[0]:.2f}" + (f" to {lines[-1]:.2f}" if len(lines) > 1 else "")
        axes.annotate(
            f"best constant output {span}",
            xy=(1, lines[-1]),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 7),
            textcoords="offset points",
            ha="right",
            va="bottom",
        )


@dataclass
class LineEnd:
    """Where a line ends, in points from the lower left corner, and where its name may stand."""

    curve: Curve
    point: tuple[float, float]  # in the units of the data
    x: float
    y: float


def _draw_line_labels(
    axes: Axes, spec: FigureSpec, curves: Sequence[Curve], *, with_labels: bool
) -> None:
    """Numbers, and perhaps labels, at the ends of the lines, pushed apart where they collide."""
    ends = [_line_end(axes, spec, curve) for curve in curves if curve.colour is not None]
    there = sorted((end for end in ends if end), key=lambda end: (end.y, -end.curve.number))
    for column in _group_by_column(there, FONT_SIZE_PX * (12 if with_labels else 2)):
        for end, y in zip(
            column, spread_apart([end.y for end in column], FONT_SIZE_PX * 1.15), strict=True
        ):
            number, name = end.curve.number, _short_label(end.curve)
            axes.annotate(
                f"{number} {name}" if with_labels else str(number),
                xy=end.point,
                xytext=(6, y - end.y),
                textcoords="offset points",
                va="center",
                color=PALETTE[end.curve.colour or 0],
                fontweight="normal" if with_labels else "bold",
                annotation_clip=False,
                gid=f"end-of-run-{number}",
            )


def _line_end(axes: Axes, spec: FigureSpec, curve: Curve) -> LineEnd | None:
    x, y = _points(curve, spec, "dev")
    if not x or not math.isfinite(y[-1]):
        return None
    low, high = axes.get_ylim()
    point = (float(x[-1]), float(min(max(y[-1], low), high)))
    across, up = axes.transData.transform(point) * 72 / axes.figure.dpi
    return LineEnd(curve, point, float(across), float(up))


def _group_by_column(ends: Sequence[LineEnd], width: float) -> list[list[LineEnd]]:
    """Ends whose names would touch if they stood at the same height."""
    columns: list[list[LineEnd]] = []
    for end in ends:
        beside = (column for column in columns if abs(column[0].x - end.x) < width)
        if column := next(beside, None):
            column.append(end)
        else:
            columns.append([end])
    return columns


def spread_apart(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights, moved as little as possible (in squares) to be at least `gap` apart."""
    blocks: list[tuple[float, int]] = []  # sum and number of members that stand `gap` apart
    for place, height in enumerate(heights):
        total, size = height - place * gap, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / size:
            before, members = blocks.pop()
            total, size = total + before, size + members
        blocks.append((total, size))
    means = [total / size for total, size in blocks for _ in range(size)]
    return [mean + place * gap for place, mean in enumerate(means)]


def _style_axes(axes: Axes, spec: FigureSpec) -> None:
    axes.set_title(spec.title, loc="left", fontsize=FONT_SIZE_PX * 1.05, pad=12, color=TEXT_COLOUR)
    axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("updates", loc="right", labelpad=2)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(_format_thousands))
    if spec.percent:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))


def _format_thousands(value: float, _: Any) -> str:
    return f"{value:,.0f}".replace(",", "\u202f")  # a narrow space


def _points(curve: Curve, spec: FigureSpec, split: str) -> tuple[list[int], list[float]]:
    rows = curve.run_summary.rows_for(split)
    step = -(-len(rows) // MAX_POINTS[curve.colour is not None]) if rows else 1
    kept = rows[:-1:step] + rows[-1:]
    return [row["updates"] for row in kept], [spec.value(row) for row in kept]


def _short_label(curve: Curve) -> str:
    """What XML may hold, and short."""
    label = "".join(
        letter if letter.isprintable() else " " for letter in curve.run_summary.run.label
    )
    return label if len(label) <= MAX_LABEL_CHARS else label[: MAX_LABEL_CHARS - 1] + "…"
