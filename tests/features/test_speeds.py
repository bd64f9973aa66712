"""Speed-perturbed copies of training utterances: their content, and that nothing else changes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.config.features import FeatureSettings
from pipeline.corpus.audio import audio_file, resample
from pipeline.corpus.manifest import Manifest, Utterance
from pipeline.features.feature_set import FeatureSet
from pipeline.features.precompute import precompute_slice, prepare_feature_set
from pipeline.files import InputError
from tests.corpus.audio.reading import load
from tests.features.in_memory import compute_frames
from tests.features.test_precompute import AMPLITUDE, MEL, MakeManifest, shard_bytes, target

SPEEDS = (0.9, 1.1)
LINEAR = AMPLITUDE.model_copy(update={"scale": "none"})


def at(settings: FeatureSettings, *speeds: float) -> FeatureSettings:
    return settings.model_copy(update={"speeds": speeds})


def made(manifest: Manifest, settings: FeatureSettings, work: Path) -> FeatureSet:
    wanted = target(manifest, settings, work)
    assert precompute_slice(manifest, 0, [wanted]) == []
    return FeatureSet.open(wanted[1])


@pytest.mark.parametrize("rate", [16_000, 11_025])
@pytest.mark.parametrize("speed", [0.5, 0.9, 1.1, 2.0])
def test_a_copy_of_a_tone_is_shorter_and_higher(
    write_wav: Callable[..., None], tmp_path: Path, rate: int, speed: float
):
    """Except at its ends it has the frames of a synthesised tone of that length and pitch."""

    def tone(hertz: float, samples: int, rate: int) -> np.ndarray:
        return np.float32(0.5) * np.sin(2 * np.pi * hertz / rate * np.arange(samples))

    write_wav(tmp_path / "tone.wav", tone(1_000, 2 * rate, rate), rate)
    utterance = Utterance(
        id="tone", audio="tone.wav", samples=2 * rate, rate=rate, transcript="A", speaker="s",
        split="train",
    )  # fmt: skip
    features = made(Manifest("tone", tmp_path, (utterance,)), at(LINEAR, speed), tmp_path)
    whole, copy = map(features.frames, features.utterances)
    (expected,) = compute_frames(
        tone(1_000 * speed, round(32_000 / speed), 16_000).astype(np.float32), [LINEAR]
    )
    assert len(whole) == 201
    assert copy.shape == expected.shape
    np.testing.assert_allclose(copy[8:-8], expected[8:-8], atol=0.02)
    assert (copy[8:-8].argmax(axis=1) == round(1_000 * speed / 31.25)).all()


def test_the_training_split_alone_has_copies_each_after_its_own(
    make_manifest: MakeManifest, tmp_path: Path
):
    manifest = make_manifest()
    features = made(manifest, at(MEL, *SPEEDS), tmp_path / "work")
    alone = made(manifest, MEL, tmp_path / "work")
    expected = [
        (sp + u.id, u.split, u.transcript, sp + u.speaker, 1 + int(u.samples / speed + 0.5) // 160)
        for u in manifest.utterances
        for sp, speed in (("", 1), ("sp0.9-", 0.9), ("sp1.1-", 1.1))
        if speed == 1 or u.split == "train"
    ]
    found = [(u.id, u.split, u.transcript, u.speaker, u.frames) for u in features.utterances]
    assert found == expected
    assert len(found) == 6 + 2 * 5
    names = {u.id: u for u in features.utterances}
    for utterance in alone.utterances:
        own = features.frames(names[utterance.id])
        np.testing.assert_array_equal(alone.frames(utterance), own)
    training = [u.frames for u in features.utterances if u.split == "train"]
    assert features.statistics.count == sum(training)


@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_a_long_recording_in_blocks_gives_the_copies_of_the_whole(
    make_manifest: MakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int
):
    manifest = make_manifest(rate=rate)
    settings = at(AMPLITUDE, *SPEEDS)
    whole = made(manifest, settings, tmp_path / "whole")
    monkeypatch.setattr(audio_file, "BLOCK_SAMPLES", 1777)
    blocks = made(manifest, settings, tmp_path / "blocks")
    assert shard_bytes(blocks.folder) == shard_bytes(whole.folder)
    utterance = manifest.utterances[0]
    waveform = load(manifest.root / utterance.audio, rate)
    resampled = resample.resample(waveform, rate * 11, 16_000 * 10)
    (expected,) = compute_frames(resampled, [AMPLITUDE])
    assert blocks.utterances[2].id == f"sp1.1-{utterance.id}"
    np.testing.assert_array_equal(blocks.frames(blocks.utterances[2]), expected)


def test_sets_of_different_speeds_come_from_one_decoding_and_give_the_bytes_of_separate_ones(
    make_manifest: MakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    manifest = make_manifest()
    every = [MEL, at(MEL, *SPEEDS), at(MEL, 0.8, 1.1), at(AMPLITUDE, 1.1), AMPLITUDE]
    decoded: list[str] = []
    read_blocks = resample.AudioReader.blocks

    def noted(self: resample.AudioReader, path: str, *span: Any) -> Any:
        decoded.append(path)
        return read_blocks(self, path, *span)

    monkeypatch.setattr(resample.AudioReader, "blocks", noted)
    together = [target(manifest, settings, tmp_path / "one") for settings in every]
    assert precompute_slice(manifest, 0, together) == []
    assert decoded == [str(manifest.root / utterance.audio) for utterance in manifest.utterances]
    for settings, folder, _ in together:
        assert shard_bytes(folder) == shard_bytes(made(manifest, settings, tmp_path / "two").folder)


def test_the_copies_of_stretches_of_an_mp3_cost_no_second_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded_block_sizes: list[int]
):
    soundfile.write(tmp_path / "a.mp3", np.sin(np.arange(60_000) / 20) / 2, 16_000)
    monkeypatch.setattr(audio_file, "BLOCK_SAMPLES", 8_000)
    utterances = tuple(
        Utterance(
            id=f"u{start}", audio="a.mp3", samples=6_000, rate=16_000, transcript="A", speaker="s",
            split="train", start=start,
        )
        for start in (0, 7_000, 15_000, 50_000)
    )  # fmt: skip
    features = made(Manifest("cut", tmp_path, utterances), at(MEL, *SPEEDS), tmp_path / "work")
    assert len(features.utterances) == 12
    assert 0 < sum(decoded_block_sizes) <= 60_000


def test_a_refused_recording_has_no_copies_and_is_reported_once(
    make_manifest: MakeManifest, tmp_path: Path
):
    manifest = make_manifest()
    path = manifest.root / "audio/1.wav"
    path.write_bytes(path.read_bytes()[:3000])
    sets = [target(manifest, each, tmp_path / "work") for each in (MEL, at(MEL, *SPEEDS))]
    reports: list[tuple[int, float]] = []
    (refusal,) = precompute_slice(manifest, 0, sets, lambda *done: reports.append(done))
    assert refusal.utterance == "speaker-01"
    assert reports[-1] == (6, pytest.approx(manifest.seconds))
    features = FeatureSet.open(sets[1][1])
    assert features.refusals == (refusal,)
    assert len(features.utterances) == 5 + 2 * 4
    assert [u.id for u in features.utterances if u.id.endswith("01")] == []


def test_a_corpus_that_has_such_copies_already_is_refused(
    make_manifest: MakeManifest, tmp_path: Path
):
    """A Kaldi folder may hold such copies."""
    manifest = make_manifest()
    copies = tuple(replace(u, id=f"sp1.1-{u.id}") for u in manifest.utterances)
    manifest = replace(manifest, utterances=manifest.utterances + copies)
    with pytest.raises(
        InputError, match=r"already has utterances .* such as sp1\.1-speaker-00; remove"
    ):
        prepare_feature_set(manifest, at(MEL, *SPEEDS), tmp_path)
    prepare_feature_set(manifest, at(MEL, 0.8), tmp_path)
