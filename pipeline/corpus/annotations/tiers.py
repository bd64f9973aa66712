"""Tiers: the texts of a recording with their times.

In:   what an annotation file says.   Out: the tiers to read; an error that names the others.
Not here: the formats of the files (textgrid.py, elan.py, subtitles.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.corpus.layouts.parsing import LineError, parse_seconds, shorten
from pipeline.corpus.manifest import Refusal
from pipeline.files import InputError

MAX_TIERS_SHOWN = 10  # in a message


@dataclass(frozen=True, slots=True)
class Segment:
    """A text and its time, in seconds from the start of the recording."""

    text: str
    begin: float
    end: float
    line: int  # in the file
    speaker: str = ""  # "": unknown


@dataclass(slots=True)
class Tier:
    """One layer of an annotation: a speaker, or a kind of unit such as words."""

    name: str
    is_child: bool = False  # whether it only adds to another tier, as a translation does
    segments: list[Segment] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def has_text(self) -> bool:
        return any(segment.text for segment in self.segments)

    def refuse(self, path: Path, line: int, problem: str) -> None:
        self.refusals.append(LineError(path, line, problem).refusal)

    def add(
        self, path: Path, line: int, times: Sequence[object], text: str, speaker: str = ""
    ) -> None:
        """Add a segment from begin to end, or refuse it if these are no times."""
        begin, end = map(parse_seconds, times)
        if begin is None or end is None or not 0 <= begin < end:
            shown = " to ".join(map(shorten, times))
            self.refuse(path, line, f"is from {shown}, which is no range in seconds; correct it")
        else:
            text = " ".join(text.split())
            self.segments.append(Segment(text, begin, end, line, speaker))


def choose_tiers(path: Path, tiers: Sequence[Tier], wanted: Sequence[str]) -> list[Tier]:
    """Return the tiers with a wanted name or pattern; by default the only one that has text.

    Raises InputError if none has text, or several have and none is wanted.
    """
    named = ", ".join(repr(tier.name) for tier in tiers[:MAX_TIERS_SHOWN]) or "none"
    if wanted:
        found = [
            tier
            for tier in tiers
            if any(tier.name == name or fnmatchcase(tier.name, name) for name in wanted)
        ]
        if not found:
            problem = f"has none of the tiers {', '.join(map(repr, wanted))}; its tiers: {named}"
            raise InputError(f"{path}: {problem}; correct tiers: in the corpus file")
        return found
    full = find_full_tiers(tiers)
    if len(full) > 1:
        named = ", ".join(repr(tier.name) for tier in full[:MAX_TIERS_SHOWN])
        problem = f"has {len(full)} tiers with text: {named}"
        raise InputError(f"{path}: {problem}; say which under tiers: in the corpus file")
    if not full:
        problem = f"no tier has an interval with a text; its tiers: {named}"
        raise InputError(f"{path}: {problem}; write the texts, or remove the file")
    return full


def find_full_tiers(tiers: Sequence[Tier]) -> list[Tier]:
    """Return the tiers with text; those that only add to another tier if there is no other."""
    full = [tier for tier in tiers if tier.has_text]
    return [tier for tier in full if not tier.is_child] or full


def unify_line_ends(text: str) -> str:
    r"""Return the text with \n at line ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
