"""Time formats: words and letters with their times as CTM, CSV, Praat TextGrid, SRT, WebVTT.

In:   pieces of text with begin and end in seconds.   Out: the text of a file.
Not here: where the times come from (alignment.py, words/text_decoder.py).
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SUBTITLE_SECONDS, SUBTITLE_CHARACTERS = 6.0, 84  # at most, of one subtitle
PAUSE_SECONDS = 1.0  # a pause that ends a subtitle


@dataclass(frozen=True, slots=True)
class TimedText:
    text: str
    begin: float  # seconds
    end: float
    score: float  # a probability, 0 to 1


def format_ctm(recording: str, words: Sequence[TimedText]) -> str:
    """Return NIST's CTM: recording, channel, begin, duration, word, confidence."""
    name = "_".join(recording.split()) or "-"
    return "".join(
        f"{name} 1 {word.begin:.3f} {word.end - word.begin:.3f} {word.text} {word.score:.3f}\n"
        for word in words
    )


def format_csv(recording: str, words: Sequence[TimedText]) -> str:
    """Return lines of recording, begin, end, text, score, under a line with these names."""
    table = io.StringIO(newline="")
    rows = [[recording, f"{w.begin:.3f}", f"{w.end:.3f}", w.text, f"{w.score:.4f}"] for w in words]
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows([["recording", "begin", "end", "text", "score"], *rows])
    return table.getvalue()


def format_textgrid(tiers: Mapping[str, Sequence[TimedText]], seconds: float) -> str:
    """Return a TextGrid of Praat (long text format) with an interval tier for each entry.

    The intervals of a tier cover 0 to `seconds`; what has no text is an empty interval.
    """
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {seconds:.6f}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, pieces) in enumerate(tiers.items(), start=1):
        intervals = _fill_gaps(pieces, seconds)
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quote(name)}",
            "        xmin = 0",
            f"        xmax = {seconds:.6f}",
            f"        intervals: size = {len(intervals)}",
        ]
        for place, (text, begin, end) in enumerate(intervals, start=1):
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {begin:.6f}",
                f"            xmax = {end:.6f}",
                f"            text = {_quote(text)}",
            ]
    return "\n".join([*lines, ""])


def _fill_gaps(pieces: Sequence[TimedText], seconds: float) -> list[tuple[str, float, float]]:
    intervals, at = [], 0.0
    for piece in pieces:
        begin, end = max(piece.begin, at), min(piece.end, seconds)
        if end <= begin:
            continue
        if begin > at:
            intervals.append(("", at, begin))
        intervals.append((piece.text, begin, end))
        at = end
    if at < seconds or not intervals:
        intervals.append(("", at, seconds))
    return intervals


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def format_srt(words: Sequence[TimedText]) -> str:
    """Return SubRip subtitles of at most 6 seconds and 84 characters."""
    return "\n".join(
        f"{number}\n{_clock(begin, ',')} --> {_clock(end, ',')}\n{text}\n"
        for number, (text, begin, end) in enumerate(_subtitles(words), start=1)
    )


def format_vtt(words: Sequence[TimedText]) -> str:
    """Return WebVTT subtitles (W3C) with the same cues as `format_srt`."""
    cues = "\n".join(
        f"{_clock(begin, '.')} --> {_clock(end, '.')}\n{_escape(text)}\n"
        for text, begin, end in _subtitles(words)
    )
    return f"WEBVTT\n\n{cues}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _subtitles(words: Sequence[TimedText]) -> list[tuple[str, float, float]]:
    groups: list[list[TimedText]] = []
    for word in words:
        group = groups[-1] if groups else []
        length = sum(len(each.text) + 1 for each in group) + len(word.text)
        if (
            not group
            or word.begin - group[-1].end > PAUSE_SECONDS
            or word.end - group[0].begin > SUBTITLE_SECONDS
            or length > SUBTITLE_CHARACTERS
        ):
            groups.append([])
        groups[-1].append(word)
    return [
        (" ".join(each.text for each in group), group[0].begin, group[-1].end) for group in groups
    ]


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(1000 * seconds)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"
