"""Spectrograms: drawings of the frames that shards hold.

In:   frames of utterances, their feature settings, their transcripts.   Out: a PNG or SVG file.
Not here: figures of runs (learning_curves.py); the choice of utterances, which `make inspect` does.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.config.features import FeatureSettings
from pipeline.files import InputError, atomic_write
from pipeline.results.figures.style import save_figure
from pipeline.shapes import Float, Float64

UTTERANCE_SIZE_INCHES = (10.0, 2.4)  # width and height of one utterance
FREQUENCY_TICK_COUNT = 5
MAX_TITLE_CHARS = 110
IMAGE_FORMATS = ("png", "svg")
SPECTROGRAM_RC = {"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "blankslate"}


@dataclass(frozen=True, eq=False)
class Spectrogram:
    title: str
    frames: Float[np.ndarray, "T F"]


def draw_spectrograms(
    spectrograms: Sequence[Spectrogram], settings: FeatureSettings, path: Path
) -> None:
    """Draw the spectrograms below each other; the suffix of `path` chooses the image format."""
    image_format = require_image_suffix(path)
    width, height = UTTERANCE_SIZE_INCHES
    with mpl.rc_context(SPECTROGRAM_RC), warnings.catch_warnings():
        # A transcript may hold characters that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(width, height * len(spectrograms)), layout="constrained")
        rows = figure.subplots(len(spectrograms), squeeze=False)[:, 0]
        for axes, spectrogram in zip(rows, spectrograms, strict=True):
            _draw_spectrogram(axes, spectrogram, settings)
        undated = {"Date": None} if image_format == "svg" else {}
        with atomic_write(path) as partial:
            save_figure(figure, partial, image_format, metadata=undated)


def require_image_suffix(path: Path) -> str:
    """Return the image format that the suffix names; InputError if it names no such format."""
    image_format = path.suffix.lower().removeprefix(".")
    if image_format not in IMAGE_FORMATS:
        raise InputError(f"{path}: must end in .{' or .'.join(IMAGE_FORMATS)}")
    return image_format


def bin_frequencies_hz(settings: FeatureSettings) -> Float64[np.ndarray, " F"]:
    """Return the centre frequency of each bin, in Hz."""
    if settings.spectrum != "mel":
        return np.fft.rfftfreq(settings.n_fft, 1 / settings.sample_rate)
    return np.array(settings.mel_edges_hz[1:-1])


def _draw_spectrogram(axes: Axes, spectrogram: Spectrogram, settings: FeatureSettings) -> None:
    frames = spectrogram.frames.astype(np.float32)
    seconds = len(frames) * settings.hop_length / settings.sample_rate
    title = spectrogram.title
    if len(title) > MAX_TITLE_CHARS:
        title = title[: MAX_TITLE_CHARS - 1] + "…"
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel("s")
    axes.set_ylabel("Hz")
    if not len(frames):
        return
    image = axes.imshow(
        frames.T, origin="lower", aspect="auto", interpolation="nearest", cmap="magma",
        extent=(0, seconds, -0.5, settings.bins - 0.5),
    )  # fmt: skip
    tick_count = min(FREQUENCY_TICK_COUNT, settings.bins)
    ticks = np.linspace(0, settings.bins - 1, tick_count).round().astype(int)
    axes.set_yticks(ticks, [f"{hertz:.0f}" for hertz in bin_frequencies_hz(settings)[ticks]])
    axes.figure.colorbar(image, ax=axes, pad=0.01, label=f"{settings.scale} {settings.spectrum}")
