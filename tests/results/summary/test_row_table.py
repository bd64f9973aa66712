"""Columns of several runs are in memory once; the copy of a run's rows gives the same rows."""

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.json
import pytest

from pipeline.results.summary import row_table
from pipeline.results.summary.row_table import (
    COLUMNS_FILE,
    MOST_DIFFERENT,
    RowTable,
    SharedColumns,
    read_row_table,
    write_columns,
)
from pipeline.runs.folder import RunFolder
from pipeline.runs.rows import Row
from tests.results.examples import RunScenario, make_rows


def make_table(epochs: list[int | None], splits: list[str]) -> pa.Table:
    return pa.table({"epoch": pa.array(epochs, pa.int64()), "split": splits})


def addresses_of(table: pa.Table) -> list[int]:
    return [column.chunk(0).buffers()[1].address for column in table.columns]


def test_a_column_with_the_values_of_an_earlier_one_is_that_one():
    shared = SharedColumns()
    one = shared.share(make_table([1, 2], ["dev", "test"]))
    other = shared.share(make_table([1, 3], ["dev", "test"]))
    addresses = zip(addresses_of(one), addresses_of(other), strict=True)
    assert [here == there for here, there in addresses] == [False, True]


def test_a_column_in_several_chunks_is_shared_too():
    shared, whole = SharedColumns(), make_table([1, 2, 3], ["train", "dev", "test"])
    first = shared.share(whole)
    other = shared.share(pa.concat_tables([whole.slice(0, 2), whole.slice(2)]))
    assert other.equals(whole)
    assert addresses_of(other) == addresses_of(first)


def test_a_column_that_is_different_in_each_run_is_no_longer_compared():
    shared = SharedColumns()
    first = shared.share(make_table([0, 0], ["dev", "test"]))
    for run in range(1, MOST_DIFFERENT):
        shared.share(make_table([run, run], ["dev", "test"]))
    last = shared.share(make_table([0, 0], ["dev", "test"]))
    assert last.equals(first)
    addresses = zip(addresses_of(first), addresses_of(last), strict=True)
    assert [here == there for here, there in addresses] == [False, True]


@pytest.mark.parametrize(
    "other",
    [
        make_table([1, 3], ["dev", "test"]),
        make_table([1, None], ["dev", "test"]),
        make_table([1, 2], ["devt", "est"]),
        make_table([1], ["dev"]),
        make_table([], []),
    ],
)
def test_columns_whose_hash_is_the_same_by_chance_are_kept_apart(
    monkeypatch: pytest.MonkeyPatch, other: pa.Table
):
    monkeypatch.setattr(row_table, "hash", lambda content: 0, raising=False)
    shared, one = SharedColumns(), make_table([1, 2], ["dev", "test"])
    assert shared.share(one).equals(one)
    assert shared.share(other).equals(other)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Return a run with values that JSON has no numbers for, and with the copy of its rows."""
    rows = list(make_rows("r1", RunScenario(epochs=3, utterances=4), 3))
    rows[0]["loss_per_utterance"], rows[1]["grad_norm"] = math.inf, math.nan
    rows[2]["nonfinite_ids"] = "ğış-1 ②"
    folder = RunFolder(tmp_path)
    folder.restore_rows(rows)
    write_columns(folder)
    return folder


def as_text(rows: list[Row]) -> list[dict[str, str]]:
    """Return the rows with texts for numbers: NaN is not equal to itself."""
    return [{name: repr(value) for name, value in row.items()} for row in rows]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list with an item for each file of lines that is parsed."""
    calls: list[object] = []
    parse = pa.json.read_json

    def read_json(*words: object, **options: object) -> pa.Table:
        calls.append(words)
        return parse(*words, **options)

    monkeypatch.setattr(pa.json, "read_json", read_json)
    return calls


@pytest.mark.parametrize("shared", [None, SharedColumns()], ids=["alone", "shared"])
def test_the_copy_gives_the_rows_of_the_lines_and_no_line_is_parsed(
    run: RunFolder, parsed: list[object], shared: SharedColumns | None
):
    assert as_text(list(read_row_table(run, shared))) == as_text(run.rows())
    assert not parsed


def test_a_copy_of_other_lines_is_not_used(run: RunFolder, parsed: list[object]):
    others = run.rows()[:-1]
    run.restore_rows(others)
    assert as_text(list(read_row_table(run))) == as_text(others)
    assert parsed


def test_a_copy_without_its_lines_is_not_used(run: RunFolder):
    run.rows_file.unlink()
    assert not len(read_row_table(run))


@pytest.mark.parametrize("place", [0, 40, 700, -40, -1])
def test_a_copy_with_a_flipped_bit_is_not_used(run: RunFolder, parsed: list[object], place: int):
    content = bytearray((run.path / COLUMNS_FILE).read_bytes())
    content[place] ^= 1
    (run.path / COLUMNS_FILE).write_bytes(content)
    assert as_text(list(read_row_table(run))) == as_text(run.rows())
    assert parsed


@pytest.mark.parametrize("kept", [0, 10, 500])
def test_a_copy_that_was_cut_off_is_not_used(run: RunFolder, parsed: list[object], kept: int):
    file = run.path / COLUMNS_FILE
    file.write_bytes(file.read_bytes()[:kept])
    assert as_text(list(read_row_table(run))) == as_text(run.rows())
    assert parsed


def test_a_copy_with_the_columns_of_another_version_is_not_used(
    run: RunFolder, parsed: list[object], monkeypatch: pytest.MonkeyPatch
):
    fewer = row_table.SCHEMA.remove(len(row_table.SCHEMA) - 1)
    with monkeypatch.context() as other_version:
        other_version.setattr(row_table, "SCHEMA", fewer)
        table = RowTable(read_row_table(run).table.select(fewer.names))
        other_version.setattr(row_table, "read_row_table", lambda _: table)
        write_columns(run)
    assert as_text(list(read_row_table(run))) == as_text(run.rows())
    assert parsed


def test_a_copy_of_an_earlier_decoding_of_lines_is_not_used(
    run: RunFolder, parsed: list[object], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(row_table, "COPY_VERSION", b"2")
    assert as_text(list(read_row_table(run))) == as_text(run.rows())
    assert parsed


def test_lines_that_change_while_they_are_copied_do_not_get_the_copy_of_others(
    run: RunFolder, parsed: list[object], monkeypatch: pytest.MonkeyPatch
):
    read = row_table.read_row_table

    def read_then_change(folder: RunFolder) -> RowTable:
        table = read(folder)
        folder.restore_rows(folder.rows()[:-1])
        return table

    with monkeypatch.context() as changing:
        changing.setattr(row_table, "read_row_table", read_then_change)
        write_columns(run)
    assert as_text(list(read_row_table(run))) == as_text(run.rows())
    assert parsed


def test_a_stream_that_pyarrow_refuses_is_not_used(run: RunFolder, monkeypatch: pytest.MonkeyPatch):
    def open_stream(*words: object, **options: object) -> None:
        raise pa.ArrowNotImplementedError("lz4")

    monkeypatch.setattr(pa.ipc, "open_stream", open_stream)
    assert as_text(list(read_row_table(run))) == as_text(run.rows())
