"""Parsing of the text files that list a corpus: lines.

In:   a path (UTF-8, or UTF-16 with a byte order mark; .gz too).   Out: lines, each with its
location, so that a message can name file, line, value and what to do. A bad line is added to
`refusals`, and the rest is read.
Not here: tables with columns, JSON lines (delimited.py), what the columns mean (the layouts beside
this module), utterances (entries.py).
"""

import codecs
import gzip
import math
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.corpus.manifest import Refusal
from pipeline.files import InputError, error_reason

MAX_LINE_CHARACTERS = 60  # of a line in a message
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
UTF32_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
NO_TEXT = {  # how files begin that people take for text
    b"PK\3\4": "a file of Excel, Word or LibreOffice",
    b"\xd0\xcf\x11\xe0": "a file of an old Excel or Word",
    b"{\\rtf": "RTF",
    b"%PDF": "PDF",
}
MAX_SECONDS = 1e9  # 30 years: no recording is longer, and sample numbers stay exact

Refusals = list[Refusal]
Place = tuple[str, int]  # a file and a line in it; a text for each line would need much memory


class LineError(InputError):
    """A problem of one line of a list; the other lines can be used."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(f"{path}:{line}: {problem}")
        self.refusal = Refusal(f"{path.name}:{line}", str(self))


class RefuseBadLines:
    """A context that adds the LineError of its block to `refusals`, and goes on behind the block.

    The utterance of the refusal is `list.csv:7`, because the line may have no id.
    """

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if isinstance(error, LineError):
            self._refusals.append(error.refusal)
            return True
        return False


@dataclass(frozen=True, slots=True)
class LineRecord:
    """A line of a list and the values of its columns or keys."""

    path: Path
    line: int = field(compare=False)
    values: Mapping[str, Any]

    @property
    def place(self) -> Place:
        return str(self.path), self.line

    def error(self, problem: str) -> LineError:
        return LineError(self.path, self.line, problem)

    def text(self, *names: str) -> str:
        """Return the first of these values that exists, else ""; a number becomes a text.

        Raises LineError if the value is neither a text nor a number.
        """
        for name in names:
            value = self.values.get(name)
            if isinstance(value, str):
                return value
            if isinstance(value, int | float) and not isinstance(value, bool):
                return str(value)
            if value is not None:
                raise self.error(f"{name} is {shorten(value)}; it must be a text")
        return ""

    def required_text(self, *names: str) -> str:
        """Return what `text` returns. Raises LineError if it is empty."""
        if not (text := self.text(*names)):
            raise self.error(f"{names[0]} is missing or empty; add it, or remove the line")
        return text

    def file_name(self, *names: str) -> str:
        """Return what `required_text` returns. Raises LineError if it is a URL."""
        text = self.required_text(*names)
        if URL.match(text):
            raise self.error(f"{shorten(text)} is a URL; download the file, and list its path")
        return text

    def seconds(self, *names: str) -> float | None:
        """Return the first of these values as a number of seconds, or None if there is none."""
        for name in names:
            value = self.values.get(name)
            if value is None or value == "":
                continue
            if (seconds := parse_seconds(value)) is None:
                raise self.error(f"{name} is {shorten(value)}; it must be a number of seconds")
            return seconds
        return None


def format_place(place: Place) -> str:
    """Return `list.csv:7`, or the file alone for line 0."""
    return f"{place[0]}:{place[1]}" if place[1] else place[0]


def parse_seconds(value: Any) -> float | None:
    """Return `value` as a number of seconds; None if it is no number or above MAX_SECONDS."""
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and abs(seconds) <= MAX_SECONDS else None


def shorten(value: Any) -> str:
    """Return the start of `value` as it is written in Python, for a message."""
    try:
        text = repr(value[:MAX_LINE_CHARACTERS] if isinstance(value, str) else value)
    except (RecursionError, ValueError):  # nested too deeply; an integer of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 2 * MAX_LINE_CHARACTERS else f"{text[:MAX_LINE_CHARACTERS]}…"


def read_lines(path: Path, refusals: Refusals) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not blank, without its line end."""
    for number, line in enumerate(read_all_lines(path, refusals), start=1):
        if line and not line.isspace():
            yield number, line


