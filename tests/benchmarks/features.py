"""Features: wav to shards, against what the machine needs at least and a loop over torchaudio."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch
import torchaudio

from pipeline.config import Corpus, FeatureSettings
from pipeline.corpus import audio
from pipeline.corpus.manifest import Manifest
from pipeline.corpus.readers import build
from pipeline.features.precompute import precompute_slice, prepare

MEL = FeatureSettings(storage="float32")
ALL = [FeatureSettings(spectrum=kind) for kind in ("amplitude", "power", "mel")]
TILE = 256  # frames: they stay in the cache


def cases(an4: Path) -> dict[str, dict[str, Callable[[], None]]]:
    torch.set_num_threads(1)
    manifest = build(Corpus(name="an4", reader="an4", root=str(an4), split="espnet"), Path())
    hours = manifest.seconds / 3600
    return {
        f"wav to 80 log-mel, float32, {hours:.2f} hours, one process": {
            "read + bare FFT + write": lambda: in_folder(bare, manifest),
            "blankslate": lambda: in_folder(ours, manifest, [MEL]),
            "torchaudio, file by file": lambda: in_folder(per_file, manifest),
        },
        f"feature sets from one decoding, float16, {hours:.2f} hours, one process": {
            "amplitude alone": lambda: in_folder(ours, manifest, ALL[:1]),
            "mel alone": lambda: in_folder(ours, manifest, ALL[2:]),
            "amplitude, power and mel": lambda: in_folder(ours, manifest, ALL),
        },
    }


def in_folder(job: Callable[..., None], *words: object) -> None:
    folder = Path(tempfile.mkdtemp(prefix="blankslate-bench-"))
    try:
        job(folder, *words)
    finally:
        shutil.rmtree(folder)


def ours(folder: Path, manifest: Manifest, sets: list[FeatureSettings]) -> None:
    targets = [(settings, *reversed(prepare(manifest, settings, folder))) for settings in sets]
    for index in range(len(manifest.slices)):
        assert precompute_slice(manifest, index, targets) == []


def bare(folder: Path, manifest: Manifest) -> None:
    """No window, no magnitude, no filters: a reference, not a bound."""
    spectrum = np.empty((TILE, MEL.n_fft // 2 + 1), np.complex64)
    block = np.zeros((TILE, MEL.n_fft), np.float32)
    frames = 0
    for utterance in manifest.utterances:
        waveform = audio.load(manifest.root / utterance.audio, MEL.sample_rate)
        count = 1 + len(waveform) // MEL.hop
        for start in range(0, count, TILE):
            rows = min(TILE, count - start)
            # norm="forward", because with the default numpy transforms float32 in float64.
            np.fft.rfft(block[:rows], axis=1, norm="forward", out=spectrum[:rows])
        frames += count
    (folder / "frames").write_bytes(np.zeros((frames, MEL.bins), np.float32).data)


def per_file(folder: Path, manifest: Manifest) -> None:
    """What a student's loop does: one dataset per utterance."""
    transform = torchaudio.transforms.MelSpectrogram(
        MEL.sample_rate, MEL.n_fft, MEL.window_length, MEL.hop, n_mels=MEL.mel_bins
    )
    with h5py.File(folder / "frames.h5", "w") as file:
        for utterance in manifest.utterances:
            waveform = audio.load(manifest.root / utterance.audio, MEL.sample_rate)
            frames = transform(torch.from_numpy(waveform)).clamp(min=MEL.floor).log()
            file.create_dataset(utterance.id, data=frames.numpy().T)
