"""A range of an audio file has the same samples whole and in blocks, and the predicted length."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.audio import resample
from pipeline.files import InputError
from tests.corpus.audio.reading import load, probe

RATE = 16_000
BLOCK = 2**16  # an eighth of the real size: as many block borders in an eighth of the time
CONTAINERS = {  # suffix -> format, subtype, rate
    "wav": ("WAV", "PCM_16", 16_000),
    "24.wav": ("WAV", "PCM_24", 16_000),
    "float.wav": ("WAV", "FLOAT", 16_000),
    "flac": ("FLAC", "PCM_16", 16_000),
    "vorbis.ogg": ("OGG", "VORBIS", 16_000),
    "opus": ("OGG", "OPUS", 48_000),
    "mp3": ("MP3", "MPEG_LAYER_III", 16_000),
}


def random_walk(samples: int, channels: int = 1) -> np.ndarray:
    """A random walk: mostly low frequencies, like speech, so that lossy codecs keep it."""
    walk = np.random.default_rng(5).standard_normal((samples, channels)).cumsum(axis=0)
    return walk / np.abs(walk).max() / 1.2


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.corpus.audio.audio_file.BLOCK_SAMPLES", BLOCK)


@pytest.fixture(scope="module", params=CONTAINERS)
def long_file(request, tmp_path_factory) -> tuple[Path, int, int]:
    """Path, rate and samples of a file of two and a half blocks."""
    kind, subtype, rate = CONTAINERS[request.param]
    samples = BLOCK * 5 // 2 + 7
    path = tmp_path_factory.mktemp("long") / f"a.{request.param}"
    soundfile.write(path, random_walk(samples, 2), rate, format=kind, subtype=subtype)
    return path, rate, samples


@pytest.mark.usefixtures("short_blocks")
def test_the_blocks_of_a_long_file_join_to_the_whole(long_file):
    path, rate, samples = long_file
    blocks = list(resample.blocks(path, rate))
    theirs, _ = soundfile.read(path, dtype="float32")
    assert max(map(len, blocks)) <= BLOCK
    assert len(blocks) > 2
    assert np.allclose(np.concatenate(blocks), theirs.mean(axis=1), atol=1e-6)
    assert probe(path) == (rate, samples, 2)


@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize("start", [0, 1, 4567, BLOCK - 3, BLOCK * 5 // 2 - 500])
def test_a_range_has_the_same_samples_as_the_whole_file(long_file, start):
    """Also near the end, where seeking in Ogg by libsndfile gives other samples."""
    path, rate, _ = long_file
    whole = load(path, rate)
    assert np.array_equal(load(path, rate, start, 400), whole[start : start + 400])
    assert np.array_equal(load(path, rate, start), whole[start:])


@pytest.mark.usefixtures("short_blocks")
def test_a_range_is_resampled_alone(tmp_path):
    """Samples outside the range have no effect."""
    soundfile.write(tmp_path / "a.wav", random_walk(BLOCK * 2), 44_100)
    samples = load(tmp_path / "a.wav", 44_100, 1000, BLOCK + 9)
    ours = load(tmp_path / "a.wav", RATE, 1000, BLOCK + 9)
    assert np.array_equal(ours, soxr.resample(samples, 44_100, RATE, quality="HQ"))


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 3000),
    source_rate=st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000, 12_345]),
    target_rate=st.sampled_from([8000, 16_000, 22_050, 44_100]),
    block=st.integers(1, 700),
)
def test_blocks_of_any_size_resample_to_the_same_bytes_and_the_predicted_length(
    tmp_path_factory, samples, source_rate, target_rate, block
):
    path = tmp_path_factory.getbasetemp() / "any.wav"
    soundfile.write(path, random_walk(samples), source_rate)
    at_once = load(path, target_rate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.corpus.audio.audio_file.BLOCK_SAMPLES", block)
        piecewise = [*resample.blocks(path, target_rate)]
    assert b"".join(piece.tobytes() for piece in piecewise) == at_once.tobytes()
    whole = load(path, source_rate)
    assert np.array_equal(resample.resample(whole, source_rate, target_rate), at_once)
    assert len(at_once) == resample.resampled_length(samples, source_rate, target_rate)


@pytest.mark.parametrize(
    ("source_rate", "target_rate"), [(48_000, 44_100), (16_000, 44_100), (32_000, 22_050)]
)
def test_the_predicted_length_is_right_at_exact_halves(source_rate, target_rate):
    """Where a length ends in exactly one half, soxr's rounding decides."""
    halves = [n for n in range(1, 30_000) if 2 * n * target_rate % (2 * source_rate) == source_rate]
    assert halves
    for samples in halves[:40] + halves[-40:]:
        resampled = soxr.resample(
            np.zeros(samples, np.float32), source_rate, target_rate, quality="HQ"
        )
        assert len(resampled) == resample.resampled_length(samples, source_rate, target_rate)


def test_one_channel_can_be_requested(tmp_path):
    stereo = random_walk(4000, 2).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", stereo, RATE, subtype="FLOAT")
    for channel in (0, 1):
        loaded = load(tmp_path / "a.wav", RATE, 100, 50, channel)
        assert np.array_equal(loaded, stereo[100:150, channel])
    with pytest.raises(InputError, match=r"has 2 channels, so no channel 2 \(from 0\); repair"):
        load(tmp_path / "a.wav", RATE, channel=2)


@pytest.mark.parametrize("suffix", ["wav", "24.wav", "flac", "opus", "mp3"])
@pytest.mark.parametrize(("start", "samples"), [(3900, 200), (4000, None), (-1, 10), (5, 0)])
def test_a_range_outside_the_file_is_refused(tmp_path, suffix, start, samples):
    kind, subtype, rate = CONTAINERS[suffix]
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, random_walk(4000), rate, format=kind, subtype=subtype)
    with pytest.raises(InputError, match=r"has 4000 samples, not the range .*; repair"):
        load(path, rate, start, samples)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_memory_does_not_grow_with_the_file(tmp_path, suffix):
    """Five minutes at 16 kHz are 19 MB as float32; decoding in blocks needs far less."""
    kind, subtype, rate = CONTAINERS[suffix]
    path = tmp_path / f"a.{suffix}"
    with soundfile.SoundFile(path, "w", rate, 1, subtype, format=kind) as file:
        minute = random_walk(60 * rate)
        for _ in range(5):
            file.write(minute)
    tracemalloc.start()
    try:
        samples = sum(len(block) for block in resample.blocks(path, 22_050))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert samples == resample.resampled_length(300 * rate, rate, 22_050)
    assert peak < 12e6
