"""Spectra: waveforms -> amplitude, power or mel frames. Not with torch, which imports for seconds.

In:   mono waveforms, float32, full scale 1; feature settings.   Out: frames (T, F).
Not here: decoding (corpus/audio.py), the file (shards.py), normalisation (statistics.py).

Frame t is centred on sample t * hop, the ends are mirrored, and the window stands in the middle of
the n_fft points, as in torch.stft(center=True, pad_mode="reflect") and so in torchaudio's
Spectrogram and MelScale. A waveform shorter than that, which torch refuses, is mirrored repeatedly.

Why it is fast: a tile of frames stays in the cache from windowing to storage, utterances follow
each other through the same buffers, and settings that share a transform share its result.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64

from pipeline.config import FeatureSettings
from pipeline.files import InputError

TILE = 131_072  # points transformed at a time: 256 frames of 512
BLOCK = 4096  # rows handed to a sink at a time; at least one tile
BAND = 16  # neighbouring mel filters multiplied together: together they touch few FFT points
MOST_VANISHED = 0.001  # of the values that are not zero
HALF_OF_SMALLEST_FLOAT16 = 2.0**-25  # what is not above it is stored as zero

Sink = Callable[[Float[np.ndarray, "T F"]], None]  # the rows are overwritten after the call


class Transform(NamedTuple):
    """What has to agree for two feature settings to share a Fourier transform."""

    sample_rate: int
    window: str
    window_length: int
    hop: int
    n_fft: int


def transform_of(settings: FeatureSettings) -> Transform:
    return Transform(
        settings.sample_rate,
        settings.window,
        settings.window_length,
        settings.hop,
        settings.n_fft,
    )


def frame_count(samples: int, settings: FeatureSettings) -> int:
    return 1 + (samples - settings.n_fft % 2) // settings.hop


def spectra(
    waveform: Float32[np.ndarray, " N"], settings: Sequence[FeatureSettings]
) -> list[Float32[np.ndarray, "T F"]]:
    """The frames of one waveform, in float32 whatever the storage, for each of `settings`."""
    frames: list[list[Float32[np.ndarray, "T F"]]] = [[] for _ in settings]
    for shared in {transform_of(each) for each in settings}:
        numbers = [n for n, each in enumerate(settings) if transform_of(each) == shared]
        exact = [settings[n].model_copy(update={"storage": "float32"}) for n in numbers]
        sinks = [lambda rows, n=n: frames[n].append(rows.copy()) for n in numbers]
        stream = Stream(exact, sinks)
        stream.add(waveform)
        stream.close()
    return [np.concatenate(rows) for rows in frames]


class Stream:
    """Waveforms, one after another, through one transform; rows of each setting to its sink."""

    def __init__(self, settings: Sequence[FeatureSettings], sinks: Sequence[Sink]) -> None:
        (self.transform,) = {transform_of(each) for each in settings}
        rows = max(8, TILE // self.transform.n_fft)
        bins = self.transform.n_fft // 2 + 1
        self._window = _window(self.transform)
        self._points = np.zeros((rows, self.transform.n_fft), np.float32)
        self._filled = 0
        self._spectrum = np.empty((rows, bins), np.complex64)
        self._amplitude = np.empty((rows, bins), np.float32)
        self._power = np.empty((rows, bins), np.float32)
        self._padded = np.empty(0, np.float32)
        self._bins = [_Bins(*pair, rows) for pair in zip(settings, sinks, strict=True)]
        self._wants_power = any(each.spectrum != "amplitude" for each in settings)

    def add(self, waveform: Float32[np.ndarray, " N"]) -> None:
        if not waveform.size:
            raise InputError("a waveform has no samples; leave the utterance out")
        windows = self._windows(waveform)
        done = 0
        while done < len(windows):
            end = min(self._filled + len(windows) - done, len(self._points))
            taken = windows[done : done + end - self._filled]
            points = self._points[self._filled : end, : self.transform.window_length]
            np.multiply(taken, self._window, out=points)
            done += len(taken)
            self._filled = end
            if end == len(self._points):
                self._transform_tile()

    def close(self) -> None:
        """Hand out what is left, or refuse what float16 cannot hold."""
        self._transform_tile()
        for bins in self._bins:
            bins.close()

    def _windows(self, waveform: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "T W"]:
        """A view: row t is what the window of frame t sees, the ends mirrored."""
        _, _, length, hop, n_fft = self.transform
        count = 1 + (len(waveform) - n_fft % 2) // hop
        before = n_fft // 2 - (n_fft - length) // 2
        after = max(0, (count - 1) * hop + length - before - len(waveform))
        padded = self._mirrored(waveform, before, after)
        return np.ndarray((count, length), np.float32, padded, strides=(4 * hop, 4))

    def _mirrored(
        self, waveform: Float32[np.ndarray, " N"], before: int, after: int
    ) -> Float32[np.ndarray, " P"]:
        samples = len(waveform)
        if samples <= max(before, after):
            return np.pad(waveform, (before, after), mode="reflect")
        if len(self._padded) < before + samples + after:
            self._padded = np.empty(before + samples + after, np.float32)
        padded = self._padded[: before + samples + after]
        padded[:before] = waveform[before:0:-1]
        padded[before : before + samples] = waveform
        padded[before + samples :] = waveform[samples - 1 - after : samples - 1][::-1]
        return padded

    def _transform_tile(self) -> None:
        count, self._filled = self._filled, 0
        if not count:
            return
        points, spectrum = self._points[:count], self._spectrum[:count]
        amplitude, power = self._amplitude[:count], self._power[:count]
        # numpy multiplies by 1 in float64 unless a norm is named, and so transforms in float64, at
        # twice the time; the window holds the factor n_fft by which this norm divides.
        np.fft.rfft(points, norm="forward", out=spectrum)  # type: ignore[arg-type]  # stub: complex128
        with np.errstate(over="ignore", under="ignore"):  # _Bins refuses what overflows
            np.abs(spectrum, out=amplitude)
            if self._wants_power:
                np.multiply(amplitude, amplitude, out=power)
            for bins in self._bins:
                bins.add(amplitude, power)


class _Bins:
    """One feature setting: from the transform of a tile to scaled, stored rows."""

    def __init__(self, settings: FeatureSettings, sink: Sink, rows: int) -> None:
        self._settings = settings
        self._sink = sink
        self._bands = _bands(settings) if settings.spectrum == "mel" else []
        self._values = np.empty((rows, settings.bins), np.float32)
        self._rows = np.empty((max(BLOCK, rows), settings.bins), settings.storage)
        self._filled = 0
        self._nonzero = self._vanished = 0
        self._may_vanish = settings.storage == "float16" and settings.scale in ("none", "log1p")

    def add(self, amplitude: Float32[np.ndarray, "T K"], power: Float32[np.ndarray, "T K"]) -> None:
        if self._filled + len(amplitude) > len(self._rows):
            self._hand_out()
        values = self._values[: len(amplitude)]
        if self._settings.spectrum == "mel":
            for low, high, first, filters in self._bands:
                band = values[:, first : first + filters.shape[1]]
                np.matmul(power[:, low:high], filters, out=band)
            linear = values
        else:
            linear = amplitude if self._settings.spectrum == "amplitude" else power
        scaled = self._scale(linear, values)
        self._check(scaled)
        self._rows[self._filled : self._filled + len(scaled)] = scaled
        self._filled += len(scaled)

    def close(self) -> None:
        self._hand_out()
        if self._vanished > MOST_VANISHED * self._nonzero:
            raise InputError(
                f"features.storage float16: {self._vanished / self._nonzero:.0%} of the "
                f"{self._named()} values would vanish, being below 3e-8; choose features.scale "
                "log or features.storage float32"
            )

    def _hand_out(self) -> None:
        if self._filled:
            self._sink(self._rows[: self._filled])
        self._filled = 0

    def _scale(
        self, linear: Float32[np.ndarray, "T F"], out: Float32[np.ndarray, "T F"]
    ) -> Float32[np.ndarray, "T F"]:
        scale = self._settings.scale
        if scale == "none":
            return linear
        if scale == "log1p":
            np.log1p(linear, out=out)
            return out
        floor = max(self._settings.floor, float(np.finfo(np.float32).tiny))
        np.maximum(linear, np.float32(floor), out=out)
        if scale == "log":
            np.log(out, out=out)
            return out
        np.log10(out, out=out)
        np.multiply(out, np.float32(20 if self._settings.spectrum == "amplitude" else 10), out=out)
        return out

    def _check(self, scaled: Float32[np.ndarray, "T F"]) -> None:
        largest = scaled.max()
        if not largest <= np.finfo(self._settings.storage).max:
            raise InputError(
                f"features.storage {self._settings.storage} holds at most "
                f"{np.finfo(self._settings.storage).max:g}, and {self._named()} reached "
                f"{largest:g}; choose features.scale log or features.storage float32"
            )
        if self._may_vanish:
            zeros = int(np.count_nonzero(scaled == 0))
            self._nonzero += scaled.size - zeros
            tiny = int(np.count_nonzero(scaled <= HALF_OF_SMALLEST_FLOAT16))
            self._vanished += tiny - zeros

    def _named(self) -> str:
        return f"{self._settings.spectrum} with scale {self._settings.scale}"


def mel_filters(settings: FeatureSettings) -> Float64[np.ndarray, "K F"]:
    """Triangles on the HTK mel scale, each of height 1: torchaudio's melscale_fbanks, norm=None."""
    hertz = np.fft.rfftfreq(settings.n_fft, 1 / settings.sample_rate)
    ends = np.array([settings.mel_low_hz, settings.mel_high_hz or settings.sample_rate / 2])
    mel_low, mel_high = 2595 * np.log10(1 + ends / 700)
    corners = 700 * (10 ** (np.linspace(mel_low, mel_high, settings.mel_bins + 2) / 2595) - 1)
    low, centre, high = corners[:-2], corners[1:-1], corners[2:]
    rising = (hertz[:, None] - low) / (centre - low)
    falling = (high - hertz[:, None]) / (high - centre)
    return np.maximum(0, np.minimum(rising, falling))


def _bands(
    settings: FeatureSettings,
) -> list[tuple[int, int, int, Float32[np.ndarray, "k f"]]]:
    """(first point, end point, first filter, their weights) of each BAND of mel filters."""
    filters = mel_filters(settings).astype(np.float32)
    bands = []
    for first in range(0, settings.mel_bins, BAND):
        band = filters[:, first : first + BAND]
        touched = np.flatnonzero(band.any(axis=1))
        low, high = (touched[0], touched[-1] + 1) if touched.size else (0, 1)
        bands.append((int(low), int(high), first, np.ascontiguousarray(band[low:high])))
    return bands


def _window(transform: Transform) -> Float32[np.ndarray, " W"]:
    """Periodic, as torch's, times n_fft."""
    phase = 2 * np.pi * np.arange(transform.window_length) / transform.window_length
    match transform.window:
        case "hann":
            window = 0.5 - 0.5 * np.cos(phase)
        case "hamming":
            window = 0.54 - 0.46 * np.cos(phase)
        case "blackman":
            window = 0.42 - 0.5 * np.cos(phase) + 0.08 * np.cos(2 * phase)
        case _:
            window = np.ones_like(phase)
    return (window * transform.n_fft).astype(np.float32)
