"""A stretch of a sound file, whole or in blocks, is the same samples, as many as foretold."""

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

RATE = 16_000
BLOCK = 2**16  # an eighth of the product's: as many seams in an eighth of the time
CONTAINERS = {  # ending -> format, subtype, rate
    "wav": ("WAV", "PCM_16", 16_000),
    "24.wav": ("WAV", "PCM_24", 16_000),
    "float.wav": ("WAV", "FLOAT", 16_000),
    "flac": ("FLAC", "PCM_16", 16_000),
    "vorbis.ogg": ("OGG", "VORBIS", 16_000),
    "opus": ("OGG", "OPUS", 48_000),
    "mp3": ("MP3", "MPEG_LAYER_III", 16_000),
}


def sound(samples: int, channels: int = 1) -> np.ndarray:
    """A random walk: full of lows, as speech is, so that lossy coders keep it."""
    walk = np.random.default_rng(5).standard_normal((samples, channels)).cumsum(axis=0)
    return walk / np.abs(walk).max() / 1.2


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.corpus.audio.decode.BLOCK_SAMPLES", BLOCK)


@pytest.fixture(scope="module", params=CONTAINERS)
def long(request, tmp_path_factory) -> tuple[Path, int, int]:
    """Path, rate and samples of a file of two blocks and a half."""
    kind, subtype, rate = CONTAINERS[request.param]
    samples = BLOCK * 5 // 2 + 7
    path = tmp_path_factory.mktemp("long") / f"a.{request.param}"
    soundfile.write(path, sound(samples, 2), rate, format=kind, subtype=subtype)
    return path, rate, samples


@pytest.mark.usefixtures("short_blocks")
def test_a_long_file_comes_in_blocks_that_join_to_the_whole(long):
    path, rate, samples = long
    blocks = list(resample.blocks(path, rate))
    theirs, _ = soundfile.read(path, dtype="float32")
    assert max(map(len, blocks)) <= BLOCK
    assert len(blocks) > 2
    assert np.allclose(np.concatenate(blocks), theirs.mean(axis=1), atol=1e-6)
    assert np.array_equal(np.concatenate(blocks), resample.load(path, rate))
    assert resample.probe(path) == (rate, samples, 2)


@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize("start", [0, 1, 4567, BLOCK - 3, BLOCK * 5 // 2 - 500])
def test_a_stretch_is_the_samples_that_stand_there_in_the_whole(long, start):
    """Near the end too, where libsndfile's own jumps in Ogg give other samples."""
    path, rate, _ = long
    whole = resample.load(path, rate)
    assert np.array_equal(resample.load(path, rate, start, 400), whole[start : start + 400])
    assert np.array_equal(resample.load(path, rate, start), whole[start:])


@pytest.mark.usefixtures("short_blocks")
def test_a_resampled_stretch_is_that_stretch_resampled(tmp_path):
    """Nothing of what lies around it enters."""
    soundfile.write(tmp_path / "a.wav", sound(BLOCK * 2), 44_100)
    stretch = resample.load(tmp_path / "a.wav", 44_100, 1000, BLOCK + 9)
    ours = resample.load(tmp_path / "a.wav", RATE, 1000, BLOCK + 9)
    assert np.array_equal(ours, soxr.resample(stretch, 44_100, RATE, quality="HQ"))


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 3000),
    found=st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000, 12_345]),
    wanted=st.sampled_from([8000, 16_000, 22_050, 44_100]),
    block=st.integers(1, 700),
)
def test_blocks_of_any_size_resample_to_the_same_bytes_and_the_length_foretold(
    tmp_path_factory, samples, found, wanted, block
):
    path = tmp_path_factory.getbasetemp() / "any.wav"
    soundfile.write(path, sound(samples), found)
    at_once = resample.load(path, wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.corpus.audio.decode.BLOCK_SAMPLES", block)
        piecewise = [*resample.blocks(path, wanted)]
    assert b"".join(piece.tobytes() for piece in piecewise) == at_once.tobytes()
    whole = resample.load(path, found)
    assert np.array_equal(resample.resample(whole, found, wanted), at_once)
    assert len(at_once) == resample.resampled_length(samples, found, wanted)


@pytest.mark.parametrize(
    ("found", "wanted"), [(48_000, 44_100), (16_000, 44_100), (32_000, 22_050)]
)
def test_the_length_is_foretold_where_it_falls_between_two(found, wanted):
    """Lengths that end in exactly a half, where soxr's own rounding is what counts."""
    halves = [n for n in range(1, 30_000) if 2 * n * wanted % (2 * found) == found]
    assert halves
    for samples in halves[:40] + halves[-40:]:
        resampled = soxr.resample(np.zeros(samples, np.float32), found, wanted, quality="HQ")
        assert len(resampled) == resample.resampled_length(samples, found, wanted)


def test_one_channel_can_be_asked_for(tmp_path):
    stereo = sound(4000, 2).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", stereo, RATE, subtype="FLOAT")
    for channel in (0, 1):
        loaded = resample.load(tmp_path / "a.wav", RATE, 100, 50, channel)
        assert np.array_equal(loaded, stereo[100:150, channel])
    with pytest.raises(InputError, match=r"has 2 channels, and number 2, from 0, is asked for; "):
        resample.load(tmp_path / "a.wav", RATE, channel=2)


@pytest.mark.parametrize("ending", ["wav", "24.wav", "flac", "opus", "mp3"])
@pytest.mark.parametrize(("start", "samples"), [(3900, 200), (4000, None), (-1, 10), (5, 0)])
def test_a_stretch_beyond_the_file_is_refused(tmp_path, ending, start, samples):
    kind, subtype, rate = CONTAINERS[ending]
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, sound(4000), rate, format=kind, subtype=subtype)
    with pytest.raises(InputError, match=r"holds 4000 samples, and .* are asked for; repair"):
        resample.load(path, rate, start, samples)


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3"])
def test_memory_does_not_grow_with_the_file(tmp_path, ending):
    """Five minutes at 16 kHz are 19 MB as floats; blocks of them, resampled, stay far below."""
    kind, subtype, rate = CONTAINERS[ending]
    path = tmp_path / f"a.{ending}"
    with soundfile.SoundFile(path, "w", rate, 1, subtype, format=kind) as file:
        minute = sound(60 * rate)
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
