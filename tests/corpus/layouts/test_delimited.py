"""Lists as spreadsheets, old systems and other programs write them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.files import InputError
from tests.corpus.layouts.conftest import refusal_reasons, write_lines, write_noise

NAMES = ("a", "b", "c")
TEXTS = {"a": "IŞIK", "b": "SU", "c": "YOL"}
CSV = "audio,text\n" + "".join(f"{name}.wav,{TEXTS[name]}\n" for name in NAMES)
ROWS = [{"audio_filepath": f"{name}.wav", "text": TEXTS[name]} for name in NAMES]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        write_noise(tmp_path / f"{name}.wav")
    return tmp_path


def texts(manifest) -> dict[str, str]:
    return {utterance.id: utterance.transcript.upper() for utterance in manifest.utterances}


@pytest.mark.parametrize(
    "content",
    [
        CSV.replace("\n", "\r").encode(),
        b"sep=;\r\n" + CSV.replace(",", ";").replace("\n", "\r\n").encode(),
        CSV.replace("audio,text", "Audio , TEXT").encode(),
        CSV.encode("utf-32"),
        b"\xef\xbb\xbf\xef\xbb\xbf" + CSV.encode(),
        CSV.replace("b.wav", " B.WAV\u00a0").encode(),
    ],
    ids=["old Mac", "Excel's sep=", "capitals", "UTF-32", "two marks", "spelling"],
)
def test_tables_of_spreadsheets_are_read(folder: Path, read_corpus: Callable, content: bytes):
    (folder / "all.csv").write_bytes(content)
    found = texts(read_corpus("csv", strict=True))
    assert list(found.values()) == list(TEXTS.values())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (CSV.encode("utf-16-le"), "is UTF-16 without a byte order mark"),
        (b"PK\3\4" + bytes(60), "is a file of Excel, Word or LibreOffice, not plain text"),
        (b"%PDF-1.7\n", "is PDF, not plain text; save it as text in UTF-8"),
    ],
)
def test_what_is_no_text_is_named(folder: Path, read_corpus: Callable, content: bytes, words: str):
    (folder / "all.csv").write_bytes(content)
    with pytest.raises(InputError, match=f"all.csv: {words}"):
        read_corpus("csv")


def test_the_end_of_a_segment_may_be_a_column(folder: Path, read_corpus: Callable):
    """The rest of the file is never taken for the segment."""
    lines = ("a.wav,ONE,0.1,0.3", "a.wav,TWO,0.3,0.45", "b.wav,THREE,,0.2", "c.wav,SIX,0,0.5")
    write_lines(folder / "all.csv", "file,text,start_time,end_time", *lines)
    found = read_corpus("csv", strict=True).utterances
    assert [(u.start, u.samples) for u in found] == [
        (1600, 3200),
        (4800, 2400),
        (0, 3200),
        (0, 8000),
    ]
    lines = ("a.wav,ONE,0.1,0.3,0.2", "b.wav,TWO,0.1,0.3,0.3", "c.wav,SIX,0.1,,0.2")
    write_lines(folder / "all.csv", "audio,text,offset,end,duration", *lines)
    manifest = read_corpus("csv", unlisted="ignore")
    assert [(u.start, u.samples) for u in manifest.utterances] == [(1600, 3200), (1600, 3200)]
    assert (
        "from 0.1 s to 0.3 s are not the duration, 0.3 s" in refusal_reasons(manifest)["all.csv:3"]
    )


@pytest.mark.parametrize("url", ["https://a.org/b.wav", "file:///b.wav", "s3://x/b.wav"])
def test_a_url_costs_its_line_alone(folder: Path, read_corpus: Callable, url: str):
    (folder / "all.csv").write_text(CSV + f"{url},YES\n")
    manifest = read_corpus("csv")
    assert len(manifest.utterances) == 3
    (reason,) = refusal_reasons(manifest).values()
    assert f"all.csv:5: {url!r} is a URL; download the file" in reason


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_of_json_objects_is_read_like_lines(
    folder: Path, read_corpus: Callable, indent: int | None
):
    (folder / "train.json").write_text(json.dumps(ROWS, indent=indent))
    assert len(read_corpus("nemo", strict=True).utterances) == 3
    broken = json.dumps(ROWS, indent=1).replace('"SU"', '"SU')
    (folder / "train.json").write_text(broken)
    manifest = read_corpus("nemo", unlisted="ignore")
    assert list(texts(manifest)) == ["a", "c"]
    assert list(refusal_reasons(manifest)) == ["train.json:6"]


def test_bad_items_of_an_array_in_one_line_cost_themselves_alone(
    folder: Path, read_corpus: Callable
):
    first, second, third = (json.dumps(row) for row in ROWS)
    twice = second[:-1] + ', "text": "AGAIN"}'
    (folder / "train.json").write_text(f"[{first}, {twice}, 5, null, {third}")
    manifest = read_corpus("nemo", unlisted="ignore")
    assert list(texts(manifest)) == ["a", "c"]
    refused = "\n".join(map(str, manifest.refusals))
    assert "is there twice" in refused
    assert refused.count("is not a JSON object") == 2
    assert "has no ] at its end" in refused


def test_columns_are_read_in_any_capitals_beside_those_that_are_as_usual(
    tmp_path: Path, read_corpus: Callable
):
    write_noise(tmp_path / "a.wav")
    write_lines(tmp_path / "all.csv", "audio,text,Speaker", "a.wav,ONE,eva")
    manifest = read_corpus("csv", unlisted="ignore")
    assert [u.speaker for u in manifest.utterances] == ["eva"]


def test_paths_of_windows_are_found(tmp_path: Path, read_corpus: Callable):
    write_noise(tmp_path / "Ses" / "a.WAV")
    write_noise(tmp_path / "Ses" / "twice.wav")
    write_noise(tmp_path / "Ses" / "TWICE.wav")
    write_lines(tmp_path / "all.csv", "audio,text", r"ses\A.wav,ONE", r"ses\Twice.wav,TWO")
    manifest = read_corpus("csv", unlisted="ignore")
    assert [u.audio for u in manifest.utterances] == ["Ses/a.WAV"]
    (reason,) = refusal_reasons(manifest).values()
    assert "no such file" in reason
