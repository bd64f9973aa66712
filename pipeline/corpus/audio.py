"""Audio: any sound file as a mono waveform at one rate. The only home of soundfile and soxr.

In:   a path.   Out: rate and length from the header alone; float32 samples, full scale 1.
Not here: which files a corpus has (readers.py), frames (features/spectrum.py).

A wav file's header is read here, because a corpus of thousands is probed in milliseconds that way,
and because libsndfile reads a wav that was cut short without a word.
"""

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from pipeline.files import InputError

WAY_OUT = "repair the file, or list the utterance under exclude: in the corpus file"

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # wav format tags
UNTIL_THE_END = 0xFFFFFFFF  # data size of a wav that was written to a pipe
SPHERE_HEADER = 1024  # bytes
LEAST_DECODED = 0.9  # of the announced length; the length of an mp3 is an estimate


@dataclass(frozen=True, slots=True)
class _Wav:
    tag: int
    channels: int
    rate: int  # Hz
    bits: int  # per sample
    offset: int  # of the samples in the file, bytes
    size: int  # of the samples, bytes

    @property
    def samples(self) -> int:  # per channel
        return self.size // (self.channels * self.bits // 8)


def probe(path: Path) -> tuple[int, int]:
    """(rate in Hz, samples per channel), from the header; the sound itself stays unread."""
    with _opened(path) as file:
        wav = _read_wav_header(path, file)
    if wav is None or wav.tag not in (PCM, FLOAT):
        info = _soundfile_info(path)
        return info.samplerate, info.frames
    return wav.rate, wav.samples


def load(path: Path, rate: int) -> Float32[np.ndarray, " N"]:
    """The mean of the channels, resampled to `rate` (soxr HQ) where the file has another.

    A full-scale integer is in [-1, 1); resampling may overshoot it by a little.
    """
    with _opened(path) as file:
        wav = _read_wav_header(path, file)
        if wav and (wav.tag, wav.bits) == (PCM, 16):
            file.seek(wav.offset)
            found, channels = wav.rate, _read_pcm16(file, wav)
        else:
            found, channels = _read_soundfile(path)
    waveform = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1)
    return resample(np.ascontiguousarray(waveform), found, rate)


def resample(
    waveform: Float32[np.ndarray, " N"], rate: int, wanted: int
) -> Float32[np.ndarray, " M"]:
    """By soxr's HQ filter; the waveform itself where nothing is to do."""
    return waveform if rate == wanted else soxr.resample(waveform, rate, wanted, quality="HQ")


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise _refused(path, "no such file") from None
    except OSError as error:
        raise _refused(path, f"cannot be opened ({error.strerror})") from None


def _read_wav_header(path: Path, file: BinaryIO) -> _Wav | None:
    """None where the file is not RIFF WAVE; an InputError where it ends before its header says."""
    head = file.read(12)
    if not head:
        raise _refused(path, "is empty")
    if head[:4] != b"RIFF" or head[8:12] not in (b"WAVE", b""):
        return None
    try:
        form, offset, size = _read_chunks(file)
        tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
        tag = struct.unpack_from("<H", form, 24)[0] if tag == EXTENSIBLE else tag
    except struct.error:
        raise _refused(path, "is a wav cut short before its samples") from None
    there = os.fstat(file.fileno()).st_size - offset
    size = there if size == UNTIL_THE_END else size
    if size > there:
        raise _refused(path, f"is cut short: {size} bytes of sound announced, {there} there")
    wav = _Wav(tag, channels, rate, bits, offset, size)
    if rate == 0 or channels == 0 or (tag in (PCM, FLOAT) and bits < 8):
        raise _refused(path, f"is no sound: {channels} channels of {bits} bits at {rate} Hz")
    if size < max(1, channels * bits // 8):
        raise _refused(path, "holds no samples")
    return wav


def _read_chunks(file: BinaryIO) -> tuple[bytes, int, int]:
    """The format chunk, and where the samples start and how many bytes they are."""
    form = b""
    while True:
        name, size = struct.unpack("<4sI", file.read(8))
        if name == b"data":
            return form, file.tell(), size
        if name == b"fmt ":
            form = file.read(size)
        else:
            file.seek(size, os.SEEK_CUR)
        file.seek(size % 2, os.SEEK_CUR)  # chunks are padded to an even length


def _read_pcm16(file: BinaryIO, wav: _Wav) -> Float32[np.ndarray, "N channels"]:
    integers = np.frombuffer(file.read(wav.samples * wav.channels * 2), dtype="<i2")
    return integers.reshape(-1, wav.channels).astype(np.float32) / np.float32(32768)


def _read_soundfile(path: Path) -> tuple[int, Float32[np.ndarray, "N channels"]]:
    info = _soundfile_info(path)
    try:
        channels, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise _refused(path, f"cannot be decoded ({_said(error)})") from None
    if len(channels) < LEAST_DECODED * info.frames:
        finding = f"is cut short: {info.frames} samples announced, {len(channels)} decoded"
        raise _refused(path, finding)
    if not np.isfinite(channels).all():
        raise _refused(path, "holds samples that are not numbers")
    return rate, channels


def _soundfile_info(path: Path) -> soundfile._SoundFileInfo:
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a headerless .raw
        raise _refused(path, f"is no sound file ({_said(error)})") from None
    if info.frames == 0:
        raise _refused(path, "holds no samples")
    if info.format == "NIST":
        _require_whole_sphere(path, info.frames)
    return info


def _require_whole_sphere(path: Path, there: int) -> None:
    """Libsndfile gives the samples that are there; the header says how many there were."""
    with path.open("rb") as file:
        count = re.search(rb"^sample_count -i (\d+)", file.read(SPHERE_HEADER), re.MULTILINE)
    if count and int(count[1]) > there:
        raise _refused(path, f"is cut short: {int(count[1])} samples announced, {there} there")


def _said(error: Exception) -> str:
    """The words of libsndfile, without the path that we give already."""
    return str(getattr(error, "error_string", error)).strip().removesuffix(".")


def _refused(path: Path, finding: str) -> InputError:
    return InputError(f"{path}: {finding}; {WAY_OUT}")
