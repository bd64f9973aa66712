"""Escape: the share of each arm's runs that is still on the blank plateau, over updates.

In:   escapes.   Out: SVG text, and the same in words.
Not here: the estimate (statistics/survival.py).
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.results.comparison.wording import count_text
from pipeline.results.effects.escape import ArmEscape, Escapes
from pipeline.results.figures.line_labels import shorten_label
from pipeline.results.figures.style import (
    BACKGROUND_RUN_COLOUR,
    FONT_SIZE_PX,
    GRID_COLOUR,
    PALETTE,
    TEXT_COLOUR,
)
from pipeline.results.figures.sweep import panels
from pipeline.results.figures.sweep.panels import ArmMarks

MAX_DESCRIBED = 12
SHIFT = 0.008  # of each curve above the one before, so that equal ones can be told apart


def draw_escapes(
    escapes: Escapes, marks: ArmMarks, width: int, height: int, copies: Path | None = None
) -> str:
    """Return an SVG document with a falling step curve per arm; a tick is a run without escape."""
    with panels.report_style():
        figure = panels.new_figure(width, height)
        arms = sorted(escapes.arms, key=lambda arm: _mark(marks, arm)[0])
        coloured = [arm for arm in arms if _mark(marks, arm)[1] is not None]
        longest = max((len(_label(marks, arm)) for arm in coloured), default=0)
        room = min(0.4, 0.05 + longest * 7 / width)
        axes = figure.add_axes((0.08, 0.15, 0.9 - room, 0.72))
        last = max(float(arm.survival.updates[-1]) for arm in escapes.arms)
        for place, arm in enumerate(arms):
            _draw_steps(axes, arm, marks, last, SHIFT * (place % len(PALETTE)))
        if len(arms) > 1:
            _draw_legend(axes, len(arms) - len(coloured))
        axes.set_ylim(-0.03, 1.09)
        axes.set_xlim(0, last * 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.8)
        axes.set_xlabel("updates", loc="right", labelpad=2)
        panels.percent_axis(axes)
        panels.title(axes, "Share of runs on the blank plateau")
        return panels.svg_text(figure, copies)


def describe_escapes(escapes: Escapes) -> str:
    """Return the numbers of the figure in words."""
    parts = [f"{arm.name}: {arm.escaped} of {arm.runs} runs escaped" for arm in escapes.arms]
    others = len(parts) - MAX_DESCRIBED
    more = f"; and {count_text(others, 'more arm')}" if others > 0 else ""
    return (
        "Share of each arm's runs that is still on the blank plateau, over updates. "
        f"{'; '.join(parts[:MAX_DESCRIBED])}{more}. {escapes.sentence}"
    )


def _draw_steps(axes: Axes, arm: ArmEscape, marks: ArmMarks, last: float, shift: float) -> None:
    curve, palette_index = arm.survival, _mark(marks, arm)[1]
    shown = palette_index is not None
    colour = BACKGROUND_RUN_COLOUR if palette_index is None else PALETTE[palette_index]
    x = np.concatenate([[0.0], curve.updates, [last]])
    y = np.concatenate([[1.0], curve.share, curve.share[-1:]]) + shift
    axes.step(
        x, y, where="post", color=colour, linewidth=2.2 if shown else 0.9,
        zorder=3 if shown else 2, gid=panels.run_gid("steps", marks, arm.name),
        label=_label(marks, arm) if shown else None,
    )  # fmt: skip
    lost = curve.censored > 0
    if not lost.any():
        return
    axes.plot(
        curve.updates[lost], curve.share[lost] + shift, color=colour, linestyle="none", marker="|",
        markersize=10, markeredgewidth=1.6, zorder=4, gid=panels.run_gid("lost", marks, arm.name),
    )  # fmt: skip


def _draw_legend(axes: Axes, others: int) -> None:
    legend = axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=FONT_SIZE_PX,
        labelcolor=TEXT_COLOUR, handlelength=1.2,
    )  # fmt: skip
    if others > 0:
        legend.set_title(f"grey: {count_text(others, 'more arm')}")


def _mark(marks: ArmMarks, arm: ArmEscape) -> tuple[int, int | None]:
    return marks.get(arm.name, (len(marks) + 1, None))


def _label(marks: ArmMarks, arm: ArmEscape) -> str:
    return f"{_mark(marks, arm)[0]} {shorten_label(arm.name)}"
