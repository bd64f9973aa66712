"""Tables with named columns: CSV, TSV and any other delimiter; JSON lines.

In:   a path, the columns that a table must have.   Out: one record per row or object. A bad one is
added to `refusals`, and the rest is read.
Not here: lines without columns (parsing.py), what the columns mean (tables.py).
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pipeline.corpus.layouts.parsing import (
    LineError,
    LineRecord,
    Refusals,
    read_all_lines,
    read_lines,
    read_text,
    shorten,
)
from pipeline.files import InputError, make_printable

DELIMITERS = ",;\t|"
MAX_HEADER_CHARACTERS = 200  # in a message
MAX_LINES_OF_ROW = 50  # a quoted value may hold line breaks; longer, its end is missing

SEPARATOR_LINE = re.compile(r"sep=(.)", re.IGNORECASE)  # Excel's first line
JSON_ARRAY = re.compile(r"\s*\[\s*(\{|$)")
JSON_GAP = re.compile(r"[\s,]*")
JSON_ITEM = re.compile(r"\n\s*\{")

Quoting = Literal[0, 3]


def read_delimited(
    path: Path,
    required_columns: Sequence[Sequence[str]],
    refusals: Refusals,
    delimiter: str | None = None,
    quoting: Quoting = csv.QUOTE_MINIMAL,
) -> Iterator[LineRecord]:
    """Yield the rows of a table whose first line names the columns.

    `required_columns`: for each required column the names that it may have. Without `delimiter`
    the one that gives these columns is taken. A row of another length or with broken quoting is
    refused. Raises InputError for a missing column.
    """
    lines = _LineSupply(path, read_all_lines(path, refusals))
    for line in lines:
        if line.strip() and not SEPARATOR_LINE.fullmatch(line.strip()):
            break
        lines.begin_row()
    else:
        return
    columns, delimiter = _read_header(path, line, required_columns, delimiter, quoting)
    while not lines.at_end:
        # After a bad row the reader may be inside a quoted value, so a new one starts behind it.
        rows = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
        yield from _read_rows(lines, rows, columns, refusals)


def _read_rows(
    lines: "_LineSupply", rows: Iterator[list[str]], columns: Sequence[str], refusals: Refusals
) -> Iterator[LineRecord]:
    """Yield the rows up to the end, or to the first bad row that is more than one line."""
    while True:
        lines.begin_row()
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if lines.row:  # else the end of the file
                problem = f"cannot be read ({error}); correct it"
                refusals.append(lines.error(problem).refusal)
            lines.return_lines_of_row()
            return
        if len(row) == len(columns):
            yield LineRecord(lines.path, lines.row_number, dict(zip(columns, row, strict=True)))
        elif row:
            problem = (
                f"has {len(row)} columns, but the first line names {len(columns)}; "
                f"correct the line: {shorten(lines.row[0].rstrip())}"
            )
            refusals.append(lines.error(problem).refusal)
            if len(lines.row) > 1:
                lines.return_lines_of_row()
                return


class _LineSupply:
    """Lines for csv.reader, which can be read again from the second line of a row on."""

    def __init__(self, path: Path, lines: Iterator[str]) -> None:
        self.path, self._lines, self.at_end = path, lines, False
        self._again: list[str] = []  # lines to read a second time, the last one first
        self.row: list[str] = []  # the lines that were read since `begin_row`
        self.row_number = 1  # of the first of them, from 1

    def error(self, problem: str) -> LineError:
        return LineError(self.path, self.row_number, problem)

    def begin_row(self) -> None:
        self.row_number += len(self.row)
        self.row.clear()

    def return_lines_of_row(self) -> None:
        self._again += reversed(self.row[1:])
        self.at_end = self.at_end and not self._again
        del self.row[1:]

    def __iter__(self) -> "_LineSupply":
        return self

    def __next__(self) -> str:
        if len(self.row) >= MAX_LINES_OF_ROW:
            raise csv.Error(f"a quotation mark is not closed within {MAX_LINES_OF_ROW} lines")
        if self._again:
            line = self._again.pop()
        else:
            try:
                line = next(self._lines) + "\n"
            except StopIteration:
                self.at_end = True
                raise
        self.row.append(line)
        return line


def _read_header(
    path: Path,
    line: str,
    required_columns: Sequence[Sequence[str]],
    delimiter: str | None,
    quoting: Quoting,
) -> tuple[list[str], str]:
    """Return the names of the columns and the delimiter."""
    candidates = [delimiter] if delimiter else list(DELIMITERS)
    headers = {each: _split_line(line, each, quoting) for each in candidates}
    # Names as they are written come first; else small letters without outer spaces.
    plain = {each: [name.strip().lower() for name in names] for each, names in headers.items()}
    wanted_names = {name for columns in required_columns for name in columns}
    for each, names in (*headers.items(), *plain.items()):
        if all(any(name in names for name in columns) for columns in required_columns):
            columns = [
                name if name in wanted_names else small
                for name, small in zip(names, plain[each], strict=True)
            ]
            for name in filter(None, columns):  # spreadsheets may leave columns without a name
                if columns.count(name) > 1:
                    raise InputError(f"{path}:1: has two columns {name!r}; rename one of them")
            return columns, each
    names = max(headers.values(), key=len)
    missing = [columns for columns in required_columns if not set(columns) & set(names)]
    wanted = " or ".join(map(repr, (missing or required_columns)[0]))
    shown = make_printable(", ".join(names)[:MAX_HEADER_CHARACTERS])
    raise InputError(
        f"{path}:1: has no column {wanted} among {shown}; rename a column, or set text_column: in "
        "the corpus file if it is the one with the transcript"
    )


def _split_line(line: str, delimiter: str, quoting: Quoting) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\n")], delimiter=delimiter, quoting=quoting))
    except (csv.Error, StopIteration):
        return []


def read_json_lines(path: Path, refusals: Refusals) -> Iterator[LineRecord]:
    """Yield the JSON object of each line, or of each item if the file is one array.

    A line or an item that is not an object is refused.
    """
    for number, line in read_lines(path, refusals):
        if number == 1 and JSON_ARRAY.match(line):
            yield from _read_json_array(path, read_text(path), refusals)
            return
        try:
            values = JSON_DECODER.decode(line)
            problem = "" if isinstance(values, dict) else "is not a JSON object"
        except (ValueError, RecursionError) as error:
            problem = _json_problem(error)
        if not problem:
            yield LineRecord(path, number, values)
            continue
        problem = f"{shorten(line)} {problem}; each line must be one JSON object"
        refusals.append(LineError(path, number, problem).refusal)


def _read_json_array(path: Path, text: str, refusals: Refusals) -> Iterator[LineRecord]:
    """Yield the items of an array; other items, and an array without its end, are refused."""
    position, line, counted = _skip_gap(text, text.index("[") + 1), 1, 0
    while position < len(text) and text[position] != "]":
        line, counted = line + text.count("\n", counted, position), position
        begin = position
        try:
            values, position = JSON_DECODER.raw_decode(text, begin)
            problem = "" if isinstance(values, dict) else "is not a JSON object"
        except (ValueError, RecursionError) as error:
            problem, position = _json_problem(error), _end_of_bad_item(text, begin)
        if problem:
            shown = shorten(text[begin:position].split("\n", 1)[0])
            refusals.append(LineError(path, line, f"{shown} {problem}").refusal)
        else:
            yield LineRecord(path, line, values)
        position = _skip_gap(text, position)
    if position == len(text):
        problem = "the array has no ] at its end; what was behind its last item is not read"
        refusals.append(LineError(path, line, problem).refusal)


def _skip_gap(text: str, position: int) -> int:
    found = JSON_GAP.match(text, position)
    return found.end() if found else position


def _end_of_bad_item(text: str, begin: int) -> int:
    """Return the end of the item, or the next line with { if it is no JSON at all."""
    try:
        return json.JSONDecoder().raw_decode(text, begin)[1]
    except (ValueError, RecursionError):
        found = JSON_ITEM.search(text, begin)
        return found.end() - 1 if found else len(text)


def _json_problem(error: ValueError | RecursionError) -> str:
    deep = isinstance(error, RecursionError)
    return "is not usable JSON (nested too deeply)" if deep else f"is not JSON ({error})"


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the object of `pairs`. Python's json would silently keep the last of two values."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{duplicate!r} is there twice; remove one of them")
    return values


JSON_DECODER = json.JSONDecoder(object_pairs_hook=_reject_duplicate_keys)
