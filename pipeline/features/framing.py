"""Spectra: waveforms -> amplitude, power or mel frames. Not with torch, which imports for seconds.

In:   mono waveforms, float32, full scale 1, whole or in blocks; feature settings.
Out:  frames (T, F), float32, a few hundred at a time.
Not here: decoding (corpus/audio.py), the arithmetic of a tile (compiled.py, transform.py), what is
kept of a frame (storage.py), the file (shards.py).

Frame t is centred on sample t * hop, the ends are mirrored, and the window stands in the middle of
the n_fft points, as in torch.stft(center=True, pad_mode="reflect") and so in torchaudio's
Spectrogram and MelScale. A waveform shorter than that, which torch refuses, is mirrored repeatedly.

Why it is fast: a few frames stay in the cache from windowing to scaling, utterances follow each
other through the same buffers, settings that share a transform share its result, and of rows that
are a multiple of others only the product is computed.
"""

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.features.native import kernels
from pipeline.features.native.kernels import NativeSTFT
from pipeline.features.stft import (
    FeatureRows,
    NumpySTFT,
    STFTParameters,
    rows_ratio,
    stft_parameters,
)
from pipeline.files import InputError
from pipeline.shapes import Float32

BUFFER_ROWS = 4096  # rows handed to a sink at a time

RowSink = Callable[
    [FeatureRows], None
]  # it leaves the rows alone; they are overwritten after the call


def frame_count(samples: int, settings: FeatureSettings) -> int:
    return 1 + (samples - settings.n_fft % 2) // settings.hop_length


def compute_frames(
    waveform: Float32[np.ndarray, " N"], settings: Sequence[FeatureSettings]
) -> list[Float32[np.ndarray, "T F"]]:
    """The frames of one waveform, in float32 whatever the storage, for each of `settings`."""
    frames: list[list[Float32[np.ndarray, "T F"]]] = [[] for _ in settings]
    for shared in {stft_parameters(each) for each in settings}:
        numbers = [n for n, each in enumerate(settings) if stft_parameters(each) == shared]
        sinks = [lambda rows, n=n: frames[n].append(rows.copy()) for n in numbers]
        stream = FeatureStream([settings[n] for n in numbers], sinks)
        stream.add(waveform)
        stream.flush()
    return [np.concatenate(rows) for rows in frames]


class FeatureStream:
    """Waveforms, one after another, through one transform; rows of each setting to its sink."""

    def __init__(self, settings: Sequence[FeatureSettings], sinks: Sequence[RowSink]) -> None:
        (transform,) = {stft_parameters(each) for each in settings}
        self._settings, self._sinks = settings, sinks
        self._waveform = _Framer(transform)
        self._rows = [np.empty((BUFFER_ROWS, each.bins), np.float32) for each in settings]
        self._sources = [_find_source(n, settings) for n in range(len(settings))]
        computed = [n for n, (source, _) in enumerate(self._sources) if source == n]
        self._computed = [self._rows[n] for n in computed]
        self._stft = _make_stft(transform, [settings[n] for n in computed])
        self._filled = 0

    def add(self, block: Float32[np.ndarray, " N"], *, last: bool = True) -> None:
        """The next samples of an utterance, which ends with them if they are the `last`."""
        windows = self._waveform.next_windows(block, last=last)
        while len(windows):
            room = BUFFER_ROWS - self._filled
            taken, windows = windows[:room], windows[room:]
            end = self._filled + len(taken)
            self._stft.compute_rows(taken, [rows[self._filled : end] for rows in self._computed])
            self._filled = end
            if end == BUFFER_ROWS:
                self.flush()

    def flush(self) -> None:
        """Hand out what there is."""
        count, self._filled = self._filled, 0
        if not count:
            return
        for n, (source, factor) in enumerate(self._sources):
            rows = self._rows[n][:count]
            if source == n:
                _require_finite(rows, self._settings[n])
            else:
                np.multiply(self._rows[source][:count], factor, out=rows)
            self._sinks[n](rows)


