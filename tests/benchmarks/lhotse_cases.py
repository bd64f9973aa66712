"""Lhotse: its feature extraction, storages and loader, used as in its documentation.

In:   a manifest.   Out: jobs. `python -m tests.benchmarks.lhotse_cases` is the whole process.
Not here: other toolkits.

Its Fbank also removes the mean and applies pre-emphasis; its cuts are validated and written as a
manifest; lilcom is lossy, about 8 bits per coefficient.
"""

import multiprocessing
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from tests.benchmarks.child import BenchmarkJob
from tests.benchmarks.shares import WORKER_COUNT, audio_paths

REPOSITORY = Path(__file__).resolve().parents[2]


def lhotse_features(scratch: Path, *, manifest_file: str, fork: bool) -> BenchmarkJob:
    """Log-mel-80 into NumpyHdf5, the fastest of its storages to write.

    num_jobs starts new processes, which import Lhotse and torch again. A fork executor avoids that,
    but the user must pass it. compute_and_store_features_batch is not measured: it took three times
    as long on a CPU.
    """
    import lhotse.dataset  # noqa: F401
    import torch

    torch.set_num_threads(1)
    cuts = _make_cuts(manifest_file)

    def job(folder: Path) -> None:
        _store_features(cuts, folder, fork)

    return job


def lhotse_process(scratch: Path, *, manifest_file: str, fork: bool) -> BenchmarkJob:
    """Run the whole process, with interpreter, imports and its manifest."""
    words = [sys.executable, "-m", "tests.benchmarks.lhotse_cases", manifest_file]

    def job(folder: Path) -> None:
        chosen = [str(folder), "fork" if fork else "spawn"]
        subprocess.run([*words, *chosen], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)

    return job


def _make_cuts(manifest_file: str) -> Any:
    from lhotse import CutSet, MonoCut, Recording
    from lhotse.utils import fastcopy

    known: dict[Path, Recording] = {}
    cuts = []
    for name, path in audio_paths(manifest_file):
        found = known.setdefault(path.resolve(), Recording.from_file(path))
        recording = fastcopy(found, id=name)
        cut = MonoCut(id=name, start=0, duration=found.duration, channel=0, recording=recording)
        cuts.append(cut)
    return CutSet.from_cuts(cuts)


def _store_features(cuts: Any, folder: Path, fork: bool) -> None:
    from lhotse import Fbank, FbankConfig
    from lhotse.features.io import get_writer

    forked = multiprocessing.get_context("fork") if fork else None
    stored = cuts.compute_and_store_features(
        Fbank(FbankConfig(num_filters=80)),
        str(folder / "frames"),
        num_jobs=WORKER_COUNT,
        storage_type=get_writer("numpy_hdf5"),
        executor=ProcessPoolExecutor(WORKER_COUNT, mp_context=forked) if fork else None,
        progress_bar=False,
    )
    stored.to_file(folder / "cuts.jsonl")


def utterance_frames(
    features: FeatureSet, chosen: Iterable[StoredUtterance]
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield id, transcript and a copy of the frames, because lilcom needs writable arrays."""
    for each in chosen:
        yield each.id, each.transcript, np.array(features.frames(each))


def write_storage(
    folder: Path, storage: str, utterances: Iterable[tuple[str, str, np.ndarray]]
) -> Any:
    """Write the frames into one of its storages and return the cuts."""
    from lhotse import CutSet, Features, MonoCut, SupervisionSegment
    from lhotse.features.io import get_writer

    cuts = []
    with get_writer(storage)(str(folder / "frames")) as writer:
        for name, transcript, frames in utterances:
            seconds = round(len(frames) * 0.01, 2)
            features = Features(
                type="kaldi-fbank",
                num_frames=len(frames),
                num_features=frames.shape[1],
                frame_shift=0.01,
                sampling_rate=16_000,
                start=0,
                duration=seconds,
                storage_type=writer.name,
                storage_path=str(writer.storage_path),
                storage_key=writer.write(name, frames),
                recording_id=name,
                channels=0,
            )
            supervision = SupervisionSegment(
                id=name, recording_id=name, start=0, duration=seconds, text=transcript
            )
            cut = MonoCut(
                id=name,
                start=0,
                duration=seconds,
                channel=0,
                features=features,
                supervisions=[supervision],
            )
            cuts.append(cut)
    return CutSet.from_cuts(cuts)


def lhotse_read_all(scratch: Path, *, manifest_file: str, storage: str) -> BenchmarkJob:
    """Read every utterance as an array: the frames of Blankslate, written by Lhotse."""
    import torch

    from tests.benchmarks.product import compute_feature_set
    from tests.benchmarks.storage import storage_measurements

    torch.set_num_threads(1)
    exact = compute_feature_set(scratch / "exact", manifest_file, storage="float32")
    stored = scratch / "stored"
    stored.mkdir()
    cuts = write_storage(stored, storage, utterance_frames(exact, exact.utterances))
    size = sum(path.stat().st_size for path in stored.rglob("*") if path.is_file())
    measurements = storage_measurements(exact, size, [cut.load_features() for cut in cuts])

    def job(folder: Path) -> dict[str, float]:
        read = [cut.load_features() for cut in cuts]
        assert len(read) == len(exact.utterances)
        return measurements

    return job


def lhotse_batches(
    scratch: Path, *, manifest_file: str, storage: str, batch: int, workers: int
) -> BenchmarkJob:
    """Read bucketed, shuffled, padded batches of the training split, with transcripts."""
    import torch
    from lhotse.dataset import DynamicBucketingSampler, K2SpeechRecognitionDataset
    from lhotse.dataset.input_strategies import PrecomputedFeatures
    from torch.utils.data import DataLoader

    from tests.benchmarks.reading import stored_train_split

    torch.set_num_threads(1)
    exact, chosen = stored_train_split(scratch / "exact", manifest_file)
    (scratch / "stored").mkdir()
    cuts = write_storage(scratch / "stored", storage, utterance_frames(exact, chosen))
    sampler = DynamicBucketingSampler(cuts, max_cuts=batch, shuffle=True, num_buckets=30)
    loader = DataLoader(
        K2SpeechRecognitionDataset(input_strategy=PrecomputedFeatures()),
        sampler=sampler,
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
    )

    def job(folder: Path) -> dict[str, float]:
        sampler.set_epoch(sampler.epoch + 1)
        frames = sum(int(made["supervisions"]["num_frames"].sum()) for made in loader)
        return {"amount": frames / 1e6}

    return job


if __name__ == "__main__":
    path, folder, start = sys.argv[1:]
    _store_features(_make_cuts(path), Path(folder), start == "fork")
