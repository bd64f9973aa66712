"""Files with times: read back by rules of their formats."""

import re

import pytest

from pipeline.decoding.time_formats import (
    TimedText,
    format_ctm,
    format_srt,
    format_textgrid,
    format_vtt,
)

WORDS = [
    TimedText("MERHABA", 0.5, 1.0, 0.9),
    TimedText("DÜNYA", 1.1, 1.625, 0.75),
    TimedText('<A> & "B"', 4.0, 4.5, 0.5),
]


def test_ctm_has_begin_duration_and_confidence():
    lines = format_ctm("my file", WORDS[:2]).splitlines()
    assert lines == ["my_file 1 0.500 0.500 MERHABA 0.900", "my_file 1 1.100 0.525 DÜNYA 0.750"]


def test_a_textgrid_covers_all_time_without_gap_or_overlap():
    text = format_textgrid({"words": WORDS, 'le"tters': []}, 5.0)
    assert text.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n')
    assert 'name = "le""tters"' in text
    assert 'text = "<A> & ""B"""' in text
    first = text.split("item [2]")[0].split("intervals: size")[1]
    times = [float(each) for each in re.findall(r"xm(?:in|ax) = ([\d.]+)", first)]
    assert times[0] == 0
    assert times[-1] == 5
    assert times[1:-1:2] == times[2::2]
    assert int(first.split()[1]) == len(times) // 2 == 7


def test_an_interval_is_never_turned_around():
    overlapping = [TimedText("A", 0.0, 0.4, 1.0), TimedText("B", 0.3, 0.35, 1.0)]
    text = format_textgrid({"words": overlapping}, 0.4)
    assert "intervals: size = 1\n" in text


def test_subtitles_end_at_a_pause():
    assert format_srt(WORDS) == (
        "1\n00:00:00,500 --> 00:00:01,625\nMERHABA DÜNYA\n\n"
        '2\n00:00:04,000 --> 00:00:04,500\n<A> & "B"\n'
    )
    assert format_vtt(WORDS) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.625\nMERHABA DÜNYA\n\n"
        '00:00:04.000 --> 00:00:04.500\n&lt;A&gt; &amp; "B"\n'
    )


@pytest.mark.parametrize(("length", "step"), [(5, 0.5), (30, 0.5)])
def test_no_subtitle_is_too_long(length: int, step: float):
    words = [TimedText("x" * length, n * step, (n + 1) * step, 1.0) for n in range(60)]
    blocks = format_srt(words).strip().split("\n\n")
    assert sum(block.splitlines()[2].count("x") for block in blocks) == 60 * length
    for block in blocks:
        assert len(block.splitlines()[2]) <= 84
    assert format_srt([]) == ""


def test_an_hour_is_written_as_one():
    assert "01:00:00,250 --> 01:01:01,000" in format_srt([TimedText("A", 3600.25, 3661.0, 1.0)])
