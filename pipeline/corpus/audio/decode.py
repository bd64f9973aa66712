"""Decoding: a path -> its header, or an open file that gives the samples of any range.

In:   a path.   Out: rate, length and channels; float32 samples of all channels, full scale 1, in
blocks.
Not here: one channel of several, another rate (resample.py), which files a corpus has
(corpus/readers.py).

16-bit wav files, which most corpora have, are read here; libsndfile.py decodes everything else.
"""

import os
import zlib
from collections.abc import Iterator
from contextlib import closing
from io import BufferedReader, FileIO
from stat import S_ISREG
from typing import BinaryIO

import numpy as np

from pipeline.corpus.audio import audio_file, wav_header
from pipeline.corpus.audio.audio_file import (
    EXCLUDE_HINT,
    AudioFile,
    Header,
    stop_sample,
    unusable_audio_error,
)
from pipeline.corpus.audio.libsndfile import LibsndfileFile
from pipeline.corpus.audio.wav_header import WavHeader
from pipeline.files import InputError, error_reason
from pipeline.shapes import Float32

MIN_RATE_HZ, MAX_RATE_HZ = 1000, 1_000_000
BUFFER_BYTES = 4096  # enough for the header of a wav file in one read


def read_header(path: str) -> tuple[Header, int]:
    """Return the header and a CRC-32 of the first 4096 bytes, the same for copies of a file.

    The length is that of the decoded samples. A file whose length is not stated and cannot be
    counted is decoded. Raises InputError if the file cannot be used.
    """
    file, wav = _open_file(path)
    with file:
        file.seek(0)
        checksum = zlib.crc32(file.read(BUFFER_BYTES))
        if wav and wav.is_uncompressed:
            _require_audible_rate(path, wav.rate)
            return Header(wav.rate, wav.samples, wav.channels), checksum
        with closing(LibsndfileFile(path, file, wav)) as audio:
            _require_audible_rate(path, audio.rate)
            samples = audio.declared_samples
            if samples is None:
                samples = sum(map(len, audio.blocks(0, None)))
            if samples == 0:
                raise unusable_audio_error(path, "holds no samples")
            return Header(audio.rate, samples, audio.channels), checksum


def _require_audible_rate(path: str, rate: int) -> None:
    """Raise InputError for a rate that only a damaged header has; it would last for hours."""
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        problem = f"is at {rate} Hz; rates from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz are read"
        raise unusable_audio_error(path, problem)


def open_audio(path: str) -> AudioFile:
    """Open an audio file. Raises InputError if it cannot be used."""
    file, wav = _open_file(path)
    if wav and wav.is_pcm16:
        return _Pcm16File(path, file, wav)
    try:
        return LibsndfileFile(path, file, wav)
    except BaseException:
        file.close()
        raise


def _open_file(path: str) -> tuple[BinaryIO, WavHeader | None]:
    """Return the open file and its header if it is a wav. `open` would take twice as long."""
    try:
        if not S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 (a pipe would wait for a writer)
            raise unusable_audio_error(path, "is not a regular file", f"replace it, {EXCLUDE_HINT}")
        file = BufferedReader(FileIO(path), BUFFER_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise unusable_audio_error(path, "no such file", f"add the file, {EXCLUDE_HINT}") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise unusable_audio_error(path, f"cannot be opened ({error_reason(error)})") from None
    try:
        return file, wav_header.read_wav_header(file)
    except wav_header.DamagedWavError as error:
        file.close()
        raise unusable_audio_error(path, str(error)) from None
    except OSError as error:
        file.close()
        raise unusable_audio_error(path, f"cannot be read ({error_reason(error)})") from None


class _Pcm16File:
    """A wav file of 16-bit integers, read without a decoder, because that is fastest."""

    def __init__(self, path: str, file: BinaryIO, header: WavHeader) -> None:
        self._path, self._file, self._header = path, file, header
        self.rate = header.rate

    def blocks(
        self, start: int, samples: int | None
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        available, channels = self._header.samples, self._header.channels
        stop = stop_sample(self._path, start, samples, available) or available
        self._file.seek(self._header.offset + start * channels * 2)
        for first in range(start, stop, audio_file.BLOCK_SAMPLES):
            size = min(audio_file.BLOCK_SAMPLES, stop - first) * channels * 2
            try:
                content = self._file.read(size)
            except OSError as error:
                raise unusable_audio_error(
                    self._path, f"cannot be read ({error_reason(error)})"
                ) from None
            if len(content) < size:
                raise unusable_audio_error(self._path, "became shorter while it was read")
            scaled = np.frombuffer(content, "<i2").astype(np.float32)
            scaled *= np.float32(1 / 32768)
            yield scaled.reshape(-1, channels)

    def close(self) -> None:
        self._file.close()
