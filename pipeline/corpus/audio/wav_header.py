"""RIFF: the header of a wav file, which says where its samples lie.

In:   an open file.   Out: encoding, channels, rate, place and number of the samples.
Not here: the samples (audio.py), any other container.

The header is read here, because a corpus of thousands is probed in milliseconds that way, and
because libsndfile reads a wav that was cut short without a word.
"""

import os
import struct
from typing import BinaryIO, NamedTuple

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # wav format tags
UNKNOWN_SIZE = 0xFFFFFFFF  # data size in RF64, where ds64 has it, and of a wav written to a pipe


class WavHeader(NamedTuple):
    tag: int
    channels: int
    rate: int  # Hz
    bits: int  # per sample
    offset: int  # of the samples in the file, bytes
    size: int  # of the samples, bytes

    @property
    def samples(self) -> int:  # per channel
        return self.size // (self.channels * self.bits // 8)

    @property
    def is_uncompressed(
        self,
    ) -> bool:  # whole numbers or floats, so that size gives the number of samples
        return self.tag in (PCM, FLOAT)


class DamagedWavError(ValueError):
    """What is wrong with the file, as the end of a sentence that begins with its path."""


def read_wav_header(file: BinaryIO) -> WavHeader | None:
    """None where the file is not RIFF WAVE; a DamagedError where it ends before its header says."""
    head = file.read(12)
    if not head:
        raise DamagedWavError("is empty")
    if head[:4] not in (b"RIFF", b"RF64") or head[8:12] not in (b"WAVE", b""):
        return None
    try:
        form, offset, size = _read_chunks(file)
        tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
        tag = struct.unpack_from("<H", form, 24)[0] if tag == EXTENSIBLE else tag
    except struct.error:
        raise DamagedWavError("is a wav cut short before its samples") from None
    there = os.fstat(file.fileno()).st_size - offset
    size = there if size == UNKNOWN_SIZE else size
    if size > there:
        raise DamagedWavError(f"is cut short: {size} bytes of sound announced, {there} there")
    wav = WavHeader(tag, channels, rate, bits, offset, size)
    if rate == 0 or channels == 0 or (wav.is_uncompressed and bits < 8):
        raise DamagedWavError(f"is no sound: {channels} channels of {bits} bits at {rate} Hz")
    if size < max(1, channels * bits // 8):
        raise DamagedWavError("holds no samples")
    return wav


def _read_chunks(file: BinaryIO) -> tuple[bytes, int, int]:
    """The format chunk, and where the samples start and how many bytes they are."""
    form, long_size = b"", UNKNOWN_SIZE
    while True:
        name, size = struct.unpack("<4sI", file.read(8))
        if name == b"data":
            return form, file.tell(), long_size if size == UNKNOWN_SIZE else size
        if name == b"fmt ":
            form = file.read(size)
        elif name == b"ds64":
            long_size = struct.unpack_from("<8xQ", file.read(size))[0]
        else:
            file.seek(size, os.SEEK_CUR)
        file.seek(size % 2, os.SEEK_CUR)  # chunks are padded to an even length
