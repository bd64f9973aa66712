"""Normalised frames: their means and variances, by float64 sums over all of them."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.corpus import Corpus
from pipeline.config.features import FeatureSettings
from pipeline.config.network import InputSettings
from pipeline.corpus import readers
from pipeline.features.feature_set import FeatureSet
from pipeline.features.precompute import precompute_slice, prepare_feature_set
from pipeline.features.shards import StoredUtterance
from pipeline.training.data.normalisation import (
    PRIOR_FRAMES,
    fit_affine_map,
    make_normaliser,
    normalise_alone,
)
from tests.training.letters import write_feature_set

SPEAKERS = ("x", "y", "x", "z", "y", "x")


@pytest.fixture
def features(tmp_path: Path) -> FeatureSet:
    """Three speakers, each louder than the one before; x speaks in both splits."""
    splits = ("train", "train", "train", "train", "train", "test")
    utterance_specs = [(f"u{n}", split, "ABCA", 8 + 3 * n) for n, split in enumerate(splits)]

    def louder(name: str, frames: np.ndarray) -> np.ndarray:
        voice = "xyz".index(SPEAKERS[int(name[1])])
        return frames * np.float32(1 + voice) + np.float32(50 * voice)

    made = write_feature_set(utterance_specs, tmp_path / "set", louder)
    (shard,) = made.shards
    utterances = [
        u._replace(speaker=speaker) for u, speaker in zip(shard.utterances, SPEAKERS, strict=True)
    ]
    return replace(made, shards=(replace(shard, utterances=tuple(utterances)),))


def of_split(features: FeatureSet, split: str) -> list[StoredUtterance]:
    return [utterance for utterance in features.utterances if utterance.split == split]


def normalised(features: FeatureSet, split: str, **settings: object) -> dict[str, np.ndarray]:
    utterances = of_split(features, split)
    normalise = make_normaliser(InputSettings.model_validate(settings), features, utterances)
    normalise = pickle.loads(pickle.dumps(normalise))  # noqa: S301 (as a worker is sent it)
    found = {}
    for utterance in utterances:
        frames = features.frames(utterance)
        found[utterance.id] = np.full(frames.shape, np.nan, np.float32)
        normalise(utterance, frames, found[utterance.id])
    return found


def test_each_speaker_of_a_split_has_mean_0_and_variance_1(features: FeatureSet):
    found = normalised(features, "train", normalisation="speaker")
    for utterances in (("u0", "u2"), ("u1", "u4"), ("u3",)):
        x = np.concatenate([found[name] for name in utterances]).astype(np.float64)
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-4)
    assert np.abs(found["u0"].mean(axis=0)).max() > 0.01  # not each utterance by itself


def test_a_speaker_of_two_splits_is_normalised_in_each_split_separately(features: FeatureSet):
    (x,) = normalised(features, "test", normalisation="speaker").values()
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    by_itself = normalised(features, "test", normalisation="utterance")
    np.testing.assert_allclose(x, by_itself["u5"], atol=1e-4)


def test_a_recording_of_an_unknown_speaker_counts_beside_frames_of_the_training_split(
    features: FeatureSet,
):
    """The frames of the training split, as many as PRIOR_FRAMES by weight, are added to it."""
    settings = InputSettings.model_validate({"normalisation": "speaker"})
    train = np.concatenate([features.frames(u) for u in of_split(features, "train")], dtype="f8")
    (utterance,) = of_split(features, "test")
    own = features.frames(utterance).astype(np.float64)
    share = len(own) / (len(own) + PRIOR_FRAMES)
    mean = share * own.mean(0) + (1 - share) * train.mean(0)
    spread = share * np.square(own - mean).mean(0) + (1 - share) * np.square(train - mean).mean(0)
    found = np.empty(own.shape, np.float32)
    normalise = normalise_alone(settings, fit_affine_map(settings, features))
    normalise(utterance, features.frames(utterance), found)
    np.testing.assert_allclose(found, (own - mean) / np.sqrt(spread), atol=1e-4)


@pytest.mark.parametrize("kind", ["speaker", "utterance"])
@pytest.mark.parametrize(("deviation", "expected"), [(1e-5, 1e-2), (1e-4, 0.1), (1.1e-3, 1.0)])
def test_a_bin_whose_deviation_is_below_a_thousandth_is_divided_by_a_thousandth(
    tmp_path: Path, kind: str, deviation: float, expected: float
):
    """Otherwise the rounding noise of a silent bin would become as loud as speech."""

    def almost_silent(name: str, frames: np.ndarray) -> np.ndarray:
        signs = np.where(np.arange(len(frames)) % 2, 1, -1)[:, None]
        return (deviation * signs * np.ones_like(frames)).astype(np.float32)

    features = write_feature_set([("a", "train", "A", 6)], tmp_path / "set", almost_silent)
    (x,) = normalised(features, "train", normalisation=kind).values()
    np.testing.assert_allclose(np.abs(x), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["speaker", "utterance"])
def test_constant_frames_become_zero(tmp_path: Path, kind: str):
    features = write_feature_set(
        [("a", "train", "A", 5)], tmp_path / "set", lambda name, x: np.full_like(x, np.log(1e-10))
    )
    (x,) = normalised(features, "train", normalisation=kind).values()
    assert np.abs(x).max() < 1e-2


def test_each_utterance_has_mean_0_and_variance_1(features: FeatureSet):
    for x in normalised(features, "train", normalisation="utterance").values():
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-4)


def test_standardised_splits_have_the_statistics_of_the_training_split_removed(
    features: FeatureSet,
):
    stored = [features.frames(u).astype(np.float64) for u in of_split(features, "train")]
    mean, deviation = (np.concatenate(stored).mean(axis=0), np.concatenate(stored).std(axis=0))
    x = np.concatenate(list(normalised(features, "train", normalisation="standardise").values()))
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-4)
    (test,) = normalised(features, "test", normalisation="standardise").values()
    (frames,) = (features.frames(u) for u in of_split(features, "test"))
    np.testing.assert_allclose(test, (frames - mean) / deviation, atol=1e-4)


@pytest.mark.parametrize("kind", ["none", "utterance", "speaker", "standardise", "pca", "zca"])
def test_frames_stored_as_float16_become_what_their_values_as_float32_become(
    features: FeatureSet, kind: str
):
    utterances = of_split(features, "train")
    settings = InputSettings.model_validate({"normalisation": kind})
    normalise = make_normaliser(settings, features, utterances)
    for utterance in utterances:
        half = features.frames(utterance).astype(np.float16)
        found, expected = np.full((2, *half.shape), np.nan, np.float32)
        normalise(utterance, half, found)
        normalise(utterance, half.astype(np.float32), expected)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_without_normalisation_frames_are_as_stored(features: FeatureSet):
    for utterance in of_split(features, "train"):
        found = normalised(features, "train", normalisation="none")[utterance.id]
        np.testing.assert_array_equal(found, features.frames(utterance))


@pytest.fixture(scope="module")
def speech(an4: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., FeatureSet]:
    corpus = Corpus(name="an4", reader="an4", root=str(an4), split="espnet")
    manifest = readers.build_manifest(corpus, tmp_path_factory.mktemp("corpus"))
    some = replace(manifest, utterances=manifest.utterances[::9])
    work = tmp_path_factory.mktemp("work")

    def of(**settings: object) -> FeatureSet:
        wanted = FeatureSettings.model_validate(settings)
        name, folder = prepare_feature_set(some, wanted, work)
        for index in range(len(some.slices)):
            precompute_slice(some, index, [(wanted, folder, name)])
        return FeatureSet.open(folder)

    return of


@pytest.mark.an4
@pytest.mark.parametrize("kind", ["pca", "zca"])
@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_whitened_speech_has_the_identity_as_covariance(speech, kind: str, storage: str):
    features = speech(storage=storage)
    found = normalised(features, "train", normalisation=kind, epsilon=0.0)
    x = np.concatenate(list(found.values())).astype(np.float64)
    assert len(x) > 10_000
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-2)
    np.testing.assert_allclose(np.cov(x, rowvar=False), np.eye(80), atol=1e-2)


@pytest.mark.an4
def test_epsilon_is_relative_to_the_mean_variance_of_speech(speech):
    features = speech(storage="float32")
    train = [features.frames(u) for u in of_split(features, "train")]
    variance = np.linalg.eigvalsh(np.cov(np.concatenate(train).astype(np.float64), rowvar=False))
    found = normalised(features, "train", normalisation="pca", epsilon=0.05)
    x = np.concatenate(list(found.values())).astype(np.float64)
    expected = np.sort(variance / (variance + 0.05 * variance.mean()))
    np.testing.assert_allclose(np.linalg.eigvalsh(np.cov(x, rowvar=False)), expected, atol=1e-3)


@pytest.mark.parametrize("normalisation", ["standardise", "utterance", "speaker"])
def test_log_amplitude_and_log_power_are_the_same_after_normalisation(
    tmp_path: Path, normalisation: str
):
    specs = [("u0", "train", "ABCA", 20), ("u1", "train", "CAB", 17)]
    amplitude = write_feature_set(specs, tmp_path / "amplitude")
    power = write_feature_set(specs, tmp_path / "power", lambda name, frames: 2 * frames)
    one, other = (
        normalised(each, "train", normalisation=normalisation) for each in (amplitude, power)
    )
    for name in one:
        assert np.isfinite(one[name]).all()
        np.testing.assert_array_equal(one[name], other[name])
