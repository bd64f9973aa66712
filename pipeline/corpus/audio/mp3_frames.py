"""MP3 frames: counted, because headers and estimates of the length are often wrong.

In:   the bytes of a file.   Out: how many frames it has and where; a first frame that states the
number for libsndfile.
Not here: decoding (libsndfile.py).

Without a Xing or Info frame libsndfile estimates the length from the first frames and the file size
and decodes no further, so that half of a file can be lost. With such a frame it is exact, and it
also removes the 529 samples of decoder delay. In files joined end to end that frame counts the
first file alone.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from mmap import mmap
from typing import NamedTuple

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
XING_OFFSETS = (13, 21, 36)  # of the tag in a frame, depending on version and channels
XING_FRAME_COUNT_FLAG = 1
MEDIUM_BITRATE_BITS = 9 << 4  # index 9 in its place in a header: 128 or 80 kbps
PROBED_FRAMES = 3  # that must follow each other to be frames, and not other bytes by chance
USUAL_FRAME = 5  # has a size that is usual in its file; encoders begin with larger frames
BLOCK_FRAMES = (48, 6)  # compared at once: as many as possible, then fewer at the end of the file
LYRICS_ENDS = (b"LYRICS200", b"LYRICSEND")


class DamagedMP3Error(ValueError):
    """The file is damaged; its text follows the path in a message."""


class MP3Frames(NamedTuple):
    """The whole frames of a file, without those that only state a number of frames."""

    number: int
    samples: int  # per channel, of all of them
    ranges: tuple[range, ...]  # their bytes
    stated: int | None  # the number that the first frame states
    is_joined: bool  # whether a later frame states a number, too
    header: bytes  # of the first frame, 4 bytes

    @property
    def is_stated_right(self) -> bool:
        """Some encoders also count the frame that states the number."""
        return not self.is_joined and self.stated in (self.number, self.number + 1)


def find_frames(content: bytes | mmap, start: int = 0, stop: int | None = None) -> MP3Frames | None:
    """Find the frames from byte `start` to `stop`; None if none begins there.

    Tags before, between and behind them are skipped. Raises DamagedMP3Error if something else is
    between frames, if the sampling rate changes, if there are fewer frames than the first one
    states, or if a file whose frames state no number ends within a frame.
    """
    is_whole_file = stop is None
    stop = len(content) if stop is None else stop
    first = position = _skip_tags(content, start, stop)
    if (sizes := _sizes_at(content, first)) is None:
        return None
    ranges, count = [], 0
    while True:
        begin = position
        position, number = _walk(content, position, stop, sizes)
        if number:
            ranges.append(range(begin, position))
            count += number
        behind = _skip_tags(content, position, stop)
        if behind == position or content[behind : behind + 3] not in sizes:
            break
        position = behind
    end = content[behind : min(behind + 3, stop)]
    is_cut = bool(end) and any(head.startswith(end) for head in sizes)
    if behind < stop and not is_cut:
        _require_no_more_frames(content, behind, stop)
    stated = _stated_frames(content, first)
    others = []
    if stated is not None and stated not in (count - 1, count):
        others = _later_info_frames(content, ranges, sizes, first)
    info = [*([first] if stated is not None else []), *others]
    count -= len(info)
    if stated is not None and not others and stated > count + (not is_cut):
        raise DamagedMP3Error(f"is cut short: its header states {stated} frames, it has {count}")
    if count <= 0:
        return None
    if is_whole_file and is_cut and (stated is None or others):
        raise DamagedMP3Error(f"is cut short: it ends within the mp3 frame at byte {behind}")
    return MP3Frames(
        number=count,
        samples=count * _samples_per_frame(content[first + 1]),
        ranges=tuple(_without_frames(ranges, info, content, sizes)),
        stated=stated,
        is_joined=bool(others),
        header=bytes(content[first : first + 4]),
    )


def make_xing_frame(header: bytes, samples: int) -> bytes:
    """Return a frame that states the length, for a file whose first frame has this header.

    It has no checksum and no padding.
    """
    head = bytes([0xFF, header[1] | 1, header[2] & 0x0C | MEDIUM_BITRATE_BITS, header[3]])
    flags = XING_FRAME_COUNT_FLAG.to_bytes(4, "big")
    frames = samples // _samples_per_frame(head[1])
    tag = XING_TAGS[0] + flags + frames.to_bytes(4, "big")
    frame_bytes = _frame_sizes(head[1] >> 3 & 3, head[2] >> 2 & 3)[head[:3]]
    return (head + bytes(_xing_tag_offset(head, 0) - 4) + tag).ljust(frame_bytes, b"\0")


@cache
def _frame_sizes(version: int, rate: int) -> dict[bytes, int]:
    """Return the size in bytes of a frame by its first three bytes, for one sampling rate."""
    hertz, sizes = SAMPLE_RATES_HZ[version][rate], {}
    kbps = MPEG_1_KBPS if version == MPEG_1 else MPEG_2_KBPS
    factor = 144_000 if version == MPEG_1 else 72_000
    for bitrate, padding, private, protection in product(range(1, 15), (0, 1), (0, 1), (0, 1)):
        second = 0xE0 | version << 3 | LAYER_3 << 1 | protection
        third = bitrate << 4 | rate << 2 | padding << 1 | private
        sizes[bytes([0xFF, second, third])] = factor * kbps[bitrate] // hertz + padding
    return sizes


def _sizes_at(content: bytes | mmap, position: int) -> dict[bytes, int] | None:
    """Return the sizes of frames with the sampling rate of the frame that begins here, if any."""
    head = content[position : position + 4]
    if len(head) < 4 or head[0] != 0xFF:
        return None
    version, rate = head[1] >> 3 & 3, head[2] >> 2 & 3
    if version not in SAMPLE_RATES_HZ or rate == 3:
        return None
    sizes = _frame_sizes(version, rate)
    return sizes if head[:3] in sizes else None


def _walk(
    content: bytes | mmap, position: int, stop: int, sizes: dict[bytes, int]
) -> tuple[int, int]:
    """Return the end of the whole frames that follow each other from `position`, and how many."""
    count, sizes_at = 0, sizes.get
    # One by one up to a frame of the usual size: the first one may only state a number of frames.
    while size := sizes_at(content[position : position + 3]):
        if position + size > stop:
            break
        position, count = position + size, count + 1
        if count == USUAL_FRAME:
            head = content[position - size : position]
            for number, blocks in _block_patterns(head[1] >> 3 & 3, head[2] >> 2 & 3, size):
                while block := blocks.match(content, position, stop):
                    position, count = block.end(), count + number
    return position, count


@cache
def _block_patterns(
    version: int, rate: int, likely_size: int
) -> tuple[tuple[int, re.Pattern[bytes]], ...]:
    """Return patterns of so many frames each, which are faster than a loop over them.

    Sizes near the likely one are tried first. The + behind the number keeps re from trying again.
    """
    heads: dict[int, set[bytes]] = {}
    for head, size in _frame_sizes(version, rate).items():
        heads.setdefault(size, set()).add(re.escape(head[2:]))
    seconds = b"".join({re.escape(head[1:2]) for head in _frame_sizes(version, rate)})
    order = sorted(heads, key=lambda size: abs(size - likely_size))
    rest = b"|".join(b"[%b].{%d}" % (b"".join(heads[size]), size - 3) for size in order)
    return tuple(
        (number, re.compile(b"(?:\xff[%b](?:%b)){%d}+" % (seconds, rest, number), re.DOTALL))
        for number in BLOCK_FRAMES
    )


def _skip_tags(content: bytes | mmap, position: int, stop: int) -> int:
    """Return the position behind ID3, APE and lyrics tags and zeros."""
    before = -1
    while before < position < stop and content[position] != 0xFF:
        before, head = position, content[position : position + 12]
        if head.startswith(b"ID3") and position + 10 <= stop:
            size = 0
            for byte in content[position + 6 : position + 10]:
                size = size << 7 | byte & 0x7F  # seven bits per byte
            position += 10 + size + (10 if content[position + 5] & 0x10 else 0)
        elif head.startswith(b"TAG+"):
            position += 227
        elif head.startswith(b"TAG"):
            position += 128
        elif head.startswith(b"APETAGEX"):
            position += 32 + int.from_bytes(content[position + 12 : position + 16], "little")
        elif head.startswith(b"LYRICSBEGIN"):
            ends = [at for end in LYRICS_ENDS if (at := content.find(end, position)) >= 0]
            position = min(ends, default=stop) + 9
        elif head.startswith(b"\0"):
            chunk = content[position : min(position + 4096, stop)]
            position += len(chunk) - len(chunk.lstrip(b"\0"))
    return min(position, stop)


def _require_no_more_frames(content: bytes | mmap, position: int, stop: int) -> None:
    """Raise DamagedMP3Error if frames follow somewhere behind `position`, where none begins."""
    at = content.find(b"\xff", position, stop)
    while at >= 0:
        sizes = _sizes_at(content, at)
        if sizes and _walk(content, at, stop, sizes)[1] >= PROBED_FRAMES:
            raise DamagedMP3Error(
                f"is damaged: at byte {position} begins no mp3 frame like the ones before, but "
                f"there are more at byte {at}"
            )
        at = content.find(b"\xff", at + 1, stop)


def _stated_frames(content: bytes | mmap, frame_start: int) -> int | None:
    """Return the number of frames that a Xing or Info frame states; None if it is no such frame."""
    tag = frame_start + _xing_tag_offset(content, frame_start)
    if content[tag : tag + 4] not in XING_TAGS:
        return None
    if len(content) < tag + 12 or not content[tag + 7] & XING_FRAME_COUNT_FLAG:
        return None
    return int.from_bytes(content[tag + 8 : tag + 12], "big")


def _later_info_frames(
    content: bytes | mmap, ranges: Sequence[range], sizes: dict[bytes, int], first: int
) -> list[int]:
    """Return the starts of the frames behind the first one that state a number of frames."""
    likely = set()
    for tag in XING_TAGS:
        at = content.find(tag, first)
        while at >= 0:
            likely |= {at - offset for offset in XING_OFFSETS}
            at = content.find(tag, at + 1)
    likely = {
        at
        for at in likely
        if at > first
        and content[at : at + 3] in sizes
        and _stated_frames(content, at) is not None
        and any(at in part for part in ranges)
    }
    if not likely:
        return []
    return [at for part in ranges for at in _frame_starts(content, part, sizes) if at in likely]


def _frame_starts(content: bytes | mmap, part: range, sizes: dict[bytes, int]) -> Iterator[int]:
    position = part.start
    while position < part.stop:
        yield position
        position += sizes[content[position : position + 3]]


def _without_frames(
    ranges: Sequence[range], frames: Sequence[int], content: bytes | mmap, sizes: dict[bytes, int]
) -> Iterator[range]:
    """Yield the ranges without these frames, which are in the order of the file."""
    for part in ranges:
        begin = part.start
        for at in frames:
            if begin <= at < part.stop:
                if begin < at:
                    yield range(begin, at)
                begin = at + sizes[content[at : at + 3]]
        if begin < part.stop:
            yield range(begin, part.stop)


def _samples_per_frame(second_byte: int) -> int:
    return 1152 if second_byte >> 3 & 3 == MPEG_1 else 576


def _xing_tag_offset(content: bytes | mmap, frame_start: int) -> int:
    """Return the bytes from the start of a frame to the place of a Xing tag."""
    is_mono = content[frame_start + 3] >> 6 == 3
    if content[frame_start + 1] >> 3 & 3 == MPEG_1:
        return 4 + (17 if is_mono else 32)
    return 4 + (9 if is_mono else 17)
