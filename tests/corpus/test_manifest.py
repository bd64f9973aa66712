"""A manifest survives the disk; its digest is its utterances; slices cover it evenly."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus import manifest as manifests
from pipeline.corpus.manifest import (
    Manifest,
    ManifestFile,
    Refusal,
    Split,
    Utterance,
    require_trainable,
)
from pipeline.corpus.text import get_alphabet
from pipeline.files import InputError


def utterance(
    index: int = 0, seconds: float = 2.0, transcript: str = "YES", split: Split = "train"
) -> Utterance:
    return Utterance(
        id=f"u{index:05d}",
        audio=f"wav/s/u{index:05d}.wav",
        samples=round(8000 * seconds),
        rate=8000,
        transcript=transcript,
        speaker="s",
        split=split,
    )


def manifest_of(*seconds: float) -> Manifest:
    utterances = tuple(utterance(i, s) for i, s in enumerate(seconds))
    return Manifest("tones", Path("/corpora/tones"), utterances)


def test_an_utterance_knows_its_length():
    assert utterance(seconds=1.25).seconds == 1.25


@pytest.mark.parametrize("seconds", [[1.0], [200.0] * 9, [700.0, 1.0, 1.0, 900.0]])
def test_what_is_written_is_read_slice_by_slice(tmp_path, seconds):
    written = manifest_of(*seconds)
    written = replace(written, utterances=(utterance(99, 3.0, "CAFÉ\u2028"), *written.utterances))
    manifests.write_manifest(written, tmp_path / "manifest.jsonl")
    found = ManifestFile.open(tmp_path / "manifest.jsonl")
    assert (found.root, found.digest) == (written.root, written.digest)
    assert len(found.slices) == len(written.slices)
    for index in range(len(written.slices)):
        assert found.slice(index) == written.slice(index)
    assert [u for index in range(len(found.slices)) for u in found.slice(index)] == [
        *written.utterances
    ]


def test_the_file_is_a_header_and_a_line_per_utterance(tmp_path):
    refused = replace(manifest_of(1, 2, 3), refusals=(Refusal("u9", "u9.wav: cut short"),))
    manifests.write_manifest(refused, tmp_path / "m.jsonl")
    header, *lines = map(json.loads, (tmp_path / "m.jsonl").read_text().splitlines())
    assert header == {
        "manifest": 2,
        "corpus": "tones",
        "root": "/corpora/tones",
        "strict": False,
        "slices": [0],
        "refusals": [{"utterance": "u9", "reason": "u9.wav: cut short"}],
    }
    assert [line["samples"] for line in lines] == [8000, 16000, 24000]


def test_digest_is_of_the_utterances_alone():
    first = manifest_of(1, 2)
    moved = replace(first, root=Path("/elsewhere"), refusals=(Refusal("x", "gone"),))
    assert moved.digest == first.digest
    assert manifest_of(1, 3).digest != first.digest
    assert manifest_of(1).digest != first.digest


def test_missing_manifest_says_who_writes_it(tmp_path):
    with pytest.raises(InputError, match=r"an4\.jsonl: no such manifest; make features writes it"):
        ManifestFile.open(tmp_path / "an4.jsonl")


HEADER = '{"manifest": 2, "slices": [0], "corpus": "c", "root": "/", "refusals": []}\n'


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("", "not a manifest"),
        ("{cut", "not a manifest"),
        ("[]\n", "line 1 does not say manifest version 2"),
        ('{"manifest": 1}\n', "line 1 does not say manifest version 2"),
        ('{"manifest": 2, "root": "/"}\n', "'slices'"),
        ('{"manifest": 2, "slices": [0], "corpus": "c"}\n', "'root'"),
        (HEADER.replace("[]", '[{"utterance": "u"}]'), "missing"),
        (HEADER + '{"id": "a"}\n', "missing"),
        (HEADER + "[1]\n", "must be a mapping"),
        (HEADER + '{"id":\n', "Expecting value"),
    ],
)
def test_a_damaged_manifest_is_refused_in_one_line(tmp_path, content, finding):
    path = tmp_path / "m.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=r"m\.jsonl: .*; delete it") as error:
        ManifestFile.open(path).slice(0)
    assert finding in str(error.value)
    assert "\n" not in str(error.value)


def test_a_changed_line_is_another_digest(tmp_path):
    path = tmp_path / "m.jsonl"
    manifests.write_manifest(manifest_of(1, 2), path)
    path.write_text(path.read_text().replace("YES", "NO", 1))
    assert ManifestFile.open(path).digest != manifest_of(1, 2).digest


@given(st.lists(st.floats(0.1, 2000), max_size=60))
def test_slices_are_contiguous_and_cover_the_manifest(seconds):
    manifest = manifest_of(*seconds)
    ranges = manifest.slices
    assert [i for part in ranges for i in part] == list(range(len(seconds)))
    assert all(ranges)


def test_slices_are_of_about_six_minutes():
    manifest = manifest_of(*[3.0] * 848)  # 42.4 min
    ranges = manifest.slices
    lengths = [sum(manifest.utterances[i].seconds for i in part) for part in ranges]
    assert len(ranges) == 7
    assert all(355 < length < 370 for length in lengths)


def test_a_large_corpus_has_at_most_512_slices():
    assert len(manifest_of(*[400.0] * 1000).slices) == 512


def spoken(*texts: str) -> list[Utterance]:
    splits: tuple[Split, ...] = ("train", "dev", "test")
    return [utterance(i, transcript=text, split=splits[i % 3]) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (
            ("YES", "NO?", "ÉÀ!"),
            "'!', '?', 'À', 'É' (first in u00001); none of english-38, english-29, english-28 has",
        ),
        (("YES", "I'M", "NO"), 'lacks: "\'" (first in u00001); set alphabet: english-29, mend the'),
        (("ÇĞİÖŞÜÀÂÄÆ", "NO", "NO"), "'Ğ' and 2 more (first in u00000)"),
    ],
)
def test_unknown_characters_are_told_in_a_line_that_can_be_read(texts, found):
    with pytest.raises(InputError) as caught:
        require_trainable(spoken(*texts), get_alphabet("english-38"))
    assert found in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("splits", "found"),
    [
        (["train"], "too few utterances (1): at least 3 are needed"),
        (["train"] * 3, "the corpus has no dev utterances; choose another split in the corpus"),
        (["dev"] * 3, "the corpus has no train utterances; "),
    ],
)
def test_a_corpus_that_lacks_a_split_cannot_be_trained_on(splits, found):
    utterances = [utterance(i, split=split) for i, split in enumerate(splits)]
    with pytest.raises(InputError) as caught:
        require_trainable(utterances, get_alphabet("english-38"))
    assert found in str(caught.value)
