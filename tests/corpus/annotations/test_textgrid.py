"""TextGrids as Praat and praatio write them; each bad interval costs itself alone."""

from pathlib import Path

import pytest
from praatio import textgrid
from praatio.data_classes.interval_tier import IntervalTier
from praatio.data_classes.point_tier import PointTier

from pipeline.corpus.annotations.textgrid import read_textgrid
from pipeline.decoding.time_formats import TimedText, format_textgrid
from pipeline.files import InputError

WORDS = [(0.5, 1.5, 'he said "hi"'), (2.0, 3.25, "çok iyi"), (3.25, 4.0, "IntervalTier")]
PHONES = [(0.5, 0.7, "h"), (2.0, 2.5, "ç")]
# The manual of Praat, "TextGrid file formats": the same in fewer words, with comments.
CUSTOM = """File type = "ooTextFile"
Object class = "TextGrid"
! times and tiers
0s 2.3s <exists> 3 tiers
"IntervalTier" named "Mary" 0 2.3 with 1 interval
0 2.3 ""
"IntervalTier" "John" 0 2.3 2 ! "no string" 1 2
0 1.5 "daisy bell"
1.5 2.3 "give me
your answer"
"TextTier" "bell" 0 2.3 1
1 "ding"
"""
LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 9
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "a"
        xmin = 0
        xmax = 9
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1
            text = "one"
        intervals [2]:
            xmin = 1
            xmax = 2
            text = "two"
        intervals [3]:
            xmin = 2
            xmax = 9
            text = "three"
