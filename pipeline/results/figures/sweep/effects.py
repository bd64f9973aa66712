"""Effects: the mean test CER at each level of each swept setting, with its interval.

In:   effects of settings.   Out: SVG text, and the same in words.
Not here: the arithmetic (results/effects/settings.py).

A setting of numbers is a curve with a band, on a logarithmic axis where its values spread widely.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from pipeline.results.effects.settings import LevelEffect, SweepEffects, level_text
from pipeline.results.figures.style import PALETTE
from pipeline.results.figures.sweep import panels

MIN_CURVE_LEVELS = 3
MAX_PANELS = 5
COLOUR = PALETTE[0]


def draw_effects(
    effects: SweepEffects, width: int, height: int, copies: Path | None = None
) -> str | None:
    """Return an SVG document with a panel per setting; None if there is no level to draw."""
    shown = _by_factor(effects)
    if not shown:
        return None
    with panels.report_style():
        figure = panels.new_figure(width, height)
        for number, levels in enumerate(shown):
            axes = panels.panel_axes(figure, number, len(shown))
            _draw_levels(axes, levels)
            panels.title(axes, levels[0].factor.key)
        panels.percent_axis(figure.axes[0])
        return panels.svg_text(figure, copies)


def describe_effects(effects: SweepEffects, rate: str = "CER") -> str:
    """Return the numbers of the figure in words."""
    parts = []
    for levels in _by_factor(effects):
        numbers = ", ".join(
            f"{level_text(each.level)} {100 * each.mean.value:.1f} %" for each in levels
        )
        parts.append(f"{levels[0].factor.key}: {numbers}")
    return f"Mean test {rate} at each level. {'; '.join(parts)}."


def _by_factor(effects: SweepEffects) -> list[list[LevelEffect]]:
    levels = [[each for each in effects.levels if each.factor is factor]
              for factor in effects.factors]  # fmt: skip
    return [each for each in levels if each][:MAX_PANELS]


def _draw_levels(axes: Axes, levels: Sequence[LevelEffect]) -> None:
    numeric = levels[0].factor.is_numeric and len(levels) >= MIN_CURVE_LEVELS
    x: list[Any] = [float(each.level) for each in levels] if numeric else list(range(len(levels)))
    means = [each.mean for each in levels]
    values = [each.value for each in means]
    known = all(math.isfinite(each.low) for each in means)
    if numeric:
        axes.plot(x, values, color=COLOUR, linewidth=2.2, marker="o", markersize=5)
        if known:
            lows, highs = [each.low for each in means], [each.high for each in means]
            axes.fill_between(x, lows, highs, color=COLOUR, alpha=0.18, linewidth=0)
        panels.number_axis(axes, x)
        return
    axes.plot(x, values, color=COLOUR, linestyle="none", marker="o", markersize=7)
    if known:
        lengths = [[each.value - each.low for each in means],
                   [each.high - each.value for each in means]]  # fmt: skip
        axes.errorbar(x, values, lengths, color=COLOUR, linestyle="none", linewidth=1.6)
    panels.level_axis(axes, [level_text(each.level) for each in levels])
