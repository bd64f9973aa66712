"""Feature tasks: compute the shards of each slice for every feature set that lacks them.

In:   the slices of a task.   Out: shards; the progress, in a file beside the task file.
Not here: the transform (pipeline/features/), which shards are missing (launch/missing_features.py).
"""

import ctypes
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.node.signals import StopRequest
from jobs.node.task_file import Slice, progress_path
from pipeline.config.identity import feature_id
from pipeline.corpus.manifest import ManifestFile, Refusal, require_no_refusals
from pipeline.files import InputError, read_json, write_json

if TYPE_CHECKING:
    from pipeline.features.shard_output import FeatureSetTarget

PROGRESS_WRITE_INTERVAL_S = 0.5
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
MALLOC_THRESHOLD_BYTES = 32 * 2**20  # the largest value that glibc accepts


@dataclass(frozen=True)
class TaskProgress:
    """The progress of a feature task."""

    utterances: int = 0
    seconds: float = 0.0  # of speech, decoded and stored
    refusals: tuple[Refusal, ...] = ()
    took: float = 0.0  # seconds since its process started on the task

    def __add__(self, other: "TaskProgress") -> "TaskProgress":
        return TaskProgress(
            self.utterances + other.utterances,
            self.seconds + other.seconds,
            self.refusals + other.refusals,
            self.took + other.took,
        )


def read_progress(task: Path) -> TaskProgress:
    """Read the progress of a task file; all zero if the task has not written any yet."""
    path = progress_path(task)
    if not path.exists():
        return TaskProgress()
    content = read_json(path)
    refusals = tuple(Refusal(**each) for each in content["refusals"])
    return TaskProgress(
        content["utterances"], content["seconds"], refusals, content.get("took", 0.0)
    )


def compute_slices(work: Path, slices: Sequence[Slice], task: Path, stop: StopRequest) -> bool:
    """Compute each slice; return False if `stop` was set before the last one.

    A slice that fails does not stop the others; the first error is raised at the end. An OSError,
    such as a full disk, is raised at once. Raise InputError if a manifest has changed.
    """
    # Only here: a login node imports this module, and must not load h5py and soundfile.
    from pipeline.features import precompute  # noqa: PLC0415

    keep_freed_memory()
    manifests = {
        name: ManifestFile.open(Path(name)) for name in {piece.manifest for piece in slices}
    }
    names = {name for piece in slices for name in piece.feature_ids}
    sets = {name: precompute.load_target(work, name) for name in names}
    progress_writer = _ProgressWriter(progress_path(task))
    errors: list[Exception] = []
    failed_sets: set[str] = set()  # feature ids whose values exceed the range of their storage
    for piece in slices:
        if stop():
            progress_writer.write()
            return False
        manifest = manifests[piece.manifest]
        _require_unchanged(manifest, [sets[name] for name in piece.feature_ids])
        targets = [sets[name] for name in piece.feature_ids if name not in failed_sets]
        refusals: Sequence[Refusal] = ()
        try:
            refusals = precompute.precompute_slice(
                manifest, piece.index, targets, progress_writer.update_slice
            )
        except OSError:
            raise  # the next slice would fail as well
        except Exception as error:
            errors.append(error)
            failed_sets.update(getattr(error, "feature_ids", ()))
        progress_writer.end_slice(refusals)
    progress_writer.write()
    if errors:
        raise errors[0]
    return True


def _require_unchanged(manifest: ManifestFile, targets: Sequence["FeatureSetTarget"]) -> None:
    for settings, folder, name in targets:
        if feature_id(settings, manifest.digest) != name:
            raise InputError(
                f"{manifest.path}: has changed since {folder} was made; run make features again"
            )


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory: else it returns each waveform's pages to the system."""
    with suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for threshold in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(threshold, MALLOC_THRESHOLD_BYTES)


def verify_complete_sets(work: Path, slices: Sequence[Slice]) -> None:
    """Verify every byte of each complete feature set, and store its statistics.

    The task that completes a set does it. Raise InputError if a byte has changed, or if the corpus
    is strict and has refused utterances.
    """
    from pipeline.features.feature_set import FeatureSet, read_description  # noqa: PLC0415

    manifests = {name: piece.manifest for piece in slices for name in piece.feature_ids}
    for name, manifest in sorted(manifests.items()):
        folder = work / "features" / name
        try:
            features = FeatureSet.open(folder)
        except InputError:
            continue  # incomplete: the task that writes the last shard verifies it
        features.verify()
        features.statistics.count  # noqa: B018 (reading them stores them)
        if ManifestFile.open(Path(manifest)).strict:
            require_no_refusals(read_description(folder).corpus, features.refusals)


class _ProgressWriter:
    """Writes the progress for the process that shows it, at most every half second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # The progress of completed slices; the same with the part of the current slice.
        self._completed = self._current = TaskProgress()
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
