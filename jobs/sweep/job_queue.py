"""The job queue: what SLURM knows of the jobs of a sweep, in one squeue and one sacct.

In:   the ledger, the ids of unfinished runs and shards.   Out: `Queue`.
Not here: keeping the result for a while (queue_cache.py), what it means (run_status.py).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from jobs.slurm import client, sacct
from jobs.slurm.client import QueuedJob, SchedulerError
from jobs.slurm.sacct import JobAttempt
from jobs.sweep.folder import SweepFolder
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import SweepRecord
from pipeline.runs.early_stop import read_early_stop
from pipeline.runs.folder import Heartbeat


@dataclass(frozen=True)
class Queue:
    """What SLURM knows of the jobs of a sweep."""

    jobs: Mapping[str, QueuedJob] | None = field(default_factory=dict)  # None: no answer
    attempts_by_job: Mapping[str, Sequence[JobAttempt]] = field(default_factory=dict)
    error_message: str = ""  # why there is no answer
    cancelled_jobs: Collection[str] = ()  # that a person has cancelled; an array is one id

    @property
    def ignored(self) -> bool:
        """Whether a local sweep goes on without SLURM's answer, so that SLURM jobs do not count."""
        return self.jobs is not None and bool(self.error_message)

    def is_live(self, entry: LedgerEntry) -> bool:
        """Whether the job of a task is queued or running; True if SLURM did not answer."""
        if entry.scheduler != "slurm":
            return False
        return self.jobs is None or entry.job in self.jobs

    def heartbeat_job_ended(self, entry: LedgerEntry, heartbeat: Heartbeat) -> bool:
        """Whether sacct says that the job of this heartbeat has ended.

        Then the heartbeat is old, whatever the clock of its node says.
        """
        if heartbeat.job != entry.job or self.jobs is None or entry.job in self.jobs:
            return False
        attempts = self.attempts_by_job.get(entry.job, ())
        return bool(attempts) and attempts[-1].ended is not None


def try_query_slurm(folder: SweepFolder, items: Sequence[str]) -> Queue:
    """Query SLURM if a ledger has a SLURM job of these items; an error is part of the result."""
    if not latest_slurm_jobs(folder, items):
        return Queue()
    try:
        return query_slurm(folder, items, retry=False)
    except SchedulerError as error:
        return Queue(None, {}, str(error))


def query_slurm(folder: SweepFolder, items: Sequence[str], *, retry: bool = True) -> Queue:
    """Query SLURM for a submission, which needs an answer and the whole queue of this user.

    Raises SchedulerError if there is no answer.
    """
    queued = client.squeue(retry=retry)
    return Queue(queued, sacct.query_job_attempts(latest_slurm_jobs(folder, items) - set(queued)))


def latest_slurm_jobs(folder: SweepFolder, items: Sequence[str]) -> set[str]:
    """Return the jobs of these runs and shards, without those last run on this machine."""
    latest = folder.latest()
    entries = [latest[item] for item in items if item in latest]
    return {entry.job for entry in entries if entry.scheduler == "slurm"}


def unfinished_items(record: SweepRecord, folder: SweepFolder) -> list[str]:
    """Return the runs that are not done, the shards of their feature sets, the report.

    A run is done if it is finished or stopped early.
    """
    heartbeats = ((run, folder.run(run.run_id).heartbeat()) for run in record.runs)
    runs = [
        run
        for run, heartbeat in heartbeats
        if (not heartbeat or heartbeat.status != "finished")
        and not read_early_stop(folder.run(run.run_id))
    ]
    needed = {run.feature_id for run in runs}
    shards = [
        f"{features.feature_id}/{index}"
        for features in record.features
        if features.feature_id in needed
        for index in range(features.slices)
    ]
    return [run.run_id for run in runs] + shards + folder.unwritten_report()
