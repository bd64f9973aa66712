"""Tests of the refused utterances: from manifests and shards, complete or damaged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.features import FeatureSettings
from pipeline.corpus import manifest as manifests
from pipeline.corpus.manifest import Manifest, Refusal, Utterance
from pipeline.features.precompute import prepare_feature_set
from pipeline.features.rejected import CorpusRefusals, FeatureSource, collect_refusals
from pipeline.features.shards import open_shard_writer, shard_name

MUTE, CUT, BROKEN = (Refusal(name, f"{name}.wav: is what it is") for name in ("mute", "cut", "bad"))


def utterance(name: str) -> Utterance:
    return Utterance(
        id=name,
        audio=f"{name}.wav",
        samples=16_000 * 300,
        rate=16_000,
        transcript="YES",
        speaker="s",
        split="train",
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Manifest:
    """Five utterances in four slices, and one utterance that the reader refused."""
    listed = tuple(map(utterance, ["cut", "a", "b", "bad", "c"]))
    manifest = Manifest("tiny", tmp_path, listed, (MUTE,))
    assert len(manifest.slices) == 4
    return manifest


def made(corpus: Manifest, work: Path, *refusals: Refusal, **settings) -> FeatureSource:
    """Write a feature set of empty shards; each of `refusals` is in one of them."""
    chosen = FeatureSettings(mel_bins=4, **settings)
    name, folder = prepare_feature_set(corpus, chosen, work)
    count = len(corpus.slices)
    for index in range(count):
        own = refusals[index : index + 1]
        with open_shard_writer(
            folder / shard_name(index, count),
            feature_id=name,
            settings=chosen,
            engine="numpy",
            index=index,
            count=count,
            utterances=[],
            refusals=own,
        ) as append:
            append(np.empty((0, chosen.bins), np.float32))
    manifests.write_manifest(corpus, work / "manifest.jsonl")
    return FeatureSource(work / "manifest.jsonl", folder, count)


def test_refusals_of_the_reader_and_of_the_shards_are_listed_once_per_corpus(corpus, tmp_path):
    mel = made(corpus, tmp_path, CUT, BROKEN)
    power = made(corpus, tmp_path, CUT, BROKEN, spectrum="power")
    whole = made(replace(corpus, corpus="whole", refusals=()), tmp_path / "whole")
    assert collect_refusals([mel, power, whole]) == [CorpusRefusals("tiny", 6, (MUTE, CUT, BROKEN))]


def test_a_missing_or_damaged_shard_is_skipped(corpus, tmp_path):
    mel = made(corpus, tmp_path, CUT, BROKEN)
    (mel.features / shard_name(0, 4)).write_bytes(b"half a shard")
    (mel.features / shard_name(3, 4)).unlink()
    assert collect_refusals([mel]) == [CorpusRefusals("tiny", 6, (MUTE, BROKEN))]


@pytest.mark.parametrize("content", [None, b"", b"[1]\n", b"\xff", b'{"manifest": 2}\n'])
def test_without_a_manifest_the_refusals_of_the_shards_are_listed(corpus, tmp_path, content):
    mel = made(corpus, tmp_path, CUT)
    mel.manifest.unlink()
    if content is not None:
        mel.manifest.write_bytes(content)
    assert collect_refusals([mel]) == [CorpusRefusals("manifest", None, (CUT,))]


def test_without_shards_the_refusals_of_the_manifest_are_listed(corpus, tmp_path):
    manifests.write_manifest(corpus, tmp_path / "m.jsonl")
    source = FeatureSource(tmp_path / "m.jsonl", tmp_path / "features" / "mel-1", 4)
    assert collect_refusals([source]) == [CorpusRefusals("tiny", 6, (MUTE,))]
    assert (
        collect_refusals([FeatureSource(tmp_path / "nowhere.jsonl", tmp_path / "mel-1", 4)]) == []
    )
