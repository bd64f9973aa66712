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
from pipeline.corpus.audio.mp3_header import WithLength, counted, length_told
from pipeline.corpus.audio.wav_header import PCM, Wav
from pipeline.files import InputError
from pipeline.shapes import Float32

OR_LEAVE = "or list the utterance under exclude: in the corpus file"
WAY_OUT = f"repair the file, {OR_LEAVE}"

BLOCK = 2**19  # samples per channel: 33 s at 16 kHz
LOUDEST = 1e6  # times the full scale: beyond any sound, and its power is far within float32
NO_JUMPS = ("OGG", "MP3")
BUFFERED = 4096  # bytes: what is before the samples of a wav, in one read
SPHERE_HEADER = 1024  # bytes
COMPRESSED_SPHERE = (b"shorten", b"wavpack", b"shortpack")
LAST_PAGE = 65_307  # bytes: the longest that an Ogg page can be
PAGE_HEADER = 27  # bytes, of which the last counts the sizes that follow
END_OF_STREAM = 4  # flag of an Ogg page

T = TypeVar("T")


class Header(NamedTuple):
    rate: int  # Hz
    samples: int  # per channel
    channels: int


def look(path: str) -> tuple[Header, int]:
    """What decoding will give; and a number that files with the same beginning have in common.

    An mp3 that does not say its length, and has gaps, is decoded.
    """
    file, wav = _open(path)
    with file:
        file.seek(0)
        beginning = zlib.crc32(file.read(BUFFERED))
        if wav and wav.plain:
            return Header(wav.rate, wav.samples, wav.channels), beginning
        with closing(_Decoded(path, file, None)) as sound:
            samples = sound.announced
            if samples is None:
                samples = sum(map(len, sound.blocks(0, None)))
            if samples == 0:
                raise refused(path, "holds no samples")
            return Header(sound.rate, samples, sound.channels), beginning


def open_sound(path: str) -> "Sound":
    file, wav = _open(path)
    if wav and wav.tag == PCM and wav.bits == 16:
        return _Pcm16(path, file, wav)
    try:
        return _Decoded(path, file, wav.samples if wav and wav.plain else None)
    except BaseException:
        file.close()
        raise


