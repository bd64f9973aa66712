"""Whole files, for tests: the header and the joined blocks of an audio file."""

from pathlib import Path

import numpy as np

from pipeline.corpus.audio import decode, resample
from pipeline.corpus.audio.audio_file import Header


def probe(path: Path) -> Header:
    return decode.read_header(str(path))[0]


def load(
    path: Path, rate: int, start: int = 0, samples: int | None = None, channel: int | None = None
) -> np.ndarray:
    empty = np.zeros(0, np.float32)
    return np.concatenate([empty, *resample.blocks(path, rate, start, samples, channel)])
