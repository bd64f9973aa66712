"""Subtitles (SRT, WebVTT): a file -> one tier.

In:   a path (UTF-8, or UTF-16 with a byte order mark).   Out: a tier; a bad subtitle costs itself.
Not here: which recording they belong to (layouts/annotated.py).
"""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from pipeline.corpus.annotations.tiers import Tier, unify_line_ends
from pipeline.corpus.layouts.parsing import read_text, shorten
from pipeline.files import InputError

ARROW = "-->"
EXAMPLE = f"00:01:02,500 {ARROW} 00:01:04,000"
CLOCK = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[,.](\d{1,3}))?"
TIMES = re.compile(rf"\s*{CLOCK}\s*{ARROW}\s*{CLOCK}(?:\s.*)?")
# Blocks of WebVTT without a text to be spoken.
NOTES = re.compile(r"(?:NOTE|STYLE|REGION)\b|WEBVTT")
CLOCK_TAG = re.compile(rf"<{CLOCK}>")
VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
TAGS = re.compile(r"</?[A-Za-z][^<>]*>|\{\\[^{}]*\}")  # <i>, <c.yellow>, {\an8}


def read_subtitles(path: Path) -> list[Tier]:
    """Return one tier with the subtitles. Raises InputError if the file cannot be used."""
    tier, is_vtt = Tier("subtitles"), path.suffix.lower() == ".vtt"
    text = unify_line_ends(read_text(path))
    if CLOCK_TAG.search(text):
        problem = "has times inside its texts, as captions that repeat each line have"
        raise InputError(f"{path}: {problem}; write subtitles that say each sentence once")
    for first, block in _blocks(text):
        if ARROW in block[0]:
            _add_subtitle(path, tier, first, block, is_vtt=is_vtt)
        elif not (is_vtt and NOTES.match(block[0])):
            problem = f"{shorten(block[0])} has no time above it, such as {EXAMPLE}"
            tier.refuse(path, first, f"{problem}; add it, or remove the text")
    return [tier]


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line and the lines of each subtitle, from its times on.

    The line before the times, a number or a name, is left out.
    """
    block: list[str] = []
    first = 0
    lines = [*text.split("\n"), ""]
    for number, line in enumerate(lines, start=1):
        begins = ARROW in line
        has_name = ARROW in (lines[number] if number < len(lines) else "") and (
            not block or line.strip().isdecimal()
        )
        if begins or has_name or not line.strip():
            if block:
                yield first, block
            block = [line] if begins else []
            first = number
        else:
            first = first if block else number
            block.append(line)


def _add_subtitle(path: Path, tier: Tier, first: int, block: list[str], *, is_vtt: bool) -> None:
    found = TIMES.fullmatch(block[0])
    if not found:
        problem = f"{shorten(block[0].strip())} is not of the form {EXAMPLE}"
        tier.refuse(path, first, f"{problem}; correct it")
        return
    text = "\n".join(block[1:])
    voices = {name.strip() for name in VOICE.findall(text)} if is_vtt else set()
    plain = TAGS.sub("", text)
    speaker = unescape(voices.pop()) if len(voices) == 1 else ""
    groups = found.groups()
    times = (_seconds(groups[:4]), _seconds(groups[4:]))
    tier.add(path, first, times, unescape(plain), speaker)


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return 3600 * int(hours) + 60 * int(minutes) + float(f"{seconds}.{fraction}")
