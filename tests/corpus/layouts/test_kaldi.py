"""Data folders as the recipes of Kaldi and ESPnet write them."""

import re
from pathlib import Path

import pytest

from pipeline.files import InputError
from tests.corpus.layouts.conftest import manifest_rows, refusal_reasons, write_lines, write_noise


@pytest.fixture
def folder(tmp_path):
    """A data folder with segments; the path of its recordings contains a space."""
    recording = write_noise(tmp_path / "my audio" / "sw02001.wav", 10.0, 8000, channels=2)
    other = write_noise(tmp_path / "my audio" / "sw02005.wav", 4.0, 8000)
    data = tmp_path / "data"
    write_lines(data / "wav.scp", f"sw02001 {recording}", f"sw02005   {other} ")
    write_lines(
        data / "segments",
        "sw02001-A_000098-001156 sw02001 0.98 11.56",
        "sw02001-A_000200-000300 sw02001 2.00 3.00",
        "sw02001-B_000100-000250 sw02001 1.0 2.5 1",
        "sw02005-A_000050-000400 sw02005 0.5 -1",
    )
    write_lines(
        data / "text",
        "sw02001-A_000098-001156 HI UM YEAH",
        "sw02001-A_000200-000300   i'd like  to talk",
        "sw02001-B_000100-000250 OKAY",
        "sw02005-A_000050-000400 BYE",
    )
    write_lines(
        data / "utt2spk",
        "sw02001-A_000098-001156 2001-A",
        "sw02001-A_000200-000300 2001-A",
        "sw02001-B_000100-000250 2001-B",
        "sw02005-A_000050-000400 2005-A",
    )
    return data


def test_segments_are_parts_of_recordings(folder, read_corpus):
    manifest = read_corpus("kaldi", folder)
    assert [(u.id, u.start, u.samples, u.channel) for u in manifest.utterances] == [
        ("sw02001-A_000200-000300", 16_000, 8000, None),
        ("sw02001-B_000100-000250", 8000, 12_000, 1),
        ("sw02005-A_000050-000400", 4000, 28_000, None),
    ]
    assert [u.transcript for u in manifest.utterances] == ["I'D LIKE TO TALK", "OKAY", "BYE"]
    assert [u.speaker for u in manifest.utterances] == ["2001-A", "2001-B", "2005-A"]
    assert (
        "lasts 10 s, but the utterance is from 0.98 s to 11.56 s"
        in (refusal_reasons(manifest)["sw02001-A_000098-001156"])
    )
    assert all(Path(u.audio).is_absolute() for u in manifest.utterances)


def data_folder(folder, *utterances):
    write_lines(
        folder / "wav.scp", *(f"{u} {write_noise(folder / 'wav' / f'{u}.wav')}" for u in utterances)
    )
    write_lines(folder / "text", *(f"{u} YES" for u in utterances))


def test_without_segments_each_recording_is_an_utterance_and_its_own_speaker(tmp_path, read_corpus):
    data_folder(tmp_path, "u1", "u2")
    write_lines(tmp_path / "wav.scp", "u1 wav/u1.wav", "u2 ./wav/u2.wav")  # below the root
    assert [row[::2] for row in manifest_rows(read_corpus("kaldi"))] == [("u1", "u1"), ("u2", "u2")]


def test_the_names_of_several_folders_are_their_splits(tmp_path, read_corpus):
    for name in ("train", "valid", "test_clean"):
        data_folder(tmp_path / name, f"{name}-1")
    assert [row[:2] for row in manifest_rows(read_corpus("kaldi"))] == [
        ("test_clean-1", "test"),
        ("train-1", "train"),
        ("valid-1", "dev"),
    ]


def test_parts_name_the_splits_of_folders_with_unclear_names(tmp_path, read_corpus):
    """ESPnet's recipe for AN4 has train_nodev, train_dev and test."""
    for name in ("train_nodev", "train_dev", "test"):
        data_folder(tmp_path / name, f"{name}-1")
    with pytest.raises(InputError, match="train_dev: its name contains no split, or several; list"):
        read_corpus("kaldi")
    parts = {"train": ["train_nodev"], "dev": ["train_dev"], "test": ["test"]}
    assert [row[1] for row in manifest_rows(read_corpus("kaldi", parts=parts))] == [
        "train",
        "dev",
        "test",
    ]


