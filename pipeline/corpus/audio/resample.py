"""Any audio file as a mono waveform at one sample rate. The only home of soxr.

In:   a path, or a range of samples in it.   Out: blocks of float32 samples, full scale 1.
Not here: opening and decoding a file (decode.py), which files a corpus has (corpus/readers.py),
frames (features/framing.py).

Several channels are averaged unless one is requested. Resampling is soxr's HQ filter (20 bits); the
result does not depend on the blocks.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import soxr

from pipeline.corpus.audio import decode
from pipeline.corpus.audio.audio_file import AudioFile, unusable_audio_error
from pipeline.files import InputError
from pipeline.shapes import Float32

NO_SAMPLES = np.zeros(0, np.float32)


def blocks(
    path: Path, rate: int, start: int = 0, samples: int | None = None, channel: int | None = None
) -> Iterator[Float32[np.ndarray, " N"]]:
    """Yield `samples` samples from `start` on, resampled to `rate` Hz.

    `start` and `samples` count at the file's own rate; None means to the end. A block comes from at
    most BLOCK_SAMPLES samples of the file; all blocks together have `resampled_length` samples.
    Integer samples become [-1, 1); resampling may exceed that slightly. Raises InputError if the
    file cannot be used.
    """
    with AudioReader() as reader:
        resampler: Resampler | None = None
        for file_rate, block in reader.blocks(str(path), start, samples, channel):
            resampler = resampler or Resampler(file_rate, rate)
            yield from _skip_empty(resampler(block))
        if resampler:
            yield from _skip_empty(resampler(NO_SAMPLES, last=True))


class AudioReader:
    """Reads ranges of audio files as mono, at each file's own rate.

    The last file stays open, so that a recording of many utterances is decoded once.
    """

    def __init__(self) -> None:
        self._path = ""
        self._audio_file: AudioFile | None = None

    def blocks(
        self, path: str, start: int, samples: int | None, channel: int | None
    ) -> Iterator[tuple[int, Float32[np.ndarray, " N"]]]:
        """Yield the rate in Hz and at most BLOCK_SAMPLES samples at a time.

        Raises InputError if the file cannot be used or does not hold these samples.
        """
        if self._audio_file is None or path != self._path:
            self.close()
            self._path, self._audio_file = path, decode.open_audio(path)
        audio_file = self._audio_file
        try:
            for block in audio_file.blocks(start, samples):
                yield audio_file.rate, _to_mono(path, block, channel)
        except InputError:
            self.close()  # the next range must not depend on what was decoded before the error
            raise

    def close(self) -> None:
        if self._audio_file:
            self._audio_file.close()
        self._audio_file = None

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Resampler:
    """Resamples one waveform block by block, as if it were played at `speed`."""

    def __init__(self, source_rate: int, target_rate: int, speed: float = 1.0) -> None:
        self._stream, rate = None, source_rate * speed
        if rate != target_rate:
            self._stream = soxr.ResampleStream(rate, target_rate, 1, dtype="float32", quality="HQ")

    def __call__(
        self, block: Float32[np.ndarray, " N"], *, last: bool = False
    ) -> Float32[np.ndarray, " M"]:
        """Return the samples that are final after this block; all others with the `last` block."""
        return self._stream.resample_chunk(block, last=last) if self._stream else block


def resampled_length(samples: int, rate: int, target_rate: int, speed: float = 1.0) -> int:
    """Return the number of samples at `target_rate` Hz, computed as soxr does."""
    if rate * speed == target_rate:
        return samples
    return int(samples / (rate * speed / target_rate) + 0.5)


def resample(
    waveform: Float32[np.ndarray, " N"], rate: int, target_rate: int
) -> Float32[np.ndarray, " M"]:
    """Resample a whole waveform; return it unchanged if the rates are equal."""
    if rate == target_rate:
        return waveform
    resampled: Float32[np.ndarray, " M"] = soxr.resample(waveform, rate, target_rate, quality="HQ")
    return resampled


def _skip_empty(
    waveform: Float32[np.ndarray, " N"],
) -> Iterator[Float32[np.ndarray, " N"]]:
    if len(waveform):
        yield waveform


def _to_mono(
    path: str, block: Float32[np.ndarray, "N channels"], channel: int | None
) -> Float32[np.ndarray, " N"]:
    """Return one channel, counted from 0, or the mean of all if `channel` is None."""
    channels = block.shape[1]
    if channel is not None and channel >= channels:
        raise unusable_audio_error(
            path, f"has {channels} channels, so no channel {channel} (from 0)"
        )
    if channels == 1:
        return block[:, 0]
    return block.mean(axis=1) if channel is None else np.ascontiguousarray(block[:, channel])
