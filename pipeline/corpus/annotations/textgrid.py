"""Praat's TextGrid, in its long and its short text form: a file -> its interval tiers.

In:   a path (UTF-8, or UTF-16 with a byte order mark).   Out: tiers; a bad interval costs itself.
Not here: Praat's binary and chronological forms, which are named with the way out.

Of these files numbers, "strings" and <flags> count; every other word is a comment. In strings ""
is a quotation mark. The long form also numbers its intervals, so that a bad one ends there.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

from pipeline.corpus.annotations.tiers import Tier, unify_line_ends
from pipeline.corpus.audio.audio_file import EXCLUDE_HINT
from pipeline.corpus.layouts.parsing import decode_content, read_content, shorten
from pipeline.files import InputError

BINARY_MARK = b"ooBinaryFile"
SAVE_HINT = "open it in Praat and choose Save > Save as text file"
TIER_CLASSES = ("IntervalTier", "TextTier")  # a TextTier has points in time, and no intervals
# A string ends at a quotation mark with white space behind it, and never in another interval.
TOKEN = re.compile(
    r"""
      (?P<string>"(?:[^"]++|"")*+"(?!\S))
    | (?P<unclosed>"[^\n]*)
    | (?P<comment>(?:(?<=\s)|^)![^\n]*)
    | (?P<mark>(?:intervals|points|item)\s*\[\d+\])
    | (?P<number>(?<!\S)[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?s?(?!\S))
    | (?P<word>[^\s"]+)
    """,
    re.VERBOSE | re.MULTILINE,
)
# A line of this kind inside a string shows that its end is missing.
NEXT_INTERVAL = re.compile(r"^\s*(?:(?:intervals|points|item)\s*\[|[-+]?\d+(?:\.\d*)?\s*$)", re.M)


class _Token(NamedTuple):
    kind: str | None
    text: str
    line: int


def read_textgrid(path: Path) -> list[Tier]:
    """Return the interval tiers. Raises InputError if it is no TextGrid in a text form."""
    content = read_content(path)
    if content.startswith(BINARY_MARK):
        raise InputError(f"{path}: is a binary TextGrid, which is not read; {SAVE_HINT}")
    text = unify_line_ends(decode_content(path, content))
    head = text[:200]
    if "chronological" in head.split("\n", 1)[0]:
        raise InputError(f"{path}: is a chronological TextGrid, which is not read; {SAVE_HINT}")
    if "ooTextFile" not in head or "TextGrid" not in head:
        raise InputError(f"{path}: is no TextGrid (its first lines do not say so); {SAVE_HINT}")
    tokens = list(_tokens(text))
    first = next((token for token in tokens if token.kind == "number"), None)
    if first and float(first.text.rstrip("s")) != 0:
        problem = f"begins at {first.text} s, and recordings begin at 0"
        raise InputError(f"{path}: {problem}; shift its times to 0 (in Praat: Modify times)")
    starts = _tier_starts(tokens)
    tiers = []
    for begin, end in pairwise([*starts, len(tokens)]):
        kind = tokens[begin]
        if kind.text not in TIER_CLASSES:
            problem = f"{shorten(kind.text)} is no class of a tier"
            raise InputError(f"{path}:{kind.line}: {problem}; correct it, {EXCLUDE_HINT}")
        if kind.text == TIER_CLASSES[0]:
            tiers.append(_read_tier(path, tokens[begin + 1 : end]))
    return tiers


def _tokens(text: str) -> Iterator[_Token]:
    """Yield strings (without their quotation marks), numbers and marks of intervals."""
    ends = list(accumulate(len(line) + 1 for line in text.split("\n")))
    position = 0
    while match := TOKEN.search(text, position):
        position, kind = match.end(), match.lastgroup
        if kind == "string" and NEXT_INTERVAL.search(match[0], 1):
            position, kind = text.find("\n", match.start()), "unclosed"
        if kind not in ("comment", "word"):
            content = match[0][1:-1].replace('""', '"') if kind == "string" else match[0]
            yield _Token(kind, content, bisect_right(ends, match.start()) + 1)


def _tier_starts(tokens: list[_Token]) -> list[int]:
    """Return where the classes of tiers stand: behind item [2], or before a name without times."""
    starts = []
    kinds = [token.kind for token in tokens]
    for number, token in enumerate(tokens):
        before, behind = kinds[max(0, number - 3) : number], kinds[number + 1 : number + 7]
        if before[-1:] == ["mark"] and tokens[number - 1].text.startswith("item"):
            starts.append(number)
        elif token.kind == "string" and behind[:1] in (["string"], ["unclosed"]):
            is_interval = before[1:] == ["number"] * 2 and before[0] != "number"
            is_class = token.text in TIER_CLASSES or behind[1:] == ["number"] * 5
            starts += [] if is_interval or not is_class else [number]
    return starts


def _read_tier(path: Path, tokens: list[_Token]) -> Tier:
    """Read the tokens behind the class: name, begin, end, number of intervals, intervals."""
    tier = Tier(tokens[0].text if tokens else "")
    numbers: list[_Token] = []
    header = 3  # numbers before the first interval, the last of them is the number of intervals
    stated: _Token | None = None
    last_line = 0  # of the text before
    for token in tokens[1:]:
        if token.kind == "mark":
            if numbers:
                tier.refuse(path, numbers[0].line, "is an interval without a text; add it")
            numbers.clear()
            header = 0
        elif token.kind == "number":
            if header:
                header -= 1
                stated = token if header == 0 else None
            else:
                numbers.append(token)
        else:
            if token.kind == "unclosed" and token.line == last_line and not numbers:
                tier.segments.pop()  # that text was only its first part
            kept = len(tier.segments)
            _end_interval(path, tier, numbers, token)
            last_line = token.line if len(tier.segments) > kept else 0
            numbers.clear()
    if numbers:
        tier.refuse(path, numbers[0].line, "is an interval without a text; the file is cut short")
    found = len(tier.segments) + len(tier.refusals)
    if stated and found < float(stated.text.rstrip("s")):
        problem = f"announces {stated.text} intervals, and there are {found}"
        tier.refuse(path, stated.line, f"{problem}; the file is cut short")
    return tier


def _end_interval(path: Path, tier: Tier, numbers: list[_Token], text: _Token) -> None:
    line = numbers[0].line if numbers else text.line
    if text.kind == "unclosed":
        problem = "is a text without its closing quotation mark, or with single ones inside"
        tier.refuse(path, text.line, f'{problem}; write "" for a quotation mark')
    elif len(numbers) != 2:
        problem = f"is an interval with {len(numbers)} times instead of 2"
        tier.refuse(path, line, f"{problem}; correct it")
    else:
        tier.add(path, line, [each.text.rstrip("s") for each in numbers], text.text)
