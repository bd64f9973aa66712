"""The length of an mp3 is that of its decoded samples, with and without a header for it."""

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

from pipeline.corpus.audio import mp3_header
from tests.corpus.audio.reading import load, probe

RATES = [8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]
DECODER_DELAY = 529  # samples, by the MP3 standard


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


def remove_length(path: Path) -> bytes:
    """Remove the frame with the length, as in the output of a streaming encoder."""
    content = path.read_bytes()
    assert b"Info" in content[:64] or b"Xing" in content[:64]
    second = content.index(content[:2], 4)
    path.write_bytes(content[second:])
    return content[second:]


def decoded(path: Path) -> int:
    return len(soundfile.read(path)[0])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_a_stated_length_is_that_of_the_encoded_samples(encode, rate, mode):
    path = encode(30_001, rate, mode=mode)
    assert mp3_header.has_frame_count(path.read_bytes())
    assert probe(path) == (rate, 30_001, 1)
    assert decoded(path) == 30_001


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_an_unstated_length_is_counted(encode, rate, channels):
    path = encode(30_001, rate, channels)
    content = remove_length(path)
    assert not mp3_header.has_frame_count(content)
    assert mp3_header.count_samples(content) == decoded(path) == probe(path).samples + DECODER_DELAY
    theirs = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)
    assert np.allclose(load(path, rate), theirs[DECODER_DELAY:], atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content + b"TAG" + bytes(125),
        lambda content: b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128) + content,
        lambda content: content[:-50],
    ],
    ids=["ID3v1", "ID3v2", "incomplete last frame"],
)
def test_tags_and_an_incomplete_frame_are_not_counted(encode, change):
    path = encode(30_001, 16_000)
    path.write_bytes(change(remove_length(path)))
    assert (
        mp3_header.count_samples(path.read_bytes())
        == decoded(path)
        == probe(path).samples + DECODER_DELAY
    )
    assert len(load(path, 16_000)) == probe(path).samples


@pytest.mark.parametrize(
    "change",
    [lambda content: bytes(1000) + content, lambda content: content + b"garbage" * 20],
    ids=["before", "after"],
)
def test_a_length_that_cannot_be_counted_is_found_by_decoding(encode, change):
    path = encode(30_001, 16_000)
    path.write_bytes(change(remove_length(path)))
    assert mp3_header.count_samples(path.read_bytes()) is None
    assert soundfile.info(path).frames != decoded(path)  # libsndfile estimates from the file size
    assert probe(path).samples == decoded(path)


def test_a_file_whose_end_libsndfile_would_lose_is_read_completely(tmp_path):
    """Libsndfile estimates the length from the first frames; loud ones make it stop too early."""
    loud, silence = walk(8000), np.zeros((160_000, 1))
    path = tmp_path / "a.mp3"
    soundfile.write(path, np.vstack([loud, silence, loud]), 16_000, bitrate_mode="VARIABLE")
    stated = load(path, 16_000)
    remove_length(path)
    assert soundfile.info(path).frames < 160_000
    loaded = load(path, 16_000)
    extra = len(loaded) - len(stated)
    assert 0 < extra < 3000  # the encoder's delay and padding, also stated in the removed frame
    delay = np.argmax(scipy.signal.correlate(loaded, stated, "valid"))
    assert np.allclose(loaded[delay : delay + len(stated)], stated, atol=1e-4)
