"""The length of an mp3 is what decoding gives, with and without a header that says it."""

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

from pipeline.corpus.audio import mp3_header, resample

RATES = [8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]
LAG = 529  # samples, of the decoder; the standard's


def walk(samples: int, channels: int = 1) -> np.ndarray:
    steps = np.random.default_rng(2).standard_normal((samples, channels)).cumsum(axis=0)
    return steps / np.abs(steps).max() / 1.2


@pytest.fixture
def encode(tmp_path):
    def write(samples: int, rate: int, channels: int = 1, mode: str = "CONSTANT") -> Path:
        path = tmp_path / "a.mp3"
        soundfile.write(
            path, walk(samples, channels), rate, bitrate_mode=mode, compression_level=0.5
        )
        return path

    return write


def without_length(path: Path) -> bytes:
    """What a streaming encoder writes: no first frame that says how many follow."""
    content = path.read_bytes()
    assert b"Info" in content[:64] or b"Xing" in content[:64]
    second = content.index(content[:2], 4)
    path.write_bytes(content[second:])
    return content[second:]


def decoded(path: Path) -> int:
    return len(soundfile.read(path)[0])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_a_length_that_is_told_is_what_was_encoded(encode, rate, mode):
    path = encode(30_001, rate, mode=mode)
    assert mp3_header.has_frame_count(path.read_bytes())
    assert resample.probe(path) == (rate, 30_001, 1)
    assert decoded(path) == 30_001


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_length_that_is_not_told_is_counted(encode, rate, channels):
    path = encode(30_001, rate, channels)
    content = without_length(path)
    assert not mp3_header.has_frame_count(content)
    assert mp3_header.count_samples(content) == decoded(path) == resample.probe(path).samples + LAG
    theirs = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)
    assert np.allclose(resample.load(path, rate), theirs[LAG:], atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content + b"TAG" + bytes(125),
        lambda content: b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128) + content,
        lambda content: content[:-50],
    ],
    ids=["ID3v1", "ID3v2", "cut in the last frame"],
)
def test_tags_and_a_cut_frame_are_no_samples(encode, change):
    path = encode(30_001, 16_000)
    path.write_bytes(change(without_length(path)))
    assert (
        mp3_header.count_samples(path.read_bytes())
        == decoded(path)
        == resample.probe(path).samples + LAG
    )
    assert len(resample.load(path, 16_000)) == resample.probe(path).samples


@pytest.mark.parametrize(
    "change",
    [lambda content: bytes(1000) + content, lambda content: content + b"garbage" * 20],
    ids=["before", "after"],
)
def test_what_cannot_be_counted_is_decoded(encode, change):
    path = encode(30_001, 16_000)
    path.write_bytes(change(without_length(path)))
    assert mp3_header.count_samples(path.read_bytes()) is None
    assert soundfile.info(path).frames != decoded(path)  # an estimate, from the size of the file
    assert resample.probe(path).samples == decoded(path)


def test_a_file_of_which_libsndfile_would_lose_the_end_is_read_to_its_end(tmp_path):
    """It estimates from the first frames; where those are the loudest, it stops too soon."""
    loud, silence = walk(8000), np.zeros((160_000, 1))
    path = tmp_path / "a.mp3"
    soundfile.write(path, np.vstack([loud, silence, loud]), 16_000, bitrate_mode="VARIABLE")
    told = resample.load(path, 16_000)
    without_length(path)
    assert soundfile.info(path).frames < 160_000
    loaded = resample.load(path, 16_000)
    lag = len(loaded) - len(told)
    assert 0 < lag < 3000  # the coder's own delay and padding, which the lost frame said too
    delay = np.argmax(scipy.signal.correlate(loaded, told, "valid"))
    assert np.allclose(loaded[delay : delay + len(told)], told, atol=1e-4)
