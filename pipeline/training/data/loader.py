"""Loader: the batches of an epoch, each made while the one before is used.

In:   a split, the plan of an epoch, a device, a number of worker processes.
Out:  batches on the device, in the order of the plan.
Not here: what a batch holds (batches.py), where its frames are stored (frame_store.py).

A thread makes the next batch; gathering releases the GIL. If frames are mapped, worker processes
can gather instead; the thread then receives their frames and copies them to the device. Nothing
here is random, so the results do not depend on the number of workers.
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

PREFETCH_FACTOR = 2  # batches that each worker prepares ahead
# Signals that stop the run. Workers ignore them, and work until the run has stopped.
BLOCKED_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2") if hasattr(signal, name)
)

StartMethod = Literal["fork", "spawn", "forkserver"]
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")


class WorkerDiedError(InputError):
    """A worker process was killed."""


@dataclass(frozen=True, eq=False)
class FrameDataset(Dataset[Tensor]):
    """Returns the frames of a selection, in this process or in a worker."""

    store: FrameStore

    def __getitem__(self, selection: Selection) -> Float32[Tensor, "B T F"]:
        frames = self.store.gather(selection.indices, selection.frame_index)
        if selection.warp is not None:
            frames = augment.warp_frequencies(frames, selection.warp, self.store.centres_hz)
        if selection.masks is None:
            return frames
        return augment.apply_masks(frames, selection.masks, self.store.stack)


@dataclass(eq=False)
class BatchLoader:
    """Makes the batches of one split; its workers are kept between epochs."""

    split: SplitData
    device: torch.device
    workers: int = 0  # used only if frames are mapped
    start_method: StartMethod | None = None  # of the workers; None: Python's default on this system
    _selections: list[Selection] = field(default_factory=list)
    _loader: "DataLoader[Tensor] | None" = None

    def batches(self, plan: Sequence[Selection]) -> Generator[Batch, None, None]:
        """Yield the batches of a plan; the generator may be closed before its end."""
        if self.workers and isinstance(self.split.store, MappedFrames):
            frames = self._frames_from_workers(plan)
            return prefetch(lambda selection: self._make_batch(selection, next(frames)), plan)
        reader = FrameDataset(self.split.store)
        return prefetch(lambda selection: self._make_batch(selection, reader[selection]), plan)

    @contextmanager
    def supervise_workers(self) -> Iterator[None]:
        """End the workers at the end of the block; WorkerDiedError if one died in it."""
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
            # The user may set more workers than there are CPUs.
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
    """Yield what `make` returns for each item; a thread makes the next one meanwhile."""
    with ThreadPoolExecutor(1, "loader") as background:
        coming = [background.submit(make, one) for one in items[:1]]
        for one in items[1:]:
            made = coming.pop().result()
            coming.append(background.submit(make, one))
            yield made
            del made  # free its memory before waiting for the next
        for last in coming:
            yield last.result()


@contextmanager
def block_signals() -> Iterator[None]:
    """Block the signals that stop a run in processes that are started in the block."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # started inside the block, it would unblock the signals
    former = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _ignore_signals(worker: int) -> None:
    """Ignore the signals in a worker: on Windows they cannot be blocked before it starts."""
    for number in BLOCKED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
