"""The loops that people write: torchaudio or librosa, file by file, one process per part.

In:   a manifest.   Out: jobs. Log-mel-80, float32, of the same window, hop and FFT as ours.
Not here: toolkits (lhotse.py, speechbrain.py).
"""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import soundfile
import torch
import torchaudio

from tests.benchmarks.child import Job
from tests.benchmarks.shares import WORKERS, dealt, in_processes, sounds

MEL = {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 80}
RATE = 16_000  # Hz
FLOOR = 1e-10

Items = Sequence[tuple[str, Path]]


def torchaudio_files(scratch: Path, *, manifest_file: str) -> Job:
    """MelSpectrogram, one .pt file per utterance.

    Read with soundfile: torchaudio.load, which is torchcodec now, takes five times as long in all.
    """
    torch.set_num_threads(1)
    shares = dealt(sounds(manifest_file), WORKERS)

    def job(folder: Path) -> None:
        in_processes(_torchaudio, [(folder, share) for share in shares])

    return job


def _torchaudio(folder: Path, items: Items) -> int:
    transform = torchaudio.transforms.MelSpectrogram(RATE, **MEL)
    for name, path in items:
        sound = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        frames = (transform(sound).T + FLOOR).log().contiguous()
        torch.save(frames, folder / f"{name}.pt")
    return len(items)


def librosa_loop(scratch: Path, *, manifest_file: str) -> Job:
    """Melspectrogram and power_to_db, one HDF5 dataset per utterance."""
    import librosa

    shares = dealt(sounds(manifest_file), WORKERS)
    librosa.feature.melspectrogram(y=np.zeros(RATE, np.float32), sr=RATE, **MEL)  # compiles

    def job(folder: Path) -> None:
        jobs = [(folder / f"{n}.h5", share) for n, share in enumerate(shares)]
        in_processes(_librosa, jobs)

    return job


def _librosa(path: Path, items: Items) -> int:
    import librosa

    with h5py.File(path, "w") as file:
        for name, sound in items:
            waveform, _ = librosa.load(sound, sr=None)
            power = librosa.feature.melspectrogram(y=waveform, sr=RATE, **MEL)
            file.create_dataset(name, data=librosa.power_to_db(power).T)
    return len(items)
