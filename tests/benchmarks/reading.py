"""Reading: random, bucketed, padded batches of stored frames, in process and by workers.

In:   the corpora.   Out: the group reading: its cases, and what they do.
Not here: reading everything once (storage.py), training (training.py).

Every case goes through the training split of AN4 listed four times, log-mel-80 as float32, in
batches of 32; files are in the page cache.
"""

import atexit
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import torch
from jaxtyping import Int64

from pipeline.config.experiment import InputSettings, TrainSettings
from pipeline.corpus.text import alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.training.data import batches
from pipeline.training.data.batches import Split
from pipeline.training.data.loader import Feed
from tests.benchmarks.child import Job
from tests.benchmarks.corpora import Corpora
from tests.benchmarks.judge import Target
from tests.benchmarks.measure import Case, Group
from tests.benchmarks.product import feature_set

LISTED, BATCH = 4, 32
COPIES, OURS, PER_UTTERANCE = "memcpy per utterance", "blankslate", "an HDF5 dataset per utterance"
FILES, HDF5 = "Lhotse, numpy_files", "Lhotse, numpy_hdf5"
WORKERS = (0, 1, 2, 4)

Places = Int64[np.ndarray, " B"]


def reading(corpora: Corpora) -> Iterator[Group]:
    file = {"manifest_file": str(corpora.manifest(LISTED)[0])}
    yield Group(
        title=f"batches of {BATCH} from AN4 listed {LISTED} times, in process, one thread",
        unit="Mframes",
        cases=[
            Case(COPIES, "reading:copies", file),
            Case(OURS, "reading:ours", file),
            Case(PER_UTTERANCE, "reading:per_utterance", file),
            *(_lhotse(name, file, 0) for name in (FILES, HDF5)),
        ],
        targets=[
            Target([OURS], [COPIES], at_most=2.5),
            Target([PER_UTTERANCE], [OURS], at_least=10),
            Target([FILES, HDF5], [OURS], at_least=15),
        ],
    )
    yield Group(
        title="the same through the trainer's feed, mapped, standardised, by loader workers",
        unit="Mframes",
        cases=[
            *(
                Case(f"{OURS}, {workers} workers", "reading:fed", {**file, "workers": workers})
                for workers in WORKERS
            ),
            *(_lhotse(f"{FILES}, {workers} workers", file, workers) for workers in WORKERS[1:]),
        ],
    )


def _lhotse(name: str, file: dict[str, str], workers: int) -> Case:
    storage = HDF5 if HDF5 in name else FILES
    settings = {"storage": storage.removeprefix("Lhotse, "), "batch": BATCH, "workers": workers}
    return Case(name, "lhotse_cases:batches", {**file, **settings}, needs="lhotse")


def stored(folder: Path, manifest_file: str) -> tuple[FeatureSet, list[StoredUtterance]]:
    features = feature_set(folder, manifest_file, storage="float32")
    return features, [each for each in features.utterances if each.split == "train"]


def plan(lengths: Int64[np.ndarray, " U"], epoch: int) -> list[Places]:
    return batches.order(lengths, TrainSettings(batch=BATCH), epoch, stack=1)


def copies(scratch: Path, *, manifest_file: str) -> Job:
    """From one array in memory into a buffer that stays in the cache, utterance by utterance."""
    features, chosen = stored(scratch, manifest_file)
    lengths = np.array([each.frames for each in chosen])
    frames = np.concatenate([features.frames(each) for each in chosen])
    starts = lengths.cumsum() - lengths
    buffer = np.empty((BATCH, int(lengths.max()), features.bins), np.float32)

    def read(places: Places) -> None:
        padded = buffer.ravel()[: BATCH * lengths[places].max() * features.bins]
        padded = padded.reshape(BATCH, -1, features.bins)
        for row, place in zip(padded, places.tolist(), strict=False):
            row[: lengths[place]] = frames[starts[place] : starts[place] + lengths[place]]
            row[lengths[place] :] = 0

    return _epochs(lengths, read)


def ours(scratch: Path, *, manifest_file: str) -> Job:
    """What the trainer's store does where frames stay in the shards; nothing is normalised."""
    torch.set_num_threads(1)
    split = _split(scratch, manifest_file, InputSettings(normalisation="none"))
    return _epochs(split.stored, split.batch)


def fed(scratch: Path, *, manifest_file: str, workers: int) -> Job:
    torch.set_num_threads(1)
    split = _split(scratch, manifest_file, InputSettings())
    feed = Feed(split, torch.device("cpu"), workers)
    closing = ExitStack()
    closing.enter_context(feed.watched())
    atexit.register(closing.close)  # its workers live for all rounds, and hear no signal
    epoch = 0

    def job(folder: Path) -> dict[str, float]:
        nonlocal epoch
        epoch += 1
        selections = [split.select(places) for places in plan(split.stored, epoch)]
        frames = sum(int(batch.lengths.sum()) for batch in feed.batches(selections))
        return {"amount": frames / 1e6}

    return job


def per_utterance(scratch: Path, *, manifest_file: str) -> Job:
    features, chosen = stored(scratch, manifest_file)
    lengths = np.array([each.frames for each in chosen])
    with h5py.File(scratch / "frames.h5", "w") as file:
        for each in chosen:
            file.create_dataset(each.id, data=features.frames(each))
    opened = h5py.File(scratch / "frames.h5")

    def read(places: Places) -> None:
        padded = np.empty((len(places), lengths[places].max(), features.bins), np.float32)
        for row, place in zip(padded, places.tolist(), strict=True):
            row[: lengths[place]] = opened[chosen[place].id][()]
            row[lengths[place] :] = 0

    return _epochs(lengths, read)


def _split(scratch: Path, manifest_file: str, settings: InputSettings) -> Split:
    features, _ = stored(scratch, manifest_file)
    return Split.mapped(features, "train", settings, alphabet("english-38"))


def _epochs(lengths: Int64[np.ndarray, " U"], read: Callable[[Places], object]) -> Job:
    """Each round another epoch, in another order."""
    epoch = 0

    def job(folder: Path) -> dict[str, float]:
        nonlocal epoch
        epoch += 1
        for places in plan(lengths, epoch):
            read(places)
        return {"amount": float(lengths.sum()) / 1e6}

    return job
