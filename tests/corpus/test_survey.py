"""The same sound is found in whatever files it is, in a corpus of any size."""

import numpy as np
import pytest
import soundfile

from pipeline.config.corpus import Corpus
from pipeline.corpus import survey
from pipeline.corpus.readers import build_manifest
from pipeline.corpus.survey import find_equal_sound, measure_sound
from tests.corpus.layouts.conftest import write_lines

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
    assert pairs == [("one.wav", "again.flac"), ("one.wav", "long.wav")]
