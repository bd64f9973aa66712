"""Checks of a corpus: splits, speakers, duplicates, characters, unusual durations."""

import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config.corpus import Corpus
from pipeline.corpus.checks import SplitStats, check_corpus
from pipeline.corpus.manifest import Manifest, Utterance
from pipeline.corpus.readers import build_manifest
from pipeline.corpus.text.alphabet import ALPHABETS

LETTERS = ALPHABETS["english-28"]


def utterance(number: int, seconds: float = 2.0, **changes) -> Utterance:
    fields = {
        "id": f"u{number}",
        "audio": f"u{number}.wav",
        "samples": round(8000 * seconds) + number,  # every length differs
        "rate": 8000,
        "transcript": "A" * round(12 * seconds),
        "speaker": f"s{number % 10}",
        "split": "train",
    }
    return Utterance(**{**fields, **changes})


def check(*utterances: Utterance, root: Path = Path("nowhere")):
    return check_corpus(Manifest("tiny", root, utterances), LETTERS)


def test_hours_and_speakers_are_counted_per_split():
    utterances = [utterance(n, samples=8000, speaker=f"s{n % 3}") for n in range(6)]
    utterances[5] = replace(utterances[5], split="test", samples=80_000)
    utterances = [replace(u, transcript=u.transcript + "B" * n) for n, u in enumerate(utterances)]
    found = check(*utterances)
    assert found.splits == {"train": SplitStats(5, 5.0, 3), "test": SplitStats(1, 10.0, 1)}
    assert found.shared_speakers == ("s2",)


def test_speakers_are_not_counted_if_the_corpus_names_none():
    found = check(*(utterance(n, speaker=f"u{n}") for n in range(3)))
    assert found.splits["train"].speakers is None


def test_characters_outside_the_alphabet_are_counted_by_utterances():
    texts = ["IT'S JOHN'S", "NO, IT'S", "YES"]
    found = check(*(utterance(n, transcript=text) for n, text in enumerate(texts)))
    assert found.unknown_character_counts == {"'": 2, ",": 1}


def test_a_range_listed_twice_is_a_duplicate_and_another_range_of_the_file_is_not():
    one = utterance(1, start=800)
    found = check(
        one,
        replace(one, id="again", transcript="OTHER WORDS"),
        replace(one, id="later", start=801),
        replace(one, id="right", channel=1),
        replace(one, id="held", split="test", transcript="ELSE"),
    )
    assert found.duplicates == (("u1", "again"), ("u1", "held"))
    assert found.cross_split_duplicates == (("u1", "held"),)


def test_copies_of_a_file_are_duplicates_and_files_of_equal_length_are_not(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", rng.uniform(-1, 1, 8000), 8000)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    same = {"samples": 8000, "transcript": "YES"}
    names = ("a", "b", "copy")
    utterances = [utterance(0, id=name, audio=f"{name}.wav", **same) for name in names]
    assert check(*utterances, root=tmp_path).duplicates == (("a", "copy"),)


def test_copies_with_different_transcripts_are_duplicates(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", rng.uniform(-1, 1, 8000), 8000)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    rows = [f"{name}.wav,{name} is said" for name in ("a", "b", "c", "copy")]
    (tmp_path / "all.csv").write_text("\n".join(["audio,text", *rows]))
    manifest = build_manifest(Corpus(name="x", reader="csv", root=str(tmp_path)), tmp_path / "work")
    assert check_corpus(manifest, ALPHABETS["english-38"]).duplicates == (("a", "copy"),)


@pytest.mark.parametrize(
    ("seconds", "characters"),
    [(2.0, 120), (20.0, 3), (0.05, 1), (61.0, 700), (1.0, 41)],
    ids=["fast for this corpus", "slow for this corpus", "too short", "too long", "too fast"],
)
def test_an_unusual_duration_is_found_and_usual_ones_are_not(seconds, characters):
    rng = random.Random(1)
    usual = [
        utterance(n, seconds=2, transcript="A" * round(24 * rng.uniform(0.7, 1.4)))
        for n in range(60)
    ]
    odd = utterance(99, seconds=seconds, transcript="A" * characters)
    (outlier,) = check(*usual, odd).duration_outliers
    assert outlier.utterance == "u99"
    assert outlier.characters_per_second == pytest.approx(characters / odd.seconds)


def test_few_utterances_have_no_usual_rate():
    assert check(utterance(1), utterance(2, transcript="A")).duration_outliers == ()


@pytest.mark.an4
def test_an4_has_its_published_sizes_and_no_problems(an4):
    """ESPnet's dev split of 100 utterances divides one speaker between dev and train."""
    corpus = Corpus(name="an4", reader="an4", root=str(an4), split="espnet")
    found = check_corpus(build_manifest(corpus, Path("work")), ALPHABETS["english-38"])
    assert {split: stats.utterances for split, stats in found.splits.items()} == {
        "train": 848,
        "dev": 100,
        "test": 130,
    }
    assert (found.duplicates, found.duration_outliers, found.unknown_character_counts) == (
        (),
        (),
        {},
    )
    assert len(found.shared_speakers) <= 1


def test_training_transcripts_that_are_all_the_same_are_found():
    same = [utterance(n) for n in range(3)]
    assert check(*same).only_transcript == "A" * 24
    other = utterance(3, transcript="B", split="dev")
    assert check(*same, other).only_transcript == "A" * 24
    assert check(*same, other).has_no_meaningful_rate
    assert check(*same, utterance(4, transcript="B")).only_transcript is None
    assert not check(*same, utterance(4, transcript="B")).has_no_meaningful_rate
    assert check(utterance(0)).only_transcript is None  # one utterance says nothing


def test_the_length_of_audio_follows_that_of_its_transcript_unless_they_are_exchanged():
    spoken = [utterance(n, seconds=0.5 + n % 17 / 5) for n in range(200)]
    assert check(*spoken).length_correlation > 0.99
    assert not check(*spoken).has_no_meaningful_rate
    texts = [each.transcript for each in spoken]
    random.Random(0).shuffle(texts)
    exchanged = [replace(u, transcript=text) for u, text in zip(spoken, texts, strict=True)]
    seconds, lengths = zip(*((u.seconds, len(u.transcript)) for u in exchanged), strict=True)
    expected = np.corrcoef(seconds, lengths)[0, 1]
    assert check(*exchanged).length_correlation == pytest.approx(expected)
    assert abs(expected) < 0.2
    assert check(*exchanged).has_no_meaningful_rate
    alike = [utterance(n, transcript="A" * (1 + n % 5)) for n in range(200)]  # 2 s each
    assert math.isnan(check(*alike).length_correlation)
    assert math.isnan(check(*spoken[:50]).length_correlation)
