"""Small corpora in the real form of each layout."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config.corpus import Corpus
from pipeline.corpus.manifest import Manifest
from pipeline.corpus.readers import build_manifest

SAMPLE_RATE = 16_000


def write_noise(
    path: Path, seconds: float = 0.5, rate: int = SAMPLE_RATE, channels: int = 1
) -> Path:
    """Write noise that depends on the file's name, so that no two files are equal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(path.name.encode()))
    soundfile.write(path, rng.uniform(-0.3, 0.3, (round(seconds * rate), channels)), rate)
    return path


def write_lines(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def read_corpus(tmp_path: Path) -> Callable[..., Manifest]:
    """Return a function that reads the corpus in tmp_path."""

    def read(reader: str, root: Path = tmp_path, **settings) -> Manifest:
        settings.setdefault("name", "tiny")
        return build_manifest(Corpus(reader=reader, root=str(root), **settings), tmp_path / "work")

    return read


def manifest_rows(manifest: Manifest) -> list[tuple[str, str, str, str]]:
    """Return (id, split, speaker, transcript) of each utterance."""
    return [(u.id, u.split, u.speaker, u.transcript) for u in manifest.utterances]


def refusal_reasons(manifest: Manifest) -> dict[str, str]:
    assert all("\n" not in refusal.reason for refusal in manifest.refusals)
    return {refusal.utterance: refusal.reason for refusal in manifest.refusals}
