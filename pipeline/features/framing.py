"""Framing: waveforms -> amplitude, power or mel frames. Without torch, whose import takes seconds.

In:   mono waveforms, float32, full scale 1, whole or in blocks; feature settings.
Out:  frames (T, F), float32, up to BUFFER_ROWS at a time.
Not here: decoding (corpus/audio), the transform (stft.py, native/kernels.py), the storage type
(encoding.py), the file (shards.py).

Frame t is centred on sample t * hop, both ends are padded by reflection, and the window lies in the
middle of the n_fft points, as in torch.stft(center=True, pad_mode="reflect") and torchaudio's
Spectrogram. torch refuses waveforms shorter than the padding; here they are reflected repeatedly.

Why it is fast: frames stay in the cache from windowing to scaling, all utterances use the same
buffers, settings with the same transform share it, and rows that are a multiple of other rows are
computed by one multiplication.
"""

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.features.native import kernels
from pipeline.features.native.kernels import Engine, NativeSTFT
from pipeline.features.stft import (
    FeatureRows,
    NumpySTFT,
    STFTParameters,
    rows_ratio,
    stft_parameters,
)
from pipeline.files import InputError
from pipeline.shapes import Float32

BUFFER_ROWS = 4096  # rows that a sink gets at a time

RowSink = Callable[[FeatureRows], None]  # must not change or keep the rows: the buffer is reused


def frame_count(samples: int, settings: FeatureSettings) -> int:
    """Return the number of frames of a waveform: one per hop, the first at sample 0."""
    return 1 + (samples - settings.n_fft % 2) // settings.hop_length


class FeatureStream:
    """Compute the rows of waveforms, one after another; the rows of each setting go to its sink.

    All settings share one transform; one engine computes it.
    """

    def __init__(
        self, settings: Sequence[FeatureSettings], sinks: Sequence[RowSink], engine: Engine
    ) -> None:
        (transform,) = {stft_parameters(each) for each in settings}
        self._settings, self._sinks = settings, sinks
        self._waveform = _Framer(transform)
        self._rows = [np.empty((BUFFER_ROWS, each.bins), np.float32) for each in settings]
        self._sources = [_find_source(n, settings) for n in range(len(settings))]
        computed = [n for n, (source, _) in enumerate(self._sources) if source == n]
        self._computed = [self._rows[n] for n in computed]
        self._stft = _make_stft(transform, [settings[n] for n in computed], engine)
        self._filled = 0

    def add(self, block: Float32[np.ndarray, " N"], *, last: bool = True) -> None:
        """Add the next samples of an utterance; with `last` the utterance ends."""
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
        """Give the rows computed so far to the sinks."""
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
    """Return the first setting of whose rows those of setting n are a multiple, and the factor."""
    found = ((m, rows_ratio(settings[n], settings[m])) for m in range(n + 1))
    return next((m, np.float32(factor)) for m, factor in found if factor is not None)


def _make_stft(
    transform: STFTParameters, settings: Sequence[FeatureSettings], engine: Engine
) -> NativeSTFT | NumpySTFT:
    """Make the transform; NumPy computes what the native engine has no kernel for."""
    native = engine == "native" and kernels.supports(transform, settings)
    library = kernels.load_library() if native else None
    return NativeSTFT(library, transform, settings) if library else NumpySTFT(transform, settings)


class _Framer:
    """Blocks of samples, one utterance after another -> the samples in the window of each frame."""

    def __init__(self, transform: STFTParameters) -> None:
        _, _, self._length, self._hop, self._n_fft = transform
        self._left_padding = self._n_fft // 2 - (self._n_fft - self._length) // 2  # reflected
        self._reset()

    def _reset(self) -> None:
        self._sample_count = 0  # of the utterance so far
        self._frames = 0  # returned so far
        self._buffer = np.empty(0, np.float32)  # samples that later frames need
        # Position of the buffer, counted from the start of frame 0; None before the first frame.
        self._origin: int | None = None

    def next_windows(
        self, block: Float32[np.ndarray, " N"], *, last: bool
    ) -> Float32[np.ndarray, "T W"]:
        """Return a view: row t holds the samples in the window of the next frame t."""
        self._sample_count += len(block)
        samples = np.concatenate((self._buffer, block)) if self._buffer.size else block
        if self._origin is None and self._sample_count <= self._n_fft and not last:
            self._buffer = samples.copy()  # too few to reflect
            return np.empty((0, self._length), np.float32)
        if not self._sample_count:
            raise InputError("a waveform has no samples; leave the utterance out")
        end = (
            self._sample_count - self._n_fft % 2
            if last
            else self._sample_count + self._left_padding - self._length
        )
        count = 1 + end // self._hop
        samples = self._reflect_padded(samples, count if last else None)
        origin = self._origin or 0
        windows = self._windows(samples, self._frames * self._hop - origin, count - self._frames)
        if last:
            self._reset()
            return windows
        # Keep the samples that the reflected end may need, too.
        kept = min(count * self._hop, self._left_padding + self._sample_count - 1) - self._length
        self._origin = max(origin, kept)
        self._buffer = samples[self._origin - origin :].copy()
        self._frames = count
        return windows

    def _windows(
        self, samples: Float32[np.ndarray, " P"], start: int, count: int
    ) -> Float32[np.ndarray, "T W"]:
        if count < 1:
            return np.empty((0, self._length), np.float32)
        shape, strides = (count, self._length), (4 * self._hop, 4)
        return np.ndarray(shape, np.float32, samples, offset=4 * start, strides=strides)

    def _reflect_padded(
        self, samples: Float32[np.ndarray, " P"], count: int | None
    ) -> Float32[np.ndarray, " Q"]:
        """Pad the start of an utterance, and its end if `count`, all its frames, is known."""
        before = self._left_padding if self._origin is None else 0
        after = 0
        if count is not None:
            after = (count - 1) * self._hop + self._length - self._left_padding - self._sample_count
            after = max(0, after)
        if self._origin is None and self._sample_count <= max(before, after):
            return np.pad(samples, (before, after), mode="reflect")
        end = len(samples) - 1
        return np.concatenate((samples[before:0:-1], samples, samples[end - after : end][::-1]))


def _require_finite(rows: FeatureRows, settings: FeatureSettings) -> None:
    largest = rows.max()
    if not largest <= np.finfo(np.float32).max:
        raise InputError(
            f"{describe_spectrum(settings)} reached {largest:g}, and float32 holds at most "
            f"{np.finfo(np.float32).max:g}; check the audio file"
        )


def describe_spectrum(settings: FeatureSettings) -> str:
    return f"{settings.spectrum} with scale {settings.scale}"
