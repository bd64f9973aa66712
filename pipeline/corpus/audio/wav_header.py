"""The header of a wav file (RIFF or RF64), which says where its samples are.

In:   an open file.   Out: encoding, channels, rate, position and number of the samples.
Not here: the samples (decode.py), any other container (libsndfile.py).

We parse it ourselves because that takes microseconds per file, and because libsndfile reads a wav
that is cut short without an error.
"""

import os
import struct
from typing import BinaryIO, NamedTuple

PCM, FLOAT, MP3, EXTENSIBLE = 1, 3, 0x55, 0xFFFE  # wav format tags
UNKNOWN_SIZE = 0xFFFFFFFF  # in RF64 the ds64 chunk has the size
MAX_CHUNKS = 1000  # before the samples
MAX_FORMAT_BYTES = 4096
# Sizes that programs write to a pipe, as they cannot go back to write the right one: about 2 GiB
# (sox, arecord) and about 4 GiB (ffmpeg), less the bytes of a header.
PIPE_SIZES = (range(0x7FFF0000, 0x80000001), range(0xFFFF0000, 0x100000000))


class WavHeader(NamedTuple):
    """The contents of the chunks before the samples."""

    tag: int
    channels: int
    rate: int  # Hz
    bits: int  # per sample
    offset: int  # of the first sample in the file, bytes
    size: int  # of all samples, bytes
    frame_bytes: int  # of one sample of all channels
    is_from_pipe: bool  # whether the header does not have the right size

    @property
    def samples(self) -> int:
        """The number of samples per channel."""
        return self.size // self.frame_bytes

    @property
    def is_uncompressed(self) -> bool:
        """Whether the samples are integers or floats, so that `size` gives their number."""
        return self.tag in (PCM, FLOAT)

    @property
    def is_pcm16(self) -> bool:
        """Whether the samples are 16-bit integers; fewer valid bits are the highest of them."""
        return self.tag == PCM and self.frame_bytes == 2 * self.channels and self.bits > 8

    @property
    def plain_header(self) -> bytes | None:
        """The header of a wav with the same samples, for a decoder that misreads this one.

        None if there is nothing to misread. Samples that do not fill their container are its
        highest bits, so that they can be read as if they filled it.
        """
        container = 8 * self.frame_bytes // self.channels
        if not self.is_uncompressed or not (self.is_from_pipe or container != self.bits):
            return None
        size = min(self.size, UNKNOWN_SIZE - 36)
        block, per_second = self.frame_bytes, self.frame_bytes * self.rate % 2**32
        form = (16, self.tag, self.channels, self.rate, per_second, block, container)
        riff = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", size + 36, b"WAVE", b"fmt ", *form)
        return riff + struct.pack("<4sI", b"data", size)


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
        tag, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", form)
        tag = struct.unpack_from("<H", form, 24)[0] if tag == EXTENSIBLE else tag
    except struct.error:
        raise DamagedWavError("is a wav file cut short before its samples") from None
    available = os.fstat(file.fileno()).st_size - offset
    stated = size
    if size == 0 or any(size in sizes for sizes in PIPE_SIZES):
        size = _size_from_pipe(file, offset, size, available)
    if size > available:
        raise DamagedWavError(
            f"is cut short: its header declares {size} bytes of audio, it has {available}"
        )
    frame_bytes = max(1, _frame_bytes(channels, bits, block))
    header = WavHeader(tag, channels, rate, bits, offset, size, frame_bytes, size != stated)
    if rate == 0 or channels == 0 or (header.is_uncompressed and bits < 8):
        raise DamagedWavError(
            f"has an invalid header: {channels} channels of {bits} bits at {rate} Hz"
        )
    if size < frame_bytes:
        raise DamagedWavError("holds no samples")
    _require_no_more_samples(file, offset + size + size % 2)
    return header


def _frame_bytes(channels: int, bits: int, block: int) -> int:
    """Return the bytes of one sample of all channels.

    Samples of 12 or 20 bits, and of 24 bits in 4 bytes, are in a larger container, whose size is in
    the block size. Where bits fill bytes, some programs leave the block size wrong.
    """
    whole = channels * bits // 8
    container = block // channels if channels and block % channels == 0 else 0
    if (bits % 8 and container * 8 > bits) or (bits == 24 and container == 4):
        return block
    return whole if bits % 8 == 0 else channels * -(-bits // 8)


def _size_from_pipe(file: BinaryIO, offset: int, size: int, available: int) -> int:
    """Return the size of the samples where the header has none, or `size` if it is right."""
    if size and size <= available:
        return size
    if size == 0 and _has_chunks_to_the_end(file, offset, available):
        return 0
    return available


def _require_no_more_samples(file: BinaryIO, position: int) -> None:
    """Raise DamagedWavError if more samples, or another wav file, follow in later chunks."""
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if head[:4] in (b"data", b"RIFF", b"RF64"):
            raise DamagedWavError(f"holds more samples behind the first ones, at byte {position}")
        if len(head) < 8 or not head[:4].isalnum():
            return
        position += 8 + int.from_bytes(head[4:], "little")
        position += position % 2


def _has_chunks_to_the_end(file: BinaryIO, offset: int, available: int) -> bool:
    """Return whether well-formed chunks follow the empty one and end with the file."""
    end = offset + available
    while offset + 8 <= end:
        file.seek(offset)
        name, size = struct.unpack("<4sI", file.read(8))
        if not (name.isascii() and name.decode("ascii").isprintable()):
            return False
        offset += 8 + size + size % 2
    return offset == end


def _read_chunks(file: BinaryIO) -> tuple[bytes, int, int]:
    """Return the format chunk, the offset of the samples and their size in bytes."""
    form, long_size = b"", UNKNOWN_SIZE
    for _ in range(MAX_CHUNKS):
        name, size = struct.unpack("<4sI", file.read(8))
        if name == b"data":
            return form, file.tell(), long_size if size == UNKNOWN_SIZE else size
        if name == b"fmt ":
            form = file.read(min(size, MAX_FORMAT_BYTES))
            file.seek(size - len(form), os.SEEK_CUR)
        elif name == b"ds64":
            sizes = file.read(min(size, MAX_FORMAT_BYTES))
            long_size = struct.unpack_from("<8xQ", sizes)[0]
            file.seek(size - len(sizes), os.SEEK_CUR)
        else:
            file.seek(size, os.SEEK_CUR)
        file.seek(size % 2, os.SEEK_CUR)  # chunks are padded to an even length
    raise DamagedWavError(f"has more than {MAX_CHUNKS} chunks before its samples")