@pytest.mark.parametrize(
    "source", ["sph2pipe -f wav -p -c 1 sw02001.sph |", "| cat x.wav", "flac -d -c -s x.flac|"]
)
def test_a_command_is_refused_and_never_run(tmp_path, read_corpus, source):
    data_folder(tmp_path, "u1")
    path = tmp_path / "wav.scp"
    path.write_text(path.read_text() + f"u2 {source}\n")
    manifest = read_corpus("kaldi")
    assert [u.id for u in manifest.utterances] == ["u1"]
    found = refusal_reasons(manifest)
    assert re.search(r"wav\.scp:2: .* is a command, and commands are not run; run it", found["u2"])


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("wav.scp", "u2 raw.ark:17", "wav.scp:2: 'raw.ark:17' is a Kaldi archive"),
        ("wav.scp", "u2", "wav.scp:2: names no file"),
        (
            "segments",
            "u1 u1 0 -1\nu2 u1 0.5",
            "segments:2: 'u1 0.5' is not of the form RECORDING ST",
        ),
        ("segments", "u1 u1 0 -1\nu2 u1 zero 1", "segments:2: 'u1 zero 1' is not of the form"),
        ("segments", "u1 u1 0 -1\nu2 u1 inf 1", "segments:2: 'u1 inf 1' is not of the form"),
        ("segments", f"u1 u1 0 -1\nu2 u1 0 {'9' * 400}", "is not of the form RECORDING START END"),
        ("segments", "u1 u1 0 -1\nu2 u1 0 1 left", "segments:2: 'u1 0 1 left' is not of the form"),
        ("segments", "u1 u1 0 -1\nu2", "segments:2: '' is not of the form RECORDING START END"),
    ],
)
def test_a_malformed_line_is_refused(tmp_path, read_corpus, name, line, reason):
    data_folder(tmp_path, "u1")
    path = tmp_path / name
    path.write_text((path.read_text() if path.exists() else "") + line + "\n")
    write_lines(tmp_path / "text", "u1 YES", "u2 NO")
    manifest = read_corpus("kaldi", unlisted="ignore")
    assert [u.id for u in manifest.utterances] == ["u1"]
    assert reason in refusal_reasons(manifest)["u2"]


def test_utterances_without_audio_or_transcript_are_refused(tmp_path, read_corpus):
    data_folder(tmp_path, "u1", "u2")
    write_lines(tmp_path / "text", "u1 YES", *(f"u{n} NO" for n in range(3, 10)))
    found = refusal_reasons(read_corpus("kaldi"))
    assert list(found) == [*(f"u{n}" for n in range(3, 10)), "u2"]
    assert "u2.wav: its transcript is empty" in found["u2"]
    assert "text: 'u3' has no audio in the lists; add it there, or remove its" in found["u3"]


def test_the_second_line_of_a_duplicate_key_is_refused(tmp_path, read_corpus):
    data_folder(tmp_path, "u1", "u2")
    wavs = (tmp_path / "wav.scp").read_text().splitlines()
    write_lines(tmp_path / "wav.scp", *wavs, "u1 wav/u2.wav")
    write_lines(tmp_path / "text", "u1 YES", "u2 YES", "u2 NO")
    manifest = read_corpus("kaldi")
    assert [(u.id, u.audio, u.transcript) for u in manifest.utterances] == [
        ("u1", "wav/u1.wav", "YES"),
        ("u2", "wav/u2.wav", "YES"),
    ]
    found = refusal_reasons(manifest)
    assert "wav.scp:3: duplicate id 'u1': 'wav/u2.wav' here, 'wav/u1.wav' in" in found["u1"]
    assert "text:3: duplicate id 'u2': 'NO' here, 'YES' in" in found["u2"]


def test_a_segment_without_its_recording_is_refused(folder, read_corpus):
    write_lines(folder / "wav.scp", (folder / "wav.scp").read_text().splitlines()[0])
    found = refusal_reasons(read_corpus("kaldi", folder))
    reason = found["sw02005-A_000050-000400"]
    assert (
        "segments:4: the recording 'sw02005' is not in wav.scp; add it there, or remove" in reason
    )


def test_a_folder_without_wav_scp_is_refused(tmp_path, read_corpus):
    with pytest.raises(InputError, match=r"a folder with wav\.scp is missing"):
        read_corpus("kaldi")
