"""Stock: the feature sets of a sweep: how many of their shards are there, and why others are not.

In:   what a sweep wants, its ledger, an answer of the scheduler.   Out: counts; how jobs ended.
Not here: the runs (status.py), which shards can be used (lacking.py), what is done (remedies.py).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import SweepRecord
from jobs.sweep.run_status import state_after_job_ended
from pipeline.files import read_json
from pipeline.runs.folder import Failure


@dataclass(frozen=True)
class FeatureStatus:
    feature_id: str
    slices: int
    present_shards: frozenset[int]  # indices of shards

    @property
    def done(self) -> int:
        return len(self.present_shards)

    @property
    def missing(self) -> tuple[str, ...]:
        """As the ledger names them."""
        indices = (index for index in range(self.slices) if index not in self.present_shards)
        return tuple(f"{self.feature_id}/{index}" for index in indices)


@dataclass(frozen=True)
class ShardFailure:
    """Of the last job that was to make a shard."""

    cause: str
    message: str
    nodes: frozenset[str] = frozenset()  # that failed under it
    has_traceback: bool = False  # by the job itself, with a traceback


def feature_statuses(record: SweepRecord, folder: SweepFolder) -> list[FeatureStatus]:
    """Counted by name: a shard appears whole or not at all, and opening 512 of them takes long."""
    return [
        FeatureStatus(each.feature_id, each.slices, _find_shards(folder.features(each.feature_id)))
        for each in record.features
    ]


def _find_shards(features: Path) -> frozenset[int]:
    names = (re.match(r"shard-(\d+)", path.name) for path in features.glob("shard-*.h5"))
    return frozenset(int(name[1]) for name in names if name)


def shard_failures(
    missing: Iterable[str], folder: SweepFolder, queue: Queue
) -> dict[str, ShardFailure]:
    """Missing shard -> how its last job failed; nothing of one that lives or was never there."""
    latest = folder.latest()
    tried = {item: latest[item] for item in missing if item in latest}
    jobs = dict.fromkeys(tried.values())
    found = {
        entry: _shard_failure(entry, folder, queue) for entry in jobs if not queue.is_live(entry)
    }
    failures = {item: found.get(entry) for item, entry in tried.items()}
    return {item: failure for item, failure in failures.items() if failure}


def _shard_failure(entry: LedgerEntry, folder: SweepFolder, queue: Queue) -> ShardFailure | None:
    attempts = queue.attempts_by_job.get(entry.job, ())
    nodes = frozenset(attempt.failed_node for attempt in attempts if attempt.failed_node)
    # The name of a task is that of its content: another sweep's would have another folder.
    for file in sorted(folder.path.parent.glob(f"*/tasks/{Path(entry.task).stem}.failure")):
        failure = Failure(**read_json(file))
        return ShardFailure(
            failure.cause, failure.message, nodes, has_traceback=bool(failure.traceback)
        )
    if entry.scheduler != "slurm":
        return None
    output = folder.output(entry.job)
    state, cause, message = state_after_job_ended(None, entry, attempts, output)
    if state != "failed":
        return None
    hint = f"; see {output}" if cause in {"code error", "killed"} else ""
    return ShardFailure(cause, message + hint, nodes)


def feature_failure_lines(failures: Sequence[ShardFailure]) -> list[str]:
    """Why features are not there, each cause once."""
    causes = dict.fromkeys((failure.cause, failure.message) for failure in failures)
    return [f"features failed: {cause}: {message}" for cause, message in causes]
