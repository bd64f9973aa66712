"""The check of the input's scale names what it found, and never advises what is set already."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.config.features import FeatureSettings
from pipeline.corpus.levels import SuspiciousSound, read_suspicious
from pipeline.corpus.readers import build_manifest
from pipeline.features.feature_set import FeatureSet
from pipeline.features.precompute import load_target, precompute_slice, prepare_feature_set
from pipeline.training.diagnosis.preflight import PreflightResult, run_preflight
from tests.training.letters import make_experiment

RATE = 16_000
FEATURES = FeatureSettings()
WORDS = ("a", "b", "ab", "ba")


def speech(number: int, rate: int, seconds: float = 2.0) -> np.ndarray:
    """Noise in bursts over a quiet background."""
    rng = np.random.default_rng(number)
    samples = round(seconds * rate)
    loudness = np.repeat(rng.uniform(0.001, 0.3, 20), samples // 20)
    return rng.standard_normal(len(loudness)).clip(-3, 3) * loudness / 3


@pytest.fixture
def make_features(tmp_path: Path) -> Callable[..., FeatureSet]:
    def make(change: Callable[[int, np.ndarray], np.ndarray], rate: int = RATE) -> FeatureSet:
        lines = ["audio,text,split"]
        for number in range(24):
            samples = change(number, speech(number, rate))
            soundfile.write(tmp_path / f"{number:02}.wav", samples, rate, subtype="FLOAT")
            split = "dev" if number % 8 == 7 else "train"
            lines.append(f"{number:02}.wav,{WORDS[number % 4]},{split}")
        (tmp_path / "all.csv").write_text("\n".join(lines))
        corpus = Corpus(name="tiny", reader="csv", root=str(tmp_path))
        manifest = build_manifest(corpus, tmp_path / "work")
        name, folder = prepare_feature_set(manifest, FEATURES, tmp_path / "work")
        for index in range(len(manifest.slices)):
            precompute_slice(manifest, index, [load_target(tmp_path / "work", name)])
        return FeatureSet.open(folder)

    return make


def experiment() -> Experiment:
    return make_experiment(
        features=FEATURES.model_dump(), train={"epochs": 200, "learning_rate": 1e-2}
    )


def results(features: FeatureSet) -> dict[str, PreflightResult]:
    found = {}
    for each in run_preflight(experiment(), features, "cpu", threads=1):
        found[each.check] = each
        if each.check == "scale":
            break
    return found


def test_speech_at_the_wanted_rate_is_scaled(make_features):
    features = make_features(lambda _, samples: samples)
    found = results(features)
    assert found["scale"].ok
    assert "sound" not in found
    assert not read_suspicious([features.folder])


def with_loud_burst(number: int, samples: np.ndarray) -> np.ndarray:
    """The resampler leaves a trace of loud sound above the band, and of quiet sound none."""
    changed = samples / 30
    if number == 3:
        changed[8000:8400] = np.sign(samples[8000:8400])
    return changed


def test_resampled_speech_names_the_upper_bins_and_the_rate(make_features):
    scale = results(make_features(with_loud_burst, 8000))["scale"]
    assert re.search(r"bins \d+ to 79 of 80 are empty in most frames, as in audio", scale.result)
    assert scale.remedy.startswith("set features.sample_rate to the lowest rate that make features")


def test_the_same_speech_at_the_wanted_rate_is_scaled(make_features):
    assert results(make_features(with_loud_burst))["scale"].ok


KINDS = {
    0: ("silent", lambda samples: samples * 0),
    1: ("constant", lambda samples: samples * 0 + 0.25),
    2: ("cancelled", lambda samples: np.stack([samples, -samples], 1)),
    3: ("scaled", lambda samples: np.round(samples * 32768)),
    4: ("silent", lambda samples: np.zeros((len(samples), 2))),
}


def test_suspicious_sound_is_listed_and_named(make_features):
    def change(number: int, samples: np.ndarray) -> np.ndarray:
        return KINDS[number][1](samples) if number in KINDS else samples

    features = make_features(change)
    assert read_suspicious([features.folder, features.folder]) == [
        SuspiciousSound(f"{number:02}", kind) for number, (kind, _) in KINDS.items()
    ]
    sound = results(features)["sound"]
    assert "silent, all samples are zero: 2 of 24 utterances" in sound.result
    assert "of 16-bit integers: 1 of 24 utterances" in sound.result
    assert "make features names them" in sound.remedy


def test_values_far_from_all_others_are_named_by_utterance(make_features):
    def change(number: int, samples: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(number).uniform(-0.1, 0.1, len(samples))
        if number == 5:
            noise[8000:8480] = 0
        return noise

    scale = results(make_features(change))["scale"]
    assert "1 of 18 utterances have values far from all others (05)" in scale.result
    assert "features.scale" not in scale.remedy
    assert "exclude:" in scale.remedy
