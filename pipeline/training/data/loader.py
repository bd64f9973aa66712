"""Feed: the batches of an epoch, each made while the one before it is used.

In:   a split, what its batches are to show, a device, a number of worker processes.
Out:  batches on the device, in the order asked for.
Not here: what a batch holds (batches.py), where its frames lie (store.py).

A thread makes the next batch: gathering lets go of Python's lock. Where frames are mapped, worker
processes may gather in its stead; the thread then takes from them, and copies to the device.
Nothing random happens here, so that no answer depends on who makes a batch.
"""

import signal
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.files import InputError
from pipeline.shapes import Float32
from pipeline.training.data import augment
from pipeline.training.data.batches import Batch, Selection, SplitData
from pipeline.training.data.frame_store import FrameStore, MappedFrames

PREFETCH_FACTOR = 2  # batches that each worker has ready
# What stops the run; a worker goes on until the run has stopped.
BLOCKED_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2") if hasattr(signal, name)
)

StartMethod = Literal["fork", "spawn", "forkserver"]
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")


class WorkerDiedError(InputError):
    """A process that fed the training was killed."""


@dataclass(frozen=True, eq=False)
class FrameDataset(Dataset[Tensor]):
    """Selection -> frames, in this process or in a worker."""

    store: FrameStore

    def __getitem__(self, selection: Selection) -> Float32[Tensor, "B T F"]:
        frames = self.store.gather(selection.indices, selection.frame_index)
        if selection.masks is None:
            return frames
        return augment.apply_masks(frames, selection.masks, self.store.stack)


@dataclass(eq=False)
class BatchLoader:
    """Feeds epoch after epoch of one split; its workers live until it is closed."""

    split: SplitData
    device: torch.device
    workers: int = 0  # where frames are mapped
    start_method: StartMethod | None = None  # of the workers; None: the system's own way
    _selections: list[Selection] = field(default_factory=list)
    _loader: "DataLoader[Tensor] | None" = None

    def batches(self, plan: Sequence[Selection]) -> Generator[Batch, None, None]:
        """Closed early, it is ready for the next plan."""
        if self.workers and isinstance(self.split.store, MappedFrames):
            frames = self._frames_from_workers(plan)
            return prefetch(lambda selection: self._make_batch(selection, next(frames)), plan)
        reader = FrameDataset(self.split.store)
        return prefetch(lambda selection: self._make_batch(selection, reader[selection]), plan)

    @contextmanager
    def supervise_workers(self) -> Iterator[None]:
        """Close it at the end; a worker's death in between is told in one line."""
        try:
            yield
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise WorkerDiedError(
                f"a loader worker died ({' '.join(str(error).split())}); the system kills one when "
                "memory runs out: raise memory_gb in the profile, or set its workers: 0"
            ) from error
        finally:
            self._loader = None  # which ends its workers

    def _make_batch(self, selection: Selection, frames: Float32[Tensor, "B T F"]) -> Batch:
        if frames.device.type != self.device.type:
            pinned = frames if frames.is_pinned() else frames.pin_memory()
            frames = pinned.to(self.device, non_blocking=True)
        return self.split.attach_labels(selection, frames)

    def _frames_from_workers(self, plan: Sequence[Selection]) -> Iterator[Tensor]:
        self._selections[:] = plan
        with block_signals(), warnings.catch_warnings():
            # More workers than CPUs are somebody's wish.
            warnings.filterwarnings("ignore", message="This DataLoader will create")
            self._loader = self._loader or DataLoader(
                FrameDataset(self.split.store),
                batch_size=None,  # a selection is a whole batch
                sampler=self._selections,
                num_workers=self.workers,
                prefetch_factor=PREFETCH_FACTOR,
                persistent_workers=True,
                pin_memory=self.device.type == "cuda",
                worker_init_fn=_ignore_signals,
                multiprocessing_context=self.start_method,
                generator=torch.Generator(),  # not the one that dropout draws from
            )
            return iter(self._loader)


def prefetch(
    make: Callable[[InputT], OutputT], items: Sequence[InputT]
) -> Generator[OutputT, None, None]:
    """What is made of each, the next while the last is used."""
    with ThreadPoolExecutor(1, "feed") as background:
        coming = [background.submit(make, one) for one in items[:1]]
        for one in items[1:]:
            made = coming.pop().result()
            coming.append(background.submit(make, one))
            yield made
            del made  # before the next one is waited for: it may be large
        for last in coming:
            yield last.result()


@contextmanager
def block_signals() -> Iterator[None]:
    """Processes started within never hear what stops a run, not even before their first line."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which would lift the block, if it were started within it
    former = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _ignore_signals(worker: int) -> None:
    """Where signals cannot be blocked beforehand, as on Windows, they are ignored from here on."""
    for number in BLOCKED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