def _find_source(n: int, settings: Sequence[FeatureSettings]) -> tuple[int, np.float32]:
    """The first setting, perhaps itself, of whose rows those of setting n are a multiple."""
    found = ((m, rows_ratio(settings[n], settings[m])) for m in range(n + 1))
    return next((m, np.float32(factor)) for m, factor in found if factor is not None)


def _make_stft(
    transform: STFTParameters, settings: Sequence[FeatureSettings]
) -> NativeSTFT | NumpySTFT:
    library = kernels.load_library() if kernels.supports_n_fft(transform) else None
    return NativeSTFT(library, transform, settings) if library else NumpySTFT(transform, settings)


class _Framer:
    """One utterance after another, in blocks of samples -> what the windows of its frames see."""

    def __init__(self, transform: STFTParameters) -> None:
        _, _, self._length, self._hop, self._n_fft = transform
        self._left_padding = (
            self._n_fft // 2 - (self._n_fft - self._length) // 2
        )  # mirrored, at least
        self._reset()

    def _reset(self) -> None:
        self._samples = 0  # of the utterance, so far
        self._frames = 0  # given out
        self._buffer = np.empty(0, np.float32)  # samples that are still needed
        self._origin: int | None = None  # of them, counted from where frame 0 begins; None: unknown

    def next_windows(
        self, block: Float32[np.ndarray, " N"], *, last: bool
    ) -> Float32[np.ndarray, "T W"]:
        """A view: each row is what the window of the next frame sees, the ends mirrored."""
        self._samples += len(block)
        held = np.concatenate((self._buffer, block)) if self._buffer.size else block
        if self._origin is None and self._samples <= self._n_fft and not last:
            self._buffer = held.copy()  # too few to mirror
            return np.empty((0, self._length), np.float32)
        if not self._samples:
            raise InputError("a waveform has no samples; leave the utterance out")
        end = (
            self._samples - self._n_fft % 2
            if last
            else self._samples + self._left_padding - self._length
        )
        count = 1 + end // self._hop
        held = self._reflect_padded(held, count if last else None)
        origin = self._origin or 0
        windows = self._windows(held, self._frames * self._hop - origin, count - self._frames)
        if last:
            self._reset()
            return windows
        # What the mirrored end may need is kept as well.
        kept = min(count * self._hop, self._left_padding + self._samples - 1) - self._length
        self._origin = max(origin, kept)
        self._buffer = held[self._origin - origin :].copy()
        self._frames = count
        return windows

    def _windows(
        self, held: Float32[np.ndarray, " P"], start: int, count: int
    ) -> Float32[np.ndarray, "T W"]:
        if count < 1:
            return np.empty((0, self._length), np.float32)
        shape, strides = (count, self._length), (4 * self._hop, 4)
        return np.ndarray(shape, np.float32, held, offset=4 * start, strides=strides)

    def _reflect_padded(
        self, held: Float32[np.ndarray, " P"], count: int | None
    ) -> Float32[np.ndarray, " Q"]:
        """With the start before it, if this is the start, and the end of `count` frames after."""
        before = self._left_padding if self._origin is None else 0
        after = 0
        if count is not None:
            after = (count - 1) * self._hop + self._length - self._left_padding - self._samples
            after = max(0, after)
        if self._origin is None and self._samples <= max(before, after):
            return np.pad(held, (before, after), mode="reflect")
        end = len(held) - 1
        return np.concatenate((held[before:0:-1], held, held[end - after : end][::-1]))


def _require_finite(rows: FeatureRows, settings: FeatureSettings) -> None:
    largest = rows.max()
    if not largest <= np.finfo(np.float32).max:
        raise InputError(
            f"{describe_spectrum(settings)} reached {largest:g}, and float32 holds at most "
            f"{np.finfo(np.float32).max:g}; repair the sound"
        )


def describe_spectrum(settings: FeatureSettings) -> str:
    return f"{settings.spectrum} with scale {settings.scale}"
