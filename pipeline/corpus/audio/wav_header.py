"""The header of a wav file (RIFF or RF64), which says where its samples are.

In:   an open file.   Out: encoding, channels, rate, position and number of the samples.
Not here: the samples (decode.py), any other container (libsndfile.py).

We parse it ourselves because that takes microseconds per file, and because libsndfile reads a wav
that is cut short without an error.
"""

import os
import struct
from typing import BinaryIO, NamedTuple

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # wav format tags
UNKNOWN_SIZE = 0xFFFFFFFF  # in RF64 the ds64 chunk has the size; a wav from a pipe has none


class WavHeader(NamedTuple):
    """The contents of the chunks before the samples."""

    tag: int
    channels: int
    rate: int  # Hz
    bits: int  # per sample
    offset: int  # of the first sample in the file, bytes
    size: int  # of all samples, bytes

    @property
    def samples(self) -> int:
        """The number of samples per channel."""
        return self.size // (self.channels * self.bits // 8)

    @property
    def is_uncompressed(self) -> bool:
        """Whether the samples are integers or floats, so that `size` gives their number."""
        return self.tag in (PCM, FLOAT)


class DamagedWavError(ValueError):
    """The file is damaged; its text follows the path in a message."""


def read_wav_header(file: BinaryIO) -> WavHeader | None:
    """Read the header; return None if the file is not RIFF WAVE.

    Raises DamagedWavError if the file is empty, has no samples or is shorter than its header says.
    """
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
        raise DamagedWavError("is a wav file cut short before its samples") from None
    available = os.fstat(file.fileno()).st_size - offset
    size = available if size == UNKNOWN_SIZE else size
    if size > available:
        raise DamagedWavError(
            f"is cut short: its header declares {size} bytes of audio, it has {available}"
        )
    header = WavHeader(tag, channels, rate, bits, offset, size)
    if rate == 0 or channels == 0 or (header.is_uncompressed and bits < 8):
        raise DamagedWavError(
            f"has an invalid header: {channels} channels of {bits} bits at {rate} Hz"
        )
    if size < max(1, channels * bits // 8):
        raise DamagedWavError("holds no samples")
    return header


def _read_chunks(file: BinaryIO) -> tuple[bytes, int, int]:
    """Return the format chunk, the offset of the samples and their size in bytes."""
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
