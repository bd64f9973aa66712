"""Sound: an open file, and the samples of any stretch of it. The only home of soundfile.

In:   a path.   Out: rate and length, from the header where it is exact; float32 samples of all
channels, full scale 1, block by block.
Not here: one channel of several, another rate (audio.py); which files a corpus has (readers.py).

Ogg and mp3 are decoded from their beginning wherever a stretch starts: libsndfile's jumps in them
miss. What was decoded last is kept, so that stretches that follow each other are decoded once.
"""

import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BufferedReader, FileIO
from mmap import ACCESS_READ, mmap
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

import numpy as np
import soundfile

from pipeline.corpus.audio import wav_header
from pipeline.corpus.audio.mp3_header import XingHeaderFile, count_samples, has_frame_count
from pipeline.corpus.audio.wav_header import PCM, WavHeader
from pipeline.files import InputError
from pipeline.shapes import Float32

EXCLUDE_HINT = "or list the utterance under exclude: in the corpus file"
REPAIR_HINT = f"repair the file, {EXCLUDE_HINT}"

BLOCK_SAMPLES = 2**19  # samples per channel: 33 s at 16 kHz
MAX_AMPLITUDE = 1e6  # times the full scale: beyond any sound, and its power is far within float32
UNSEEKABLE_FORMATS = ("OGG", "MP3")
BUFFER_BYTES = 4096  # bytes: what is before the samples of a wav, in one read
SPHERE_HEADER_BYTES = 1024  # bytes
COMPRESSED_SPHERE_CODINGS = (b"shorten", b"wavpack", b"shortpack")
MAX_OGG_PAGE_BYTES = 65_307  # bytes: the longest that an Ogg page can be
OGG_PAGE_HEADER_BYTES = 27  # bytes, of which the last counts the sizes that follow
OGG_END_OF_STREAM = 4  # flag of an Ogg page

T = TypeVar("T")


class Header(NamedTuple):
    rate: int  # Hz
    samples: int  # per channel
    channels: int


def read_header(path: str) -> tuple[Header, int]:
    """What decoding will give; and a number that files with the same beginning have in common.

    An mp3 that does not say its length, and has gaps, is decoded.
    """
    file, wav = _open_file(path)
    with file:
        file.seek(0)
        beginning = zlib.crc32(file.read(BUFFER_BYTES))
        if wav and wav.is_uncompressed:
            return Header(wav.rate, wav.samples, wav.channels), beginning
        with closing(_LibsndfileFile(path, file, None)) as sound:
            samples = sound.declared_samples
            if samples is None:
                samples = sum(map(len, sound.blocks(0, None)))
            if samples == 0:
                raise unusable_audio_error(path, "holds no samples")
            return Header(sound.rate, samples, sound.channels), beginning


def open_audio(path: str) -> "AudioFile":
    file, wav = _open_file(path)
    if wav and wav.tag == PCM and wav.bits == 16:
        return _Pcm16File(path, file, wav)
    try:
        return _LibsndfileFile(path, file, wav.samples if wav and wav.is_uncompressed else None)
    except BaseException:
        file.close()
        raise