"""
SHORT = "\n".join(
    ['"ooTextFile"', '"TextGrid"', "", "0", "9", "<exists>", "1", '"IntervalTier"', '"a"', "0",
     "9", "3", "0", "1", '"one"', "1", "2", '"two"', "2", "9", '"three"', ""]
)  # fmt: skip


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def texts(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    return {
        tier.name: [(each.begin, each.end, each.text) for each in tier.segments if each.text]
        for tier in read_textgrid(path)
    }


@pytest.mark.parametrize("form", ["long_textgrid", "short_textgrid"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_what_praatio_writes_is_read(tmp_path, form, encoding, line_end):
    grid = textgrid.Textgrid()
    grid.addTier(IntervalTier("words", WORDS, 0, 10))
    grid.addTier(PointTier("tones", [(1.0, "H*"), (2.0, "L%")], 0, 10))
    grid.addTier(IntervalTier("phones", PHONES, 0, 10))
    path = tmp_path / "a.TextGrid"
    grid.save(str(path), form, includeBlankSpaces=True)
    write(path, path.read_text("utf-8").replace("\n", line_end), encoding)
    assert texts(path) == {"words": WORDS, "phones": PHONES}
    assert not any(tier.refusals for tier in read_textgrid(path))


def test_what_transcribe_writes_is_read(tmp_path):
    words = [TimedText("yes", 0.25, 0.5, 1.0), TimedText('"no"', 1.0, 1.5, 1.0)]
    path = write(tmp_path / "a.TextGrid", format_textgrid({"words": words}, 2.0))
    assert texts(path) == {"words": [(0.25, 0.5, "yes"), (1.0, 1.5, '"no"')]}


def test_comments_units_and_line_breaks_in_a_text_are_read(tmp_path):
    path = write(tmp_path / "a.TextGrid", CUSTOM)
    expected = [(0.0, 1.5, "daisy bell"), (1.5, 2.3, "give me your answer")]
    assert texts(path) == {"Mary": [], "John": expected}


BAD_INTERVALS = [  # what is replaced by what, the text that is lost, its line, the reason
    (LONG, "xmin = 1\n", "xmin = x\n", "two", 21, "is an interval with 1 times instead of 2"),
    (LONG, "xmin = 1\n", "xmin = 5\n", "two", 20, "is from '5' to '2', which is no range"),
    (LONG, 'text = "two"\n', "text = \n", "two", 20, "is an interval without a text"),
    (LONG, '"two"', '"two', "two", 22, "is a text without its closing quotation mark"),
    (LONG, '"two"', '"two ', "two", 22, "is a text without its closing quotation mark"),
    (LONG, '"two"', '"a "two""', "two", 22, "is a text without its closing quotation mark, or"),
    (LONG, '"two"', '"a " two"', "two", 22, "is a text without its closing quotation mark"),
    (LONG, '"two"', '"', "two", 22, "is a text without its closing quotation mark"),
    (SHORT, '1\n2\n"two"', '1\n"two"', "two", 16, "is an interval with 1 times instead of 2"),
    (SHORT, '"two"', '"two', "two", 18, "is a text without its closing quotation mark"),
    (SHORT, '"two"', '"two ', "two", 18, "is a text without its closing quotation mark"),
    (SHORT, "2\n9\n", "9\n2\n", "three", 19, "is from '9' to '2', which is no range"),
]


@pytest.mark.parametrize("case", BAD_INTERVALS)
def test_a_bad_interval_costs_itself_alone(tmp_path, case):
    whole, old, new, lost, line, reason = case
    assert old in whole
    path = write(tmp_path / "a.TextGrid", whole.replace(old, new, 1))
    (tier,) = read_textgrid(path)
    kept = [each for each in ("one", "two", "three") if each != lost]
    assert [each.text for each in tier.segments] == kept
    (refusal,) = tier.refusals
    assert refusal.utterance == f"a.TextGrid:{line}"
    assert refusal.reason.startswith(f"{path}:{line}: {reason}")


@pytest.mark.parametrize("whole", [LONG, SHORT])
def test_a_file_cut_between_two_intervals_is_noticed(tmp_path, whole):
    path = write(tmp_path / "a.TextGrid", whole[: whole.index('"two"') + 6])
    (tier,) = read_textgrid(path)
    assert [each.text for each in tier.segments] == ["one", "two"]
    (refusal,) = tier.refusals
    assert "announces 3 intervals, and there are 2; the file is cut short" in refusal.reason


@pytest.mark.parametrize("whole", [LONG, SHORT])
def test_a_file_cut_short_keeps_its_whole_intervals(tmp_path, whole):
    path = write(tmp_path / "a.TextGrid", whole[: whole.index('"three"')])
    (tier,) = read_textgrid(path)
    assert [each.text for each in tier.segments] == ["one", "two"]
    assert "the file is cut short" in tier.refusals[0].reason


@pytest.mark.parametrize(
    ("text", "encoding", "reason"),
    [
        ("ooBinaryFile\x08TextGrid", "utf-8", "is a binary TextGrid, which is not read; open it"),
        ('"Praat chronological TextGrid text file"\n0 1\n', "utf-8", "is a chronological TextGrid"),
        ("hello", "utf-8", "is no TextGrid"),
        (LONG.replace("one", "ö"), "latin-1", ":18: is not UTF-8; save it as UTF-8"),
        ('\ufeff"ooTextFile"', "utf-16-le", "is no TextGrid"),
        (LONG.replace("xmin = 0", "xmin = 2.5", 1), "utf-8", "begins at 2.5 s, and recordings"),
        (LONG.replace("IntervalTier", "IntervalTie"), "utf-8", ":10: 'IntervalTie' is no class of"),
        (SHORT.replace("IntervalTier", "IntervalTie"), "utf-8", "'IntervalTie' is no class of a"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, text, encoding, reason):
    path = write(tmp_path / "a.TextGrid", text, encoding)
    with pytest.raises(InputError) as raised:
        read_textgrid(path)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_half_a_utf_16_character_is_refused_in_one_line(tmp_path):
    path = tmp_path / "a.TextGrid"
    path.write_bytes(LONG.encode("utf-16")[:-1])
    with pytest.raises(InputError, match="is not UTF-16; save it as UTF-8"):
        read_textgrid(path)
