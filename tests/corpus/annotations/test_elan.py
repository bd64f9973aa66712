"""ELAN files as pympi writes them; each bad annotation costs itself alone."""

from pathlib import Path

import pympi
import pytest

from pipeline.corpus.annotations.elan import media_name, read_elan
from pipeline.files import InputError


def write_eaf(path: Path, media: str = "a.wav", time_origin: int | None = None) -> Path:
    """Write two speakers, and a translation of the first."""
    eaf = pympi.Eaf(author="test")
    eaf.add_linked_file(f"file:///x/{media}", f"./{media}", "audio/x-wav", time_origin)
    eaf.add_linguistic_type("reference", "Symbolic_Association")
    eaf.remove_tier("default")
    eaf.add_tier("orth@A", part="Ann")
    eaf.add_tier("orth@B")
    eaf.add_tier("translation", "reference", parent="orth@A")
    eaf.add_annotation("orth@A", 500, 1500, 'he said "hi" & <left>')
    eaf.add_annotation("orth@A", 2000, 3250, "çok iyi")
    eaf.add_annotation("orth@B", 1000, 2000, "yes")
    eaf.add_ref_annotation("translation", "orth@A", 600, "dijo")
    eaf.add_ref_annotation("translation", "orth@A", 700, "hola")
    eaf.to_file(str(path))
    return path


def texts(path: Path) -> dict[str, list[tuple[float, float, str, str]]]:
    return {
        tier.name: [(each.begin, each.end, each.text, each.speaker) for each in tier.segments]
        for tier in read_elan(path)
    }


def test_what_pympi_writes_is_read(tmp_path):
    path = write_eaf(tmp_path / "a.eaf", "talk one.wav")
    assert texts(path) == {
        "orth@A": [(0.5, 1.5, 'he said "hi" & <left>', "Ann"), (2.0, 3.25, "çok iyi", "Ann")],
        "orth@B": [(1.0, 2.0, "yes", "")],
        "translation": [(0.5, 1.5, "dijo hola", "")],
    }
    assert [tier.is_child for tier in read_elan(path)] == [False, False, True]
    assert media_name(path) == "talk one"


def test_a_recording_that_begins_earlier_moves_the_times(tmp_path):
    path = write_eaf(tmp_path / "a.eaf", time_origin=250)
    assert texts(path)["orth@B"] == [(1.25, 2.25, "yes", "")]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('TIME_VALUE="2000"', "", "is an annotation without times; align it in ELAN"),
        ('TIME_VALUE="2000"', 'TIME_VALUE="x"', "is from 'x' to 3.25, which is no range"),
        ('TIME_VALUE="2000"', 'TIME_VALUE="4000"', "is from 4.0 to 3.25, which is no range"),
        ('TIME_VALUE="2000"', 'TIME_VALUE="-20"', "is from -0.02 to 3.25, which is no range"),
    ],
)
def test_a_bad_annotation_costs_itself_alone(tmp_path, old, new, reason):
    path = write_eaf(tmp_path / "a.eaf")
    content = path.read_text("utf-8")
    assert old in content
    path.write_text(content.replace(old, new, 1), "utf-8")
    tier = read_elan(path)[0]
    assert [each.text for each in tier.segments] == ['he said "hi" & <left>']
    (refusal,) = tier.refusals
    line = content[: content.index("çok iyi")].count("\n")  # of the element around its value
    assert refusal.reason.startswith(f"{path}:{line}: {reason}")


def test_annotations_that_refer_to_each_other_have_no_times(tmp_path):
    path = write_eaf(tmp_path / "a.eaf")
    content = path.read_text("utf-8")
    reference = content.split('ANNOTATION_REF="')[1].split('"')[0]
    own = content.split('REF_ANNOTATION ANNOTATION_ID="')[1].split('"')[0]
    path.write_text(content.replace(f'_REF="{reference}"', f'_REF="{own}"'), "utf-8")
    assert "without times" in read_elan(path)[2].refusals[0].reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is not well-formed XML (no element found"),
        ("<ANNOTATION_DOCUMENT><TIER>", "is not well-formed XML (no element found: line 1"),
        ("<a/>", "is no ELAN file"),
        ('<?xml version="1.0" encoding="x"?><a/>', "is not well-formed XML (unknown encoding"),
        ('<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="PAL-frames"/></ANNOTATION_DOCUMENT>',
         "its times are in 'PAL-frames', not in milliseconds"),
    ],
)  # fmt: skip
def test_other_files_are_refused_in_one_line(tmp_path, content, reason):
    path = tmp_path / "a.eaf"
    path.write_text(content)
    with pytest.raises(InputError) as raised:
        read_elan(path)
    assert reason in str(raised.value)
