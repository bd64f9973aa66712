"""Ogg pages (RFC 3533): checked one by one, because decoders pass over damaged ones in silence.

In:   the bytes of a file.   Out: where its links are; a DamagedOggError.
Not here: decoding (libsndfile.py).

A link is a whole Ogg stream; a file may hold several, one after the other (chained streams).
"""

import struct
import zlib
from mmap import mmap

PAGE_HEADER = struct.Struct("<4sBBqIIIB")  # up to the number of segment sizes that follow
CHECKSUM_BYTES = slice(22, 26)
BEGIN_OF_STREAM, END_OF_STREAM = 2, 4  # flags
NO_GRANULE = -1  # no packet ends on the page
REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class DamagedOggError(ValueError):
    """The file is damaged; its text follows the path in a message."""


def find_links(content: bytes | mmap) -> list[range]:
    """Return the byte ranges of the links. Raises DamagedOggError if a page is damaged or missing.

    Checked are each page's checksum, the page numbers and granule positions of each stream, and
    that each stream ends.
    """
    starts: list[int] = []
    streams: dict[int, tuple[int, int]] = {}  # open streams: serial -> next page, last granule
    position = 0
    while content[position : position + 4] == b"OggS":
        size = _page_size(content, position)
        page = content[position : position + size]
        if len(page) < size:
            raise DamagedOggError(f"is cut short in the Ogg page at byte {position}")
        _, _, flags, granule, serial, number, checksum, _ = PAGE_HEADER.unpack_from(page)
        if page_checksum(page) != checksum:
            raise DamagedOggError(f"is damaged: wrong checksum of the Ogg page at byte {position}")
        if flags & BEGIN_OF_STREAM and not streams:
            starts.append(position)
        expected, last_granule = streams.pop(serial, (number, NO_GRANULE))
        if number != expected:
            raise DamagedOggError(
                f"is damaged: Ogg page {expected} is missing before byte {position}"
            )
        if granule != NO_GRANULE and granule < last_granule:
            raise DamagedOggError(f"is damaged: its time goes back in the page at byte {position}")
        if not flags & END_OF_STREAM:
            streams[serial] = (number + 1) % 2**32, max(granule, last_granule)
        position += size
    if content.find(b"OggS", position) >= 0:
        raise DamagedOggError(f"is damaged: no Ogg page at byte {position}, where one must begin")
    if streams or not starts:
        raise DamagedOggError("is cut short: its last Ogg page does not end the stream")
    return [range(*edges) for edges in zip(starts, [*starts[1:], position], strict=True)]


def _page_size(content: bytes | mmap, position: int) -> int:
    header = content[position : position + PAGE_HEADER.size]
    if len(header) < PAGE_HEADER.size:
        return PAGE_HEADER.size
    segments = content[position + PAGE_HEADER.size : position + PAGE_HEADER.size + header[-1]]
    return PAGE_HEADER.size + header[-1] + sum(segments)


def page_checksum(page: bytes) -> int:
    """Return the checksum of a page: CRC-32 with the polynomial 0x04c11db7, most significant first.

    zlib has the same polynomial with the bits of each byte in the other order.
    """
    blank = page[: CHECKSUM_BYTES.start] + bytes(4) + page[CHECKSUM_BYTES.stop :]
    reverse = zlib.crc32(blank.translate(REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reverse.to_bytes(4, "little").translate(REVERSED_BITS), "big")
