"""Hypotheses as columns: pyarrow reads hypotheses.csv as Python does, or leaves it to Python."""

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.results.summary.hypothesis_table import (
    HypothesisTable,
    defer_hypothesis_table,
    read_hypothesis_table,
)
from pipeline.results.summary.row_table import SharedColumns
from pipeline.runs.folder import Hypothesis, RunFolder
from pipeline.runs.hypotheses import FIRST_COLUMNS, hypotheses_to_csv

TEXTS = st.one_of(
    st.sampled_from(["", "GO ON", "NA", "nan", "null", "inf", "1", '"', 'SAY "A, B"', "\n", ","]),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
VALUES = {str: TEXTS, int: st.integers(0, 2**40), float: st.floats()}
FIELDS = {name: VALUES[kind] for name, kind in Hypothesis.__annotations__.items()}
HYPOTHESES = st.lists(st.builds(Hypothesis, **FIELDS), max_size=6)

# What a damaged file has instead of some of its bytes: where, how many are lost, what stands there.
FOUND = (b"", b'"', b",", b"\n", b"\r", b"x", b" ", b"0x1", b"nan(1)", b"\xff", b"\0", b"-", b"_")
DAMAGE = st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from(FOUND))

DEV = Hypothesis("a-1", "dev", "GO ON", "GO", *range(12), speaker="a", loss=2.5)
TEST = Hypothesis("b-1", "test", 'SAY "ON, OFF"', "", *range(1, 13), loss=math.inf)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return RunFolder(tmp_path_factory.mktemp("run"))


def outcome(read: Callable[[], Any]) -> Any:
    """What was read, with the types of the values, or the error."""
    try:
        return [(one, [type(value) for value in one]) for one in read()]
    except Exception as error:
        return type(error), str(error)


def assert_read_as_python_does(run: RunFolder, content: bytes) -> None:
    run.hypotheses_file.write_bytes(content)
    assert outcome(lambda: read_hypothesis_table(run)) == outcome(run.hypotheses)


@given(HYPOTHESES, st.integers(FIRST_COLUMNS, len(Hypothesis._fields)))
def test_a_file_of_any_version_is_read_as_python_reads_it(
    run: RunFolder, hypotheses: list[Hypothesis], columns: int
):
    lines = csv.reader(io.StringIO(hypotheses_to_csv(hypotheses), newline=""))
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows(line[:columns] for line in lines)
    assert_read_as_python_does(run, written.getvalue().encode())


@given(HYPOTHESES, st.lists(DAMAGE, min_size=1, max_size=3))
def test_a_damaged_file_is_read_or_refused_as_by_python(
    run: RunFolder, hypotheses: list[Hypothesis], damage: list[tuple[float, int, bytes]]
):
    content = hypotheses_to_csv([DEV, *hypotheses]).encode()
    for where, lost, found in damage:
        place = round(where * len(content))
        content = content[:place] + found + content[place + lost :]
    assert_read_as_python_does(run, content)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("\n", "\r\n"),
        ("11,a,", "0x11,a,"),  # 17 for pyarrow
        ("2.5", "nan(1)"),  # NaN for pyarrow
        ("2.5", "NA"),
        ("2.5", "2_5"),
        ("2.5", ""),
        ("11,a,", ",a,"),
        ("11,a,", "11,a,b,"),
        ("GO ON", '"GO ON'),
        ("GO ON", 'GO "ON"'),
        ("utterance_id", "id"),
        ("utterance_id", "\ufeffutterance_id"),
        ("a-1", "\na-1"),
    ],
)
def test_a_change_of_a_file_is_read_or_refused_as_by_python(run: RunFolder, old: str, new: str):
    assert_read_as_python_does(run, hypotheses_to_csv([DEV, TEST]).replace(old, new, 1).encode())


def test_a_quote_inside_a_letter_is_refused(run: RunFolder):
    """Without its quotes the field is UTF-8 again."""
    content = hypotheses_to_csv([DEV._replace(reference='"é')]).encode()
    assert_read_as_python_does(run, content.replace(b"\xc3\xa9", b'\xc3"\xa9'))
    with pytest.raises(UnicodeDecodeError):
        read_hypothesis_table(run)


@pytest.mark.parametrize("content", [b"", b"\n", b"utterance_id\n"])
def test_a_file_without_lines_is_read_or_refused_as_by_python(run: RunFolder, content: bytes):
    assert_read_as_python_does(run, content)


def test_a_line_may_end_in_another_block_of_a_large_file(run: RunFolder):
    """Pyarrow reads a mebibyte at once."""
    long = [DEV._replace(reference="A\n" * 20_000, words=number) for number in range(60)]
    run.hypotheses_file.write_text(hypotheses_to_csv(long), "utf-8")
    table = read_hypothesis_table(run)
    assert table.table.column("words").num_chunks > 1
    assert list(table) == long


