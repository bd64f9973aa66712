"""Limits: the work that every program must do, measured in the same way as the programs.

In:   a manifest, the number of bytes to write.   Out: jobs.
Not here: Blankslate (product.py), other tools.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from tests.benchmarks.child import BenchmarkJob
from tests.benchmarks.shares import WORKER_COUNT, audio_paths, run_in_processes, split_among_workers

TILE_FRAMES = 256  # so few that they stay in the cache
COVARIANCE_FRAMES = 2048  # few enough for the cache, enough for BLAS to be fast
N_FFT, HOP = 512, 160  # samples
WRITE_BLOCK_BYTES = 1 << 20  # bytes written at a time

# By default glibc returns a freed tile to the kernel, and each call faults its pages in again:
# NumPy's transform then takes four times as long. A limit must not include that.
TUNED_MALLOC = {
    "MALLOC_TOP_PAD_": str(1 << 26),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}


def limit_min(
    scratch: Path, *, manifest_file: str, bins: int, itemsize: int, covariance: bool = False
) -> BenchmarkJob:
    """Read the files, transform as many frames, write as many bytes; nothing else.

    There is no window, magnitude, filter, logarithm or checksum, and nothing waits for the disk.
    With `covariance` there is one symmetric matrix product. A faster program is possible.
    """
    shares = split_among_workers(audio_paths(manifest_file), WORKER_COUNT)
    multiplied = bins if covariance else 0

    def job(folder: Path) -> None:
        jobs = [
            (folder / str(n), share, bins * itemsize, multiplied) for n, share in enumerate(shares)
        ]
        run_in_processes(_read_transform_write, jobs)

    return job


def _read_transform_write(
    path: Path, items: Sequence[tuple[str, Path]], row: int, multiplied: int
) -> int:
    frames = sum(1 + len(_read_wav(sound)) // HOP for _, sound in items)
    points = np.zeros((TILE_FRAMES, N_FFT), np.float32)
    spectrum = np.empty((TILE_FRAMES, N_FFT // 2 + 1), np.complex64)
    for _ in range(0, frames, TILE_FRAMES):
        # norm="forward", because NumPy's default transforms float32 in float64.
        np.fft.rfft(points, axis=1, norm="forward", out=spectrum)
    frames_by_bins = np.ones((COVARIANCE_FRAMES, multiplied), np.float32)
    for _ in range(0, frames if multiplied else 0, COVARIANCE_FRAMES):
        frames_by_bins.T @ frames_by_bins  # NumPy uses the BLAS routine for symmetric products
    block, left = memoryview(bytes(WRITE_BLOCK_BYTES)), frames * row
    with path.open("wb", buffering=0) as file:
        while left > 0:
            left -= file.write(block[:left])
    return frames


def _read_wav(path: Path) -> np.ndarray:
    """Return the samples of a 16-bit mono wav file without a copy."""
    with path.open("rb", buffering=0) as file:
        content = file.read()
    position = 12
    while True:
        name, size = struct.unpack_from("<4sI", content, position)
        if name == b"data":
            return np.frombuffer(content, "<i2", size // 2, position + 8)
        position += 8 + size + size % 2


def decode_only(scratch: Path, *, manifest_file: str) -> BenchmarkJob:
    """Decode every file with libsndfile, and nothing else."""
    shares = [(share,) for share in split_among_workers(audio_paths(manifest_file), WORKER_COUNT)]

    def job(folder: Path) -> None:
        run_in_processes(_decode, shares)

    return job


def _decode(items: Sequence[tuple[str, Path]]) -> int:
    return sum(len(soundfile.read(path, dtype="float32")[0]) for _, path in items)
