"""Reading: random, bucketed, padded batches of stored frames, in process and by workers.

In:   the corpora.   Out: the group reading: its cases, and what they do.
Not here: reading everything once (storage.py), training (training.py).

Every case goes through the training split of AN4 listed four times, log-mel-80 as float32, in
batches of 32; the files are in the page cache.
"""

import atexit
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import torch
from jaxtyping import Int64

from pipeline.config.experiment import TrainSettings
from pipeline.config.network import InputSettings
from pipeline.corpus.text.alphabet import ALPHABETS
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.training.data import epoch_plan
from pipeline.training.data.batches import SplitData
from pipeline.training.data.loader import BatchLoader
from tests.benchmarks.child import BenchmarkJob
from tests.benchmarks.corpora import BenchmarkCorpora
from tests.benchmarks.judge import BenchmarkTarget
from tests.benchmarks.measure import Case, CaseGroup
from tests.benchmarks.product import compute_feature_set

READING_AN4_COPIES, BATCH_SIZE = 4, 32
MEMCPY, OURS, PER_UTTERANCE = "memcpy per utterance", "blankslate", "an HDF5 dataset per utterance"
NUMPY_FILES, NUMPY_HDF5 = "Lhotse, numpy_files", "Lhotse, numpy_hdf5"
LOADER_WORKER_COUNTS = (0, 1, 2, 4)

UtteranceIndices = Int64[np.ndarray, " B"]


def reading_groups(corpora: BenchmarkCorpora) -> Iterator[CaseGroup]:
    file = {"manifest_file": str(corpora.manifest(READING_AN4_COPIES)[0])}
    yield CaseGroup(
        title=f"batches of {BATCH_SIZE}, AN4 listed {READING_AN4_COPIES} times, one thread",
        unit="Mframes",
        cases=[
            Case(MEMCPY, "reading:memcpy_batches", file),
            Case(OURS, "reading:blankslate_batches", file),
            Case(PER_UTTERANCE, "reading:hdf5_per_utterance", file),
            *(_lhotse_case(name, file, 0) for name in (NUMPY_FILES, NUMPY_HDF5)),
        ],
        targets=[
            BenchmarkTarget([OURS], [MEMCPY], at_most=2.5),
            BenchmarkTarget([PER_UTTERANCE], [OURS], at_least=10),
            BenchmarkTarget([NUMPY_FILES, NUMPY_HDF5], [OURS], at_least=15),
        ],
    )
    yield CaseGroup(
        title="the same through the trainer's loader, mapped, standardised, with loader workers",
        unit="Mframes",
        cases=[
            *(
                Case(
                    f"{OURS}, {workers} workers",
                    "reading:loader_batches",
                    {**file, "workers": workers},
                )
                for workers in LOADER_WORKER_COUNTS
            ),
            *(
                _lhotse_case(f"{NUMPY_FILES}, {workers} workers", file, workers)
                for workers in LOADER_WORKER_COUNTS[1:]
            ),
        ],
    )


def _lhotse_case(name: str, file: dict[str, str], workers: int) -> Case:
    storage = NUMPY_HDF5 if NUMPY_HDF5 in name else NUMPY_FILES
    settings = {
        "storage": storage.removeprefix("Lhotse, "),
        "batch": BATCH_SIZE,
        "workers": workers,
    }
    return Case(name, "lhotse_cases:lhotse_batches", {**file, **settings}, needs="lhotse")


def stored_train_split(
    folder: Path, manifest_file: str
) -> tuple[FeatureSet, list[StoredUtterance]]:
    features = compute_feature_set(folder, manifest_file, storage="float32")
    return features, [each for each in features.utterances if each.split == "train"]


def epoch_order(lengths: Int64[np.ndarray, " U"], epoch: int) -> list[UtteranceIndices]:
    return epoch_plan.order_batches(lengths, TrainSettings(batch=BATCH_SIZE), epoch, stack=1)


def memcpy_batches(scratch: Path, *, manifest_file: str) -> BenchmarkJob:
    """Copy utterances from one array in memory into a buffer that stays in the cache."""
    features, chosen = stored_train_split(scratch, manifest_file)
    lengths = np.array([each.frames for each in chosen])
    frames = np.concatenate([features.frames(each) for each in chosen])
    starts = lengths.cumsum() - lengths
    buffer = np.empty((BATCH_SIZE, int(lengths.max()), features.bins), np.float32)

    def read(places: UtteranceIndices) -> None:
        padded = buffer.ravel()[: BATCH_SIZE * lengths[places].max() * features.bins]
        padded = padded.reshape(BATCH_SIZE, -1, features.bins)
        for row, place in zip(padded, places.tolist(), strict=False):
            row[: lengths[place]] = frames[starts[place] : starts[place] + lengths[place]]
            row[lengths[place] :] = 0

    return _epoch_job(lengths, read)


def blankslate_batches(scratch: Path, *, manifest_file: str) -> BenchmarkJob:
    """Make batches as the trainer does from mapped shards, without normalisation."""
    torch.set_num_threads(1)
    split = _train_split(scratch, manifest_file, InputSettings(normalisation="none"))
    return _epoch_job(split.frame_counts, split.make_batch)


def loader_batches(scratch: Path, *, manifest_file: str, workers: int) -> BenchmarkJob:
    torch.set_num_threads(1)
    split = _train_split(scratch, manifest_file, InputSettings())
    feed = BatchLoader(split, torch.device("cpu"), workers)
    closing = ExitStack()
    closing.enter_context(feed.supervise_workers())
    atexit.register(closing.close)  # the workers run for all rounds and ignore signals
    epoch = 0

    def job(folder: Path) -> dict[str, float]:
        nonlocal epoch
        epoch += 1
        selections = [split.select(places) for places in epoch_order(split.frame_counts, epoch)]
        frames = sum(int(batch.lengths.sum()) for batch in feed.batches(selections))
        return {"amount": frames / 1e6}

    return job


def hdf5_per_utterance(scratch: Path, *, manifest_file: str) -> BenchmarkJob:
    features, chosen = stored_train_split(scratch, manifest_file)
    lengths = np.array([each.frames for each in chosen])
    with h5py.File(scratch / "frames.h5", "w") as file:
        for each in chosen:
            file.create_dataset(each.id, data=features.frames(each))
    opened = h5py.File(scratch / "frames.h5")

    def read(places: UtteranceIndices) -> None:
        padded = np.empty((len(places), lengths[places].max(), features.bins), np.float32)
        for row, place in zip(padded, places.tolist(), strict=True):
            row[: lengths[place]] = opened[chosen[place].id][()]
            row[lengths[place] :] = 0

    return _epoch_job(lengths, read)


def _train_split(scratch: Path, manifest_file: str, settings: InputSettings) -> SplitData:
    features, _ = stored_train_split(scratch, manifest_file)
    return SplitData.from_shards(features, "train", settings, ALPHABETS["english-38"])


def _epoch_job(
    lengths: Int64[np.ndarray, " U"], read: Callable[[UtteranceIndices], object]
) -> BenchmarkJob:
    """Return a job that reads another epoch, in another order, in each round."""
    epoch = 0

    def job(folder: Path) -> dict[str, float]:
        nonlocal epoch
        epoch += 1
        for places in epoch_order(lengths, epoch):
            read(places)
        return {"amount": float(lengths.sum()) / 1e6}

    return job
