"""Subtitles as pysubs2 and people write them; each bad one costs itself alone."""

from pathlib import Path

import pysubs2
import pytest

from pipeline.corpus.annotations.subtitles import read_subtitles
from pipeline.decoding.time_formats import TimedText, format_srt, format_vtt
from pipeline.files import InputError


def texts(path: Path) -> list[tuple[float, float, str]]:
    (tier,) = read_subtitles(path)
    assert tier.refusals == []
    return [(each.begin, each.end, each.text) for each in tier.segments]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.mark.parametrize("ending", ["srt", "vtt"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_pysubs2_writes_is_read(tmp_path, ending, encoding):
    events = [
        (500, 1500, r"{\i1}hello{\i0}\Nthere"),
        (2000, 3250, "42"),
        (3_723_004, 3_724_000, "çok – iyi"),
    ]
    file = pysubs2.SSAFile()
    file.events += [pysubs2.SSAEvent(start, end, text=text) for start, end, text in events]
    path = tmp_path / f"a.{ending}"
    file.save(str(path), encoding=encoding)
    assert texts(path) == [
        (0.5, 1.5, "hello there"),
        (2.0, 3.25, "42"),
        (3723.004, 3724.0, "çok – iyi"),
    ]


def test_what_transcribe_writes_is_read(tmp_path):
    words = [TimedText("a<b", 0.25, 0.5, 1.0), TimedText("R&D", 61.0, 61.5, 1.0)]
    expected = [(0.25, 0.5, "a<b"), (61.0, 61.5, "R&D")]
    for name, text in (("a.srt", format_srt(words)), ("a.vtt", format_vtt(words))):
        assert texts(write(tmp_path / name, text)) == expected


def test_the_parts_of_a_webvtt_file_that_nobody_says_are_left_out(tmp_path):
    path = write(
        tmp_path / "a.vtt",
        "WEBVTT - a talk", "Kind: captions", "", "NOTE not spoken", "two lines", "",
        "STYLE", "::cue { color: lime }", "", "intro", "00:01.000 --> 00:02.500 align:start",
        "<v.loud Ann Other>Hello, <c.yellow>you</c></v> &amp; <i>me</i>", "",
        "01:00:00.000 --> 01:00:01.000", "<v Ann>Hi <v Ben>Ho",
    )  # fmt: skip
    (tier,) = read_subtitles(path)
    found = [(each.begin, each.end, each.text, each.speaker) for each in tier.segments]
    assert found == [
        (1.0, 2.5, "Hello, you & me", "Ann Other"),
        (3600.0, 3601.0, "Hi Ho", ""),
    ]
    assert tier.refusals == []


def test_subtitles_without_empty_lines_or_numbers_between_are_read(tmp_path):
    path = write(
        tmp_path / "a.srt",
        "1", "00:00:01,000 --> 00:00:02,000", "one", "2", "00:00:02,000 --> 00:00:03,000", "two",
        "00:00:03,000-->00:00:04,000 X1:40", "three",
    )  # fmt: skip
    assert texts(path) == [(1.0, 2.0, "one"), (2.0, 3.0, "two"), (3.0, 4.0, "three")]


@pytest.mark.parametrize(
    ("bad", "line", "reason"),
    [
        (["00:00:0x,000 --> 00:00:02,000", "two"], 6, "'00:00:0x,000 --> 00:00:02,000' is not of"),
        (["00:00:02,000 -->", "two"], 6, "'00:00:02,000 -->' is not of the form 00:01:02,500 -->"),
        (["00:00:03,000 --> 00:00:02,000", "two"], 6, "is from 3.0 to 2.0, which is no range"),
        (["two"], 5, "'2' has no time above it"),
        (["two", "lines"], 5, "'2' has no time above it"),
    ],
)
def test_a_bad_subtitle_costs_itself_alone(tmp_path, bad, line, reason):
    one = ["1", "00:00:01,000 --> 00:00:02,000", "one", ""]
    three = ["", "3", "00:00:03,000 --> 00:00:04,000", "three", ""]
    path = write(tmp_path / "a.srt", *one, "2", *bad, *three)
    (tier,) = read_subtitles(path)
    assert [each.text for each in tier.segments] == ["one", "three"]
    (refusal,) = tier.refusals
    assert refusal.reason.startswith(f"{path}:{line}: {reason}")
    assert refusal.utterance == f"a.srt:{line}"


def test_captions_that_repeat_their_lines_are_refused(tmp_path):
    cues = ["WEBVTT", "", "00:00.000 --> 00:02.000", "hello<00:00:01.000><c> world</c>"]
    with pytest.raises(InputError, match="has times inside its texts, as captions that repeat"):
        read_subtitles(write(tmp_path / "a.vtt", *cues))


@pytest.mark.parametrize("ending", ["srt", "vtt"])
def test_entities_are_characters(tmp_path, ending):
    path = write(tmp_path / f"a.{ending}", "WEBVTT"[: 6 * (ending == "vtt")], "",
                 "00:00:00.000 --> 00:00:01.000", "<i>Tom &amp; Ann</i> &lt;3", "")  # fmt: skip
    assert texts(path) == [(0.0, 1.0, "Tom & Ann <3")]
