"""Entries: utterances as a corpus lists them, with their ids, splits and paths.

In:   lines of lists, folders, `parts` of a corpus file.   Out: entries without duplicates; splits;
paths below the root.
Not here: parsing of files (parsing.py), each layout (the other modules).
"""

import os
import posixpath
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config.corpus import Corpus
from pipeline.corpus.layouts.parsing import LineRecord, Place, format_place
from pipeline.corpus.manifest import Refusal, Split
from pipeline.files import InputError

SPLIT_WORDS: Mapping[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "valid", "validation", "val"), "dev"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
MAX_VALUE_CHARACTERS = 40  # of a value in a message
CONTEXT_CHARACTERS = 10  # shown before the place where two values differ

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class CorpusEntry:
    """An utterance as a corpus lists it, before its audio file is opened."""

    id: str
    audio: str  # posix path below the root, or absolute
    transcript: str
    speaker: str = ""  # "": unknown
    split: Split | None = None  # None: unknown
    start: float = 0.0  # seconds from the start of the file
    duration: float | None = None  # seconds; None: to the end of the file
    channel: int | None = None
    file: str = field(default="", compare=False)  # the list, and the line in it; 0: unknown
    line: int = field(default=0, compare=False)

    @property
    def location(self) -> str:
        return format_place((self.file, self.line))


def collect_unique(
    lines: Iterable[tuple[Place, str, Value]], refusals: list[Refusal]
) -> dict[str, Value]:
    """Return key -> value from lines of one file: (place, key, value).

    The first line of a key is kept. Identical duplicates are skipped; conflicting ones are appended
    to `refusals`.
    """
    found: dict[str, Value] = {}
    numbers = array("Q")  # of the lines, in the order of `found`; texts would need much memory
    for place, key, value in lines:
        kept = found.setdefault(key, value)
        if len(found) > len(numbers):
            numbers.append(place[1])
        elif value != kept:
            first = format_place((place[0], numbers[list(found).index(key)]))
            refusals.append(_conflict_refusal(format_place(place), key, value, (first, kept)))
    return found


def collect_unique_entries(
    entries: Iterable[CorpusEntry], refusals: list[Refusal]
) -> list[CorpusEntry]:
    """Return the entries without those whose id is there twice, as `collect_unique` does."""
    found: dict[str, CorpusEntry] = {}
    for entry in entries:
        kept = found.setdefault(entry.id, entry)
        if kept is not entry and kept != entry:
            first = (kept.location, kept)
            refusals.append(_conflict_refusal(entry.location, entry.id, entry, first))
    return list(found.values())


def _conflict_refusal(location: str, key: str, value: object, first: tuple[str, object]) -> Refusal:
    difference = _describe_difference(value, first[1])
    problem = f"duplicate id {key!r}: {difference} in {first[0]} (kept)"
    return Refusal(key, f"{location}: {problem}; remove one of the two lines")


def _describe_difference(value: object, kept: object) -> str:
    """Return `transcript 'NO' here, 'YES'`: the first field that differs, from where it differs."""
    here, there = _compared_fields(value), _compared_fields(kept)
    name = next(name for name in {**here, **there} if here.get(name) != there.get(name))
    texts = ["" if each is None else str(each) for each in (here.get(name), there.get(name))]
    start = max(0, _common_length(*texts) - CONTEXT_CHARACTERS)
    one, other = (
        ("…" if start else "") + text[start : start + MAX_VALUE_CHARACTERS] for text in texts
    )
    return f"{name}{' ' if name else ''}{one!r} here, {other!r}"


def _common_length(first: str, second: str) -> int:
    shorter = min(len(first), len(second))
    return next((n for n in range(shorter) if first[n] != second[n]), shorter)


def _compared_fields(value: object) -> Mapping[str, Any]:
    if isinstance(value, LineRecord):
        return value.values
    if isinstance(value, CorpusEntry):
        return {each.name: getattr(value, each.name) for each in fields(value) if each.compare}
    return {"": value}


def split_from_name(name: str) -> Split | None:
    """Return train for train-clean-100, dev for validation.jsonl; None for no split or several."""
    words = re.split(r"[^a-z]+", name.lower())
    found = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def find_parts(
    corpus: Corpus, root: Path, candidates: Sequence[Path], expected: str
) -> list[tuple[Path, Split | None]]:
    """Return the folders or files of a corpus with their splits, from `parts` or their names.

    Raises InputError if there is no candidate (`expected` describes them) or a name is unclear.
    """
    if corpus.parts:
        parts = [(root / name, split) for split, name in corpus.parts.split_paths()]
        for path, _ in parts:
            if not path.exists():
                raise InputError(f"{path}: no such file or folder; correct parts in {corpus.name}")
        return parts
    if not candidates:
        raise missing_corpus_error(root, corpus.name, expected)
    named = [(path, split_from_name(path.name)) for path in candidates]
    unclear = [path.name for path, split in named if split is None]
    if unclear and len(named) > 1:
        raise InputError(
            f"{root / unclear[0]}: its name contains no split, or several; list train, dev, test "
            "and drawn under parts: in the corpus file"
        )
    return named


def missing_corpus_error(root: Path, name: str, expected: str) -> InputError:
    return InputError(f"{root}: no corpus {name} is here: {expected} is missing; check root:")


@lru_cache  # the utterances of a recording follow each other, and share this text
def path_below_root(root: Path, folder: Path, name: str) -> str:
    """Return `name`, relative to `folder`, as a path below `root`; absolute if it is elsewhere.

    `~` at its start is the home folder.
    """
    parent, file = os.path.split(os.path.expanduser(name) if name[:1] == "~" else name)  # noqa: PTH111
    return posixpath.join(_folder_below_root(root, folder, parent), file)


@lru_cache  # pathlib is slow, and a folder holds many files
def _folder_below_root(root: Path, folder: Path, name: str) -> str:
    path = folder / name
    found = path.relative_to(root) if path.is_relative_to(root) else path
    return found.as_posix() if found.parts else ""
