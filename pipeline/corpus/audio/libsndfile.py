"""Audio files that libsndfile decodes: every format but 16-bit wav. The only home of soundfile.

In:   an open file.   Out: rate, channels, length; float32 samples of all channels, full scale 1.
Not here: opening by path (decode.py), what of a file is given to the decoder (sources.py).

Ogg and mp3 are decoded from their start, because libsndfile seeks inexactly in them; so is a file
in which libsndfile cannot seek. The last decoded block is kept, so that utterances that follow each
other are decoded once.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeVar

import numpy as np
import soundfile

from pipeline.corpus.audio import audio_file
from pipeline.corpus.audio.audio_file import stop_sample, unusable_audio_error
from pipeline.corpus.audio.byte_ranges import ByteRanges
from pipeline.corpus.audio.integrity import (
    SPHERE_HEADER_BYTES,
    require_complete,
    require_readable_format,
)
from pipeline.corpus.audio.sources import find_sources
from pipeline.corpus.audio.wav_header import WavHeader
from pipeline.files import InputError
from pipeline.shapes import Float32

MAX_AMPLITUDE = 1e6  # times full scale: no real signal; its power is far below float32's limit
UNSEEKABLE_FORMATS = ("OGG", "MP3")
UNKNOWN_FRAMES = 2**62  # libsndfile's number for a length that is not stated is above it
STDERR = 2  # file descriptor

T = TypeVar("T")


class _ForwardOnlySoundFile(soundfile.SoundFile):  # type: ignore[misc]  # it has no types
    """A SoundFile that never seeks; soundfile seeks after each block, inexactly in Ogg and mp3."""

    def seekable(self) -> bool:
        return False

    @property
    def can_seek(self) -> bool:
        return bool(super().seekable()) and self.format not in UNSEEKABLE_FORMATS


class LibsndfileFile:
    """An `AudioFile` that libsndfile decodes."""

    def __init__(self, path: str, file: BinaryIO, wav: WavHeader | None) -> None:
        """Open `path`, which `file` has open too; `wav` is its header, if it is a wav.

        Raises InputError if it is no audio file, or is found to be empty, damaged or cut short.
        """
        self._path, self._file = path, file
        file.seek(0)
        head = file.read(SPHERE_HEADER_BYTES)
        require_readable_format(path, head)
        self._sources, is_exact = find_sources(path, file, wav, head)
        lengths = self._open_each()
        self.rate, self.channels = self._decoder.samplerate, self._decoder.channels
        #: Samples per channel; None if only decoding finds the length.
        self.declared_samples = sum(lengths) if max(lengths) < UNKNOWN_FRAMES else None
        if not is_exact and self._decoder.format == "MP3":
            self.declared_samples = None
        self._can_seek = self._decoder.can_seek and self.declared_samples is not None
        self._available = wav.samples if wav and wav.is_uncompressed else self.declared_samples
        try:
            require_complete(path, file, head, self._decoder.format, self.declared_samples)
        except InputError:
            self._decoder.close()
            raise

    def _open_each(self) -> list[int]:
        """Open the sources; return their lengths. Raises InputError if they are not alike."""
        lengths = []
        for index in range(len(self._sources)):
            before = self._decoder if index else None
            self._open(index)
            lengths.append(int(self._decoder.frames))
            if before is None:
                continue
            before.close()
            formats = [f"{d.samplerate} Hz, {d.channels} channels" for d in (before, self._decoder)]
            if formats[0] != formats[1]:
                raise unusable_audio_error(
                    self._path,
                    f"holds several recordings of different formats ({' and '.join(formats)})",
                    "cut it into one file for each",
                )
        if len(self._sources) > 1:
            self._decoder.close()
            self._open(0)
        return lengths

    def _open(self, index: int) -> None:
        """Open source `index` and forget what was decoded."""
        source = self._sources[index]
        if isinstance(source, ByteRanges):
            source.seek(0)
        self._decoder = self._call(lambda: _ForwardOnlySoundFile(source), "is not an audio file")
        self._source_index, self._position = index, 0
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
        if start != self._position:
            try:
                self._position = self._call(lambda: int(self._decoder.seek(start)))
            except InputError:  # a codec that claims that it can seek
                self._can_seek = False
                self._decoder.close()
                self._open(0)
                yield from self._read_in_order(start, stop)
                return
        while self._position < stop:
            count = min(audio_file.BLOCK_SAMPLES, stop - self._position)
            block = self._read(count)
            if len(block) < count:
                raise self._cut_short_error(stop, self._position)
            yield block

    def _read_in_order(
        self, start: int, stop: int | None
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        """Decode from the last block on, or from the start of the file if that is past `start`.

        Reads always have the same size, because some decoders' last bits depend on it.
        """
        if start < self._block_start:
            self._decoder.close()
            self._open(0)
        while True:
            first = max(0, start - self._block_start)
            last = len(self._block) if stop is None else max(0, stop - self._block_start)
            if len(wanted := self._block[first:last]):
                yield wanted
            end = self._block_start + len(self._block)
            if self._at_end or (stop is not None and end >= stop):
                break
            block = self._read(audio_file.BLOCK_SAMPLES)
            if len(block) < audio_file.BLOCK_SAMPLES:
                block = self._read_next_sources(block)
            self._block_start, self._block = end, block
            self._at_end = len(self._block) < audio_file.BLOCK_SAMPLES
        if end <= start or (stop is not None and end < stop):
            raise self._cut_short_error(f"{start + 1} or more" if stop is None else stop, end)

    def _read_next_sources(
        self, block: Float32[np.ndarray, "N channels"]
    ) -> Float32[np.ndarray, "M channels"]:
        """Fill a block that ends with its source from the next sources."""
        parts, missing = [block], audio_file.BLOCK_SAMPLES - len(block)
        while missing and self._source_index + 1 < len(self._sources):
            self._decoder.close()
            position = self._position
            self._open(self._source_index + 1)
            self._position = position
            while missing and len(part := self._read(missing)):
                parts.append(part)
                missing -= len(part)
        return np.concatenate(parts) if len(parts) > 1 else block

    def _read(self, count: int) -> Float32[np.ndarray, "N channels"]:
        block: Float32[np.ndarray, "N channels"] = self._call(
            lambda: self._decoder.read(count, "float32", always_2d=True)
        )
        self._position += len(block)
        low, high = block.min(initial=0), block.max(initial=0)
        if not (low >= -MAX_AMPLITUDE and high <= MAX_AMPLITUDE):
            problem = "holds samples that are not numbers"
            if np.isfinite(block).all():
                problem = f"holds a sample of {max(-low, high):.2g} times full scale"
            raise unusable_audio_error(self._path, problem)
        return block

    def _call(self, decode: Callable[[], T], problem: str = "cannot be decoded") -> T:
        """Call the decoder. Its errors name the file, and what it prints is dropped."""
        try:
            with _dropped_stderr():
                result = decode()
        except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
            # TypeError: a .raw file, whose rate nobody knows
            reason = _libsndfile_message(error)
            raise unusable_audio_error(self._path, f"{problem} ({reason})") from None
        for source in self._sources:
            if isinstance(source, ByteRanges) and source.error:
                reason = source.error.strerror or str(source.error)
                raise unusable_audio_error(self._path, f"cannot be read ({reason})")
        return result

    def _cut_short_error(self, expected: int | str, decoded: int) -> InputError:
        problem = f"is cut short: {expected} samples expected, {decoded} decoded"
        return unusable_audio_error(self._path, problem)

    def close(self) -> None:
        self._decoder.close()
        self._file.close()


@contextmanager
def _dropped_stderr() -> Iterator[None]:
    """Drop what C libraries print meanwhile: mpg123 warns of damage without naming the file."""
    try:
        kept = os.dup(STDERR)
    except OSError:  # it is closed
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, STDERR)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)


def _libsndfile_message(error: Exception) -> str:
    """Return libsndfile's message in one line, without the path."""
    message = " ".join(str(getattr(error, "error_string", error)).split())
    if message.startswith("File does not exist"):  # its word for an mp3 without frames
        return "no format that is known"
    return message.removeprefix("Error : ").removesuffix(".")
