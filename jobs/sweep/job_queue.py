"""The job queue: what SLURM says of the jobs of a sweep, in one squeue and one sacct.

In:   the ledger, the ids of unfinished runs and shards.   Out: `Queue`.
Not here: an answer that is kept for a while (queue_cache.py), what it means (run_status.py).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from jobs.slurm import client, sacct
from jobs.slurm.client import QueuedJob, SchedulerError
from jobs.slurm.sacct import JobAttempt
from jobs.sweep.folder import SweepFolder
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import SweepRecord
from pipeline.runs.folder import Heartbeat


@dataclass(frozen=True)
class Queue:
    """What SLURM says. `jobs` is None where it could not be asked."""

    jobs: Mapping[str, QueuedJob] | None = field(default_factory=dict)
    attempts_by_job: Mapping[str, Sequence[JobAttempt]] = field(default_factory=dict)
    error_message: str = ""
    cancelled_jobs: Collection[str] = ()  # jobs, an array once, that a person has cancelled

    @property
    def ignored(self) -> bool:
        """Asked in vain by a sweep that runs here: jobs of SLURM count no longer."""
        return self.jobs is not None and bool(self.error_message)

    def is_live(self, entry: LedgerEntry) -> bool:
        """Whether the task may still do its work; one that cannot be asked for counts as live."""
        if entry.scheduler != "slurm":
            return False
        return self.jobs is None or entry.job in self.jobs

    def heartbeat_job_ended(self, entry: LedgerEntry, beat: Heartbeat) -> bool:
        """Of the job that this heartbeat tells of, whatever the clock of its node says."""
        if beat.job != entry.job or self.jobs is None or entry.job in self.jobs:
            return False
        lives = self.attempts_by_job.get(entry.job, ())
        return bool(lives) and lives[-1].ended is not None


def try_query_slurm(folder: SweepFolder, items: Sequence[str]) -> Queue:
    """One squeue, one sacct; none at all where no ledger has a SLURM job that matters."""
    if not latest_slurm_jobs(folder, items):
        return Queue()
    try:
        return query_slurm(folder, items, retry=False)
    except SchedulerError as error:
        return Queue(None, {}, str(error))


def query_slurm(folder: SweepFolder, items: Sequence[str], *, retry: bool = True) -> Queue:
    """The same for who must know, and with the whole queue: a SchedulerError where it is silent."""
    queued = client.squeue(retry=retry)
    return Queue(queued, sacct.query_job_attempts(latest_slurm_jobs(folder, items) - set(queued)))


def latest_slurm_jobs(folder: SweepFolder, items: Sequence[str]) -> set[str]:
    """The last SLURM jobs of these items."""
    latest = folder.latest()
    entries = [latest[item] for item in items if item in latest]
    return {entry.job for entry in entries if entry.scheduler == "slurm"}


def unfinished_items(record: SweepRecord, folder: SweepFolder) -> list[str]:
    """Items of the ledger that a scheduler could still know something about."""
    heartbeats = ((run, folder.run(run.run_id).heartbeat()) for run in record.runs)
    runs = [run for run, heartbeat in heartbeats if not heartbeat or heartbeat.status != "finished"]
    needed = {run.feature_id for run in runs}
    shards = [
        f"{features.feature_id}/{index}"
        for features in record.features
        if features.feature_id in needed
        for index in range(features.slices)
    ]
    return [run.run_id for run in runs] + shards
