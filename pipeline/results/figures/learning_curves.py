"""Learning curves: one line per arm over its updates, with a band over its seeds.

In:   the run summaries of arms, each with a number and perhaps a colour.
Out:  SVG text; the same input gives the same bytes.
Not here: which figures there are (figure_specs.py), the page (results/report.py).
"""

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipeline.results.figures.axis_limits import Points, set_limits
from pipeline.results.figures.figure_specs import FigureSpec
from pipeline.results.figures.line_labels import LineEnd, draw_line_labels, shorten_label
from pipeline.results.figures.style import (
    BACKGROUND_RUN_COLOUR,
    FIGURE_RC,
    FONT_SIZE_PX,
    GRID_COLOUR,
    PALETTE,
    TEXT_COLOUR,
)
from pipeline.results.figures.svg_embed import save_copies
from pipeline.results.summary.run_summary import RunSummary

MAX_POINTS_WITH_COLOUR, MAX_POINTS_IN_BACKGROUND = 200, 16  # points of one line
MAX_BACKGROUND_CURVES = 40  # more lines than this cannot be told apart
REFERENCE_LOSS_TOLERANCE = 0.05  # nats per character; closer reference losses share one line


@dataclass(frozen=True)
class Band:
    """The mean of an arm's runs over its epochs, and the lowest and the highest run."""

    updates: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class Curve:
    """An arm as the figures draw it."""

    run_summaries: Sequence[RunSummary]
    label: str
    number: int  # by result, from 1
    palette_index: int | None  # None: thin and grey, in the background

    @property
    def colour(self) -> str:
        return BACKGROUND_RUN_COLOUR if self.palette_index is None else PALETTE[self.palette_index]

    def band(self, spec: FigureSpec, split: str) -> Band:
        """Return the epochs that all runs have; long runs are thinned but keep their last epoch."""
        tables = [run.rows_for(split) for run in self.run_summaries]
        tables = [rows for rows in tables if len(rows)]
        count = min(map(len, tables), default=0)
        if not count:
            return Band([], [], [], [])
        most = MAX_POINTS_IN_BACKGROUND if self.palette_index is None else MAX_POINTS_WITH_COLOUR
        kept = [*range(0, count - 1, math.ceil(count / most)), count - 1]
        values_RE = np.stack([rows.column(spec.column)[kept] for rows in tables]).astype(np.float64)
        return Band(
            tables[0].column("updates")[kept].tolist(),
            values_RE.mean(0).tolist(),
            values_RE.min(0).tolist(),
            values_RE.max(0).tolist(),
        )

    def points(self, spec: FigureSpec, split: str) -> Points:
        band = self.band(spec, split)
        return band.updates, band.mean


def choose_curves(curves: Sequence[Curve]) -> list[Curve]:
    """Return the coloured curves and the best of the others."""
    coloured = [curve for curve in curves if curve.palette_index is not None]
    others = [curve for curve in curves if curve.palette_index is None]
    return [*coloured, *others[:MAX_BACKGROUND_CURVES]]


def draw_figure(
    spec: FigureSpec,
    curves: Sequence[Curve],
    width: int,
    height: int,
    *,
    with_labels: bool,
    copies: Path | None = None,
) -> str | None:
    """Return an SVG document of `width` times `height` pixels; None if no epoch has ended yet.

    `copies`: a path without suffix, where the same drawing is written as PNG and PDF.

    Each coloured line ends with the number of its run and, if `with_labels`, with its label.
    """
    points = [curve.points(spec, "dev") for curve in curves]
    if not any(x for x, _ in points):
        return None
    with mpl.rc_context(FIGURE_RC), warnings.catch_warnings():
        # A label may hold characters that matplotlib's font lacks. The reader's font has them.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(width / 72, height / 72))
        axes = figure.add_axes(_axes_rectangle(curves, width, height, with_labels=with_labels))
        _draw_lines(axes, spec, curves)
        losses = _reference_losses(curves, "dev") if spec.scale == "capped" else []
        set_limits(axes, spec.scale, points, losses)
        _draw_reference_losses(axes, losses, "dev")
        if spec.train:
            _draw_reference_losses(axes, _reference_losses(curves, "train"), "train")
        draw_line_labels(axes, _line_ends(axes, spec, curves), with_labels=with_labels)
        _style_axes(axes, spec)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        if copies:
            save_copies(figure, copies)
    return file.getvalue()


