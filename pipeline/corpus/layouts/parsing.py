"""Parsing of the text files that list a corpus: lines, tables, JSON lines.

In:   a path (UTF-8; .gz too).   Out: lines, columns or JSON objects, each with its location, so
that a message can name file, line, value and what to do.
Not here: what the columns mean (the layouts beside this module), utterances (entries.py).
"""

import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.files import InputError

DELIMITERS = ",;\t|"
MAX_LINE_CHARACTERS = 60  # of a line in a message


@dataclass(frozen=True, slots=True)
class LineRecord:
    """A line of a list and the values of its columns or keys."""

    path: Path
    line: int = field(compare=False)
    values: Mapping[str, Any]

    @property
    def location(self) -> str:
        return f"{self.path}:{self.line}"

    def error(self, problem: str) -> InputError:
        return InputError(f"{self.location}: {problem}")

    def text(self, *names: str) -> str:
        """Return the first of these values that exists, else ""; a number becomes a text.

        Raises InputError if the value is neither a text nor a number.
        """
        for name in names:
            value = self.values.get(name)
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                return str(value)
            if value is not None:
                raise self.error(f"{name} is {value!r}; it must be a text")
        return ""

    def required_text(self, *names: str) -> str:
        """Return what `text` returns. Raises InputError if it is empty."""
        if not (text := self.text(*names)):
            raise self.error(f"{names[0]} is missing or empty; add it, or remove the line")
        return text

    def seconds(self, name: str) -> float | None:
        """Return a finite number of seconds, or None if there is no value."""
        value = self.values.get(name)
        if value is None or value == "":
            return None
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            seconds = math.nan
        if not math.isfinite(seconds):
            raise self.error(f"{name} is {value!r}; it must be a number of seconds")
        return seconds


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not blank."""
    for number, line in enumerate(io.StringIO(read_text(path), newline="\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r\n")


def match_lines(
    path: Path, pattern: re.Pattern[str], example: str
) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield file:line and the match of `pattern` for each line that is not blank.

    Raises InputError for a line that does not match, with `example` as the expected form.
    """
    for number, line in read_lines(path):
        if not (found := pattern.fullmatch(line.strip())):
            raise InputError(
                f"{path}:{number}: {line!r} is not of the form {example}; correct the line"
            )
        yield f"{path}:{number}", found


def read_keyed_lines(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (file:line, key, rest of the line), as in the lists of Kaldi and LibriSpeech."""
    for number, line in read_lines(path):
        key, *rest = line.split(maxsplit=1)
        yield f"{path}:{number}", key, rest[0].rstrip() if rest else ""


def read_json_lines(path: Path) -> Iterator[LineRecord]:
    """Yield the JSON object of each line. Raises InputError for a line that is not one."""
    for number, line in read_lines(path):
        try:
            values = JSON_DECODER.decode(line)
        except ValueError as error:
            raise InputError(
                f"{path}:{number}: {line[:MAX_LINE_CHARACTERS]!r} is not JSON ({error}); each line "
                "must be one JSON object"
            ) from None
        if not isinstance(values, dict):
            raise InputError(
                f"{path}:{number}: {line[:MAX_LINE_CHARACTERS]!r} is not a JSON object; each line "
                "must be one"
            )
        yield LineRecord(path, number, values)


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the object of `pairs`. Python's json would silently keep the last of two values."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{duplicate!r} is there twice; remove one of them")
    return values


JSON_DECODER = json.JSONDecoder(object_pairs_hook=_reject_duplicate_keys)


def read_delimited(
    path: Path,
    required_columns: Sequence[str],
    delimiter: str = ",",
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL,
) -> Iterator[LineRecord]:
    """Yield the rows of a table whose first line names the columns.

    Raises InputError for a missing column, a row of another length or broken quoting.
    """
    rows = csv.reader(
        io.StringIO(read_text(path), newline=""), delimiter=delimiter, quoting=quoting, strict=True
    )
    header: list[str] = []
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{path}:{line}: cannot be read ({error}); correct it") from None
        if not header:
            header = _check_columns(path, row, required_columns, delimiter)
        elif len(row) == len(header):
            yield LineRecord(path, line, dict(zip(header, row, strict=True)))
        elif row:
            raise InputError(
                f"{path}:{line}: has {len(row)} columns, but the first line names {len(header)}; "
                f"correct the line: {delimiter.join(row)[:MAX_LINE_CHARACTERS]!r}"
            )


def _check_columns(
    path: Path, row: list[str], required_columns: Sequence[str], delimiter: str
) -> list[str]:
    for name in required_columns:
        if name not in row:
            for other in DELIMITERS:
                if other != delimiter and name in delimiter.join(row).split(other):
                    raise InputError(
                        f"{path}:1: columns are separated by {other!r}; use {delimiter!r}"
                    )
            raise InputError(
                f"{path}:1: has no column {name!r} among {', '.join(row)}; rename a column, or set "
                "text_column: in the corpus file if it is the one with the transcript"
            )
    for name in filter(None, row):  # spreadsheets may leave columns without a name
        if row.count(name) > 1:
            raise InputError(f"{path}:1: has two columns {name!r}; rename one of them")
    return row


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, also of a .gz. Raises InputError if it cannot be read."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: is not UTF-8; save it as UTF-8") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore it from the corpus") from None
