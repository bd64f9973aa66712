"""Small real audio files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

WriteAudio = Callable[..., Path]


def tone(seconds: float = 0.5, rate: int = 16_000, hertz: float = 440.0) -> np.ndarray:
    """Return a sine at half of full scale, as 16-bit integers."""
    times = np.arange(round(seconds * rate)) / rate
    return np.round(16_384 * np.sin(2 * np.pi * hertz * times)).astype(np.int16)


@pytest.fixture
def write_wav() -> WriteAudio:
    def write(path: Path, samples: np.ndarray | None = None, rate: int = 16_000) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = tone(rate=rate) if samples is None else samples
        soundfile.write(path, samples, rate, format="WAV")
        return path

    return write


@pytest.fixture
def write_sphere() -> WriteAudio:
    """Write NIST sphere as in the AN4 archive: header of 1024 bytes, 16-bit PCM, big endian."""

    def write(path: Path, samples: np.ndarray | None = None, order: str = "10") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = tone() if samples is None else samples
        header = (
            "NIST_1A\n   1024\ndatabase_id -s3 an4\nchannel_count -i 1\n"
            f"sample_count -i {len(samples)}\nsample_rate -i 16000\nsample_n_bytes -i 2\n"
            f"sample_byte_format -s2 {order}\nsample_sig_bits -i 16\nend_head\n"
        )
        ordered = samples.astype(">i2" if order == "10" else "<i2")
        path.write_bytes(header.encode().ljust(1024) + ordered.tobytes())
        return path

    return write
