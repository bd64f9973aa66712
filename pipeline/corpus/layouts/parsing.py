"""Lists: the text files that say what a corpus holds, line by line.

In:   a path (UTF-8; .gz too).   Out: lines, columns or JSON objects, each with its place, so that
what is wrong with one is said as file:line, value, way out; of a key that comes again, both.
Not here: what the columns mean (the layouts beside this module).
"""

import csv
import gzip
import io
import json
import math
import os
import posixpath
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pipeline.config.corpus import Corpus
from pipeline.corpus.manifest import Refusal, Split
from pipeline.files import InputError

SPLIT_WORDS: Mapping[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "valid", "validation", "val"), "dev"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}

DELIMITERS = ",;\t|"
MAX_VALUE_CHARACTERS = 40  # characters of a value
CONTEXT_CHARACTERS = 10  # of them, what two values have in common

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class CorpusEntry:
    """What a corpus says of an utterance, before its audio has been looked at."""

    id: str
    audio: str  # posix path below the root, or absolute
    transcript: str
    speaker: str = ""  # "": not said
    split: Split | None = None  # None: not said
    start: float = 0.0  # seconds into the file
    duration: float | None = None  # seconds; None: to the end of the file
    channel: int | None = None
    location: str = field(default="", compare=False)  # of its line: file:line


@dataclass(frozen=True, slots=True)
class LineRecord:
    """A line, and what its columns or keys hold."""

    path: Path
    line: int = field(compare=False)
    values: Mapping[str, Any]

    @property
    def location(self) -> str:
        return f"{self.path}:{self.line}"

    def error(self, problem: str) -> InputError:
        return InputError(f"{self.location}: {problem}")

    def text(self, *names: str) -> str:
        """Of the first of these names that is there; a number, as of a speaker, as its digits."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                return str(value)
            if value is not None:
                raise self.error(f"{name} is {value!r}; a text is needed")
        return ""

    def required_text(self, *names: str) -> str:
        if not (text := self.text(*names)):
            raise self.error(f"{names[0]} is missing or empty; add it, or take the line out")
        return text

    def seconds(self, name: str) -> float | None:
        value = self.values.get(name)
        if value is None or value == "":
            return None
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            seconds = math.nan
        if not math.isfinite(seconds):
            raise self.error(f"{name} is {value!r}; a number of seconds is needed")
        return seconds


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank."""
    for number, line in enumerate(io.StringIO(read_text(path), newline="\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r\n")


def match_lines(
    path: Path, pattern: re.Pattern[str], example: str
) -> Iterator[tuple[str, re.Match[str]]]:
    """Place of each line that is not blank, and the match of `form`."""
    for number, line in read_lines(path):
        if not (found := pattern.fullmatch(line.strip())):
            raise InputError(f"{path}:{number}: {line!r} is not of the form {example}")
        yield f"{path}:{number}", found


def read_keyed_lines(path: Path) -> Iterator[tuple[str, str, str]]:
    """(place, key, all that follows it): the lists of Kaldi and LibriSpeech."""
    for number, line in read_lines(path):
        key, *rest = line.split(maxsplit=1)
        yield f"{path}:{number}", key, rest[0].rstrip() if rest else ""


def collect_unique(
    lines: Iterable[tuple[str, str, Value]], refusals: list[Refusal]
) -> dict[str, Value]:
    """Values by their keys, of (place, key, value).

    The first line of a key holds. One that says the same is passed over; another is refused.
    """
    found: dict[str, tuple[str, Value]] = {}
    for place, key, value in lines:
        first, held = found.setdefault(key, (place, value))
        if value != held:
            finding = (
                f"has {key!r} again, {_describe_difference(value, held)} in {first}, which holds"
            )
            refusals.append(Refusal(key, f"{place}: {finding}; take one of them out"))
    return {key: value for key, (_, value) in found.items()}


def _describe_difference(value: object, kept: object) -> str:
    """`with transcript 'NO', and with 'YES'`: from where they differ."""
    here, there = _compared_fields(value), _compared_fields(kept)
    name = next(name for name in {**here, **there} if here.get(name) != there.get(name))
    texts = ["" if each is None else str(each) for each in (here.get(name), there.get(name))]
    shorter = min(map(len, texts))
    alike = next((n for n in range(shorter) if texts[0][n] != texts[1][n]), shorter)
    start = max(0, alike - CONTEXT_CHARACTERS)
    one, other = (
        ("…" if start else "") + text[start : start + MAX_VALUE_CHARACTERS] for text in texts
    )
    return f"with {name}{' ' if name else ''}{one!r}, and with {other!r}"


def _compared_fields(value: object) -> Mapping[str, Any]:
    if isinstance(value, LineRecord):
        return value.values
    if isinstance(value, CorpusEntry):
        return {each.name: getattr(value, each.name) for each in fields(value) if each.compare}
    return {"": value}


def read_json_lines(path: Path) -> Iterator[LineRecord]:
    for number, line in read_lines(path):
        try:
            values = JSON_DECODER.decode(line)
        except ValueError as error:
            raise InputError(
                f"{path}:{number}: {line[:60]!r} is not JSON ({error}); one object a line is needed"
            ) from None
        if not isinstance(values, dict):
            raise InputError(f"{path}:{number}: {line[:60]!r} is not a JSON object")
        yield LineRecord(path, number, values)


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON itself would let the last of two values hold."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice; take one of them out")
    return found


