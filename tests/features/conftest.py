"""Fixtures: a small corpus of noise and tones, its manifest, the two engines."""

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.corpus.manifest import Manifest, Utterance
from pipeline.features.native import kernels


def _write_wav(path: Path, waveform: np.ndarray, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(waveform * 32_767).astype("<i2").tobytes())


@pytest.fixture
def write_wav() -> Callable[..., None]:
    return _write_wav


@pytest.fixture
def make_manifest(tmp_path: Path) -> Callable[..., Manifest]:
    """Make `count` utterances of 1/3 s to 1 s; every fourth one is in the test split."""

    def make(count: int = 6, rate: int = 16_000, seed: int = 0) -> Manifest:
        random = np.random.default_rng(seed)
        utterances = []
        for number in range(count):
            samples = int(random.integers(rate // 3, rate))
            tone = np.sin(np.arange(samples) * random.uniform(0.05, 0.5))
            noise = random.standard_normal(samples)
            _write_wav(tmp_path / f"audio/{number}.wav", 0.4 * tone + 0.05 * noise, rate)
            utterance = Utterance(
                id=f"speaker-{number:02}",
                audio=f"audio/{number}.wav",
                samples=samples,
                rate=rate,
                transcript=f"ÇALIŞMA {number}",
                speaker=f"s{number % 3}",
                split="test" if number % 4 == 3 else "train",
            )
            utterances.append(utterance)
        return Manifest("tones", tmp_path, tuple(utterances))

    return make


@pytest.fixture
def decoded_block_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of samples of each block that libsndfile decodes."""
    counts: list[int] = []
    read = soundfile.SoundFile.read

    def counted(*words: Any, **more: Any) -> np.ndarray:
        block = read(*words, **more)
        counts.append(len(block))
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    return counts


@pytest.fixture(params=["native", "numpy"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test with the native kernel, then with NumPy."""
    if request.param == "numpy":
        monkeypatch.setattr(kernels, "load_library", lambda: None)
    elif not kernels.load_library():
        pytest.skip(kernels.build_library())
