"""Search: parallel coordinates of a searched sweep, and the test CER against each setting.

In:   arms and the settings that differ.   Out: SVG text, and the same in words.
Not here: effects of settings, which a search does not have (results/effects/settings.py).
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from pipeline.results.comparison.arms import Arm
from pipeline.results.effects.settings import Factor, level_text
from pipeline.results.figures.style import (
    AXIS_COLOUR,
    BACKGROUND_RUN_COLOUR,
    FONT_SIZE_PX,
    PALETTE,
    TEXT_COLOUR,
)
from pipeline.results.figures.sweep import panels
from pipeline.results.figures.sweep.panels import ArmMarks

BEST_SHARE, MAX_BEST = 0.25, 12  # of the arms, coloured
MAX_LEVELS = 6  # of a setting, each named on its axis; of more, the ends
MAX_PANELS = 5
# Offset and alignment of the text at the lower and at the upper end of an axis.
SIDES: dict[float, tuple[tuple[int, int], str, str]] = {
    0: ((0, -4), "center", "top"),
    1: ((0, 4), "center", "bottom"),
}
LABEL_BOX = {"facecolor": "#ffffff", "edgecolor": "none", "alpha": 0.8, "pad": 1}


def draw_parallel_coordinates(
    arms: Sequence[Arm],
    factors: Sequence[Factor],
    marks: ArmMarks,
    width: int,
    height: int,
    *,
    rate: str = "CER",
    copies: Path | None = None,
) -> str:
    """Return an SVG document: a vertical axis per setting and one for the test error rate."""
    with panels.report_style():
        figure = panels.new_figure(width, height)
        axes = figure.add_axes((0.06, 0.08, 0.86, 0.76))
        columns = [_positions(factor, arms) for factor in factors]
        rates = [arm.mean_test_cer for arm in arms]
        columns.append(_scaled(rates, rates))
        is_best = _find_best(rates)
        for place in sorted(range(len(arms)), key=lambda place: -rates[place]):  # the best on top
            best = is_best[place]
            axes.plot(
                range(len(columns)), [column[place] for column in columns],
                color=PALETTE[0] if best else BACKGROUND_RUN_COLOUR,
                linewidth=1.8 if best else 0.9, gid=panels.run_gid("line", marks, arms[place].name),
            )  # fmt: skip
        for number, factor in enumerate(factors):
            names = [level_text(level) for level in factor.levels]
            places = _scaled(*2 * [[_number(factor, level) for level in factor.levels]])
            marked = dict(zip(places, names, strict=True))
            _draw_axis(axes, number, factor.key.rsplit(".", 1)[-1], marked)
        ends = {0.0: f"{100 * min(rates):.1f} %", 1.0: f"{100 * max(rates):.1f} %"}
        _draw_axis(axes, len(factors), f"test {rate}", ends)
        axes.set_axis_off()
        axes.set_xlim(-0.3, len(factors) + 0.3)
        return panels.svg_text(figure, copies)


def draw_rate_against_settings(
    arms: Sequence[Arm],
    factors: Sequence[Factor],
    width: int,
    height: int,
    copies: Path | None = None,
) -> str:
    """Return an SVG document with a panel per setting and a point per arm."""
    with panels.report_style():
        figure = panels.new_figure(width, height)
        shown = factors[:MAX_PANELS]
        rates = [arm.mean_test_cer for arm in arms]
        is_best = _find_best(rates)
        for number, factor in enumerate(shown):
            axes = panels.panel_axes(figure, number, len(shown))
            x = [_value(factor, arm) for arm in arms]
            for best in (False, True):
                chosen = [place for place in range(len(arms)) if is_best[place] == best]
                axes.plot(
                    [x[place] for place in chosen],
                    [rates[place] for place in chosen],
                    color=PALETTE[0] if best else BACKGROUND_RUN_COLOUR,
                    linestyle="none", marker="o", markersize=5,
                )  # fmt: skip
            if factor.is_numeric:
                panels.number_axis(axes, [float(each) for each in factor.levels])
            else:
                panels.level_axis(axes, [level_text(each) for each in factor.levels])
            panels.title(axes, factor.key)
        panels.percent_axis(figure.axes[0])
        return panels.svg_text(figure, copies)


def describe_search(arms: Sequence[Arm], factors: Sequence[Factor], rate: str = "CER") -> str:
    """Return the settings of the arm with the lowest test CER, and of that with the highest."""
    ranked = sorted(arms, key=lambda arm: arm.mean_test_cer)
    parts = [
        f"{word} test {rate} {100 * arm.mean_test_cer:.1f} % with "
        + ", ".join(f"{factor.key} {level_text(arm.settings[factor.key])}" for factor in factors)
        for word, arm in (("Lowest", ranked[0]), ("Highest", ranked[-1]))
    ]
    return f"{len(arms)} arms. {'. '.join(parts)}."


def count_best(arms: Sequence[Arm]) -> int:
    """Return how many arms are coloured."""
    return sum(_find_best([arm.mean_test_cer for arm in arms]))


def _find_best(rates: Sequence[float]) -> list[bool]:
    """Return which rates are in the lowest BEST_SHARE; of equal ones all or none."""
    most = max(1, min(MAX_BEST, BEST_SHARE * len(rates)))
    ascending = sorted(rates)
    return [bisect_left(ascending, rate) < most for rate in rates]


def _value(factor: Factor, arm: Arm) -> float:
    return _number(factor, arm.settings[factor.key])


def _number(factor: Factor, level: object) -> float:
    """Return the level itself, or its place among the levels if it is not a number."""
    if factor.is_numeric:
        return float(str(level))
    return float([repr(each) for each in factor.levels].index(repr(level)))


def _positions(factor: Factor, arms: Sequence[Arm]) -> list[float]:
    ends = [_number(factor, level) for level in factor.levels]
    return _scaled([_value(factor, arm) for arm in arms], ends)


def _scaled(values: Sequence[float], ends: Sequence[float]) -> list[float]:
    """Return the values between 0 and 1, by logarithms where they spread widely."""
    low, high = min(ends), max(ends)
    if panels.is_wide(ends):
        return [panels.log_share(value, low, high) for value in values]
    return [(value - low) / (high - low) if high > low else 0.5 for value in values]


def _draw_axis(axes: Axes, number: int, name: str, marked: Mapping[float, str]) -> None:
    """Draw an axis with its name; `marked`: what is written at which place, from 0 to 1."""
    axes.plot([number, number], [0, 1], color=AXIS_COLOUR, linewidth=1)
    for y, text in marked.items():
        if 0 < y < 1 and len(marked) > MAX_LEVELS:
            continue
        offset, side, height = SIDES.get(y, ((-5, 0), "right", "center"))
        axes.annotate(
            text, (number, y), offset, textcoords="offset points", ha=side, va=height,
            color=AXIS_COLOUR, bbox=LABEL_BOX if 0 < y < 1 else None,
        )  # fmt: skip
    axes.annotate(
        name, (number, 1), (0, 22), textcoords="offset points", ha="center", color=TEXT_COLOUR,
        fontsize=FONT_SIZE_PX,
    )  # fmt: skip
