"""Audio files that libsndfile decodes: every format but 16-bit wav. The only home of soundfile.

In:   an open file.   Out: rate, channels, length; float32 samples of all channels, full scale 1.
Not here: opening by path (decode.py), damage that libsndfile does not report (integrity.py).

Ogg and mp3 are decoded from their start, because libsndfile seeks inexactly in them. The last
decoded block is kept, so that utterances that follow each other are decoded once.
"""

from collections.abc import Callable, Iterator
from mmap import ACCESS_READ, mmap
from typing import BinaryIO, TypeVar

import numpy as np
import soundfile

from pipeline.corpus.audio import audio_file
from pipeline.corpus.audio.audio_file import stop_sample, unusable_audio_error
from pipeline.corpus.audio.integrity import (
    SPHERE_HEADER_BYTES,
    require_complete,
    require_uncompressed_sphere,
)
from pipeline.corpus.audio.mp3_header import XingHeaderFile, count_samples, has_frame_count
from pipeline.files import InputError
from pipeline.shapes import Float32

MAX_AMPLITUDE = 1e6  # times full scale: no real signal; its power is far below float32's limit
UNSEEKABLE_FORMATS = ("OGG", "MP3")

T = TypeVar("T")


class _ForwardOnlySoundFile(soundfile.SoundFile):  # type: ignore[misc]  # it has no types
    """A SoundFile that never seeks; soundfile seeks after each block, inexactly in Ogg and mp3."""

    def seekable(self) -> bool:
        return False


class LibsndfileFile:
    """An `AudioFile` that libsndfile decodes."""

    def __init__(self, path: str, file: BinaryIO, available: int | None) -> None:
        """Open `path`, which `file` has open too; `available` is its number of samples, if known.

        Raises InputError if it is no audio file, or is found to be empty or cut short.
        """
        self._path, self._file = path, file
        file.seek(0)
        head = file.read(SPHERE_HEADER_BYTES)
        require_uncompressed_sphere(path, head)
        self._source, is_exact = _decoder_input(path, file)
        self._open_decoder()
        try:
            require_complete(path, file, head, self._decoder.format, self._decoder.frames)
        except InputError:
            self._decoder.close()
            raise
        self.rate, self.channels = self._decoder.samplerate, self._decoder.channels
        self._can_seek = self._decoder.format not in UNSEEKABLE_FORMATS
        #: Samples per channel; None for an mp3 whose length only decoding finds.
        self.declared_samples = (
            int(self._decoder.frames) if is_exact or self._decoder.format != "MP3" else None
        )
        self._available = available if available is not None else self.declared_samples

    def _open_decoder(self) -> None:
        if isinstance(self._source, XingHeaderFile):
            self._source.seek(0)
        try:
            self._decoder = _ForwardOnlySoundFile(self._source)
        except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a .raw file
            raise unusable_audio_error(
                self._path, f"is not an audio file ({_libsndfile_message(error)})"
            ) from None
        self._block_start, self._at_end = 0, False
        self._block = np.zeros((0, self._decoder.channels), np.float32)

    def blocks(
        self, start: int, samples: int | None
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        stop = stop_sample(self._path, start, samples, self._available)
        if self._can_seek and stop is not None:
            yield from self._read_by_seeking(start, stop)
        else:
            yield from self._read_in_order(start, stop)

    def _read_by_seeking(
        self, start: int, stop: int
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        if start != self._decoder.tell():
            self._call_decoder(lambda: self._decoder.seek(start))
        position = start
        while position < stop:
            count = min(audio_file.BLOCK_SAMPLES, stop - position)
            block = self._read(count)
            position += len(block)
            if len(block) < count:
                raise self._cut_short_error(stop, position)
            yield block

    def _read_in_order(
        self, start: int, stop: int | None
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        """Decode from the last block on, or from the start of the file if that is past `start`.

        Reads always have the same size, because some decoders' last bits depend on it.
        """
        if start < self._block_start:
            self._decoder.close()
            self._open_decoder()
        while True:
            first = max(0, start - self._block_start)
            last = len(self._block) if stop is None else max(0, stop - self._block_start)
            if len(wanted := self._block[first:last]):
                yield wanted
            end = self._block_start + len(self._block)
            if self._at_end or (stop is not None and end >= stop):
                break
            self._block_start, self._block = end, self._read(audio_file.BLOCK_SAMPLES)
            self._at_end = len(self._block) < audio_file.BLOCK_SAMPLES
        if end <= start or (stop is not None and end < stop):
            raise self._cut_short_error(f"{start + 1} or more" if stop is None else stop, end)

    def _read(self, count: int) -> Float32[np.ndarray, "N channels"]:
        block: Float32[np.ndarray, "N channels"] = self._call_decoder(
            lambda: self._decoder.read(count, "float32", always_2d=True)
        )
        low, high = block.min(initial=0), block.max(initial=0)
        if not (low >= -MAX_AMPLITUDE and high <= MAX_AMPLITUDE):
            problem = "holds samples that are not numbers"
            if np.isfinite(block).all():
                problem = f"holds a sample of {max(-low, high):.2g} times full scale"
            raise unusable_audio_error(self._path, problem)
        return block

    def _call_decoder(self, decode: Callable[[], T]) -> T:
        try:
            return decode()
        except soundfile.SoundFileError as error:
            raise unusable_audio_error(
                self._path, f"cannot be decoded ({_libsndfile_message(error)})"
            ) from None

    def _cut_short_error(self, expected: int | str, decoded: int) -> InputError:
        problem = f"is cut short: {expected} samples expected, {decoded} decoded"
        return unusable_audio_error(self._path, problem)

    def close(self) -> None:
        self._decoder.close()
        self._file.close()


def _decoder_input(path: str, file: BinaryIO) -> tuple[str | XingHeaderFile, bool]:
    """Return what to decode, and whether libsndfile knows its length exactly if it is an mp3."""
    with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        if has_frame_count(content):
            return path, True
        samples = count_samples(content)
        return (path, False) if samples is None else (XingHeaderFile(file, content, samples), True)


def _libsndfile_message(error: Exception) -> str:
    """Return libsndfile's message without the path."""
    message = str(getattr(error, "error_string", error)).strip()
    return message.removeprefix("Error : ").removesuffix(".")
