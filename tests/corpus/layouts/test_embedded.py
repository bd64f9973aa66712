"""Data sets with the audio inside: parquet and arrow of Hugging Face, WebDataset's tars."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pipeline.corpus.recognition import recognise
from pipeline.files import InputError
from tests.corpus.audio.reading import load
from tests.corpus.layouts.conftest import manifest_rows, refusal_reasons


def encoded(number: int, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    samples = np.random.default_rng(number).uniform(-0.3, 0.3, 4000)
    soundfile.write(buffer, samples, 16_000, format=kind)
    return buffer.getvalue()


def table(first: int, column: str = "text") -> pa.Table:
    kinds = ("WAV", "FLAC", "OGG")
    audio = [{"bytes": encoded(first + n, kinds[n]), "path": None} for n in range(3)]
    return pa.table({"audio": audio, column: ["yes", "no", "so"], "speaker_id": [1, 2, 3]})


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("kind", ["parquet", "arrow stream", "arrow file"])
def test_audio_inside_tables_is_read(tmp_path: Path, read_corpus, kind):
    root = tmp_path / "set"
    for number, split in enumerate(("train", "validation", "test")):
        folder = root / split
        folder.mkdir(parents=True)
        content = table(10 * number, "sentence")
        if kind == "parquet":
            pq.write_table(content, root / f"{split}-00000-of-00001.parquet")
            continue
        new = pa.ipc.new_stream if kind == "arrow stream" else pa.ipc.new_file
        with new(str(folder / "data-00000-of-00001.arrow"), content.schema) as writer:
            writer.write_table(content)
    assert recognise(root) == {"reader": "parquet"}
    manifest = read_corpus("parquet", root, strict=True)
    rows = [row[1:] for row in manifest_rows(manifest)]
    assert sorted(rows)[6:] == [("train", "1", "YES"), ("train", "2", "NO"), ("train", "3", "SO")]
    assert {row[0] for row in rows} == {"train", "dev", "test"}
    first = next(u for u in manifest.utterances if u.split == "train")
    expected, _ = soundfile.read(io.BytesIO(encoded(0)), dtype="float32")
    assert np.array_equal(load(manifest.root / first.audio, 16_000), expected)
    assert read_corpus("parquet", root, strict=True) == manifest


def test_a_damaged_table_costs_itself_alone(tmp_path: Path, read_corpus):
    root = tmp_path / "set"
    root.mkdir()
    pq.write_table(table(0), root / "a.parquet")
    (root / "b.parquet").write_bytes((root / "a.parquet").read_bytes()[:-20])
    pq.write_table(pa.table({"text": ["yes"]}), root / "c.parquet")
    pq.write_table(table(4, "words"), root / "d.parquet")
    manifest = read_corpus("parquet", root)
    assert len(manifest.utterances) == 3
    found = refusal_reasons(manifest)
    assert "b.parquet: cannot be read (" in found["b.parquet"]
    assert "c.parquet:1: has no column with the bytes of audio" in found["c.parquet:1"]
    assert "has no column text or transcript" in found["d.parquet"]
    assert "only audio, words, speaker_id; set text_column:" in found["d.parquet"]


def test_audio_inside_tars_is_read(tmp_path: Path, read_corpus):
    root = tmp_path / "set"
    root.mkdir()
    with tarfile.open(root / "train-000.tar", "w") as tar:
        add(tar, "a/1.wav", encoded(1))
        add(tar, "a/1.txt", b"yes")
        add(tar, "a/2.flac", encoded(2, "FLAC"))
        add(tar, "a/2.json", json.dumps({"text": "no", "speaker": "ann"}).encode())
        add(tar, "3.wav", encoded(3))
        add(tar, "4.txt", b"so")
        add(tar, "../out.wav", encoded(5))
    with tarfile.open(root / "test-000.tar", "w") as tar:
        add(tar, "7.wav", encoded(7))
        add(tar, "7.txt", b"da")
    with tarfile.open(root / "dev-000.tar.gz", "w:gz") as tar:
        add(tar, "6.wav", encoded(6))
        add(tar, "6.txt", b"ja")
    assert recognise(root) == {"reader": "webdataset"}
    manifest = read_corpus("webdataset", root)
    assert manifest_rows(manifest) == [
        ("dev-000/6", "dev", "dev-000/6", "JA"),
        ("test-000/7", "test", "test-000/7", "DA"),
        ("train-000/a/1", "train", "train-000/a/1", "YES"),
        ("train-000/a/2", "train", "ann", "NO"),
    ]
    found = refusal_reasons(manifest)
    assert "3 has no text" in found["train-000/3"]
    assert "4 has no audio" in found["train-000/4"]
    assert "'../out.wav' is a link, or leads out of the folder" in found["train-000/../out.wav"]
    assert not list(tmp_path.rglob("out.wav"))


def test_a_name_that_the_disk_cannot_have_costs_itself_alone(tmp_path: Path, read_corpus):
    root = tmp_path / "set"
    root.mkdir()
    with tarfile.open(root / "train.tar", "w") as tar:
        for stem in ("ş" * 200, "a"):
            add(tar, f"{stem}.txt", b"yes")
            add(tar, f"{stem}.wav", encoded(1))
    manifest = read_corpus("webdataset", root)
    assert [u.id for u in manifest.utterances] == ["train/a"]
    assert all("ş" * 50 in refusal.utterance for refusal in manifest.refusals)
    assert any("rename it" in refusal.reason for refusal in manifest.refusals)


@pytest.mark.parametrize("lost", [600, 5000])
def test_a_tar_that_was_cut_keeps_what_is_whole(tmp_path: Path, read_corpus, lost):
    root = tmp_path / "set"
    root.mkdir()
    with tarfile.open(root / "train.tar", "w") as tar:
        for number in (1, 2):
            add(tar, f"{number}.txt", b"yes")
            add(tar, f"{number}.wav", encoded(number))
    content = (root / "train.tar").read_bytes()
    (root / "train.tar").write_bytes(content[: content.index(b"2.wav") + lost])
    manifest = read_corpus("webdataset", root)
    assert [u.id for u in manifest.utterances] == ["train/1"]
    assert manifest.refusals


@pytest.mark.parametrize("reader", ["parquet", "webdataset"])
def test_a_folder_without_such_files_is_refused(tmp_path: Path, read_corpus, reader):
    with pytest.raises(InputError, match="no corpus tiny is here: a file "):
        read_corpus(reader)
