"""Feature status: which shards and which report a sweep lacks, and how their jobs failed.

In:   a sweep's record, its ledger, what SLURM knows of its jobs.   Out: counts; how jobs ended.
Not here: the runs (run_status.py), whether a shard is usable (launch/missing_features.py), retries
(retry_policy.py).
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import SweepRecord
from jobs.sweep.run_status import state_after_job_ended
from pipeline.files import read_json
from pipeline.runs.records import Failure, record_from_json


class FeatureStatus(NamedTuple):
    feature_id: str
    slices: int
    present_shards: frozenset[int]  # their indices

    @property
    def done(self) -> int:
        return len(self.present_shards)

    @property
    def missing(self) -> tuple[str, ...]:
        """The missing shards, as `feature_id/index`: the ledger's name for them."""
        indices = (index for index in range(self.slices) if index not in self.present_shards)
        return tuple(f"{self.feature_id}/{index}" for index in indices)


class ShardFailure(NamedTuple):
    """How the last job that computed a shard failed."""

    cause: str
    message: str
    nodes: frozenset[str] = frozenset()  # nodes that failed during it
    has_traceback: bool = False  # recorded by the job itself


def feature_statuses(record: SweepRecord, folder: SweepFolder) -> list[FeatureStatus]:
    """Return the status of each feature set of the sweep.

    File names are enough: a shard is renamed into place when it is complete, and opening 512 shards
    takes long.
    """
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
    """Return missing shard -> how its last job failed.

    Without the shards that no job was submitted for, or whose job is queued or running.
    """
    latest = folder.latest()
    tried = {item: latest[item] for item in missing if item in latest}
    failure_by_task = {
        entry: _shard_failure(entry, folder, queue)
        for entry in dict.fromkeys(tried.values())
        if not queue.is_live(entry)
    }
    failures = {item: failure_by_task.get(entry) for item, entry in tried.items()}
    return {item: failure for item, failure in failures.items() if failure}


def _shard_failure(entry: LedgerEntry, folder: SweepFolder, queue: Queue) -> ShardFailure | None:
    attempts = queue.attempts(entry)
    nodes = frozenset(attempt.failed_node for attempt in attempts if attempt.failed_node)
    # A task file is named by its content, and any sweep of the work folder may have submitted it.
    for file in sorted(folder.path.parent.glob(f"*/tasks/{Path(entry.task).stem}.failure")):
        failure = record_from_json(Failure, read_json(file))
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
    """Return one line for each different failure of feature jobs."""
    causes = dict.fromkeys((failure.cause, failure.message) for failure in failures)
    return [f"features failed: {cause}: {message}" for cause, message in causes]


def report_failure_lines(folder: SweepFolder, queue: Queue) -> list[str]:
    """Return how the job of the report failed, and what to do; none if it has not failed."""
    settings = {"out of memory": "report_memory_gb", "timeout": "report_minutes"}
    lines = []
    for failure in shard_failures(folder.unwritten_report(), folder, queue).values():
        setting = settings.get(failure.cause, "")
        lines.append(
            f"report failed: {failure.cause}: {failure.message}; "
            f"make report SWEEP={folder.name} writes it on this machine"
            + (f"; raise {setting} in the profile" if setting else "")
        )
    return lines
