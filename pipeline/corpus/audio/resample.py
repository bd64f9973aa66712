"""Audio: any sound file as a mono waveform at one rate. The only home of soxr.

In:   a path, or a stretch of one.   Out: rate and length; float32 samples, full scale 1, whole or
in blocks.
Not here: opening and decoding a file (sound.py), which files a corpus has (readers.py), frames
(features/spectrum.py).

Several channels become one by their mean, unless one is asked for. Another rate is reached by
soxr's HQ filter (20 bits), and in blocks the bytes are the same as whole.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import soxr

from pipeline.corpus.audio import decode
from pipeline.corpus.audio.decode import Header, unusable_audio_error
from pipeline.files import InputError
from pipeline.shapes import Float32

NO_SAMPLES = np.zeros(0, np.float32)


def probe(path: Path) -> Header:
    return decode.read_header(str(path))[0]


def load(
    path: Path, rate: int, start: int = 0, samples: int | None = None, channel: int | None = None
) -> Float32[np.ndarray, " N"]:
    """The blocks of `blocks`, joined."""
    joined = list(blocks(path, rate, start, samples, channel))
    return joined[0] if len(joined) == 1 else np.concatenate([NO_SAMPLES, *joined])


def blocks(
    path: Path, rate: int, start: int = 0, samples: int | None = None, channel: int | None = None
) -> Iterator[Float32[np.ndarray, " N"]]:
    """`samples` from `start` on (both at the file's own rate; None: to its end), resampled.

    Blocks of at most BLOCK samples at the file's rate; together `resampled_length` of them.
    A full-scale integer is in [-1, 1); resampling may overshoot it by a little.
    """
    with AudioReader() as listener:
        resampler: Resampler | None = None
        for found, block in listener.blocks(str(path), start, samples, channel):
            resampler = resampler or Resampler(found, rate)
            yield from _skip_empty(resampler(block))
        if resampler:
            yield from _skip_empty(resampler(NO_SAMPLES, last=True))


class AudioReader:
    """Stretches of files, mono, at each file's own rate.

    The file of the last stretch stays open: a recording of many utterances is decoded once.
    """

    def __init__(self) -> None:
        self._path = ""
        self._audio_file: decode.AudioFile | None = None

    def blocks(
        self, path: str, start: int, samples: int | None, channel: int | None
    ) -> Iterator[tuple[int, Float32[np.ndarray, " N"]]]:
        """Rate and samples, in blocks of at most BLOCK."""
        if self._audio_file is None or path != self._path:
            self.close()
            self._path, self._audio_file = path, decode.open_audio(path)
        heard = self._audio_file
        try:
            for block in heard.blocks(start, samples):
                yield heard.rate, _to_mono(path, block, channel)
        except InputError:
            self.close()  # whatever comes next is decoded as if nothing had been
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
    """One waveform, block by block, from one rate to another, as if played at another speed."""

    def __init__(self, source_rate: int, target_rate: int, speed: float = 1.0) -> None:
        self._stream, rate = None, source_rate * speed
        if rate != target_rate:
            self._stream = soxr.ResampleStream(rate, target_rate, 1, dtype="float32", quality="HQ")

    def __call__(
        self, block: Float32[np.ndarray, " N"], *, last: bool = False
    ) -> Float32[np.ndarray, " M"]:
        """What can be told by now; with the `last` block all that is left."""
        return self._stream.resample_chunk(block, last=last) if self._stream else block


def resampled_length(samples: int, rate: int, target_rate: int, speed: float = 1.0) -> int:
    """How many samples at `wanted` Hz come of `samples` at `rate` Hz: soxr's own arithmetic."""
    return (
        samples
        if rate * speed == target_rate
        else int(samples / (rate * speed / target_rate) + 0.5)
    )


def resample(
    waveform: Float32[np.ndarray, " N"], rate: int, target_rate: int
) -> Float32[np.ndarray, " M"]:
    """By soxr's HQ filter; the waveform itself where nothing is to do."""
    return (
        waveform
        if rate == target_rate
        else soxr.resample(waveform, rate, target_rate, quality="HQ")
    )


def _skip_empty(
    waveform: Float32[np.ndarray, " N"],
) -> Iterator[Float32[np.ndarray, " N"]]:
    if len(waveform):
        yield waveform


def _to_mono(
    path: str, block: Float32[np.ndarray, "N channels"], channel: int | None
) -> Float32[np.ndarray, " N"]:
    channels = block.shape[1]
    if channel is not None and channel >= channels:
        raise unusable_audio_error(
            path, f"has {channels} channels, and number {channel}, from 0, is asked for"
        )
    if channels == 1:
        return block[:, 0]
    return block.mean(axis=1) if channel is None else np.ascontiguousarray(block[:, channel])