class AudioFile(Protocol):
    """An open file."""

    rate: int  # Hz

    def blocks(
        self, start: int, samples: int | None
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        """Of at most BLOCK samples; of `samples` from `start` on, or to the end."""
        ...

    def close(self) -> None: ...


def unusable_audio_error(path: object, problem: str, hint: str = REPAIR_HINT) -> InputError:
    return InputError(f"{path}: {problem}; {hint}")


def _open_file(path: str) -> tuple[BinaryIO, WavHeader | None]:
    """Not with `open`, which takes twice as long: it asks whether this is a terminal."""
    try:
        file = BufferedReader(FileIO(path), BUFFER_BYTES)
    except FileNotFoundError:
        raise unusable_audio_error(path, "no such file", f"put it there, {EXCLUDE_HINT}") from None
    except OSError as error:
        raise unusable_audio_error(path, f"cannot be opened ({error.strerror})") from None
    try:
        return file, wav_header.read_wav_header(file)
    except wav_header.DamagedWavError as error:
        file.close()
        raise unusable_audio_error(path, str(error)) from None
    except OSError as error:
        file.close()
        raise unusable_audio_error(path, f"cannot be read ({error.strerror})") from None


def _stop_sample(path: str, start: int, samples: int | None, available: int | None) -> int | None:
    """The sample after the last; None where only decoding tells."""
    if available is None:
        return None if samples is None else start + samples
    stop = available if samples is None else start + samples
    if not 0 <= start < stop <= available:
        asked = f"{start} to {'its end' if samples is None else stop}"
        raise unusable_audio_error(path, f"holds {available} samples, and {asked} are asked for")
    return stop


class _Pcm16File:
    """A wav of 16-bit integers, which nearly every corpus is: no decoder takes as little time."""

    def __init__(self, path: str, file: BinaryIO, wav: WavHeader) -> None:
        self._path, self._file, self._header = path, file, wav
        self.rate = wav.rate

    def blocks(
        self, start: int, samples: int | None
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        there, channels = self._header.samples, self._header.channels
        stop = _stop_sample(self._path, start, samples, there) or there
        self._file.seek(self._header.offset + start * channels * 2)
        for first in range(start, stop, BLOCK_SAMPLES):
            size = min(BLOCK_SAMPLES, stop - first) * channels * 2
            try:
                content = self._file.read(size)
            except OSError as error:
                raise unusable_audio_error(
                    self._path, f"cannot be read ({error.strerror})"
                ) from None
            if len(content) < size:
                raise unusable_audio_error(self._path, "was cut short while it was read")
            scaled = np.frombuffer(content, "<i2").astype(np.float32)
            scaled *= np.float32(1 / 32768)
            yield scaled.reshape(-1, channels)

    def close(self) -> None:
        self._file.close()


class _ForwardOnlySoundFile(soundfile.SoundFile):  # type: ignore[misc]  # which has no types
    """After each block soundfile jumps to where it is, and even that misses in ogg and mp3."""

    def seekable(self) -> bool:
        return False


class _LibsndfileFile:
    """Whatever libsndfile decodes."""

    def __init__(self, path: str, file: BinaryIO, available: int | None) -> None:
        """`file` is looked at for what libsndfile keeps quiet about; `there`: how long it is."""
        self._path, self._file = path, file
        file.seek(0)
        head = file.read(SPHERE_HEADER_BYTES)
        _require_uncompressed_sphere(path, head)
        self._source, exact = _decoder_input(path, file)
        self._open_decoder()
        try:
            _require_complete(path, file, head, self._decoder)
        except InputError:
            self._decoder.close()
            raise
        self.rate, self.channels = self._decoder.samplerate, self._decoder.channels
        self._can_seek = self._decoder.format not in UNSEEKABLE_FORMATS
        #: Samples that it will give; None for an mp3 of which only decoding tells.
        self.declared_samples = (
            int(self._decoder.frames) if exact or self._decoder.format != "MP3" else None
        )
        self._available = available if available is not None else self.declared_samples

    def _open_decoder(self) -> None:
        if isinstance(self._source, XingHeaderFile):
            self._source.seek(0)
        try:
            self._decoder = _ForwardOnlySoundFile(self._source)
        except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a headerless .raw
            raise unusable_audio_error(
                self._path, f"is no sound file ({_libsndfile_message(error)})"
            ) from None
        self._block_start, self._at_end = 0, False  # of the first sample that is held
        self._block = np.zeros((0, self._decoder.channels), np.float32)

    def blocks(
        self, start: int, samples: int | None
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        stop = _stop_sample(self._path, start, samples, self._available)
        if self._can_seek and stop is not None:
            yield from self._read_by_seeking(start, stop)
        else:
            yield from self._read_in_order(start, stop)

    def _read_by_seeking(
        self, start: int, stop: int
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        if start != self._decoder.tell():
            self._call_decoder(lambda: self._decoder.seek(start))
        at = start
        while at < stop:
            count = min(BLOCK_SAMPLES, stop - at)
            block = self._read(count)
            at += len(block)
            if len(block) < count:
                raise self._cut_short(stop, at)
            yield block

    def _read_in_order(
        self, start: int, stop: int | None
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        """Some decoders' last bits depend on how much is asked for: hence always the same."""
        if start < self._block_start:
            self._decoder.close()
            self._open_decoder()
        while True:
            wanted = self._block[max(0, start - self._block_start) :]
            wanted = (
                wanted if stop is None else wanted[: max(0, stop - max(start, self._block_start))]
            )
            if len(wanted):
                yield wanted
            end = self._block_start + len(self._block)
            if self._at_end or (stop is not None and end >= stop):
                break
            self._block_start, self._block = end, self._read(BLOCK_SAMPLES)
            self._at_end = len(self._block) < BLOCK_SAMPLES
        if end <= start or (stop is not None and end < stop):
            raise self._cut_short(f"{start + 1} or more" if stop is None else stop, end)

    def _read(self, count: int) -> Float32[np.ndarray, "N channels"]:
        block: Float32[np.ndarray, "N channels"] = self._call_decoder(
            lambda: self._decoder.read(count, "float32", always_2d=True)
        )
        low, high = block.min(initial=0), block.max(initial=0)
        if not (low >= -MAX_AMPLITUDE and high <= MAX_AMPLITUDE):
            if np.isfinite(block).all():
                worst = max(-low, high)
                raise unusable_audio_error(
                    self._path, f"holds a sample of {worst:.2g} times the full scale"
                )
            raise unusable_audio_error(self._path, "holds samples that are not numbers")
        return block

    def _call_decoder(self, decode: Callable[[], T]) -> T:
        try:
            return decode()
        except soundfile.SoundFileError as error:
            raise unusable_audio_error(
                self._path, f"cannot be decoded ({_libsndfile_message(error)})"
            ) from None

    def _cut_short(self, declared: int | str, decoded: int) -> InputError:
        found = f"is cut short: {declared} samples announced, {decoded} decoded"
        return unusable_audio_error(self._path, found)

    def close(self) -> None:
        self._decoder.close()
        self._file.close()


def _decoder_input(path: str, file: BinaryIO) -> tuple[str | XingHeaderFile, bool]:
    """What to decode; and whether its length will be exact, if it is an mp3."""
    with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        if has_frame_count(content):
            return path, True
        samples = count_samples(content)
        return (path, False) if samples is None else (XingHeaderFile(file, content, samples), True)


def _require_uncompressed_sphere(path: str, head: bytes) -> None:
    coding = re.search(rb"^NIST_1A.*^sample_coding -s\d+ (\S+)", head, re.MULTILINE | re.DOTALL)
    if coding and any(name in coding[1] for name in COMPRESSED_SPHERE_CODINGS):
        finding = f"is sphere coded as {coding[1].decode('ascii', 'replace')}, which is not read"
        raise unusable_audio_error(path, f"{finding}; sph2pipe -f wav IN.sph OUT.wav writes a wav")


def _require_complete(path: str, file: BinaryIO, head: bytes, decoder: soundfile.SoundFile) -> None:
    if decoder.format == "RAW":  # what libsndfile makes of any file that is named .au
        raise unusable_audio_error(path, "is no sound file (no header is in it)")
    if decoder.frames == 0:
        raise unusable_audio_error(path, "holds no samples")
    if decoder.format == "NIST":
        _require_complete_sphere(path, head, decoder.frames)
    if decoder.format == "OGG":
        _require_last_ogg_page(path, file)


def _require_complete_sphere(path: str, head: bytes, available: int) -> None:
    """Libsndfile gives the samples that are there; the header says how many there were."""
    count = re.search(rb"^sample_count -i (\d+)", head, re.MULTILINE)
    if count and int(count[1]) > available:
        raise unusable_audio_error(
            path, f"is cut short: {int(count[1])} samples announced, {available} there"
        )


def _require_last_ogg_page(path: str, file: BinaryIO) -> None:
    """The end of an Ogg stream is marked; libsndfile reads one that was cut without a word."""
    file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_OGG_PAGE_BYTES))
    end = file.read()
    page = end[max(end.rfind(b"OggS"), 0) :]
    sizes = (
        page[OGG_PAGE_HEADER_BYTES : OGG_PAGE_HEADER_BYTES + page[OGG_PAGE_HEADER_BYTES - 1]]
        if len(page) > 26
        else b""
    )
    if len(page) < OGG_PAGE_HEADER_BYTES + len(sizes) + sum(sizes) or not (
        sizes and page[5] & OGG_END_OF_STREAM
    ):
        raise unusable_audio_error(path, "is cut short: its last Ogg page does not end it")


def _libsndfile_message(error: Exception) -> str:
    """The words of libsndfile, without the path that we give already."""
    said = str(getattr(error, "error_string", error)).strip()
    return said.removeprefix("Error : ").removesuffix(".")
