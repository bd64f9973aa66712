"""LibriSpeech as unpacked; a folder of audio files with their texts beside them."""

import numpy as np
import pytest
import soundfile

from pipeline.files import InputError
from tests.corpus.layouts.conftest import manifest_rows, refusal_reasons, write_lines, write_noise


@pytest.fixture
def librispeech(tmp_path):
    root = tmp_path / "LibriSpeech"
    write_lines(root / "SPEAKERS.TXT", ";ID  |SEX| SUBSET           |MINUTES| NAME")
    for part, speaker, chapter in (
        ("train-clean-100", 103, 1240),
        ("train-other-500", 20, 205),
        ("dev-clean", 1272, 128104),
        ("test-clean", 1089, 134686),
    ):
        folder, stem = root / part / str(speaker) / str(chapter), f"{speaker}-{chapter}"
        write_noise(folder / f"{stem}-0000.flac")
        write_noise(folder / f"{stem}-0001.flac")
        write_lines(
            folder / f"{stem}.trans.txt",
            f"{stem}-0000 CHAPTER ONE MISSUS RACHEL LYNDE IS SURPRISED",
            f"{stem}-0001 THAT HAD ITS SOURCE AWAY BACK IN THE WOODS OF THE OLD CUTHBERT'S PLACE",
        )
    return root


def test_the_folders_of_librispeech_are_its_splits(librispeech, read_corpus):
    manifest = read_corpus("librispeech", librispeech)
    assert [(u.id, u.split, u.speaker) for u in manifest.utterances] == [
        ("1272-128104-0000", "dev", "1272"),
        ("1272-128104-0001", "dev", "1272"),
        ("1089-134686-0000", "test", "1089"),
        ("1089-134686-0001", "test", "1089"),
        ("103-1240-0000", "train", "103"),
        ("103-1240-0001", "train", "103"),
        ("20-205-0000", "train", "20"),
        ("20-205-0001", "train", "20"),
    ]
    assert manifest.utterances[5].audio == "train-clean-100/103/1240/103-1240-0001.flac"
    assert manifest.utterances[5].transcript.endswith("CUTHBERT'S PLACE")
    assert (manifest.refusals, manifest.split_note) == ((), "")


def test_the_root_of_librispeech_may_be_the_folder_above(librispeech, read_corpus):
    above, inside = (
        read_corpus("librispeech", librispeech.parent),
        read_corpus("librispeech", librispeech),
    )
    assert manifest_rows(above) == manifest_rows(inside)
    assert above.utterances[0].audio.startswith("LibriSpeech/dev-clean/")


def test_parts_of_librispeech_can_be_selected(librispeech, read_corpus):
    parts = {"train": ["train-clean-100"], "dev": ["dev-clean"], "test": ["test-clean"]}
    manifest = read_corpus("librispeech", librispeech, parts=parts)
    assert {u.speaker for u in manifest.utterances} == {"103", "1272", "1089"}


def test_a_missing_part_is_refused(librispeech, read_corpus):
    with pytest.raises(
        InputError, match="train-clean-360: no such file or folder; correct parts in tiny"
    ):
        read_corpus("librispeech", librispeech, parts={"train": ["train-clean-360"]})


def test_an_empty_folder_is_not_librispeech(tmp_path, read_corpus):
    with pytest.raises(InputError, match="a folder such as train-clean-100 is missing"):
        read_corpus("librispeech", tmp_path)


def test_a_flac_that_is_missing_or_cut_is_refused_and_the_rest_kept(librispeech, read_corpus):
    chapter = librispeech / "dev-clean/1272/128104"
    (chapter / "1272-128104-0000.flac").unlink()
    cut = chapter / "1272-128104-0001.flac"
    cut.write_bytes(cut.read_bytes()[:30])
    manifest = read_corpus("librispeech", librispeech)
    found = refusal_reasons(manifest)
    assert "1272-128104-0000.flac: no such file; add the file, or list" in found["1272-128104-0000"]
    assert "1272-128104-0001.flac: " in found["1272-128104-0001"]
    assert len(manifest.utterances) == 6


def test_pairs_are_found_at_any_depth(tmp_path, read_corpus):
    write_noise(tmp_path / "a.wav")
    write_lines(tmp_path / "a.txt", "Hello,", "world")
    write_noise(tmp_path / "b" / "c.flac")
    write_lines(tmp_path / "b" / "c.txt", "Über alles")
    manifest = read_corpus("pairs")
    assert {(u.id, u.audio, u.transcript, u.speaker) for u in manifest.utterances} == {
        ("a", "a.wav", "HELLO, WORLD", "a"),
        ("b/c", "b/c.flac", "ÜBER ALLES", "b/c"),
    }


def test_folders_of_pairs_can_be_speakers(tmp_path, read_corpus):
    for name in ("train/ayşe/0", "train/ayşe/1", "test/ali/0", "0"):
        write_noise(tmp_path / f"{name}.wav")
        write_lines(tmp_path / f"{name}.txt", "YES")
    found = {u.id: u.speaker for u in read_corpus("pairs", speakers="folder").utterances}
    assert found == {"train/ayşe/0": "ayşe", "train/ayşe/1": "ayşe", "test/ali/0": "ali", "0": "0"}
    unnamed = read_corpus("pairs").utterances
    assert all(each.speaker == each.id for each in unnamed)


def test_folders_of_pairs_can_name_splits(tmp_path, read_corpus):
    for split in ("train", "valid", "test"):
        write_noise(tmp_path / split / "test-x.wav")
        write_lines(tmp_path / split / "test-x.txt", "yes")
    splits = {u.id: u.split for u in read_corpus("pairs").utterances}
    assert splits == {"train/test-x": "train", "valid/test-x": "dev", "test/test-x": "test"}


