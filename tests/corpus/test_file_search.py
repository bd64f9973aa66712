"""Files of a corpus: behind links, under another normal form, named by no list."""

import json
import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.corpus.file_search import walk_files
from pipeline.corpus.manifest import Refusal
from pipeline.files import InputError
from tests.corpus.layouts.conftest import (
    read_corpus,
    refusal_reasons,
    write_lines,
    write_noise,
)

__all__ = ["read_corpus"]  # a fixture

TSV = "client_id\tpath\tsentence"
UNLISTED = (
    "no list names it; add it with its transcript, or set unlisted: ignore in the corpus file"
)


def write_pair(stem: Path) -> None:
    write_noise(stem.with_name(f"{stem.name}.wav"))
    write_lines(stem.with_name(f"{stem.name}.txt"), "yes")


def test_links_to_folders_are_followed(tmp_path: Path, read_corpus: Callable):
    write_pair(tmp_path / "scratch" / "deep" / "a")
    root = tmp_path / "corpus"
    root.mkdir()
    write_pair(root / "b")
    (root / "train").symlink_to(tmp_path / "scratch")
    manifest = read_corpus("pairs", root, strict=True)
    assert [u.id for u in manifest.utterances] == ["b", "train/deep/a"]
    write_lines(root / "train/metadata.csv", "file_name,text", "deep/a.wav,yes")
    found = read_corpus("audiofolder", root, unlisted="ignore")
    assert [u.id for u in found.utterances] == ["train/deep/a"]


def test_a_link_to_a_folder_above_is_noticed(tmp_path: Path, read_corpus: Callable):
    write_pair(tmp_path / "corpus" / "a" / "b")
    (tmp_path / "corpus" / "a" / "loop").symlink_to(tmp_path / "corpus")
    (tmp_path / "corpus" / "itself").symlink_to(tmp_path / "corpus" / "itself")
    manifest = read_corpus("pairs", tmp_path / "corpus")
    assert [u.id for u in manifest.utterances] == ["a/b"]
    assert refusal_reasons(manifest) == {
        "a/loop": f"{tmp_path}/corpus/a/loop: is a link to a folder above it, and was not "
        "followed; remove the link"
    }
    assert not read_corpus("pairs", tmp_path / "corpus", exclude=["a/loop"]).refusals


def test_files_are_found_in_the_order_of_their_paths(tmp_path: Path):
    names = ["a-b/1.wav", "a/2.wav", "a/1/x.wav", "a.wav", "ä.wav", "B/1"]
    for name in names:
        write_lines(tmp_path / name, "x")
    refusals: list[Refusal] = []
    found = [Path(path) for path in walk_files(str(tmp_path), refusals)]
    assert found == sorted(tmp_path / name for name in names)
    assert refusals == []


LISTS = {  # reader -> audio that is listed, its list, audio that no list names
    "an4": (
        "wav/a/spk/an1-spk-b.wav",
        {
            "etc/an4_train.fileids": ["a/spk/an1-spk-b"],
            "etc/an4_train.transcription": ["YES (an1-spk-b)"],
            "etc/an4_test.fileids": [],
            "etc/an4_test.transcription": [],
        },
        "wav/b/other/an2-other-b.wav",
    ),
    "audiofolder": (
        "train/a.wav",
        {"train/metadata.jsonl": ['{"file_name": "a.wav", "text": "yes"}']},
        "train/more/b.wav",
    ),
    "common-voice": ("clips/a.mp3", {"train.tsv": [TSV, "s\ta.mp3\tyes"]}, "clips/b.mp3"),
    "csv": ("wavs/a.flac", {"all.csv": ["audio,text", "wavs/a.flac,yes"]}, "wavs/deep/b.WAV"),
    "kaldi": ("wav/a.wav", {"wav.scp": ["a wav/a.wav"], "text": ["a YES"]}, "wav/b.wav"),
    "lhotse": (
        "wav/a.wav",
        {
            "supervisions.jsonl": [
                json.dumps({"id": "a", "recording_id": "r", "text": "yes", "channel": 0})
            ],
            "recordings.jsonl": [
                json.dumps(
                    {
                        "id": "r",
                        "sources": [{"type": "file", "channels": [0], "source": "wav/a.wav"}],
                    }
                )
            ],
        },
        "wav/b.wav",
    ),
    "ljspeech": ("wavs/a.wav", {"metadata.csv": ["a|yes"]}, "wavs/b.wav"),
    "nemo": ("a.wav", {"m.json": ['{"audio_filepath": "a.wav", "text": "yes"}']}, "b.wav"),
    "librispeech": (
        "train-x/1/2/1-2-0.flac",
        {"train-x/1/2/1-2.trans.txt": ["1-2-0 YES"]},
        "train-x/1/3/1-3-0.flac",  # of a chapter without its list
    ),
}