def test_a_run_without_the_file_has_no_hypotheses(tmp_path: Path):
    assert list(read_hypothesis_table(RunFolder(tmp_path))) == []


def test_python_reads_no_file_that_is_as_this_version_writes_it(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
):
    run.hypotheses_file.write_text(hypotheses_to_csv([DEV, TEST]), "utf-8")
    monkeypatch.delattr(RunFolder, "hypotheses")
    assert list(read_hypothesis_table(run)) == [DEV, TEST]


@pytest.mark.parametrize("as_objects", [False, True])
def test_columns_and_splits_are_those_of_the_hypotheses(run: RunFolder, as_objects: bool):
    written = [DEV, TEST, DEV._replace(utterance_id="a-2", word_insertions=7)]
    run.hypotheses_file.write_text(hypotheses_to_csv(written), "utf-8")
    table = HypothesisTable.of(written) if as_objects else read_hypothesis_table(run)
    assert table[-1] == written[2]
    assert table[:2] == written[:2]
    for split in ("dev", "test", "train"):
        of_split = [each for each in written if each.split == split]
        found = table.split(split)
        assert list(found) == of_split
        assert len(found) == len(of_split)
        for name in Hypothesis._fields:
            assert found.column(name).tolist() == [getattr(each, name) for each in of_split]
        assert list(found.split("test")) == [each for each in of_split if each.split == "test"]


@given(st.lists(HYPOTHESES, min_size=1, max_size=3), st.data())
def test_joined_and_taken_hypotheses_are_those_of_lists(
    parts: list[list[Hypothesis]], data: st.DataObject
):
    split = data.draw(st.sampled_from([each.split for part in parts for each in part] or ["test"]))
    joined = HypothesisTable.join([HypothesisTable.of(each).split(split) for each in parts])
    listed = [each for part in parts for each in part if each.split == split]
    places = data.draw(st.lists(st.integers(0, len(listed) - 1))) if listed else []
    assert str(list(joined)) == str(listed)  # as texts, in which NaN is NaN
    assert str(list(joined.take(places))) == str([listed[place] for place in places])
    assert joined.places() == {
        (each.utterance_id, each.reference): place for place, each in enumerate(listed)
    }


def test_without_the_column_of_speakers_their_names_are_empty(run: RunFolder):
    """Runs of earlier versions."""
    lines = hypotheses_to_csv([DEV, TEST]).splitlines()
    older = [",".join(next(csv.reader([line]))[:FIRST_COLUMNS]) for line in lines[:2]]
    run.hypotheses_file.write_text("\n".join(older) + "\n", "utf-8")
    assert read_hypothesis_table(run).texts("speaker") == [""]
    assert read_hypothesis_table(run).places() == {("a-1", "GO ON"): 0}


def test_equal_texts_and_columns_of_runs_are_in_memory_once(run: RunFolder):
    shared = SharedColumns()
    run.hypotheses_file.write_text(hypotheses_to_csv([DEV, TEST]), "utf-8")
    one = read_hypothesis_table(run, shared)
    other_hypotheses = [DEV._replace(hypothesis="NO"), TEST]
    run.hypotheses_file.write_text(hypotheses_to_csv(other_hypotheses), "utf-8")
    other = read_hypothesis_table(run, shared)
    assert one[0].reference is other[0].reference
    assert [*one, *other] == [DEV, TEST, *other_hypotheses]
    same = [
        first.chunk(0).buffers()[-1].address == second.chunk(0).buffers()[-1].address
        for first, second in zip(one.table.columns, other.table.columns, strict=True)
    ]
    assert same == [name != "hypothesis" for name in Hypothesis._fields]


def test_deferred_hypotheses_are_read_once_when_they_are_needed(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
):
    run.hypotheses_file.write_text(hypotheses_to_csv([DEV, TEST]), "utf-8")
    read: list[Path] = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (read.append(path), read_bytes(path))[1])
    deferred = defer_hypothesis_table(run)
    assert not read
    assert list(deferred.split("test")) == [TEST]
    assert list(deferred) == [DEV, TEST]
    assert read == [run.hypotheses_file]


class ReplacedBetweenReads(HypothesisTable):
    """As if another thread replaced the function by its result after it was looked at once."""

    looks = 0

    @property
    def _table(self) -> Any:
        self.looks += 1
        table = HypothesisTable.of([DEV]).table
        return (lambda: table) if self.looks == 1 else table

    @_table.setter
    def _table(self, table: Any) -> None:
        pass


def test_another_thread_may_read_deferred_hypotheses_at_the_same_time():
    assert list(ReplacedBetweenReads(HypothesisTable.of([]).table)) == [DEV]


def test_an_error_of_a_deferred_file_is_raised_when_it_is_read(run: RunFolder):
    run.hypotheses_file.write_bytes(b"utterance_id\n\xff\n")
    deferred = defer_hypothesis_table(run)
    with pytest.raises(UnicodeDecodeError):
        len(deferred)
