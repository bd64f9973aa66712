"""Spectra: waveforms -> amplitude, power or mel frames. Not with torch, which imports for seconds.

In:   mono waveforms, float32, full scale 1, whole or in blocks; feature settings.
Out:  frames (T, F), float32, a few hundred at a time.
Not here: decoding (corpus/audio.py), what is kept of a frame (storage.py), the file (shards.py).

Frame t is centred on sample t * hop, the ends are mirrored, and the window stands in the middle of
the n_fft points, as in torch.stft(center=True, pad_mode="reflect") and so in torchaudio's
Spectrogram and MelScale. A waveform shorter than that, which torch refuses, is mirrored repeatedly.

Why it is fast: a tile of frames stays in the cache from windowing to scaling, utterances follow
each other through the same buffers, and settings that share a transform share its result. A tile is
transformed whole even where it is not full, so that no frame depends on its neighbours in it: but
for the last bit of a mel frame, which some processors' matrix product rounds by its place.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from pipeline.config import FeatureSettings
from pipeline.files import InputError

TILE = 131_072  # points transformed at a time: 256 frames of 512
BLOCK = 4096  # rows handed to a sink at a time, at least one tile
BAND = 16  # neighbouring mel filters multiplied together: together they touch few FFT points

Sink = Callable[[Float32[np.ndarray, "T F"]], None]  # the rows are overwritten after the call


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
        sinks = [lambda rows, n=n: frames[n].append(rows.copy()) for n in numbers]
        stream = Stream([settings[n] for n in numbers], sinks)
        stream.add(waveform)
        stream.close()
    return [np.concatenate(rows) for rows in frames]


class Stream:
    """Waveforms, one after another, through one transform; rows of each setting to its sink."""

    def __init__(self, settings: Sequence[FeatureSettings], sinks: Sequence[Sink]) -> None:
        (self.transform,) = {transform_of(each) for each in settings}
        rows = max(8, TILE // self.transform.n_fft)
        bins = self.transform.n_fft // 2 + 1
        # As large as the tile: one product of whole arrays takes half as long as one row by row.
        self._window = np.tile(_window(self.transform), (rows, 1))
        self._waveform = _Waveform(self.transform)
        self._points = np.zeros((rows, self.transform.n_fft), np.float32)
        self._filled = 0
        self._spectrum = np.empty((rows, bins), np.complex64)
        self._amplitude = np.empty((rows, bins), np.float32)
        self._power = np.empty((rows, bins), np.float32)
        self._bins = [_Bins(*pair, rows) for pair in zip(settings, sinks, strict=True)]
        self._wants_power = any(each.spectrum != "amplitude" for each in settings)

    def add(self, block: Float32[np.ndarray, " N"], *, last: bool = True) -> None:
        """The next samples of an utterance, which ends with them if they are the `last`."""
        windows = self._waveform.extend(block, last=last)
        done = 0
        while done < len(windows):
            end = min(self._filled + len(windows) - done, len(self._points))
            taken = windows[done : done + end - self._filled]
            self._points[self._filled : end, : self.transform.window_length] = taken
            done += len(taken)
            self._filled = end
            if end == len(self._points):
                self._transform_tile()

    def close(self) -> None:
        """Hand out what is left."""
        if self._filled:
            self._transform_tile()
        for bins in self._bins:
            bins.hand_out()

    def _transform_tile(self) -> None:
        count, self._filled = self._filled, 0
        np.multiply(self._points, self._window, out=self._points)
        # numpy multiplies by 1 in float64 unless a norm is named, and so transforms in float64, at
        # twice the time; the window holds the factor n_fft by which this norm divides.
        np.fft.rfft(self._points, norm="forward", out=self._spectrum)  # type: ignore[arg-type]  # stub: complex128
        with np.errstate(over="ignore", under="ignore"):  # _Bins refuses what overflows
            np.abs(self._spectrum, out=self._amplitude)
            if self._wants_power:
                np.multiply(self._amplitude, self._amplitude, out=self._power)
            for bins in self._bins:
                bins.add(self._amplitude, self._power, count)


class _Waveform:
    """One utterance after another, in blocks of samples -> what the windows of its frames see."""

    def __init__(self, transform: Transform) -> None:
        _, _, self._length, self._hop, self._n_fft = transform
        self._before = self._n_fft // 2 - (self._n_fft - self._length) // 2  # mirrored, at least
        self._begin()

    def _begin(self) -> None:
        self._samples = 0  # of the utterance, so far
        self._frames = 0  # given out
        self._held = np.empty(0, np.float32)  # samples that are still needed
        self._origin: int | None = None  # of them, counted from where frame 0 begins; None: unknown

    def extend(self, block: Float32[np.ndarray, " N"], *, last: bool) -> Float32[np.ndarray, "T W"]:
        """A view: each row is what the window of the next frame sees, the ends mirrored."""
        self._samples += len(block)
        held = np.concatenate((self._held, block)) if self._held.size else block
        if self._origin is None and self._samples <= self._n_fft and not last:
            self._held = held.copy()  # too few to mirror
            return np.empty((0, self._length), np.float32)
        if not self._samples:
            raise InputError("a waveform has no samples; leave the utterance out")
        end = (
            self._samples - self._n_fft % 2 if last else self._samples + self._before - self._length
        )
        count = 1 + end // self._hop
        held = self._mirrored(held, count if last else None)
        origin = self._origin or 0
        windows = self._windows(held, self._frames * self._hop - origin, count - self._frames)
        if last:
            self._begin()
            return windows
        # What the mirrored end may need is kept as well.
        kept = min(count * self._hop, self._before + self._samples - 1) - self._length
        self._origin = max(origin, kept)
        self._held = held[self._origin - origin :].copy()
        self._frames = count
        return windows

    def _windows(
        self, held: Float32[np.ndarray, " P"], start: int, count: int
    ) -> Float32[np.ndarray, "T W"]:
        if count < 1:
            return np.empty((0, self._length), np.float32)
        shape, strides = (count, self._length), (4 * self._hop, 4)
        return np.ndarray(shape, np.float32, held, offset=4 * start, strides=strides)

    def _mirrored(
        self, held: Float32[np.ndarray, " P"], count: int | None
    ) -> Float32[np.ndarray, " Q"]:
        """With the start before it, if this is the start, and the end of `count` frames after."""
        before = self._before if self._origin is None else 0
        after = 0
        if count is not None:
            after = (count - 1) * self._hop + self._length - self._before - self._samples
            after = max(0, after)
        if self._origin is None and self._samples <= max(before, after):
            return np.pad(held, (before, after), mode="reflect")
        end = len(held) - 1
        return np.concatenate((held[before:0:-1], held, held[end - after : end][::-1]))


class _Bins:
    """One feature setting: from the transform of a tile to scaled rows."""

    def __init__(self, settings: FeatureSettings, sink: Sink, rows: int) -> None:
        self._settings = settings
        self._sink = sink
        self._bands = _bands(settings) if settings.spectrum == "mel" else []
        self._rows = np.empty((max(1, BLOCK // rows) * rows, settings.bins), np.float32)
        self._filled = 0

    def add(
        self,
        amplitude: Float32[np.ndarray, "T K"],
        power: Float32[np.ndarray, "T K"],
        count: int,
    ) -> None:
        """The first `count` rows of a tile; what the others hold is computed and not used."""
        rows = self._rows[self._filled : self._filled + len(amplitude)]
        if self._settings.spectrum == "mel":
            for low, high, first, filters in self._bands:
                band = rows[:, first : first + filters.shape[1]]
                np.matmul(power[:, low:high], filters, out=band)
            self._scale(rows, rows)
        else:
            self._scale(amplitude if self._settings.spectrum == "amplitude" else power, rows)
        largest = rows.max()
        if not largest <= np.finfo(np.float32).max:
            raise InputError(
                f"{named(self._settings)} reached {largest:g}, and float32 holds at most "
                f"{np.finfo(np.float32).max:g}; repair the sound"
            )
        self._filled += count
        if self._filled == len(self._rows):
            self.hand_out()

    def hand_out(self) -> None:
        if self._filled:
            self._sink(self._rows[: self._filled])
        self._filled = 0

    def _scale(self, linear: Float32[np.ndarray, "T F"], out: Float32[np.ndarray, "T F"]) -> None:
        match self._settings.scale:
            case "none":
                if linear is not out:
                    np.copyto(out, linear)
            case "log1p":
                np.log1p(linear, out=out)
            case "log":
                self._log(np.log, linear, out)
            case "decibel":
                self._log(np.log10, linear, out)
                factor = 20 if self._settings.spectrum == "amplitude" else 10
                np.multiply(out, np.float32(factor), out=out)

    def _log(
        self,
        logarithm: np.ufunc,
        linear: Float32[np.ndarray, "T F"],
        out: Float32[np.ndarray, "T F"],
    ) -> None:
        floor = max(self._settings.floor, float(np.finfo(np.float32).tiny))
        np.maximum(linear, np.float32(floor), out=out)
        logarithm(out, out=out)


def named(settings: FeatureSettings) -> str:
    return f"{settings.spectrum} with scale {settings.scale}"


def mel_filters(settings: FeatureSettings) -> Float64[np.ndarray, "K F"]:
    """Triangles on the HTK mel scale, each of height 1: torchaudio's melscale_fbanks, norm=None."""
    hertz = np.fft.rfftfreq(settings.n_fft, 1 / settings.sample_rate)
    corners = np.array(settings.mel_corners)
    low, centre, high = corners[:-2], corners[1:-1], corners[2:]
    rising = (hertz[:, None] - low) / (centre - low)
    falling = (high - hertz[:, None]) / (high - centre)
    filters: np.ndarray = np.maximum(0, np.minimum(rising, falling))
    return filters


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


def _window(transform: Transform) -> Float32[np.ndarray, " points"]:
    """Periodic, as torch's, times n_fft; zeros up to n_fft points."""
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
    padded = np.zeros(transform.n_fft, np.float32)
    padded[: len(window)] = window * transform.n_fft
    return padded