def test_audio_without_a_text_and_a_text_without_audio_are_refused(tmp_path, read_corpus):
    write_noise(tmp_path / "a.wav")
    write_lines(tmp_path / "a.txt", "yes")
    write_noise(tmp_path / "b.wav")
    write_lines(tmp_path / "c.txt", "no")
    write_noise(tmp_path / "d.wav")
    write_lines(tmp_path / "d.txt", " ")
    found = refusal_reasons(read_corpus("pairs"))
    assert "b.txt: no such file; write the transcript there, or list" in found["b"]
    assert "c.txt: has no audio file beside it; add c.wav, or list" in found["c"]
    assert "d.txt: is empty; write the transcript there, or list" in found["d"]


def test_the_second_audio_file_of_one_text_is_refused(tmp_path, read_corpus):
    write_noise(tmp_path / "a.wav")
    write_noise(tmp_path / "a.flac")
    write_lines(tmp_path / "a.txt", "yes")
    manifest = read_corpus("pairs")
    assert [u.audio for u in manifest.utterances] == ["a.flac"]
    assert refusal_reasons(manifest) == {
        "a": f"{tmp_path / 'a.wav'}: has the same name as a.flac; remove one of them"
    }


def test_suffixes_in_capitals_are_found_and_documentation_is_skipped(tmp_path, read_corpus):
    write_noise(tmp_path / "5.WAV")
    write_lines(tmp_path / "5.TXT", "five")
    for name in ("README.txt", "License.txt"):
        write_lines(tmp_path / name, "This corpus was recorded by friends.")
    manifest = read_corpus("pairs", strict=True)
    assert [(u.audio, u.transcript) for u in manifest.utterances] == [("5.WAV", "FIVE")]


def test_a_folder_without_pairs_is_refused(tmp_path, read_corpus):
    write_noise(tmp_path / "a.wav")
    with pytest.raises(InputError, match=r"an audio file with its text beside it .* is missing"):
        read_corpus("pairs")


def test_a_text_that_is_not_utf_8_is_refused(tmp_path, read_corpus):
    write_noise(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_bytes(b"yes\n\xdd")
    with pytest.raises(InputError, match=r"a\.txt:2: is not UTF-8; save it as UTF-8"):
        read_corpus("pairs")


def test_a_text_that_is_not_utf_8_costs_its_pair_alone(tmp_path, read_corpus):
    for name in "ab":
        write_noise(tmp_path / f"{name}.wav")
        write_lines(tmp_path / f"{name}.txt", "yes")
    (tmp_path / "a.txt").write_bytes("ılık".encode("iso8859-9"))
    manifest = read_corpus("pairs")
    assert [u.id for u in manifest.utterances] == ["b"]
    assert "a.txt:1: is not UTF-8; save it as UTF-8, or list" in refusal_reasons(manifest)["a"]


def test_pairs_have_every_format_that_is_read(tmp_path, read_corpus):
    for end in ("aiff", "au", "caf", "w64", "oga", "WAVE"):
        write_noise(tmp_path / f"{end}.wav").rename(tmp_path / f"{end}.{end}")
        if end not in ("WAVE", "oga"):
            soundfile.write(tmp_path / f"{end}.{end}", np.zeros(800), 16_000)
        write_lines(tmp_path / f"{end}.txt", "yes")
    assert len(read_corpus("pairs", strict=True).utterances) == 6


def test_a_format_that_cannot_be_read_is_paired_unless_another_is_there(tmp_path, read_corpus):
    write_noise(tmp_path / "a.wav")
    for name in ("a.mp4", "b.m4a"):
        (tmp_path / name).write_bytes(b"\0\0\0\x20ftypM4A ")
    for name in "ab":
        write_lines(tmp_path / f"{name}.txt", "yes")
    manifest = read_corpus("pairs")
    assert [u.audio for u in manifest.utterances] == ["a.wav"]
    assert list(refusal_reasons(manifest)) == ["b"]


def test_texts_in_folders_of_their_own_and_with_two_endings_are_found(tmp_path, read_corpus):
    """As in VCTK: wav/p1/p1_1.wav and txt/p1/p1_1.txt. A name with several files is not guessed."""
    for name in ("wav/p1/p1_1", "wav/p2/p2_1", "same/1/x", "same/2/x", "b"):
        write_noise(tmp_path / f"{name}.wav")
    for name in ("txt/p1/p1_1.txt", "txt/p2/p2_1.txt", "txt/x.txt", "b.wav.txt"):
        write_lines(tmp_path / name, name)
    manifest = read_corpus("pairs", punctuation="drop", speakers="folder")
    found = {u.id: (u.transcript.lower(), u.speaker) for u in manifest.utterances}
    assert found["wav/p1/p1_1"] == ("txt p1 p1 1 txt", "p1")
    assert found.keys() == {"wav/p1/p1_1", "wav/p2/p2_1", "b"}
    assert set(refusal_reasons(manifest)) == {"same/1/x", "same/2/x", "txt/x"}


def test_names_in_a_table_of_ljspeech_may_have_folder_and_ending(tmp_path, read_corpus):
    for name in ("a.b", "c"):
        write_noise(tmp_path / "wavs" / f"{name}.wav")
    write_lines(tmp_path / "metadata.csv", "a.b|ONE|one", "wavs/c.wav|TWO")
    found = read_corpus("ljspeech", strict=True).utterances
    assert [(u.id, u.transcript) for u in found] == [("a.b", "ONE"), ("c", "TWO")]
