"""A manifest is read back as written; the digest covers its utterances; slices are even."""

import json
from dataclasses import asdict, replace
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
from pipeline.corpus.text.alphabet import ALPHABETS
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


def test_seconds_are_samples_over_rate():
    assert utterance(seconds=1.25).seconds == 1.25


@pytest.mark.parametrize("seconds", [[1.0], [200.0] * 9, [700.0, 1.0, 1.0, 900.0]])
def test_a_manifest_is_read_back_slice_by_slice(tmp_path, seconds):
    written = manifest_of(*seconds)
    written = replace(written, utterances=(utterance(99, 3.0, "CAFÉ\u2028"), *written.utterances))
    manifests.write_manifest(written, tmp_path / "manifest.jsonl")
    found = ManifestFile.open(tmp_path / "manifest.jsonl")
    assert (found.root, found.digest) == (written.root, written.digest)
    assert (found.corpus, found.utterance_count) == ("tones", len(seconds) + 1)
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


@pytest.mark.parametrize("strict", [True, False])
def test_strictness_and_refusals_are_read_back(tmp_path, strict):
    refusals = (Refusal("u9", "u9.wav: is cut short"),)
    written = replace(manifest_of(1, 2), strict=strict, refusals=refusals)
    manifests.write_manifest(written, tmp_path / "m.jsonl")
    found = ManifestFile.open(tmp_path / "m.jsonl")
    assert (found.strict, found.refusals) == (strict, refusals)


def test_the_content_is_one_line_of_json_in_utf_8_per_utterance():
    """Exactly these bytes: the digest, and so every identity, depends on them."""
    manifest = Manifest("tones", Path("/x"), (utterance(7, 2.0, "CAFÉ", "dev"),))
    assert b"".join(manifest.lines()).decode() == (
        '{"id": "u00007", "audio": "wav/s/u00007.wav", "samples": 16000, "rate": 8000, '
        '"transcript": "CAFÉ", "speaker": "s", "split": "dev", "start": 0, "channel": null}\n'
    )


@pytest.mark.parametrize("channel", [None, 1])
def test_lines_are_what_json_dumps_writes(channel):
    texts = {"id": 'a"\\\n\x01\u2028é', "transcript": "İ 😀 \t", "speaker": "\x7f", "audio": "ö/ b"}
    each = replace(utterance(7, 2.0), **texts, channel=channel, samples=2**40)
    manifest = Manifest("tones", Path("/x"), (each,))
    expected = f"{json.dumps(asdict(each), ensure_ascii=False)}\n".encode()
    assert b"".join(manifest.lines()) == expected


def test_the_digest_covers_the_utterances_alone():
    first = manifest_of(1, 2)
    moved = replace(first, root=Path("/elsewhere"), refusals=(Refusal("x", "gone"),))
    assert moved.digest == first.digest
    assert manifest_of(1, 3).digest != first.digest
    assert manifest_of(1).digest != first.digest


def test_a_missing_manifest_is_refused_with_the_command_that_writes_it(tmp_path):
    with pytest.raises(
        InputError, match=r"an4\.jsonl: no such manifest; run make features to write it"
    ):
        ManifestFile.open(tmp_path / "an4.jsonl")


HEADER = '{"manifest": 2, "slices": [0], "corpus": "c", "root": "/", "refusals": []}\n'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "not a manifest"),
        ("{cut", "not a manifest"),
        ("[]\n", "line 1 is not the header of manifest version 2"),
        ('{"manifest": 1}\n', "line 1 is not the header of manifest version 2"),
        ('{"manifest": 2, "root": "/"}\n', "'slices'"),
        ('{"manifest": 2, "slices": [0], "corpus": "c"}\n', "'root'"),
        (HEADER.replace("[]", '[{"utterance": "u"}]'), "missing"),
        (HEADER + '{"id": "a"}\n', "missing"),
        (HEADER + "[1]\n", "must be a mapping"),
        (HEADER + '{"id":\n', "Expecting value"),
    ],
)
def test_a_damaged_manifest_is_refused_in_one_line(tmp_path, content, problem):
    path = tmp_path / "m.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=r"m\.jsonl: .*; delete it") as error:
        ManifestFile.open(path).slice(0)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


def test_a_changed_line_changes_the_digest(tmp_path):
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


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [
        ([300.0, 420.0], [0, 1]),  # the second starts before 360 s, its midpoint is after
        ([420.0, 300.0], [0, 1]),  # the first ends after 360 s, its midpoint is before
        ([180.0, 360.0, 180.0], [0, 1]),  # the midpoint of the second is exactly at 360 s
        ([181.0, 358.0, 181.0], [0, 1]),
        ([179.0, 360.0, 181.0], [0, 2]),  # the midpoint of the second is at 359 s
        ([269.5, 269.5], [0]),  # 1.497 slices round down
        ([541.0, 1.0, 1.0], [0, 1]),  # a slice starts with the first midpoint in it
    ],
)
def test_an_utterance_belongs_to_the_slice_of_its_midpoint(seconds, starts):
    """All but the last two cases: 720 s, so two slices of 360 s."""
    assert [part.start for part in manifest_of(*seconds).slices] == starts


def test_a_large_corpus_has_at_most_512_slices():
    assert len(manifest_of(*[400.0] * 1000).slices) == 512


def utterances_of(*texts: str) -> list[Utterance]:
    splits: tuple[Split, ...] = ("train", "dev", "test")
    return [utterance(i, transcript=text, split=splits[i % 3]) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (
            ("YES", "NO?", "ÉÀ!"),
            "'!', '?', 'À', 'É' (first in u00001); set alphabet: corpus (and the language: of",
        ),
        (("YES", "I'M", "NO"), 'lacks: "\'" (first in u00001); set alphabet: english-29, correct'),
        (("ÇĞİÖŞÜÀÂÄÆ", "NO", "NO"), "'Ğ' and 2 more (first in u00000)"),
        (("ÀÁÂÃÄÅÆÇ", "NO", "NO"), "'Æ', 'Ç' (first in u00000)"),
    ],
)
def test_unknown_characters_are_listed_in_one_short_line(texts, problem):
    with pytest.raises(InputError) as caught:
        require_trainable(utterances_of(*texts), ALPHABETS["english-38"])
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("splits", "problem"),
    [
        (["train"], "too few utterances (1): at least 3 are needed"),
        (["train"] * 3, "the corpus has no dev utterances; choose another split: in the"),
        (["dev"] * 3, "the corpus has no train utterances; "),
    ],
)
def test_a_corpus_without_train_or_dev_is_refused(splits, problem):
    utterances = [utterance(i, split=split) for i, split in enumerate(splits)]
    with pytest.raises(InputError) as caught:
        require_trainable(utterances, ALPHABETS["english-38"])
    assert problem in str(caught.value)


def test_a_manifest_is_written_again_only_if_it_changed_or_was_cut(tmp_path):
    manifest, path = manifest_of(1, 2, 3), tmp_path / "a.jsonl"
    manifests.write_manifest(manifest, path)
    whole, first = path.read_bytes(), path.stat().st_ino
    manifests.write_manifest(manifest, path)
    assert path.stat().st_ino == first
    manifests.write_manifest(
        replace(manifest, refusals=(Refusal("u9", "u9.wav: cut short"),)), path
    )
    assert b"cut short" in path.read_bytes()
    for damaged in (whole[:-1], whole[10:], b""):
        path.write_bytes(damaged)
        manifests.write_manifest(manifest, path)
        assert path.read_bytes() == whole
