"""Batches come in order, the same for any number of workers; workers stay for all epochs."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config.experiment import TrainSettings
from pipeline.config.network import InputSettings
from pipeline.corpus.text.alphabet import ALPHABETS
from pipeline.features.feature_set import FeatureSet
from pipeline.training.data import augment
from pipeline.training.data.batches import Batch, Selection, SplitData
from pipeline.training.data.epoch_plan import plan_epoch
from pipeline.training.data.loader import BLOCKED_SIGNALS, BatchLoader, WorkerDiedError, prefetch
from tests.training.letters import write_sharded_feature_set

CPU = torch.device("cpu")
REPOSITORY = Path(__file__).resolve().parents[3]
SETTINGS = TrainSettings(
    batch=3,
    shift=True,
    tempo=0.2,
    frequency_warp=0.1,
    time_masks=1,
    time_mask_frames=4,
    frequency_masks=1,
    frequency_mask_bins=3,
)


def split_of(features: FeatureSet) -> SplitData:
    settings = InputSettings(normalisation="zca", stack=2)
    return SplitData.from_shards(features, "train", settings, ALPHABETS["english-38"])


def plan(split: SplitData, epoch: int) -> list[Selection]:
    return plan_epoch(split, SETTINGS, epoch, lambda frames: np.ones(len(frames), bool))


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert [u.id for u in one.utterances] == [u.id for u in other.utterances]
        for name in ("frames", "lengths", "targets", "target_lengths"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize(
    ("workers", "start"), [(0, None), (1, "fork"), (2, "fork"), (2, "spawn")], ids=str
)
def test_batches_are_the_same_for_any_number_of_workers(
    features: FeatureSet, workers: int, start: str | None
):
    split = split_of(features)
    resident = split.to_resident(CPU)
    loader = BatchLoader(split, CPU, workers, start)
    with loader.supervise_workers():
        for epoch in (1, 2, 3):
            epoch_plan = plan(split, epoch)
            assert_same(
                list(loader.batches(epoch_plan)),
                list(BatchLoader(resident, CPU).batches(epoch_plan)),
            )


def test_the_loader_stretches_first_and_masks_then(features: FeatureSet):
    split = split_of(features)
    for selection in plan(split, 1):
        (found,) = BatchLoader(split, CPU).batches([selection])
        stored = split.store.gather(selection.indices, selection.frame_index)
        warped = augment.warp_frequencies(stored, selection.warp, split.store.centres_hz)
        assert not torch.allclose(warped, stored, atol=1e-3)
        assert torch.equal(found.frames, augment.apply_masks(warped, selection.masks, split.stack))


def children() -> set[int]:
    listing = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return set(map(int, listing.split()))


@pytest.fixture
def loader_with_workers(
    features: FeatureSet,
) -> Iterator[tuple[BatchLoader, list[Selection], set[int]]]:
    """Return a loader, the plan of an epoch, and its two workers."""
    split, before = split_of(features), children()
    loader = BatchLoader(split, CPU, 2, "fork")
    with loader.supervise_workers():
        list(loader.batches(plan(split, 1)))
        # The tracker of multiprocessing's resources is a child too, and none of the loader's.
        workers = {pid for pid in children() - before if b"resource_tracker" not in cmdline(pid)}
        assert len(workers) == 2
        yield loader, plan(split, 2), workers


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


# From Python 3.12 on, a fork beside threads warns; our threads hold no lock that a worker needs.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc and signals")


@linux
def test_workers_stay_from_epoch_to_epoch_and_end_with_the_loader(
    features: FeatureSet, loader_with_workers: tuple[BatchLoader, list[Selection], set[int]]
):
    loader, epoch_plan, workers = loader_with_workers
    list(loader.batches(epoch_plan))
    assert workers <= children()
    with loader.supervise_workers():
        pass
    assert not workers & children()


@linux
def test_workers_ignore_the_signals_that_stop_the_run(
    loader_with_workers: tuple[BatchLoader, list[Selection], set[int]],
):
    loader, epoch_plan, workers = loader_with_workers
    for number in BLOCKED_SIGNALS:
        for pid in workers:
            os.kill(pid, number)
    time.sleep(0.1)
    assert len(list(loader.batches(epoch_plan))) == len(epoch_plan)
    assert workers <= children()


@linux
def test_a_worker_that_was_killed_is_reported_in_one_line(features: FeatureSet):
    split = split_of(features)
    loader, before = BatchLoader(split, CPU, 2, "fork"), children()
    message = r"^a loader worker died \(DataLoader worker .*\); .* workers: 0$"
    with pytest.raises(WorkerDiedError, match=message), loader.supervise_workers():
        list(loader.batches(plan(split, 1)))
        for pid in children() - before:
            os.kill(pid, signal.SIGKILL)
        for _ in range(50):
            list(loader.batches(plan(split, 2)))
            time.sleep(0.1)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_that_was_left_early_takes_the_next_plan(features: FeatureSet, workers: int):
    split = split_of(features)
    loader = BatchLoader(split, CPU, workers)
    with loader.supervise_workers():
        for _ in range(3):
            with closing(loader.batches(plan(split, 1))) as coming:
                next(coming)
        assert_same(
            list(loader.batches(plan(split, 2))),
            list(BatchLoader(split, CPU).batches(plan(split, 2))),
        )
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_the_next_batch_is_made_while_the_last_is_used():
    made: list[int] = []
    started = threading.Event()

    def make(number: int) -> int:
        made.append(number)
        if number == 1:
            started.set()
        return number

    coming = prefetch(make, range(3))
    assert next(coming) == 0
    assert started.wait(5)
    assert made == [0, 1]
    assert list(coming) == [1, 2]


def test_an_error_in_making_a_batch_is_raised_where_batches_are_read():
    with pytest.raises(ZeroDivisionError):
        list(prefetch(lambda number: 1 // number, [1, 0, 1]))
    assert list(prefetch(str, [])) == []


THOUSAND, MOST_FILES = 1000, 256


def held(pid: int) -> tuple[int, int]:
    """Open files; peak memory in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), int(peak) // 1024


