"""Slices on the node: one after another, through every feature set that lacks their shard.

In:   the slices of a task.   Out: shards; beside the task's file, how far it is.
Not here: the transform (pipeline/features/precompute.py), which slices are missing (reconcile.py).
"""

import ctypes
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from jobs.node.signals import StopRequest
from jobs.node.task_file import Slice, progress_path
from pipeline.config.identity import feature_id
from pipeline.corpus.manifest import ManifestFile, Refusal, require_no_refusals
from pipeline.files import InputError, read_json, write_json

PROGRESS_WRITE_INTERVAL_S = 0.5
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
MALLOC_THRESHOLD_BYTES = 32 * 2**20  # bytes: the most that glibc takes as a threshold


@dataclass(frozen=True)
class TaskProgress:
    """How far a task is."""

    utterances: int = 0
    seconds: float = 0.0  # of speech, decoded and stored
    refusals: tuple[Refusal, ...] = ()
    took: float = 0.0  # seconds

    def __add__(self, other: "TaskProgress") -> "TaskProgress":
        return TaskProgress(
            self.utterances + other.utterances,
            self.seconds + other.seconds,
            self.refusals + other.refusals,
            self.took + other.took,
        )


def read_progress(task: Path) -> TaskProgress:
    path = progress_path(task)
    if not path.exists():
        return TaskProgress()
    content = read_json(path)
    refusals = tuple(Refusal(**each) for each in content["refusals"])
    return TaskProgress(
        content["utterances"], content["seconds"], refusals, content.get("took", 0.0)
    )


def compute_slices(work: Path, pieces: Sequence[Slice], task: Path, stop: StopRequest) -> bool:
    """Whether all are done; `stop` is asked between them. What fails is raised after the others."""
    # h5py and soundfile belong on the node: a login node imports this module only to write tasks.
    from pipeline.features import precompute  # noqa: PLC0415

    keep_freed_memory()
    manifests = {name: ManifestFile.open(Path(name)) for name in {p.manifest for p in pieces}}
    names = {name for piece in pieces for name in piece.feature_ids}
    sets = {name: precompute.load_target(work, name) for name in names}
    progress_writer = _ProgressWriter(progress_path(task))
    failed: list[Exception] = []
    failed_sets: set[str] = set()  # feature sets whose storage holds too little
    for piece in pieces:
        if stop():
            progress_writer.write()
            return False
        manifest = manifests[piece.manifest]
        for name in piece.feature_ids:
            if feature_id(sets[name][0], manifest.digest) != name:
                raise InputError(
                    f"{manifest.path}: is not what {sets[name][1]} was made for; make features"
                )
        targets = [sets[name] for name in piece.feature_ids if name not in failed_sets]
        refusals: Sequence[Refusal] = ()
        try:
            refusals = precompute.precompute_slice(
                manifest, piece.index, targets, progress_writer.update_slice
            )
        except OSError:
            raise  # such as a full disk, which the next one would meet as well
        except Exception as error:
            failed.append(error)
            failed_sets.update(getattr(error, "feature_ids", ()))
        progress_writer.end_slice(refusals)
    progress_writer.write()
    if failed:
        raise failed[0]
    return True


def keep_freed_memory() -> None:
    """For this process: else glibc returns each waveform's pages, and the next faults them in."""
    with suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for threshold in (TRIM_THRESHOLD, MMAP_THRESHOLD):
            mallopt(threshold, MALLOC_THRESHOLD_BYTES)


def verify_complete_sets(work: Path, pieces: Sequence[Slice]) -> None:
    """Whoever completes a feature set compares every byte of it and adds its statistics up.

    That one also refuses it where its corpus is strict.
    """
    from pipeline.features.feature_set import FeatureSet, read_description  # noqa: PLC0415

    manifests = {name: piece.manifest for piece in pieces for name in piece.feature_ids}
    for name, manifest in sorted(manifests.items()):
        folder = work / "features" / name
        try:
            features = FeatureSet.open(folder)
        except InputError:
            continue  # other tasks are at it; the last one comes here again
        features.verify()
        features.statistics.count  # noqa: B018 (read once, they are kept)
        if ManifestFile.open(Path(manifest)).strict:
            require_no_refusals(read_description(folder).corpus, features.refusals)


class _ProgressWriter:
    """Tells the process that waits, now and then, how far this one is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._completed = self._current = TaskProgress()  # with the slices that are done; and now
        self._began = self._written = time.monotonic()

    def update_slice(self, utterances: int, seconds: float) -> None:
        """Update the progress of the current slice."""
        self._current = self._completed + TaskProgress(utterances, seconds)
        if time.monotonic() - self._written > PROGRESS_WRITE_INTERVAL_S:
            self.write()

    def end_slice(self, refusals: Sequence[Refusal]) -> None:
        self._completed = self._current = self._current + TaskProgress(refusals=tuple(refusals))

    def write(self) -> None:
        self._written = time.monotonic()
        write_json(self._path, asdict(replace(self._current, took=self._written - self._began)))