def _axes_rectangle(
    curves: Sequence[Curve], width: int, height: int, *, with_labels: bool
) -> tuple[float, float, float, float]:
    """Return left, bottom, width and height of the axes as shares of the figure."""
    labels = [shorten_label(curve.label) for curve in curves if curve.palette_index is not None]
    longest = max(map(len, labels), default=0)
    left, right = 42.0, 28.0 + (longest * FONT_SIZE_PX * 0.57 if with_labels else 0)
    bottom, top = 38.0, 34.0
    return left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height


def _draw_lines(axes: Axes, spec: FigureSpec, curves: Sequence[Curve]) -> None:
    """Draw the background first, then the coloured runs, the first run on top."""
    for curve in sorted(curves, key=lambda each: (each.palette_index is not None, -each.number)):
        coloured = curve.palette_index is not None
        for split in ("train", "dev") if spec.train and coloured else ("dev",):
            band = curve.band(spec, split)
            x, y = band.updates, band.mean
            if not x:
                continue
            axes.plot(
                x,
                y,
                color=curve.colour,
                linewidth=2.2 if split == "dev" and coloured else 0.9,
                marker="o" if len(x) == 1 else None,
                markersize=4,
                gid=f"{split}-of-run-{curve.number}",
            )
            if split == "dev" and coloured and len(curve.run_summaries) > 1:
                axes.fill_between(
                    x,
                    band.low,
                    band.high,
                    color=curve.colour,
                    alpha=0.18,
                    linewidth=0,
                    gid=f"band-of-run-{curve.number}",
                )
        if spec.train and coloured:
            _draw_escape(axes, spec, curve)


def _draw_escape(axes: Axes, spec: FigureSpec, curve: Curve) -> None:
    """Draw a ring on the arm's line where each of its runs escaped from the blank plateau."""
    x, y = curve.points(spec, "dev")
    updates = {one for run in curve.run_summaries if (one := run.escape_updates) is not None}
    escapes = [(one, float(np.interp(one, x, y))) for one in sorted(updates) if one <= x[-1]]
    if escapes:
        axes.plot(
            *zip(*escapes, strict=True),
            marker="o",
            markersize=8,
            markerfacecolor="none",
            markeredgecolor=curve.colour,
            markeredgewidth=1.4,
            linestyle="none",
            gid=f"escape-of-run-{curve.number}",
        )


def _reference_losses(curves: Sequence[Curve], split: str) -> list[float]:
    """Return the distinct reference losses of a split, ascending.

    Runs with other features or another corpus have another reference loss.
    """
    tables = (run.rows_for(split) for curve in curves for run in curve.run_summaries)
    last = [float(rows.column("reference_loss")[-1]) for rows in tables if len(rows)]
    losses: list[float] = []
    for value in sorted(filter(math.isfinite, last)):
        if not losses or value > losses[-1] + REFERENCE_LOSS_TOLERANCE:
            losses.append(value)
    return losses


def _draw_reference_losses(axes: Axes, losses: Sequence[float], split: str) -> None:
    """Draw the lines of dev dashed, with their value, and those of train dotted and thin."""
    is_dev = split == "dev"
    for value in losses:
        axes.axhline(
            value,
            color=TEXT_COLOUR,
            linewidth=1.1 if is_dev else 0.8,
            linestyle=(0, (5, 3)) if is_dev else (0, (1, 2)),
            zorder=5,
            gid=f"reference-loss-{split}",
        )
    if not losses or not is_dev:
        return
    span = f"{losses[0]:.2f}" + (f" to {losses[-1]:.2f}" if len(losses) > 1 else "")
    is_above = losses[-1] > axes.get_ylim()[1]  # every dev loss is far lower
    axes.annotate(
        f"reference loss of dev {span}{', above this figure' if is_above else ''}",
        xy=(1, 1 if is_above else losses[-1]),
        xycoords=("axes fraction", "axes fraction" if is_above else "data"),
        xytext=(-4, -4 if is_above else 7),
        textcoords="offset points",
        ha="right",
        va="top" if is_above else "bottom",
    )


def _line_ends(axes: Axes, spec: FigureSpec, curves: Sequence[Curve]) -> list[LineEnd]:
    """Return the ends of the coloured lines, moved to the edge where they leave the axes."""
    low, high = axes.get_ylim()
    ends = []
    for curve in curves:
        x, y = curve.points(spec, "dev")
        if curve.palette_index is not None and y and math.isfinite(y[-1]):
            within = float(min(max(y[-1], low), high))
            ends.append(
                LineEnd(
                    curve.number, shorten_label(curve.label), curve.colour, float(x[-1]), within
                )
            )
    return ends


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
    return f"{value:,.0f}".replace(",", "\u202f")  # a narrow no-break space
