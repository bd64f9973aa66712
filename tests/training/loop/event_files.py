"""Helpers: a reader of TensorBoard's event files that hides purged steps as TensorBoard does."""

import struct
from collections.abc import Iterator
from pathlib import Path

from tensorboardX.crc32c import _crc32c as crc32c
from tensorboardX.proto.event_pb2 import Event, SessionLog


def event_files(folder: Path) -> list[Path]:
    """Return the files in the order in which TensorBoard reads them."""
    return sorted(path for path in folder.iterdir() if "tfevents" in path.name)


def read_events(file: Path) -> Iterator[Event]:
    """Yield the events of a file, up to a last record that a killed process wrote in part."""
    content = file.read_bytes()
    while len(content) >= 12:
        length, length_crc = struct.unpack("<QI", content[:12])
        if len(content) < 16 + length:
            return
        body, (body_crc,) = (
            content[12 : 12 + length],
            struct.unpack("<I", content[12 + length :][:4]),
        )
        assert (length_crc, body_crc) == (_masked_crc(content[:8]), _masked_crc(body))
        yield Event.FromString(body)
        content = content[16 + length :]


def read_points(folder: Path, tag: str) -> list[tuple[int, float]]:
    """Return (step, value) of a tag, as TensorBoard shows it.

    The event of a session's start hides all earlier events from its step on: `_Purge` of
    tensorboard/backend/event_processing/event_accumulator.py, for files of version 2.
    """
    points: list[tuple[int, float]] = []
    for file in event_files(folder):
        for event in read_events(file):
            if event.session_log.status == SessionLog.START:
                points = [point for point in points if point[0] < event.step]
            points += [(event.step, v.simple_value) for v in event.summary.value if v.tag == tag]
    return points


def _masked_crc(content: bytes) -> int:
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