JSON_DECODER = json.JSONDecoder(object_pairs_hook=_reject_duplicate_keys)


def read_delimited(
    path: Path,
    required_columns: Sequence[str],
    delimiter: str = ",",
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL,
) -> Iterator[LineRecord]:
    """The rows below a line that names the columns."""
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
            raise InputError(f"{path}:{line}: cannot be read ({error}); mend the line") from None
        if not header:
            header = _check_columns(path, row, required_columns, delimiter)
        elif len(row) == len(header):
            yield LineRecord(path, line, dict(zip(header, row, strict=True)))
        elif row:
            raise InputError(
                f"{path}:{line}: has {len(row)} columns, and its first line names {len(header)}; "
                f"mend the line: {delimiter.join(row)[:60]!r}"
            )


def split_from_name(name: str) -> Split | None:
    """train-clean-100 is train, validation.jsonl dev; a name that says both says neither."""
    words = re.split(r"[^a-z]+", name.lower())
    found = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def find_parts(
    corpus: Corpus, root: Path, candidates: Sequence[Path], expected: str
) -> list[tuple[Path, Split | None]]:
    """The folders or files of a corpus with their splits: as `parts` says, or by their names."""
    if corpus.parts:
        parts = [(root / name, split) for split, name in corpus.parts.split_paths()]
        for path, _ in parts:
            if not path.exists():
                raise InputError(f"{path}: parts in {corpus.name} names it, and it is not there")
        return parts
    if not candidates:
        raise InputError(f"{root}: no corpus {corpus.name} is here: {expected} is missing")
    named = [(path, split_from_name(path.name)) for path in candidates]
    unclear = [path.name for path, split in named if split is None]
    if unclear and len(named) > 1:
        raise InputError(
            f"{root / unclear[0]}: its name says no split, or two; say under parts: in the corpus "
            "file which are train, dev and test, or drawn"
        )
    return named


def path_below_root(root: Path, folder: Path, name: str) -> str:
    """As a path below the root, from one relative to `folder`; absolute where it lies elsewhere."""
    above, file = os.path.split(name)
    return posixpath.join(_folder_below_root(root, folder, above), file)


@lru_cache  # few folders hold many files, and pathlib takes its time
def _folder_below_root(root: Path, folder: Path, name: str) -> str:
    path = folder / name
    found = path.relative_to(root) if path.is_relative_to(root) else path
    return found.as_posix() if found.parts else ""


def _check_columns(
    path: Path, row: list[str], required_columns: Sequence[str], delimiter: str
) -> list[str]:
    for name in required_columns:
        if name not in row:
            for other in DELIMITERS:
                if other != delimiter and name in delimiter.join(row).split(other):
                    raise InputError(
                        f"{path}:1: its columns are parted by {other!r}; part them by {delimiter!r}"
                    )
            raise InputError(
                f"{path}:1: has no column {name!r} among {', '.join(row)}; name it so, or say "
                "text_column: in the corpus file if it is the transcript's"
            )
    for name in filter(None, row):  # a spreadsheet leaves columns without a name
        if row.count(name) > 1:
            raise InputError(f"{path}:1: names two columns {name!r}; rename one of them")
    return row


def read_text(path: Path) -> str:
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
