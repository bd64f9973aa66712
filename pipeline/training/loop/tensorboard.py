"""TensorBoard's file of a run: one record per row, never a step twice.

In:   rows, all of a run so far.   Out: a file of events that TensorBoard follows while it grows.
Not here: other trackers, and what happens when one fails (tracking.py).

The records are tensorboardX's. Its writer is not used: it begins a new file in each process, and a
resumed run has to take back what it told; TensorBoard keeps the file open, so that a new one in its
place would not be seen. Hence records are cut off at the end and appended.
"""

import math
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from pipeline.runs.rows import Row

_NON_METRIC_COLUMNS = {"run_id", "epoch", "split", "updates", "nonfinite_ids"}  # no curves
_HEADER_BYTES, _FOOTER_BYTES = (
    12,
    4,
)  # bytes of a record around its content: length and checksum, checksum


def write_events(file: Path, rows: Sequence[Row]) -> None:
    """Make the file hold these rows: cut off what is more, append what is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("r+b" if file.exists() else "w+b") as opened:
        ends = list(islice(_record_ends(opened.read()), len(rows) + 1))
        opened.truncate(ends[-1] if ends else 0)
        opened.seek(0, 2)
        if not ends:
            opened.write(_encode_record(Event(wall_time=time.time(), file_version="brain.Event:2")))
        for row in rows[max(len(ends) - 1, 0) :]:
            told = Event(wall_time=time.time(), step=row["updates"], summary=_make_summary(row))
            opened.write(_encode_record(told))


def _record_ends(content: bytes) -> Iterator[int]:
    """Where each whole record ends; half a record, of a process that was killed, has no end."""
    place = 0
    while len(content) >= place + _HEADER_BYTES:
        head = content[place : place + 8]
        if content[place + 8 : place + _HEADER_BYTES] != _masked_crc(head):
            return
        place += _HEADER_BYTES + int(struct.unpack("<Q", head)[0]) + _FOOTER_BYTES
        if place > len(content):
            return
        yield place


def _make_summary(row: Row) -> Summary:
    """Tags such as cer/dev: TensorBoard draws the splits of a rate side by side."""
    values: Mapping[str, Any] = row
    named = {name: value for name, value in values.items() if name not in _NON_METRIC_COLUMNS}
    return Summary(
        value=[
            Summary.Value(tag=f"{name}/{row['split']}", simple_value=value)
            for name, value in named.items()
            if not math.isnan(value)
        ]
    )


def _encode_record(event: Event) -> bytes:
    content: bytes = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    return length + _masked_crc(length) + content + _masked_crc(content)


def _masked_crc(content: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(content))
