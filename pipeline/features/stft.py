"""STFT: windows of samples -> rows of amplitude, power or mel, scaled. In NumPy.

In:   settings; samples (T, W), float32.   Out: rows (T, F), float32.
Not here: which samples are in a window (framing.py), the same in C (native/kernels.py).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.shapes import Float32, Float64

SampleWindows = Float32[np.ndarray, "T W"]
FeatureRows = Float32[np.ndarray, "T _"]  # the number of bins depends on the settings
TILE_POINTS = 32_768  # points transformed at a time: 64 frames of 512


class STFTParameters(NamedTuple):
    """The settings that must be equal for two feature sets to share a Fourier transform."""

    sample_rate: int
    window: str
    window_length: int
    hop: int
    n_fft: int


def stft_parameters(settings: FeatureSettings) -> STFTParameters:
    return STFTParameters(
        settings.sample_rate,
        settings.window,
        settings.window_length,
        settings.hop_length,
        settings.n_fft,
    )


class NumpySTFT:
    """Compute rows with NumPy, a tile of frames at a time, which fits in the cache.

    A tile that is not full is transformed whole, so that no frame depends on the others in it.
    One exception: the last bit of a mel frame, because the matrix product of some processors
    rounds by position.
    """

    def __init__(self, transform: STFTParameters, settings: Sequence[FeatureSettings]) -> None:
        self._tile = max(8, TILE_POINTS // transform.n_fft)
        # As large as the tile: broadcasting one row would take twice as long.
        # The window holds the factor n_fft by which norm="forward" divides.
        self._window = np.tile(
            make_window(transform) * np.float32(transform.n_fft), (self._tile, 1)
        )
        self._padded = np.zeros((self._tile, transform.n_fft), np.float32)
        self._spectrum = np.empty((self._tile, transform.n_fft // 2 + 1), np.complex64)
        self._amplitude = np.empty(self._spectrum.shape, np.float32)
        self._power = np.empty(self._spectrum.shape, np.float32)
        self._writers = [self._make_writer(each) for each in settings]

    def compute_rows(self, windows: SampleWindows, outs: Sequence[FeatureRows]) -> None:
        """Write the row of each window into the array of each setting."""
        with np.errstate(over="ignore", under="ignore"):  # framing.py refuses overflow
            for start in range(0, len(windows), self._tile):
                tile = slice(start, start + self._tile)
                self._transform(windows[tile])
                for write, out in zip(self._writers, outs, strict=True):
                    write(out[tile])

    def _transform(self, windows: SampleWindows) -> None:
        points = self._padded[:, : self._window.shape[1]]
        np.multiply(windows, self._window[: len(windows)], out=points[: len(windows)])
        # Without norm="forward" NumPy transforms in float64, which takes twice the time.
        np.fft.rfft(self._padded, norm="forward", out=self._spectrum)  # type: ignore[arg-type]  # stub: complex128
        np.abs(self._spectrum, out=self._amplitude)
        np.multiply(self._amplitude, self._amplitude, out=self._power)

    def _make_writer(self, settings: FeatureSettings) -> Callable[[FeatureRows], None]:
        """Return the function that writes the first len(out) frames of the current tile."""
        filters = mel_filters(settings).astype(np.float32) if settings.spectrum == "mel" else None
        linear = self._amplitude if is_linear_amplitude(settings) else self._power

        def write(out: FeatureRows) -> None:
            out[:] = linear[: len(out)] if filters is None else (linear @ filters)[: len(out)]
            _apply_scale(settings, out)

        return write


def _apply_scale(settings: FeatureSettings, rows: FeatureRows) -> None:
    match settings.scale:
        case "log1p":
            np.log1p(rows, out=rows)
        case "log" | "decibel":
            np.maximum(rows, np.float32(log_floor(settings)), out=rows)
            np.log(rows, out=rows)
            np.multiply(rows, np.float32(log_factor(settings)), out=rows)


def is_linear_amplitude(settings: FeatureSettings) -> bool:
    """Return whether rows are amplitudes without a logarithm.

    Log amplitude needs no square root: it is half of the log power, and the same in decibels.
    """
    return settings.spectrum == "amplitude" and not settings.is_log_scale


def log_floor(settings: FeatureSettings) -> float:
    """Return the smallest power or mel value that the logarithm gets: a normal float32."""
    return max(settings.floor, float(np.finfo(np.float32).tiny))


def log_factor(settings: FeatureSettings) -> float:
    """Return the factor by which the natural logarithm of a power or mel value is multiplied."""
    if settings.scale == "decibel":
        return float(10 / np.log(10))
    return 0.5 if settings.spectrum == "amplitude" else 1.0


def rows_ratio(one: FeatureSettings, other: FeatureSettings) -> float | None:
    """Return r if the rows of `one` are r times the rows of `other`, to the last bit; else None.

    Log power is twice log amplitude (r = 2). Another storage changes no row (r = 1).
    """
    return (
        log_factor(one) / log_factor(other)
        if _without_log_factor(one) == _without_log_factor(other)
        else None
    )


def _without_log_factor(settings: FeatureSettings) -> FeatureSettings:
    """Return the settings without what changes the rows by a factor only, or not at all."""
    changes: dict[str, Any] = {"storage": "float32", "speeds": ()}
    if settings.is_log_amplitude:
        changes["spectrum"] = "power"
    return settings.model_copy(update=changes)


def mel_filters(settings: FeatureSettings) -> Float64[np.ndarray, "K F"]:
    """Return triangles (K, F) of height 1 on the HTK mel scale.

    The same as torchaudio.functional.melscale_fbanks(norm=None).
    """
    hertz = np.fft.rfftfreq(settings.n_fft, 1 / settings.sample_rate)
    corners = np.array(settings.mel_edges_hz)
    low, centre, high = corners[:-2], corners[1:-1], corners[2:]
    rising = (hertz[:, None] - low) / (centre - low)
    falling = (high - hertz[:, None]) / (high - centre)
    filters: np.ndarray = np.maximum(0, np.minimum(rising, falling))
    return filters


def make_window(transform: STFTParameters) -> Float32[np.ndarray, " W"]:
    """Return a periodic window (W,), as torch does."""
    phase = 2 * np.pi * np.arange(transform.window_length) / transform.window_length
    match transform.window:
        case "hann":
            values = 0.5 - 0.5 * np.cos(phase)
        case "hamming":
            values = 0.54 - 0.46 * np.cos(phase)
        case "blackman":
            values = 0.42 - 0.5 * np.cos(phase) + 0.08 * np.cos(2 * phase)
        case _:
            values = np.ones_like(phase)
    return values.astype(np.float32)
