"""Export: a table as CSV and as Parquet.

In:   a frame or an Arrow table.   Out: files that appear whole or not at all.
Not here: tables for a text (thesis.py), what a column is (columns.py).

Arrow writes both: of 200,000 rows it writes a CSV file ten times as fast as pandas.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.files import atomic_write
from pipeline.host import available_cpus

# Excel in English splits lines at commas; in Turkish or German at semicolons, and 0,5 is a number.
Excel = Literal["comma", "semicolon"]

ROWS_AT_ONCE, GROUP_ROWS = 1_024, 65_536  # of CSV, by one thread; of Parquet

# A spreadsheet runs a text that begins so as a formula; in Japanese also with full-width signs.
FORMULA_PATTERN = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
NUMBER_PATTERN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def write_table(table: pd.DataFrame | pa.Table, path: Path, excel: Excel | None = None) -> None:
    """Write `path`, a CSV file, and beside it a Parquet file.

    In the CSV file floats have enough digits to be read back unchanged, an unknown value is an
    empty cell, and an apostrophe stands before a text that a spreadsheet would take for a formula.
    `excel`: with a byte order mark, by which Excel knows UTF-8.
    """
    arrow = table if isinstance(table, pa.Table) else _to_arrow(table)
    with ThreadPoolExecutor(1) as pool:
        parquet = pool.submit(_write_parquet, arrow, path.with_suffix(".parquet"))
        _write_csv(_neutralise_formulas(arrow), path, excel)
        parquet.result()


def _write_parquet(table: pa.Table, path: Path) -> None:
    # Few measurements are equal: with a dictionary of them the file is larger and takes longer.
    repeated = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
    with atomic_write(path) as partial:
        pq.write_table(
            table,
            partial,
            compression="zstd",
            row_group_size=GROUP_ROWS,
            use_dictionary=repeated,
        )


def _write_csv(table: pa.Table, path: Path, excel: Excel | None) -> None:
    with atomic_write(path) as partial, partial.open("wb") as file:
        if excel:
            file.write("\ufeff".encode())
        if excel == "semicolon":
            text = table.to_pandas().to_csv(index=False, sep=";", decimal=",", lineterminator="\n")
            file.write(text.encode())
            return
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(table.column_names)
        file.write(header.getvalue().encode())
        if table.num_columns:
            for lines in _csv_lines(table):
                file.write(lines)


def neutralise_formula(text: str) -> str:
    """Return the text with an apostrophe before it if a spreadsheet would take it for a formula."""
    is_formula = FORMULA_PATTERN.match(text) and not NUMBER_PATTERN.fullmatch(text)
    return f"'{text}" if is_formula else text


def _csv_lines(table: pa.Table) -> Iterator[pa.Buffer]:
    """Yield the lines as UTF-8, some at once: all CPUs write them, and few are held."""
    cpus = available_cpus()
    with ThreadPoolExecutor(cpus) as pool:
        begun: deque[Future[pa.Buffer]] = deque()
        for part in _parts(table):
            begun.append(pool.submit(_part_as_csv, part))
            if len(begun) > cpus:
                yield begun.popleft().result()
        yield from (each.result() for each in begun)


def _parts(table: pa.Table) -> Iterator[list[pa.RecordBatch]]:
    """Yield the rows, some at once, chunk by chunk: a slice would look for its chunks anew."""
    part: list[pa.RecordBatch] = []
    for batch in table.to_batches(max_chunksize=ROWS_AT_ONCE):
        part.append(batch)
        if sum(map(len, part)) >= ROWS_AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _part_as_csv(part: list[pa.RecordBatch]) -> pa.Buffer:
    lines = pa.BufferOutputStream()
    whole = pa.concat_batches(part)  # pyarrow writes chunk by chunk, and those of runs are short
    options = pa.csv.WriteOptions(include_header=False, batch_size=whole.num_rows)
    pa.csv.write_csv(whole, lines, options)
    return lines.getvalue()


def _to_arrow(table: pd.DataFrame) -> pa.Table:
    """Return the table with one type per column; values of several types become texts."""
    return pa.table(
        {
            name: pa.Array.from_pandas(
                _of_one_type(table[name]) if table[name].dtype == object else table[name]
            )
            for name in table.columns
        }
    )


def _of_one_type(column: "pd.Series[Any]") -> "pd.Series[Any]":
    types = {type(value) for value in column[column.notna()]}
    if len(types) < 2 or types == {int, float}:
        return column
    return column.map(str, na_action="ignore")


def _neutralise_formulas(table: pa.Table) -> pa.Table:
    for index, name in enumerate(table.column_names):
        column = table.column(index)
        if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
            continue
        texts = pc.unique(column).to_pylist()
        changed = {text: neutralise_formula(text) for text in texts if text is not None}
        if any(text != safe for text, safe in changed.items()):
            safe_texts = [changed.get(text) for text in column.to_pylist()]
            table = table.set_column(index, name, pa.array(safe_texts, column.type))
    return table
