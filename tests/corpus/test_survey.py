"""The same sound is found in whatever files it is: by a survey, and when features are computed."""

import numpy as np
import pytest
import soundfile

from pipeline.config.corpus import Corpus
from pipeline.config.features import FeatureSettings
from pipeline.corpus import survey
from pipeline.corpus.equal_sound import read_equal_sound
from pipeline.corpus.readers import build_manifest
from pipeline.corpus.survey import find_equal_sound, measure_sound
from pipeline.features.precompute import precompute_slice, prepare_feature_set
from tests.corpus.layouts.conftest import write_lines

PAIRS = [("one.wav", "again.flac"), ("one.wav", "long.wav")]
ROWS = (  # file, start, duration in seconds
    ("one.wav", 0, 1),
    ("again.flac", 0, 1),
    ("long.wav", 2, 1),
    ("other.wav", 0, 1),
    ("same-middle.wav", 0, 1),
    ("zero.wav", 0, 1),
    ("zero-too.wav", 0, 1),
    ("cut.flac", 0, 1),
)


@pytest.fixture
def manifest(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(-9000, 9000, (6, 16_000)).astype(np.int16)
    middle = noise[0].copy()
    middle[100] += 1
    sounds = {
        "one.wav": noise[0],
        "again.flac": noise[0],
        "long.wav": np.concatenate([noise[1], noise[2], noise[0], noise[3]]),
        "other.wav": noise[4],
        "same-middle.wav": middle,
        "zero.wav": noise[0] * 0,
        "zero-too.wav": noise[0] * 0,
        "cut.flac": noise[5],
    }
    for name, samples in sounds.items():
        soundfile.write(tmp_path / name, samples, 16_000)
    whole = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 3])
    lines = [f"{name},yes,{start},{seconds}" for name, start, seconds in ROWS]
    write_lines(tmp_path / "train.csv", "audio,text,start,duration", *lines)
    corpus = Corpus(name="x", reader="csv", root=str(tmp_path))
    return build_manifest(corpus, tmp_path / "work")


def test_the_same_samples_are_found_in_other_files_formats_and_places(manifest, monkeypatch):
    monkeypatch.setattr(survey, "MAX_MEASURED", 2)
    assert len(measure_sound(manifest)[0]) <= 2
    pairs = [(first.audio, other.audio) for first, other in find_equal_sound(manifest)]
    assert pairs == PAIRS


def test_features_find_it_too(manifest, tmp_path):
    settings = FeatureSettings()
    name, folder = prepare_feature_set(manifest, settings, tmp_path / "work")
    assert read_equal_sound(manifest, folder) == []  # as with sets that have no digests
    refusals = precompute_slice(manifest, 0, [(settings, folder, name)])
    assert [refusal.utterance for refusal in refusals] == ["cut-0000000"]
    pairs = read_equal_sound(manifest, folder)
    assert [(first.audio, other.audio) for first, other in pairs] == PAIRS
