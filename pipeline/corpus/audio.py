"""Audio: any sound file as a mono waveform at one rate. The only home of soundfile and soxr.

In:   a path, or a stretch of one.   Out: rate and length, from the header where it is exact;
float32 samples, full scale 1, whole or in blocks.
Not here: which files a corpus has (readers.py), frames (features/spectrum.py).

Several channels become one by their mean, unless one is asked for. Another rate is reached by
soxr's HQ filter (20 bits), and in blocks the bytes are the same as whole. Ogg and mp3 are decoded
from their beginning wherever a stretch starts: libsndfile's jumps in them miss.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from pipeline.corpus import riff
from pipeline.corpus.mp3 import WithLength, counted, length_told
from pipeline.corpus.riff import PCM, Wav
from pipeline.files import InputError

WAY_OUT = "repair the file, or list the utterance under exclude: in the corpus file"

BLOCK = 2**19  # samples per channel: 33 s at 16 kHz
NO_JUMPS = ("OGG", "MP3")
SPHERE_HEADER = 1024  # bytes
COMPRESSED_SPHERE = (b"shorten", b"wavpack", b"shortpack")
LAST_PAGE = 65_307  # bytes: the longest that an Ogg page can be
PAGE_HEADER = 27  # bytes, of which the last counts the sizes that follow
END_OF_STREAM = 4  # flag of an Ogg page
NONE = np.zeros(0, np.float32)

T = TypeVar("T")


class Header(NamedTuple):
    rate: int  # Hz
    samples: int  # per channel
    channels: int


def probe(path: Path) -> Header:
    """What decoding will give; an mp3 that does not say it, and has gaps, is decoded."""
    with _opened(path) as (file, wav):
        if wav and wav.plain:
            return Header(wav.rate, wav.samples, wav.channels)
        with _decoder(path, file) as (decoder, announced):
            samples = announced
            if samples is None:
                samples = sum(map(len, _decoded(path, decoder, 0, None)))
            if samples == 0:
                raise refused(path, "holds no samples")
            return Header(decoder.samplerate, samples, decoder.channels)


def load(
    path: Path, rate: int, start: int = 0, samples: int | None = None, channel: int | None = None
) -> Float32[np.ndarray, " N"]:
    """The blocks of `blocks`, joined."""
    joined = list(blocks(path, rate, start, samples, channel))
    return joined[0] if len(joined) == 1 else np.concatenate([NONE, *joined])


def blocks(
    path: Path, rate: int, start: int = 0, samples: int | None = None, channel: int | None = None
) -> Iterator[Float32[np.ndarray, " N"]]:
    """`samples` from `start` on (both at the file's own rate; None: to its end), resampled.

    Blocks of at most BLOCK samples at the file's rate; together `resampled_length` of them.
    A full-scale integer is in [-1, 1); resampling may overshoot it by a little.
    """
    stream = None
    for found, block in _channels(path, start, samples):
        waveform = _mono(path, block, channel)
        if found == rate:
            yield waveform
        else:
            stream = stream or soxr.ResampleStream(found, rate, 1, dtype="float32", quality="HQ")
            yield from _some(stream.resample_chunk(waveform))
    if stream:
        yield from _some(stream.resample_chunk(NONE, last=True))


def resampled_length(samples: int, rate: int, wanted: int) -> int:
    """How many samples at `wanted` Hz come of `samples` at `rate` Hz: soxr's own arithmetic."""
    return samples if rate == wanted else int(samples / (rate / wanted) + 0.5)


def resample(
    waveform: Float32[np.ndarray, " N"], rate: int, wanted: int
) -> Float32[np.ndarray, " M"]:
    """By soxr's HQ filter; the waveform itself where nothing is to do."""
    return waveform if rate == wanted else soxr.resample(waveform, rate, wanted, quality="HQ")


def refused(path: Path, finding: str) -> InputError:
    return InputError(f"{path}: {finding}; {WAY_OUT}")


def _some(
    waveform: Float32[np.ndarray, " N"],
) -> Iterator[Float32[np.ndarray, " N"]]:
    if len(waveform):
        yield waveform


def _mono(
    path: Path, block: Float32[np.ndarray, "N channels"], channel: int | None
) -> Float32[np.ndarray, " N"]:
    channels = block.shape[1]
    if channel is not None and channel >= channels:
        raise refused(path, f"has {channels} channels, and number {channel}, from 0, is asked for")
    if channels == 1:
        return block[:, 0]
    return block.mean(axis=1) if channel is None else np.ascontiguousarray(block[:, channel])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, Wav | None]]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise refused(path, "no such file") from None
    except OSError as error:
        raise refused(path, f"cannot be opened ({error.strerror})") from None
    with file:
        try:
            yield file, riff.read_header(file)
        except riff.DamagedError as error:
            raise refused(path, str(error)) from None


def _channels(
    path: Path, start: int, samples: int | None
) -> Iterator[tuple[int, Float32[np.ndarray, "N channels"]]]:
    """Rate and samples, block by block."""
    with _opened(path) as (file, wav):
        if wav and (wav.tag, wav.bits) == (PCM, 16):
            stop = _stop(path, start, samples, wav.samples) or wav.samples
            for block in _pcm16(path, file, wav, start, stop):
                yield wav.rate, block
            return
        with _decoder(path, file) as (decoder, announced):
            there = wav.samples if wav and wav.plain else announced
            for block in _decoded(path, decoder, start, _stop(path, start, samples, there)):
                yield decoder.samplerate, block