def test_files_of_macos_beside_others_are_left_out(tmp_path: Path):
    for name in ("a.wav", "a.txt", "._a.wav", "._a.txt", "sub/._b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\x05\x16\x07")
    refusals: list[Refusal] = []
    found = [Path(path).name for path in walk_files(str(tmp_path), refusals)]
    assert (found, refusals) == (["a.txt", "a.wav"], [])


@pytest.mark.parametrize("reader", LISTS)
def test_audio_that_no_list_names_is_refused_and_the_rest_kept(
    tmp_path: Path, read_corpus: Callable, reader: str
):
    listed, lists, unlisted = LISTS[reader]
    write_noise(tmp_path / listed)
    for name, lines in lists.items():
        write_lines(tmp_path / name, *lines)
    assert not read_corpus(reader).refusals
    write_noise(tmp_path / unlisted)
    manifest = read_corpus(reader)
    assert len(manifest.utterances) == 1
    ((name, reason),) = refusal_reasons(manifest).items()
    assert unlisted.rsplit(".", 1)[0].endswith(name)
    assert reason.startswith(f"{tmp_path / unlisted}: no l")
    assert reason.endswith("or set unlisted: ignore in the corpus file")
    assert not read_corpus(reader, unlisted="ignore").refusals
    with pytest.raises(InputError, match="tiny is strict"):
        read_corpus(reader, strict=True)


def test_clips_of_other_tables_of_common_voice_are_not_lost(tmp_path: Path, read_corpus: Callable):
    for name in ("a", "b"):
        write_noise(tmp_path / "clips" / f"{name}.mp3")
    write_lines(tmp_path / "train.tsv", TSV, "s\ta.mp3\tyes")
    write_lines(tmp_path / "other.tsv", TSV, "s\tb.mp3\tno")
    write_lines(tmp_path / "reported.tsv", "sentence\treason", "no\tbad")
    assert not read_corpus("common-voice").refusals


def test_a_copy_in_another_format_is_not_lost(tmp_path: Path, read_corpus: Callable):
    write_noise(tmp_path / "a.wav")
    write_noise(tmp_path / "a.flac")
    write_lines(tmp_path / "all.csv", "audio,text", "a.wav,yes")
    assert not read_corpus("csv").refusals


def test_sound_and_text_of_kaldi_and_lhotse_that_nothing_uses_are_refused(
    tmp_path: Path, read_corpus: Callable
):
    for name in ("a", "b"):
        write_noise(tmp_path / f"{name}.wav")
    write_lines(tmp_path / "wav.scp", "a a.wav", "b b.wav")
    write_lines(tmp_path / "segments", "a-1 a 0 0.3")
    write_lines(tmp_path / "text", "a-1 YES", "a-2 NO")
    found = refusal_reasons(read_corpus("kaldi", unlisted="ignore"))
    assert found["b"].endswith(
        "no line of segments uses the recording 'b'; add its segments, or remove it"
    )
    assert "text: 'a-2' has no audio in the lists" in found["a-2"]
    _, lists, _ = LISTS["lhotse"]
    write_noise(tmp_path / "wav" / "a.wav")
    for name, lines in lists.items():
        write_lines(
            tmp_path / name,
            *lines,
            *(line.replace('"r"', '"q"') for line in lines[:1] if "sources" in line),
        )
    found = refusal_reasons(read_corpus("lhotse"))
    assert found["q"].endswith("uses the recording 'q'; add its supervisions, or remove it")


