"""Histograms of a corpus: durations, speaking rate, levels, characters.

In:   numbers of each utterance, counts of characters.   Out: a PNG or SVG file.
Not here: measuring (pipeline/corpus/survey.py), figures of runs (learning_curves.py).
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.files import atomic_write
from pipeline.results.figures.style import FIGURE_RC, PALETTE, save_figure

SIZE_INCHES = (10.0, 7.0)
HISTOGRAM_BARS = 40
MAX_CHARACTERS = 60  # bars
MAX_UPRIGHT_CHARACTERS = 2  # of the name of a bar; longer ones, as of phonemes, are turned


def draw_corpus(
    title: str,
    *,
    seconds: Sequence[float],
    characters_per_second: Sequence[float],
    peaks_db: Sequence[float],
    characters: Counter[str],
    path: Path,
    units: str = "characters",
) -> None:
    """Draw four panels; the suffix of `path` chooses the image format."""
    with mpl.rc_context(FIGURE_RC), warnings.catch_warnings():
        # A character may be one that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        figure.suptitle(title)
        (durations, paces), (levels, letters) = figure.subplots(2, 2)
        _draw_histogram(durations, seconds, "duration [s]")
        _draw_histogram(paces, characters_per_second, f"{units} per second")
        _draw_histogram(levels, peaks_db, "peak level [dB of full scale]")
        shown = characters.most_common(MAX_CHARACTERS)
        names = ["␣" if character == " " else character for character, _ in shown]
        letters.bar(range(len(shown)), [count for _, count in shown], color=PALETTE[0])
        upright = max(map(len, names), default=0) <= MAX_UPRIGHT_CHARACTERS
        rotation = 0 if upright else 90
        letters.set_xticks(range(len(shown)), names, fontsize=7, rotation=rotation)
        letters.set_yscale("log")
        letters.yaxis.set_major_formatter("{x:.0f}")  # the usual one needs parsed formulas
        letters.yaxis.set_minor_formatter("")
        letters.set_ylabel("times")
        letters.set_xlabel(f"{units} (the {len(shown)} most frequent of {len(characters)})")
        image_format = path.suffix.lower().removeprefix(".")
        with atomic_write(path) as partial:
            save_figure(figure, partial, image_format, dpi=120)


def _draw_histogram(axes: Axes, values: Sequence[float], label: str) -> None:
    axes.hist(values, bins=HISTOGRAM_BARS, color=PALETTE[0])
    axes.set_xlabel(label)
    axes.set_ylabel("utterances")
