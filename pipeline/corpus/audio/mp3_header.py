"""MP3: a file that does not say its length, with a first frame that says it.

In:   a file.   Out: whether it says its length; the same file, saying it.
Not here: decoding (audio.py).

Libsndfile estimates the length of a file without such a frame from its first frames and its size,
and gives nothing beyond: half of a file may be lost. With the frame, it also leaves out the 529
samples by which every decoder lags.
"""

import io
import os
from mmap import mmap
from typing import Any, BinaryIO

LAYER_3 = 1  # as a frame header codes it
MPEG_1, MPEG_2, MPEG_25 = 3, 2, 0  # likewise
MPEG_1_KBPS = (
    0,
    32,
    40,
    48,
    56,
    64,
    80,
    96,
    112,
    128,
    160,
    192,
    224,
    256,
    320,
)  # by index; 0: free
MPEG_2_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # MPEG 2 and 2.5
SAMPLE_RATES_HZ = {MPEG_1: (44_100, 48_000, 32_000), MPEG_2: (22_050, 24_000, 16_000)}
SAMPLE_RATES_HZ[MPEG_25] = (11_025, 12_000, 8_000)  # Hz, by index
XING_TAGS = (b"Xing", b"Info")
XING_FRAME_COUNT_FLAG = 1  # flag of either
MEDIUM_BITRATE_BITS = 9 << 4  # index of a bitrate, 128 or 80 kbps


class XingHeaderFile(io.RawIOBase):
    """A file behind a first frame that says how many follow, in the place of its tags."""

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
        self._position = (
            offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        )
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        part = self._xing_frame[self._position : self._position + len(view)]
        view[: len(part)] = part
        self._file.seek(
            max(0, self._position + len(part) - len(self._xing_frame)) + self._audio_offset
        )
        rest = self._file.read(len(view) - len(part))
        view[len(part) : len(part) + len(rest)] = rest
        self._position += len(part) + len(rest)
        return len(part) + len(rest)


def has_frame_count(content: bytes | mmap) -> bool:
    """Whether the first frame is a header with the number of frames; libsndfile then is exact."""
    at = _skip_id3_tags(content)
    if _parse_frame(content, at) is None:
        return False
    tag = at + _xing_tag_offset(content, at)
    return content[tag : tag + 4] in XING_TAGS and bool(content[tag + 7] & XING_FRAME_COUNT_FLAG)


def count_samples(content: bytes | mmap) -> int | None:
    """Samples of all whole frames; None where something else lies between them."""
    at, samples = _skip_id3_tags(content), 0
    while frame := _parse_frame(content, at):
        length, of_frame = frame
        if at + length > len(content):
            return samples  # cut short in its last frame, which no decoder gives
        at, samples = at + length, samples + of_frame
    trailer = content[at : at + 8]
    return samples if samples and (not trailer or trailer[:3] == b"TAG") else None


def _make_xing_frame(content: bytes | mmap, samples: int) -> bytes:
    """Of the first frame's kind, without checksum and padding, long enough for any tag."""
    at = _skip_id3_tags(content)
    head = bytes(
        [0xFF, content[at + 1] | 1, content[at + 2] & 0x0C | MEDIUM_BITRATE_BITS, content[at + 3]]
    )
    length, of_frame = _parse_frame(head, 0) or (0, 1)
    tag = (
        XING_TAGS[0]
        + XING_FRAME_COUNT_FLAG.to_bytes(4, "big")
        + (samples // of_frame).to_bytes(4, "big")
    )
    return (head + bytes(_xing_tag_offset(head, 0) - 4) + tag).ljust(length, b"\0")


def _xing_tag_offset(content: bytes | mmap, frame_start: int) -> int:
    """Bytes from the start of a frame to where it would say how many follow."""
    mono, first_version = (
        content[frame_start + 3] >> 6 == 3,
        content[frame_start + 1] >> 3 & 3 == MPEG_1,
    )
    return 4 + ((17 if mono else 32) if first_version else (9 if mono else 17))


def _skip_id3_tags(content: bytes | mmap) -> int:
    """Past ID3v2, whose size has seven bits a byte."""
    at = 0
    while content[at : at + 3] == b"ID3" and len(content) >= at + 10:
        size = 0
        for byte in content[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if content[at + 5] & 0x10 else 0)  # a footer
    return at


def _parse_frame(content: bytes | mmap, frame_start: int) -> tuple[int, int] | None:
    """(bytes, samples) of the frame that starts here, if one does."""
    if (
        len(content) < frame_start + 4
        or content[frame_start] != 0xFF
        or content[frame_start + 1] >> 5 != 7
    ):
        return None
    version, layer = content[frame_start + 1] >> 3 & 3, content[frame_start + 1] >> 1 & 3
    bitrate, rate, padding = (
        content[frame_start + 2] >> 4,
        content[frame_start + 2] >> 2 & 3,
        content[frame_start + 2] >> 1 & 1,
    )
    if version not in SAMPLE_RATES_HZ or layer != LAYER_3 or rate == 3 or bitrate in (0, 15):
        return None
    if version == MPEG_1:
        return 144_000 * MPEG_1_KBPS[bitrate] // SAMPLE_RATES_HZ[version][rate] + padding, 1152
    return 72_000 * MPEG_2_KBPS[bitrate] // SAMPLE_RATES_HZ[version][rate] + padding, 576