def read_all_lines(path: Path, refusals: Refusals) -> Iterator[str]:
    """Yield every line without its line end; a line that is not UTF-8 is refused and empty."""
    content = read_content(path)
    _require_plain_text(path, content)
    try:
        text = _decode(content)
    except UnicodeDecodeError:
        yield from _decode_each_line(path, content, refusals)
        return
    del content
    if "\r" in text and "\n" not in text:  # as on old Macs
        text = text.replace("\r", "\n")
    # Not splitlines: it also splits at the line separators of Unicode, which a text may hold.
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start : end - 1 if text[end - 1 : end] == "\r" and end > start else end]
        start = end + 1
    if start < len(text):
        yield text[start:].removesuffix("\r")


def _decode_each_line(path: Path, content: bytes, refusals: Refusals) -> Iterator[str]:
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        try:
            text = line.decode().removesuffix("\r")
        except UnicodeDecodeError:
            shown = shorten(line.decode("latin-1").strip())
            error = LineError(path, number, f"is not UTF-8: {shown}; save the file as UTF-8")
            refusals.append(error.refusal)
            text = ""
        yield text


def match_lines(
    path: Path, pattern: re.Pattern[str], example: str, refusals: Refusals
) -> Iterator[tuple[Place, re.Match[str]]]:
    """Yield the place and the match of `pattern` for each line that is not blank.

    A line that does not match is refused, with `example` as the expected form.
    """
    for number, line in read_lines(path, refusals):
        if found := pattern.fullmatch(line.strip()):
            yield (str(path), number), found
        else:
            problem = f"{shorten(line)} is not of the form {example}; correct the line"
            refusals.append(LineError(path, number, problem).refusal)


def read_keyed_lines(path: Path, refusals: Refusals) -> Iterator[tuple[Place, str, str]]:
    """Yield (place, key, rest of the line), as in the lists of Kaldi and LibriSpeech."""
    name = str(path)
    for number, line in read_lines(path, refusals):
        key, *rest = line.split(maxsplit=1)
        # The key is in several lists: one string for all of them saves much memory.
        yield (name, number), sys.intern(key), rest[0].rstrip() if rest else ""


def read_text(path: Path) -> str:
    """Return the text of a file, also of a .gz. Raises InputError if it cannot be read."""
    return decode_content(path, read_content(path))


def decode_content(path: Path, content: bytes) -> str:
    """Return the text of a file that is read. Raises InputError if it is not UTF-8 or UTF-16."""
    _require_plain_text(path, content)
    try:
        return _decode(content)
    except UnicodeDecodeError as error:
        name = "UTF-16" if content.startswith(UTF16_MARKS) else "UTF-8"
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: is not {name}; save it as UTF-8") from None


def _require_plain_text(path: Path, content: bytes) -> None:
    """Raise InputError for a file of a word processor or a spreadsheet, and for bare UTF-16."""
    what = next((what for mark, what in NO_TEXT.items() if content.startswith(mark)), "")
    if not content.startswith(UTF32_MARKS) and b"\0" in content[:2]:
        what = "UTF-16 without a byte order mark"
    if what:
        raise InputError(f"{path}: is {what}, not plain text; save it as text in UTF-8")


def _decode(content: bytes) -> str:
    if content.startswith(UTF32_MARKS):
        return content.decode("utf-32")
    if content.startswith(UTF16_MARKS):
        return content.decode("utf-16")
    return content.decode().lstrip("\ufeff")  # joined files may have several marks


def read_content(path: Path) -> bytes:
    """Return the bytes of a regular file, unpacked if it is a .gz.

    Raises InputError if it cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is not a regular file; replace it by a text file")
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except InputError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(
            f"{path}: cannot be read ({error_reason(error)}); restore it from the corpus"
        ) from None
