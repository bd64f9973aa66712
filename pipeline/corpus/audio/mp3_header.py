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
KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # by index; 0: free
KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # MPEG 2 and 2.5
RATES = {MPEG_1: (44_100, 48_000, 32_000), MPEG_2: (22_050, 24_000, 16_000)}
RATES[MPEG_25] = (11_025, 12_000, 8_000)  # Hz, by index
LENGTH_TOLD = (b"Xing", b"Info")
HAS_FRAMES = 1  # flag of either
MIDDLE = 9 << 4  # index of a bitrate, 128 or 80 kbps


class WithLength(io.RawIOBase):
    """A file behind a first frame that says how many follow, in the place of its tags."""

    def __init__(self, file: BinaryIO, content: bytes | mmap, samples: int) -> None:
        super().__init__()
        self._file, self._skipped, self._at = file, _after_tags(content), 0
        self._first = _length_frame(content, samples)
        self._size = len(self._first) + len(content) - self._skipped

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        part = self._first[self._at : self._at + len(view)]
        view[: len(part)] = part
        self._file.seek(max(0, self._at + len(part) - len(self._first)) + self._skipped)
        rest = self._file.read(len(view) - len(part))
        view[len(part) : len(part) + len(rest)] = rest
        self._at += len(part) + len(rest)
        return len(part) + len(rest)


def length_told(content: bytes | mmap) -> bool:
    """Whether the first frame is a header with the number of frames; libsndfile then is exact."""
    at = _after_tags(content)
    if _frame(content, at) is None:
        return False
    tag = at + _tag_place(content, at)
    return content[tag : tag + 4] in LENGTH_TOLD and bool(content[tag + 7] & HAS_FRAMES)


def counted(content: bytes | mmap) -> int | None:
    """Samples of all whole frames; None where something else lies between them."""
    at, samples = _after_tags(content), 0
    while frame := _frame(content, at):
        length, of_frame = frame
        if at + length > len(content):
            return samples  # cut short in its last frame, which no decoder gives
        at, samples = at + length, samples + of_frame
    trailer = content[at : at + 8]
    return samples if samples and (not trailer or trailer[:3] == b"TAG") else None


def _length_frame(content: bytes | mmap, samples: int) -> bytes:
    """Of the first frame's kind, without checksum and padding, long enough for any tag."""
    at = _after_tags(content)
    head = bytes([0xFF, content[at + 1] | 1, content[at + 2] & 0x0C | MIDDLE, content[at + 3]])
    length, of_frame = _frame(head, 0) or (0, 1)
    tag = LENGTH_TOLD[0] + HAS_FRAMES.to_bytes(4, "big") + (samples // of_frame).to_bytes(4, "big")
    return (head + bytes(_tag_place(head, 0) - 4) + tag).ljust(length, b"\0")


def _tag_place(content: bytes | mmap, at: int) -> int:
    """Bytes from the start of a frame to where it would say how many follow."""
    mono, first_version = content[at + 3] >> 6 == 3, content[at + 1] >> 3 & 3 == MPEG_1
    return 4 + ((17 if mono else 32) if first_version else (9 if mono else 17))


def _after_tags(content: bytes | mmap) -> int:
    """Past ID3v2, whose size has seven bits a byte."""
    at = 0
    while content[at : at + 3] == b"ID3" and len(content) >= at + 10:
        size = 0
        for byte in content[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if content[at + 5] & 0x10 else 0)  # a footer
    return at


def _frame(content: bytes | mmap, at: int) -> tuple[int, int] | None:
    """(bytes, samples) of the frame that starts here, if one does."""
    if len(content) < at + 4 or content[at] != 0xFF or content[at + 1] >> 5 != 7:
        return None
    version, layer = content[at + 1] >> 3 & 3, content[at + 1] >> 1 & 3
    bitrate, rate, padding = (
        content[at + 2] >> 4,
        content[at + 2] >> 2 & 3,
        content[at + 2] >> 1 & 1,
    )
    if version not in RATES or layer != LAYER_3 or rate == 3 or bitrate in (0, 15):
        return None
    if version == MPEG_1:
        return 144_000 * KBPS_1[bitrate] // RATES[version][rate] + padding, 1152
    return 72_000 * KBPS_2[bitrate] // RATES[version][rate] + padding, 576