def child(folder: Path, workers: int, epochs: int) -> None:
    """Epochs over a thousand shards; what each process holds after the second and the last."""
    import resource  # Windows has no such module

    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES, MOST_FILES))
    features = FeatureSet.open(folder)
    split = SplitData.from_shards(features, "train", InputSettings(), ALPHABETS["english-38"])
    loader, settings = BatchLoader(split, CPU, workers), TrainSettings(batch=32)
    with loader.supervise_workers():
        for epoch in range(1, epochs + 1):
            epoch_plan = plan_epoch(
                split, settings, epoch, lambda frames: np.ones(len(frames), bool)
            )
            assert sum(len(batch.indices) for batch in loader.batches(epoch_plan)) == THOUSAND
            if epoch in {2, epochs}:
                own = {pid for pid in children() if b"resource_tracker" not in cmdline(pid)}
                print(json.dumps([held(pid) for pid in (os.getpid(), *sorted(own))]))


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thousand") / "features"
    write_sharded_feature_set(folder, THOUSAND)
    return folder


@linux
@pytest.mark.parametrize(("workers", "epochs"), [(0, 50), (2, 8)])
def test_epochs_over_a_thousand_shards_hold_no_file_open_and_take_no_more_memory(
    workers: int, epochs: int, thousand: Path
):
    code = "import sys, pathlib; from tests.training.data.test_loader import child; "
    code += "child(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))"
    command = [sys.executable, "-W", "ignore", "-c", code, str(thousand)]
    printed = subprocess.check_output(
        [*command, str(workers), str(epochs)], cwd=REPOSITORY, text=True
    )
    early, late = (json.loads(line) for line in printed.splitlines())
    assert len(early) == len(late) == 1 + workers
    for (files, peak), (files_at_the_end, peak_at_the_end) in zip(early, late, strict=True):
        assert files_at_the_end < 128  # 64 maps of shards among them
        assert workers or files_at_the_end == files
        assert peak_at_the_end - peak < 8  # MB; all frames are 24