class Sound(Protocol):
    """An open file."""

    rate: int  # Hz

    def blocks(
        self, start: int, samples: int | None
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        """Of at most BLOCK samples; of `samples` from `start` on, or to the end."""
        ...

    def close(self) -> None: ...


def refused(path: object, finding: str, way_out: str = WAY_OUT) -> InputError:
    return InputError(f"{path}: {finding}; {way_out}")


def _open(path: str) -> tuple[BinaryIO, Wav | None]:
    """Not with `open`, which takes twice as long: it asks whether this is a terminal."""
    try:
        file = BufferedReader(FileIO(path), BUFFERED)
    except FileNotFoundError:
        raise refused(path, "no such file", f"put it there, {OR_LEAVE}") from None
    except OSError as error:
        raise refused(path, f"cannot be opened ({error.strerror})") from None
    try:
        return file, wav_header.read_header(file)
    except wav_header.DamagedError as error:
        file.close()
        raise refused(path, str(error)) from None
    except OSError as error:
        file.close()
        raise refused(path, f"cannot be read ({error.strerror})") from None


def _stop(path: str, start: int, samples: int | None, there: int | None) -> int | None:
    """The sample after the last; None where only decoding tells."""
    if there is None:
        return None if samples is None else start + samples
    stop = there if samples is None else start + samples
    if not 0 <= start < stop <= there:
        asked = f"{start} to {'its end' if samples is None else stop}"
        raise refused(path, f"holds {there} samples, and {asked} are asked for")
    return stop


class _Pcm16:
    """A wav of 16-bit integers, which nearly every corpus is: no decoder takes as little time."""

    def __init__(self, path: str, file: BinaryIO, wav: Wav) -> None:
        self._path, self._file, self._wav = path, file, wav
        self.rate = wav.rate

    def blocks(
        self, start: int, samples: int | None
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        there, channels = self._wav.samples, self._wav.channels
        stop = _stop(self._path, start, samples, there) or there
        self._file.seek(self._wav.offset + start * channels * 2)
        for first in range(start, stop, BLOCK):
            size = min(BLOCK, stop - first) * channels * 2
            try:
                content = self._file.read(size)
            except OSError as error:
                raise refused(self._path, f"cannot be read ({error.strerror})") from None
            if len(content) < size:
                raise refused(self._path, "was cut short while it was read")
            scaled = np.frombuffer(content, "<i2").astype(np.float32)
            scaled *= np.float32(1 / 32768)
            yield scaled.reshape(-1, channels)

    def close(self) -> None:
        self._file.close()


class _Forward(soundfile.SoundFile):  # type: ignore[misc]  # which has no types
    """After each block soundfile jumps to where it is, and even that misses in ogg and mp3."""

    def seekable(self) -> bool:
        return False


class _Decoded:
    """Whatever libsndfile decodes."""

    def __init__(self, path: str, file: BinaryIO, there: int | None) -> None:
        """`file` is looked at for what libsndfile keeps quiet about; `there`: how long it is."""
        self._path, self._file = path, file
        file.seek(0)
        head = file.read(SPHERE_HEADER)
        _require_plain_sphere(path, head)
        self._source, exact = _source(path, file)
        self._begin()
        try:
            _require_whole(path, file, head, self._decoder)
        except InputError:
            self._decoder.close()
            raise
        self.rate, self.channels = self._decoder.samplerate, self._decoder.channels
        self._jumps = self._decoder.format not in NO_JUMPS
        #: Samples that it will give; None for an mp3 of which only decoding tells.
        self.announced = (
            int(self._decoder.frames) if exact or self._decoder.format != "MP3" else None
        )
        self._there = there if there is not None else self.announced

    def _begin(self) -> None:
        if isinstance(self._source, WithLength):
            self._source.seek(0)
        try:
            self._decoder = _Forward(self._source)
        except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a headerless .raw
            raise refused(self._path, f"is no sound file ({_said(error)})") from None
        self._at, self._ended = 0, False  # of the first sample that is held
        self._held = np.zeros((0, self._decoder.channels), np.float32)

    def blocks(
        self, start: int, samples: int | None
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        stop = _stop(self._path, start, samples, self._there)
        if self._jumps and stop is not None:
            yield from self._jumped(start, stop)
        else:
            yield from self._followed(start, stop)

    def _jumped(self, start: int, stop: int) -> Iterator[Float32[np.ndarray, "N channels"]]:
        if start != self._decoder.tell():
            self._heard(lambda: self._decoder.seek(start))
        at = start
        while at < stop:
            count = min(BLOCK, stop - at)
            block = self._read(count)
            at += len(block)
            if len(block) < count:
                raise self._cut_short(stop, at)
            yield block

    def _followed(
        self, start: int, stop: int | None
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        """Some decoders' last bits depend on how much is asked for: hence always the same."""
        if start < self._at:
            self._decoder.close()
            self._begin()
        while True:
            wanted = self._held[max(0, start - self._at) :]
            wanted = wanted if stop is None else wanted[: max(0, stop - max(start, self._at))]
            if len(wanted):
                yield wanted
            end = self._at + len(self._held)
            if self._ended or (stop is not None and end >= stop):
                break
            self._at, self._held = end, self._read(BLOCK)
            self._ended = len(self._held) < BLOCK
        if end <= start or (stop is not None and end < stop):
            raise self._cut_short(f"{start + 1} or more" if stop is None else stop, end)

    def _read(self, count: int) -> Float32[np.ndarray, "N channels"]:
        block: Float32[np.ndarray, "N channels"] = self._heard(
            lambda: self._decoder.read(count, "float32", always_2d=True)
        )
        low, high = block.min(initial=0), block.max(initial=0)
        if not (low >= -LOUDEST and high <= LOUDEST):
            if np.isfinite(block).all():
                worst = max(-low, high)
                raise refused(self._path, f"holds a sample of {worst:.2g} times the full scale")
            raise refused(self._path, "holds samples that are not numbers")
        return block

    def _heard(self, decode: Callable[[], T]) -> T:
        try:
            return decode()
        except soundfile.SoundFileError as error:
            raise refused(self._path, f"cannot be decoded ({_said(error)})") from None

    def _cut_short(self, announced: int | str, decoded: int) -> InputError:
        found = f"is cut short: {announced} samples announced, {decoded} decoded"
        return refused(self._path, found)

    def close(self) -> None:
        self._decoder.close()
        self._file.close()


def _source(path: str, file: BinaryIO) -> tuple[str | WithLength, bool]:
    """What to decode; and whether its length will be exact, if it is an mp3."""
    with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        if length_told(content):
            return path, True
        samples = counted(content)
        return (path, False) if samples is None else (WithLength(file, content, samples), True)


def _require_plain_sphere(path: str, head: bytes) -> None:
    coding = re.search(rb"^NIST_1A.*^sample_coding -s\d+ (\S+)", head, re.MULTILINE | re.DOTALL)
    if coding and any(name in coding[1] for name in COMPRESSED_SPHERE):
        finding = f"is sphere coded as {coding[1].decode('ascii', 'replace')}, which is not read"
        raise refused(path, f"{finding}; sph2pipe -f wav IN.sph OUT.wav writes a wav")


def _require_whole(path: str, file: BinaryIO, head: bytes, decoder: soundfile.SoundFile) -> None:
    if decoder.format == "RAW":  # what libsndfile makes of any file that is named .au
        raise refused(path, "is no sound file (no header is in it)")
    if decoder.frames == 0:
        raise refused(path, "holds no samples")
    if decoder.format == "NIST":
        _require_whole_sphere(path, head, decoder.frames)
    if decoder.format == "OGG":
        _require_last_page(path, file)


def _require_whole_sphere(path: str, head: bytes, there: int) -> None:
    """Libsndfile gives the samples that are there; the header says how many there were."""
    count = re.search(rb"^sample_count -i (\d+)", head, re.MULTILINE)
    if count and int(count[1]) > there:
        raise refused(path, f"is cut short: {int(count[1])} samples announced, {there} there")


def _require_last_page(path: str, file: BinaryIO) -> None:
    """The end of an Ogg stream is marked; libsndfile reads one that was cut without a word."""
    file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_PAGE))
    end = file.read()
    page = end[max(end.rfind(b"OggS"), 0) :]
    sizes = page[PAGE_HEADER : PAGE_HEADER + page[PAGE_HEADER - 1]] if len(page) > 26 else b""
    if len(page) < PAGE_HEADER + len(sizes) + sum(sizes) or not (sizes and page[5] & END_OF_STREAM):
        raise refused(path, "is cut short: its last Ogg page does not end it")


def _said(error: Exception) -> str:
    """The words of libsndfile, without the path that we give already."""
    said = str(getattr(error, "error_string", error)).strip()
    return said.removeprefix("Error : ").removesuffix(".")