@pytest.mark.parametrize(("on_disk", "in_list"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_are_found_in_either_normal_form(
    tmp_path: Path, read_corpus: Callable, on_disk: str, in_list: str
):
    name = "kayıt/Gönül é.wav"
    disk, listed = (unicodedata.normalize(form, name) for form in (on_disk, in_list))
    assert disk != listed
    write_noise(tmp_path / disk)
    write_lines(tmp_path / "all.csv", "audio,text", f"{listed},yes")
    (utterance,) = read_corpus("csv", strict=True).utterances
    assert (tmp_path / utterance.audio).is_file()
    write_lines(tmp_path / "all.csv", "audio,text", f"{tmp_path}/{listed},yes")
    assert len(read_corpus("csv", strict=True).utterances) == 1
    write_lines(tmp_path / f"{listed.removesuffix('.wav')}.txt", "yes")
    assert len(read_corpus("pairs", strict=True).utterances) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such names")
def test_a_name_that_is_not_utf_8_costs_only_itself(tmp_path: Path, read_corpus: Callable):
    write_pair(tmp_path / "a")
    for end in (".wav", ".txt"):
        os.link(tmp_path / f"a{end}", os.fsencode(tmp_path) + b"/\xe7ay" + end.encode())
    manifest = read_corpus("pairs")
    assert [u.id for u in manifest.utterances] == ["a"]
    ((name, reason),) = refusal_reasons(manifest).items()
    assert name == r"\udce7ay"
    assert reason.isprintable()
    assert r"\udce7ay.wav or its text is not UTF-8" in reason


def test_a_home_folder_in_a_list_is_expanded(tmp_path: Path, read_corpus: Callable, monkeypatch):
    monkeypatch.setenv("HOME" if os.name != "nt" else "USERPROFILE", str(tmp_path / "home"))
    write_noise(tmp_path / "home" / "a.wav")
    write_lines(tmp_path / "all.csv", "audio,text", "~/a.wav,yes")
    (utterance,) = read_corpus("csv").utterances
    assert utterance.audio in ("home/a.wav", (tmp_path / "home/a.wav").as_posix())


BAD_VALUES = {
    "a NUL": (
        "nemo",
        {"audio_filepath": "a\0.wav", "text": "yes"},
        "cannot be opened|NUL character",
    ),
    "a NUL in the text": ("nemo", {"audio_filepath": "a.wav", "utt_id": "u\0", "text": "x"}, "NUL"),
    "infinity": (
        "nemo",
        {"audio_filepath": "a.wav", "text": "x", "offset": float("inf")},
        "offset is",
    ),
    "NaN": (
        "nemo",
        {"audio_filepath": "a.wav", "text": "x", "duration": float("nan")},
        "duration is",
    ),
    "1e308": (
        "nemo",
        {"audio_filepath": "a.wav", "text": "x", "offset": 1e308},
        "offset is 1e+308",
    ),
    "400 digits": (
        "nemo",
        {"audio_filepath": "a.wav", "text": "x", "offset": 10**400},
        "offset is 100",
    ),
    "a surrogate": (
        "nemo",
        {"audio_filepath": "a.wav", "utt_id": "u", "text": "\ud800"},
        "is not UTF-8",
    ),
    "a surrogate in a name": ("nemo", {"audio_filepath": "\ud800.wav", "text": "x"}, "\\ud800.wav"),
    "a line break in a name": (
        "nemo",
        {"audio_filepath": "b\n.wav", "text": "x"},
        "b\\n.wav: no such",
    ),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_a_bad_value_costs_its_line_alone(tmp_path: Path, read_corpus: Callable, case: str):
    reader, values, problem = BAD_VALUES[case]
    write_noise(tmp_path / "a.wav")
    good = json.dumps({"audio_filepath": "a.wav", "text": "yes"})
    write_lines(tmp_path / "train.json", good, json.dumps(values))
    manifest = read_corpus(reader)
    assert [u.id for u in manifest.utterances] == ["a"]
    ((name, reason),) = refusal_reasons(manifest).items()
    assert (name + reason).isprintable()
    assert any(each in reason for each in problem.split("|"))


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"a":' * 100_000, "1" * 5000, '{"offset": ' + "9" * 5000]
)
def test_json_that_is_nested_too_deeply_costs_its_line_alone(
    tmp_path: Path, read_corpus: Callable, line: str
):
    write_noise(tmp_path / "a.wav")
    good = json.dumps({"audio_filepath": "a.wav", "text": "yes"})
    write_lines(tmp_path / "train.json", line, good)
    manifest = read_corpus("nemo")
    assert [u.id for u in manifest.utterances] == ["a"]
    assert list(refusal_reasons(manifest)) == ["train.json:1"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_list_that_is_a_pipe_is_refused(tmp_path: Path, read_corpus: Callable):
    os.mkfifo(tmp_path / "train.json")
    with pytest.raises(InputError, match=r"train\.json: is not a regular file; replace it"):
        read_corpus("nemo")
