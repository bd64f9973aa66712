"""TensorBoard's file, its records taken apart again: lengths, checksums, events."""

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.crc32c import _crc32c as crc32c
from tensorboardX.proto.event_pb2 import Event

from pipeline.runs.rows import ROW_COLUMNS, Row
from pipeline.training.loop.tensorboard import write_events


def row(split: str, updates: int, **values: Any) -> Row:
    examples = {int: 7, float: 0.25, str: "x"}
    kinds = Row.__annotations__
    made = {name: examples[kinds[name]] for name in ROW_COLUMNS}
    return Row(**{**made, "split": split, "updates": updates, **values})


ROWS = [row(split, 53 * epoch, cer=1 / epoch) for epoch in (1, 2, 3) for split in ("train", "dev")]


def masked(content: bytes) -> int:
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(file: Path) -> list[Event]:
    found, content = [], file.read_bytes()
    while content:
        length, head = struct.unpack("<QI", content[:12])
        body, (tail,) = content[12 : 12 + length], struct.unpack("<I", content[12 + length :][:4])
        assert (head, tail) == (masked(content[:8]), masked(body))
        found.append(Event.FromString(body))
        content = content[16 + length :]
    return found


def points(file: Path, tag: str) -> list[tuple[int, float]]:
    return [
        (event.step, value.simple_value)
        for event in events(file)
        for value in event.summary.value
        if value.tag == tag
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "events.out.tfevents.x"


def test_every_number_of_a_row_is_a_point_at_its_update(file: Path):
    write_events(file, ROWS)
    first, *others = events(file)
    assert first.file_version == "brain.Event:2"
    assert len(others) == len(ROWS)
    assert points(file, "cer/dev") == [(53, 1.0), (106, 0.5), (159, pytest.approx(1 / 3))]
    tags = {value.tag for value in others[0].summary.value}
    keys = {"run_id", "epoch", "split", "updates", "nonfinite_ids"}
    assert tags == {f"{name}/train" for name in set(ROW_COLUMNS) - keys}
    assert others[0].wall_time > 1.7e9


def test_what_was_not_measured_is_no_point(file: Path):
    write_events(file, [row("dev", 53, grad_norm=math.nan, loss_per_character=math.inf)])
    assert points(file, "grad_norm/dev") == []
    assert points(file, "loss_per_character/dev") == [(53, math.inf)]


def test_a_file_that_grows_is_not_written_again(file: Path):
    write_events(file, ROWS[:2])
    before, node = file.read_bytes(), file.stat().st_ino
    write_events(file, ROWS)
    assert file.stat().st_ino == node  # TensorBoard keeps it open
    assert file.read_bytes().startswith(before)
    assert points(file, "epoch/train") == []
    write_events(file, ROWS)
    assert len(events(file)) == 1 + len(ROWS)


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_run_that_goes_back_takes_its_points_back(file: Path, kept: int):
    write_events(file, ROWS)
    write_events(file, ROWS[:kept])
    write_events(file, ROWS[: kept + 1])
    assert [event.step for event in events(file)[1:]] == [r["updates"] for r in ROWS[: kept + 1]]


@pytest.mark.parametrize("cut", [1, 3, 5, 40, 400])
def test_half_a_record_of_a_killed_process_is_mended(file: Path, cut: int):
    write_events(file, ROWS)
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    write_events(file, ROWS)
    assert len(events(file)) == 1 + len(ROWS)


@pytest.mark.parametrize("content", [b"", b"x", b"no events at all, but a text of some length"])
def test_what_is_no_such_file_is_written_anew(file: Path, content: bytes):
    file.parent.mkdir()
    file.write_bytes(content)
    write_events(file, ROWS)
    assert len(events(file)) == 1 + len(ROWS)


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**31])
def test_any_number_of_updates_reads_back(file: Path, number: int):
    write_events(file, [row("train", number)])
    assert events(file)[1].step == number


def _rows(count: int) -> Sequence[Row]:
    return [row("dev", n) for n in range(count)]


def test_long_records_and_many_of_them_read_back(file: Path):
    write_events(file, _rows(200))
    assert [event.step for event in events(file)[1:]] == list(range(200))
