"""TensorBoard's file of a run: one record per row, never a step twice.

In:   rows, all of a run so far.   Out: a file of events that TensorBoard follows while it grows.
Not here: other trackers, and what happens when one fails (tracking.py). Free of torch.

The format has stood since 2015: TensorFlow's records (a length, its checksum, the content, its
checksum) around a few fields of a protocol buffer. Writing these takes fewer lines than following
a library through its threads, and what a resumed run takes back can be cut off: TensorBoard keeps
the file open, so that a new one in its place would not be seen.
"""

import math
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.training.row import Row

_KEYS = {"run_id", "epoch", "split", "updates", "nonfinite_ids"}  # no curves
_HEAD, _TAIL = 12, 4  # bytes of a record around its content
_CASTAGNOLI = 0x82F63B78


def follow(file: Path, rows: Sequence[Row]) -> None:
    """Make the file hold these rows: cut off what is more, append what is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("r+b" if file.exists() else "w+b") as opened:
        ends = list(islice(_ends(opened.read()), len(rows) + 1))
        opened.truncate(ends[-1] if ends else 0)
        opened.seek(0, 2)
        if not ends:
            opened.write(_record(_event(0, _bytes(3, b"brain.Event:2"))))
        for row in rows[max(len(ends) - 1, 0) :]:
            opened.write(_record(_event(row["updates"], _bytes(5, _summary(row)))))


def _ends(content: bytes) -> Iterator[int]:
    """Where each whole record ends; half a record, of a process that was killed, has no end."""
    place = 0
    while len(content) >= place + _HEAD:
        head = content[place : place + 8]
        if content[place + 8 : place + _HEAD] != _checksum(head):
            return
        place += _HEAD + int(struct.unpack("<Q", head)[0]) + _TAIL
        if place > len(content):
            return
        yield place


def _summary(row: Row) -> bytes:
    """Tags such as cer/dev: TensorBoard draws the splits of a rate side by side."""
    values: Mapping[str, Any] = row
    named = ((name, value) for name, value in values.items() if name not in _KEYS)
    scalars = (
        _bytes(1, f"{name}/{row['split']}".encode()) + b"\x15" + struct.pack("<f", value)
        for name, value in named
        if not math.isnan(value)
    )
    return b"".join(_bytes(1, scalar) for scalar in scalars)


def _event(step: int, what: bytes) -> bytes:
    return b"\x09" + struct.pack("<d", time.time()) + b"\x10" + _varint(step) + what


def _bytes(field: int, content: bytes) -> bytes:
    """A field of a protocol buffer that has a length."""
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def _record(content: bytes) -> bytes:
    head = struct.pack("<Q", len(content))
    return head + _checksum(head) + content + _checksum(content)


def _checksum(content: bytes) -> bytes:
    """CRC-32C, rotated and shifted: TensorFlow's mask, for checksums that stand in the data."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _folded(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_CASTAGNOLI if byte & 1 else 0)
    return byte


_TABLE = tuple(map(_folded, range(256)))
