"""Tuning: the errors on dev of each weight that was tried for a decoding.

In:   the trials of decodings.   Out: SVG text, and the same in words.
Not here: the search for the weights (decoding/words/tuning.py).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from pipeline.results.figures.style import BACKGROUND_RUN_COLOUR, PALETTE
from pipeline.results.figures.sweep import panels

Trials = Sequence[Mapping[str, float]]  # rows of tuning.csv
MAX_PANELS = 4


def draw_tuning(
    decodings: Mapping[str, Trials], width: int, height: int, copies: Path | None = None
) -> str | None:
    """Return an SVG document with a panel per decoding; None if none was tuned."""
    shown = _tuned(decodings)
    if not shown:
        return None
    with panels.report_style():
        figure = panels.new_figure(width, height)
        for number, (name, trials) in enumerate(shown):
            axes = panels.panel_axes(figure, number, len(shown))
            _draw_trials(axes, trials)
            panels.title(axes, name)
        panels.percent_axis(figure.axes[0])
        return panels.svg_text(figure, copies)


def describe_tuning(decodings: Mapping[str, Trials]) -> str:
    """Return the numbers of the figure in words."""
    parts = []
    for name, trials in _tuned(decodings):
        best = min(trials, key=lambda trial: trial["errors"])
        worst = max(_rate(trial) for trial in trials)
        parts.append(
            f"{name}: {100 * _rate(best):.1f} % at n-gram weight {best['model']:g} and word reward "
            f"{best['word']:g}, at most {100 * worst:.1f} %"
        )
    return f"Error rate on dev of each trial. {'; '.join(parts)}."


def _tuned(decodings: Mapping[str, Trials]) -> list[tuple[str, Trials]]:
    return [(name, each) for name, each in decodings.items() if len(each) > 1][:MAX_PANELS]


def _rate(trial: Mapping[str, float]) -> float:
    return trial["errors"] / max(trial["reference"], 1)


def _draw_trials(axes: Axes, trials: Trials) -> None:
    """Draw a line per word reward over the n-gram weight; the chosen reward is coloured."""
    best = min(trials, key=lambda trial: trial["errors"])
    across, along = "model", "word"
    if len({trial["model"] for trial in trials}) == 1:  # no n-gram: one line over the reward
        across, along = "word", "model"
    alike = [trial for trial in trials if trial["unknown"] == trials[0]["unknown"]]
    for value in sorted({trial[along] for trial in alike}):
        line = sorted((t for t in alike if t[along] == value), key=lambda trial: trial[across])
        chosen = value == best[along]
        axes.plot(
            [trial[across] for trial in line],
            [_rate(trial) for trial in line],
            color=PALETTE[0] if chosen else BACKGROUND_RUN_COLOUR,
            linewidth=1.8 if chosen else 0.8,
            zorder=3 if chosen else 2,
        )
    axes.plot(best[across], _rate(best), marker="o", color=PALETTE[0], zorder=4)
    axes.set_xlabel("n-gram weight" if across == "model" else "word reward, nats")
