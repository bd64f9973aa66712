"""The loops that people write: torchaudio or librosa, file by file, one process per part.

In:   a manifest.   Out: jobs. Log-mel-80, float32, of the same window, hop and FFT as ours.
Not here: toolkits (lhotse_cases.py, speechbrain_cases.py).
"""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import soundfile
import torch
import torchaudio

from tests.benchmarks.child import BenchmarkJob
from tests.benchmarks.shares import WORKER_COUNT, audio_paths, run_in_processes, split_among_workers

MEL_PARAMETERS = {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 80}
SAMPLE_RATE = 16_000  # Hz
LOG_FLOOR = 1e-10

UtterancePaths = Sequence[tuple[str, Path]]


def torchaudio_files(scratch: Path, *, manifest_file: str) -> BenchmarkJob:
    """MelSpectrogram, one .pt file per utterance.

    Audio is read with soundfile: torchaudio.load, now torchcodec, takes five times as long.
    """
    torch.set_num_threads(1)
    shares = split_among_workers(audio_paths(manifest_file), WORKER_COUNT)

    def job(folder: Path) -> None:
        run_in_processes(_write_torchaudio_mel, [(folder, share) for share in shares])

    return job


def _write_torchaudio_mel(folder: Path, items: UtterancePaths) -> int:
    transform = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, **MEL_PARAMETERS)
    for name, path in items:
        sound = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        frames = (transform(sound).T + LOG_FLOOR).log().contiguous()
        torch.save(frames, folder / f"{name}.pt")
    return len(items)


def librosa_loop(scratch: Path, *, manifest_file: str) -> BenchmarkJob:
    """Melspectrogram and power_to_db, one HDF5 dataset per utterance."""
    import librosa

    shares = split_among_workers(audio_paths(manifest_file), WORKER_COUNT)
    librosa.feature.melspectrogram(
        y=np.zeros(SAMPLE_RATE, np.float32), sr=SAMPLE_RATE, **MEL_PARAMETERS
    )  # compiles its functions

    def job(folder: Path) -> None:
        jobs = [(folder / f"{n}.h5", share) for n, share in enumerate(shares)]
        run_in_processes(_write_librosa_mel, jobs)

    return job


def _write_librosa_mel(path: Path, items: UtterancePaths) -> int:
    import librosa

    with h5py.File(path, "w") as file:
        for name, sound in items:
            waveform, _ = librosa.load(sound, sr=None)
            power = librosa.feature.melspectrogram(y=waveform, sr=SAMPLE_RATE, **MEL_PARAMETERS)
            file.create_dataset(name, data=librosa.power_to_db(power).T)
    return len(items)
