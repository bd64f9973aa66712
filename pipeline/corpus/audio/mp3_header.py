"""MP3 headers: the length of a file, and a first frame that states it for libsndfile.

In:   the bytes of a file.   Out: whether it states its length; its length; a file object with a
first frame that states it.
Not here: decoding (libsndfile.py).

Without a Xing or Info frame libsndfile estimates the length from the first frames and the file size
and decodes no further, so that half of a file can be lost. With such a frame it is exact, and it
also removes the 529 samples of decoder delay.
"""

import io
import os
from mmap import mmap
from typing import Any, BinaryIO

LAYER_3 = 1  # as coded in a frame header
MPEG_1, MPEG_2, MPEG_25 = 3, 2, 0  # as coded in a frame header
# Bit rates by index; index 0 means a free bit rate. MPEG 2.5 has those of MPEG 2.
MPEG_1_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG_2_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
SAMPLE_RATES_HZ = {  # by index
    MPEG_1: (44_100, 48_000, 32_000),
    MPEG_2: (22_050, 24_000, 16_000),
    MPEG_25: (11_025, 12_000, 8_000),
}
XING_TAGS = (b"Xing", b"Info")  # variable and constant bit rate
XING_FRAME_COUNT_FLAG = 1
MEDIUM_BITRATE_BITS = 9 << 4  # index 9 in its place in a header: 128 or 80 kbps


class XingHeaderFile(io.RawIOBase):
    """A file object: the mp3 without its leading tags, after a frame that states its length."""

    def __init__(self, file: BinaryIO, content: bytes | mmap, samples: int) -> None:
        super().__init__()
        self._file, self._audio_offset, self._position = file, _skip_id3_tags(content), 0
        self._xing_frame = _make_xing_frame(content, samples)
        self._size = len(self._xing_frame) + len(content) - self._audio_offset

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        part = self._xing_frame[self._position : self._position + len(view)]
        view[: len(part)] = part
        behind_frame = max(0, self._position + len(part) - len(self._xing_frame))
        self._file.seek(self._audio_offset + behind_frame)
        rest = self._file.read(len(view) - len(part))
        view[len(part) : len(part) + len(rest)] = rest
        self._position += len(part) + len(rest)
        return len(part) + len(rest)


def has_frame_count(content: bytes | mmap) -> bool:
    """Return whether the first frame states the number of frames."""
    start = _skip_id3_tags(content)
    if _parse_frame(content, start) is None:
        return False
    tag = start + _xing_tag_offset(content, start)
    return content[tag : tag + 4] in XING_TAGS and bool(content[tag + 7] & XING_FRAME_COUNT_FLAG)


def count_samples(content: bytes | mmap) -> int | None:
    """Return the samples per channel of all whole frames.

    Return None if there is no frame, or something else than frames and an ID3v1 tag.
    """
    position, samples = _skip_id3_tags(content), 0
    while frame := _parse_frame(content, position):
        frame_bytes, frame_samples = frame
        if position + frame_bytes > len(content):
            return samples  # no decoder decodes an incomplete last frame
        position, samples = position + frame_bytes, samples + frame_samples
    trailer = content[position : position + 8]
    return samples if samples and (not trailer or trailer[:3] == b"TAG") else None


def _make_xing_frame(content: bytes | mmap, samples: int) -> bytes:
    """Return a frame like the first one, without checksum and padding, that states the length."""
    start = _skip_id3_tags(content)
    head = bytes(
        [
            0xFF,
            content[start + 1] | 1,
            content[start + 2] & 0x0C | MEDIUM_BITRATE_BITS,
            content[start + 3],
        ]
    )
    frame_bytes, frame_samples = _parse_frame(head, 0) or (0, 1)
    flags = XING_FRAME_COUNT_FLAG.to_bytes(4, "big")
    tag = XING_TAGS[0] + flags + (samples // frame_samples).to_bytes(4, "big")
    return (head + bytes(_xing_tag_offset(head, 0) - 4) + tag).ljust(frame_bytes, b"\0")


def _xing_tag_offset(content: bytes | mmap, frame_start: int) -> int:
    """Return the bytes from the start of a frame to the place of a Xing tag."""
    is_mono = content[frame_start + 3] >> 6 == 3
    if content[frame_start + 1] >> 3 & 3 == MPEG_1:
        return 4 + (17 if is_mono else 32)
    return 4 + (9 if is_mono else 17)


def _skip_id3_tags(content: bytes | mmap) -> int:
    """Return the offset after all ID3v2 tags; their size has seven bits per byte."""
    position = 0
    while content[position : position + 3] == b"ID3" and len(content) >= position + 10:
        size = 0
        for byte in content[position + 6 : position + 10]:
            size = size << 7 | byte & 0x7F
        footer = 10 if content[position + 5] & 0x10 else 0
        position += 10 + size + footer
    return position


def _parse_frame(content: bytes | mmap, frame_start: int) -> tuple[int, int] | None:
    """Return (bytes, samples per channel) of the frame that starts here; None if none does."""
    if len(content) < frame_start + 4:
        return None
    sync, second, third = content[frame_start : frame_start + 3]
    if sync != 0xFF or second >> 5 != 7:
        return None
    version, layer = second >> 3 & 3, second >> 1 & 3
    bitrate, rate, padding = third >> 4, third >> 2 & 3, third >> 1 & 1
    if version not in SAMPLE_RATES_HZ or layer != LAYER_3 or rate == 3 or bitrate in (0, 15):
        return None
    hertz = SAMPLE_RATES_HZ[version][rate]
    if version == MPEG_1:
        return 144_000 * MPEG_1_KBPS[bitrate] // hertz + padding, 1152
    return 72_000 * MPEG_2_KBPS[bitrate] // hertz + padding, 576