def _stop(path: Path, start: int, samples: int | None, there: int | None) -> int | None:
    if there is None:
        return None if samples is None else start + samples
    stop = there if samples is None else start + samples
    if not 0 <= start < stop <= there:
        asked = f"{start} to {'its end' if samples is None else stop}"
        raise refused(path, f"holds {there} samples, and {asked} are asked for")
    return stop


def _pcm16(
    path: Path, file: BinaryIO, wav: Wav, start: int, stop: int
) -> Iterator[Float32[np.ndarray, "N channels"]]:
    file.seek(wav.offset + start * wav.channels * 2)
    for first in range(start, stop, BLOCK):
        count = min(BLOCK, stop - first) * wav.channels
        integers = np.frombuffer(file.read(2 * count), dtype="<i2")
        if len(integers) < count:
            raise refused(path, "was cut short while it was read")
        scaled = integers.astype(np.float32)
        scaled *= np.float32(1 / 32768)
        yield scaled.reshape(-1, wav.channels)


@contextmanager
def _decoder(path: Path, file: BinaryIO) -> Iterator[tuple[soundfile.SoundFile, int | None]]:
    """And how many samples it will give; None for an mp3 of which only decoding tells.

    `file` is looked at for what libsndfile keeps quiet about.
    """
    file.seek(0)
    head = file.read(SPHERE_HEADER)
    _require_plain_sphere(path, head)
    source, exact = _source(path, file)
    try:
        decoder = soundfile.SoundFile(source)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a headerless .raw
        raise refused(path, f"is no sound file ({_said(error)})") from None
    with decoder:
        if decoder.format == "RAW":  # what libsndfile makes of any file that is named .au
            raise refused(path, "is no sound file (no header is in it)")
        if decoder.frames == 0:
            raise refused(path, "holds no samples")
        if decoder.format == "NIST":
            _require_whole_sphere(path, head, decoder.frames)
        if decoder.format == "OGG":
            _require_last_page(path, file)
        yield decoder, int(decoder.frames) if exact or decoder.format != "MP3" else None


def _source(path: Path, file: BinaryIO) -> tuple[Path | WithLength, bool]:
    """What to decode; and whether its length will be exact, if it is an mp3."""
    with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        if length_told(content):
            return path, True
        samples = counted(content)
        return (path, False) if samples is None else (WithLength(file, content, samples), True)


def _decoded(
    path: Path, decoder: soundfile.SoundFile, start: int, stop: int | None
) -> Iterator[Float32[np.ndarray, "N channels"]]:
    """From `start` to `stop`, or to the end."""
    jumps = decoder.format not in NO_JUMPS
    at = _heard(path, lambda: decoder.seek(start)) if start and jumps else 0
    while stop is None or at < stop:
        # Some decoders' last bits depend on how much is asked for: hence always the same.
        count = min(BLOCK, stop - at) if stop is not None and jumps else BLOCK
        block = _heard(path, lambda: decoder.read(count, "float32", always_2d=True))  # noqa: B023
        if not np.isfinite(block).all():
            raise refused(path, "holds samples that are not numbers")
        wanted = block[max(0, start - at) : None if stop is None else stop - at]
        if len(wanted):
            yield wanted
        at += len(block)
        if len(block) < count:
            break
    if at <= start or (stop is not None and at < stop):
        announced = f"{start + 1} or more" if stop is None else stop
        raise refused(path, f"is cut short: {announced} samples announced, {at} decoded")


def _require_plain_sphere(path: Path, head: bytes) -> None:
    coding = re.search(rb"^NIST_1A.*^sample_coding -s\d+ (\S+)", head, re.MULTILINE | re.DOTALL)
    if coding and any(name in coding[1] for name in COMPRESSED_SPHERE):
        finding = f"is sphere coded as {coding[1].decode('ascii', 'replace')}, which is not read"
        raise refused(path, f"{finding}; sph2pipe -f wav IN.sph OUT.wav writes a wav")


def _require_whole_sphere(path: Path, head: bytes, there: int) -> None:
    """Libsndfile gives the samples that are there; the header says how many there were."""
    count = re.search(rb"^sample_count -i (\d+)", head, re.MULTILINE)
    if count and int(count[1]) > there:
        raise refused(path, f"is cut short: {int(count[1])} samples announced, {there} there")


def _require_last_page(path: Path, file: BinaryIO) -> None:
    """The end of an Ogg stream is marked; libsndfile reads one that was cut without a word."""
    file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_PAGE))
    end = file.read()
    page = end[max(end.rfind(b"OggS"), 0) :]
    sizes = page[PAGE_HEADER : PAGE_HEADER + page[PAGE_HEADER - 1]] if len(page) > 26 else b""
    if len(page) < PAGE_HEADER + len(sizes) + sum(sizes) or not (sizes and page[5] & END_OF_STREAM):
        raise refused(path, "is cut short: its last Ogg page does not end it")


def _heard(path: Path, decode: Callable[[], T]) -> T:
    try:
        return decode()
    except soundfile.SoundFileError as error:
        raise refused(path, f"cannot be decoded ({_said(error)})") from None


def _said(error: Exception) -> str:
    """The words of libsndfile, without the path that we give already."""
    return str(getattr(error, "error_string", error)).strip().removesuffix(".")
