"""Posteriors: a spectrogram, and below it what the network says at each step.

In:   an utterance with its frames and its log-probabilities; its words and letters with times.
Out:  an SVG document, or a file; its text.
Not here: the choice of utterances (errors/posteriors.py), curves of runs (learning_curves.py).
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.config.features import FeatureSettings
from pipeline.files import atomic_write
from pipeline.results.errors.posteriors import UtteranceOutput
from pipeline.results.figures import style
from pipeline.results.figures.spectrograms import bin_frequencies_hz, require_image_suffix
from pipeline.results.figures.svg_embed import save_copies
from pipeline.runs.trained.alignments import AlignedUtterance
from pipeline.shapes import Float, Int64

SIZE_PX = (760, 300)
MAX_SECONDS = 12.0  # of an utterance; the rest is not drawn
MAX_ALIGNED_SECONDS = 60.0  # in a file of its own, which is wider than a page
MAX_COLUMNS, MAX_ROWS, MAX_COLOURS = 200, 48, 16  # of the spectrogram: more bytes show no more
MIN_DRAWN_PROBABILITY = 0.01
MIN_LABEL_DISTANCE = 1 / 90  # of the width; labels that are nearer are left out
DPI = 72  # one SVG point is one CSS pixel of the page


def draw_output(output: UtteranceOutput, copies: Path | None = None) -> str:
    """Return an SVG document with the time axis in seconds; `copies`: also as PNG and PDF."""
    with _drawing():
        figure = _make_figure(output, MAX_SECONDS)
        if copies:
            save_copies(figure, copies)
        with io.StringIO() as document:
            figure.savefig(document, format="svg", metadata={"Date": None})
            return document.getvalue()


def draw_alignment(output: UtteranceOutput, aligned: AlignedUtterance, path: Path) -> None:
    """Write the output with the words and letters between spectrogram and posteriors.

    The suffix of `path`, .png or .svg, chooses the image format.
    """
    image_format = require_image_suffix(path)
    undated = {"Date": None} if image_format == "svg" else {}
    with _drawing(), atomic_write(path) as partial:
        figure = _make_figure(output, MAX_ALIGNED_SECONDS, aligned)
        style.save_figure(figure, partial, image_format, metadata=undated, dpi=2 * DPI)


@contextmanager
def _drawing() -> Iterator[None]:
    with mpl.rc_context(style.FIGURE_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # letters that matplotlib's font lacks
        yield


def _make_figure(
    output: UtteranceOutput, most: float, aligned: AlignedUtterance | None = None
) -> Figure:
    """Return the drawing of the first `most` seconds; MAX_SECONDS are as wide as the page."""
    seconds = utterance_seconds(output)
    shown = min(seconds, most)
    width, height = (pixels / DPI for pixels in SIZE_PX)
    heights = [1.0, 1.2] if aligned is None else [1.0, 0.35, 1.2]
    size = (width * max(1.0, shown / MAX_SECONDS), height * sum(heights) / 2.2)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    upper, *middle, lower = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    if output.settings is not None and output.frames is not None:
        _draw_spectrogram(upper, output.frames, output.settings, shown)
    else:
        upper.set_visible(False)
    if aligned is not None:
        _draw_pieces(middle[0], aligned, shown)
    _draw_posteriors(lower, output, seconds, shown)
    lower.set_xlim(0, shown)
    lower.set_xlabel("s")
    return figure


def _draw_pieces(axes: Axes, aligned: AlignedUtterance, shown: float) -> None:
    """Draw each word as a box with its letters at their times below it."""
    for word in aligned.words:
        if word.begin < shown:
            begin, end = word.begin, min(word.end, shown)
            axes.axvspan(begin, end, 0.5, 1, facecolor=style.GRID_COLOUR, edgecolor="white")
            axes.text((begin + end) / 2, 0.74, word.text, ha="center", va="center", clip_on=True)
    for letter in aligned.letters:
        middle = (letter.begin + letter.end) / 2
        if letter.text != " " and middle < shown:
            axes.axvspan(letter.begin, letter.end, 0, 0.45, color=style.GRID_COLOUR, linewidth=0)
            axes.text(middle, 0.2, letter.text, ha="center", va="center", clip_on=True)
    axes.set_ylim(0, 1)
    axes.set_yticks([0.2, 0.74], ["letters", "words"])
    axes.tick_params(labelbottom=False, bottom=False)


def describe_output(output: UtteranceOutput) -> str:
    """Return a sentence with the numbers of the picture, for those who do not see it."""
    seconds = utterance_seconds(output)
    best = output.posterior.log_probabilities.argmax(axis=1)
    blank = float((best == 0).mean()) if len(best) else 0.0
    emitted = [symbol for symbol, *_ in emitted_symbols(output)]
    part = f"the first {MAX_SECONDS:.0f} s of " if seconds > MAX_SECONDS else ""
    return (
        f"Spectrogram and output of the network over time, {part}utterance "
        f"{output.hypothesis.utterance_id}, {seconds:.1f} s, arm {output.arm}. The blank is the "
        f"most probable output in {100 * blank:.0f} % of the steps. Reference: "
        f"{output.hypothesis.reference or 'empty'}. Emitted: {''.join(emitted) or 'nothing'}."
    )


def utterance_seconds(output: UtteranceOutput) -> float:
    """Return the duration; without a feature set, a step counts as 10 ms per frame."""
    hop = output.settings.hop_length / output.settings.sample_rate if output.settings else 0.01
    return max(output.posterior.frames * hop, hop)


def emitted_symbols(output: UtteranceOutput) -> list[tuple[str, int, int]]:
    """Return each symbol that greedy search emits, with its first step and the one after it."""
    best: Int64[np.ndarray, " S"] = output.posterior.log_probabilities.argmax(axis=1)
    edges = [0, *(np.flatnonzero(np.diff(best)) + 1).tolist(), len(best)]
    return [
        (output.posterior.symbols[best[start]], start, stop)
        for start, stop in pairwise(edges)
        if start < stop and best[start] != 0
    ]


def shrink(frames: Float[np.ndarray, "T F"], axis: int, most: int) -> Float[np.ndarray, "A B"]:
    """Return means of neighbours, at most `most` of them along the axis."""
    count = frames.shape[axis]
    if count <= most:
        return frames
    edges = np.linspace(0, count, most, endpoint=False).astype(int)
    sizes = np.diff([*edges, count])
    sums = np.add.reduceat(frames, edges, axis=axis)
    return sums / (sizes[:, None] if axis == 0 else sizes)


def _draw_spectrogram(
    axes: Axes, frames: Float[np.ndarray, "T F"], settings: FeatureSettings, seconds: float
) -> None:
    kept = frames[: round(seconds * settings.sample_rate / settings.hop_length)]
    image = shrink(shrink(kept.astype(np.float32), 0, MAX_COLUMNS), 1, MAX_ROWS)
    axes.imshow(
        image.T,
        origin="lower",
        aspect="auto",
        interpolation="none",  # the SVG then holds the pixels as they are
        cmap=mpl.colormaps["magma"].resampled(MAX_COLOURS),
        extent=(0, seconds, -0.5, settings.bins - 0.5),
    )
    ticks = np.linspace(0, settings.bins - 1, min(3, settings.bins)).round().astype(int)
    hertz = bin_frequencies_hz(settings)[ticks]
    axes.set_yticks(ticks, [f"{each / 1000:.1f}" for each in hertz])
    axes.set_ylabel("kHz")
    axes.tick_params(labelbottom=False, bottom=False)


def _draw_posteriors(axes: Axes, output: UtteranceOutput, seconds: float, shown: float) -> None:
    """Draw the blank as a grey area and each other class as a line with its name at its peaks."""
    probabilities = np.exp(output.posterior.log_probabilities.astype(np.float32))
    steps = len(probabilities)
    times = (np.arange(steps) + 0.5) * seconds / max(steps, 1)
    drawn = times <= shown
    blank = probabilities[drawn, 0]
    axes.fill_between(times[drawn], blank, color=style.GRID_COLOUR, linewidth=0)
    axes.plot(times[drawn], blank, color=style.AXIS_COLOUR, linestyle="--", linewidth=1)
    for number, line in enumerate(probabilities[drawn, 1:].T):
        near = np.convolve(line >= MIN_DRAWN_PROBABILITY, np.ones(3), "same") > 0
        colour = style.PALETTE[number % len(style.PALETTE)]
        axes.plot(times[drawn], np.where(near, line, np.nan), color=colour, linewidth=1.2)
    for symbol, middle in _place_labels(output, seconds, shown):
        axes.text(middle, 1.04, "␣" if symbol == " " else symbol, ha="center", va="bottom")
    axes.set_ylim(0, 1.22)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_ylabel("probability")


def _place_labels(output: UtteranceOutput, seconds: float, shown: float) -> list[tuple[str, float]]:
    """Return the symbols that have room, with their times; a letter goes before a space."""
    room = MIN_LABEL_DISTANCE * min(shown, MAX_SECONDS)
    steps = len(output.posterior.log_probabilities)
    placed: list[tuple[str, float]] = []
    for symbol, start, stop in sorted(emitted_symbols(output), key=lambda each: each[0] == " "):
        middle = (start + stop) / 2 * seconds / steps
        if middle <= shown and all(abs(middle - time) >= room for _, time in placed):
            placed.append((symbol, middle))
    return placed
