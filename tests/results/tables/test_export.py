"""CSV and Parquet files: exact, with one type per column, and nothing that a spreadsheet runs."""

import csv
import io
import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.results.tables.export import ROWS_AT_ONCE, neutralise_formula, write_table

TEXTS = ["=HYPERLINK(1)", "+1 to -1", "-x", "@SUM(A1)", "\tx", "\r", 'say "a, b"', "two\nlines", ""]
FRAME = pd.DataFrame(
    {
        "text": TEXTS,
        "rate": [0.1, 1 / 3, math.nan, 1e-300, 2e-3, 0.1 + 0.2, -1.5, 1.0, 1e22],
        "count": pd.array([1, None, 3, 4, 5, 6, 7, 8, 9], dtype="Int64"),
        "mixed": [20.0, "none", None, -0.5, 1, "-0.5", True, "x", "y"],
        "yes": [*([True, False] * 4), True],
    }
)


def read_lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_numbers_read_back_as_they_were_and_what_is_not_known_is_empty(tmp_path: Path):
    write_table(FRAME, tmp_path / "t.csv")
    lines = read_lines(tmp_path / "t.csv")
    assert lines[0].keys() == set(FRAME.columns)
    for line, rate in zip(lines, FRAME["rate"], strict=True):
        assert line["rate"] == "" if math.isnan(rate) else float(line["rate"]) == rate
    assert [line["count"] for line in lines] == ["1", "", *"3456789"]
    assert [line["mixed"] for line in lines][:4] == ["20.0", "none", "", "-0.5"]
    assert pd.read_csv(tmp_path / "t.csv")["yes"].tolist() == FRAME["yes"].tolist()


def test_the_parquet_file_beside_it_has_the_same_values_and_their_types(tmp_path: Path):
    write_table(FRAME, tmp_path / "t.csv")
    again = pq.read_table(tmp_path / "t.parquet")
    assert again["text"].to_pylist() == TEXTS  # no apostrophe: nothing runs formulas of Parquet
    pd.testing.assert_series_equal(again["rate"].to_pandas(), FRAME["rate"], check_names=False)
    assert {field.name: str(field.type).removeprefix("large_") for field in again.schema} == {
        "text": "string", "rate": "double", "count": "int64", "mixed": "string", "yes": "bool",
    }  # fmt: skip


def test_formulas_in_labels_and_transcripts_are_texts_in_a_spreadsheet(tmp_path: Path):
    write_table(FRAME, tmp_path / "t.csv")
    texts = [line["text"] for line in read_lines(tmp_path / "t.csv")]
    assert texts[:6] == [f"'{text}" for text in TEXTS[:6]]
    assert texts[6:] == TEXTS[6:]


@given(st.text(alphabet=st.sampled_from("=+-@\t\r\n＝＋－＠'1.e x,")))
def test_no_text_begins_as_a_formula_and_none_is_lost(text: str):
    safe = neutralise_formula(text)
    assert safe in {text, f"'{text}"}
    if safe[:1] in set("=+-@\t\r\n＝＋－＠"):
        float(safe)  # a number, which a spreadsheet reads as one


@pytest.mark.parametrize("number", ["-0.5", "+3", "-1e-05", "-.5"])
def test_a_negative_number_stays_a_number(number: str):
    assert neutralise_formula(number) == number


def test_for_excel_there_is_a_byte_order_mark(tmp_path: Path):
    frame = pd.DataFrame({"label": ["şarkı, iki", "=1"], "rate": [0.25, math.nan]})
    write_table(frame, tmp_path / "t.csv", "comma")
    content = (tmp_path / "t.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    assert list(csv.reader(io.StringIO(content.decode("utf-8-sig")))) == [
        ["label", "rate"], ["şarkı, iki", "0.25"], ["'=1", ""],
    ]  # fmt: skip


def test_excel_in_turkish_gets_semicolons_and_decimal_commas(tmp_path: Path):
    frame = pd.DataFrame({"label": ["a;b"], "rate": [0.25], "count": [3]})
    write_table(frame, tmp_path / "t.csv", "semicolon")
    assert (tmp_path / "t.csv").read_text("utf-8") == '\ufefflabel;rate;count\n"a;b";0,25;3\n'


def test_a_table_without_lines_or_columns_is_a_file(tmp_path: Path):
    write_table(pd.DataFrame({"a": []}), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "a\n"
    write_table(pd.DataFrame(), tmp_path / "u.csv")
    assert (tmp_path / "u.csv").exists()


def test_the_same_table_has_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        write_table(FRAME, tmp_path / f"{name}.csv")
    for suffix in ("csv", "parquet"):
        first, second = (tmp_path / f"{name}.{suffix}" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


def test_a_table_that_is_written_in_parts_is_whole_and_in_order(tmp_path: Path):
    rows = 3 * ROWS_AT_ONCE + 7
    frame = pd.DataFrame({"a": range(rows), "b": [f"run {each % 9}" for each in range(rows)]})
    write_table(frame, tmp_path / "x.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "x.csv"), frame)


def test_a_table_of_many_short_chunks_has_the_lines_of_one_without(tmp_path: Path):
    whole = pa.table({"a": range(2 * ROWS_AT_ONCE), "b": ["x, y", None] * ROWS_AT_ONCE})
    parts = [whole.slice(start, 301) for start in range(0, len(whole), 301)]
    write_table(whole, tmp_path / "whole.csv")
    write_table(pa.concat_tables(parts), tmp_path / "parts.csv")
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
