"""The job queue: what SLURM knows of the jobs of a sweep, in one squeue and one sacct.

In:   the ledger, the ids of unfinished runs and shards.   Out: `Queue`.
Not here: keeping the result for a while (queue_cache.py), what it means (run_status.py).
"""

import getpass
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from jobs import environment
from jobs.messages import clock_text
from jobs.slurm import client, sacct, site_config
from jobs.slurm.client import QueuedJob, SchedulerError
from jobs.slurm.reasons import explain, never_starts
from jobs.slurm.sacct import JobAttempt
from jobs.sweep.folder import SweepFolder
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import SweepRecord, read_records
from pipeline.runs.folder import Heartbeat
from pipeline.runs.state import read_early_stop

LATE_HEARTBEAT_S = 60.0  # between SLURM's clock and the file server's


@dataclass(frozen=True)
class Queue:
    """What SLURM knows of the jobs of a sweep."""

    jobs: Mapping[str, QueuedJob] | None = field(default_factory=dict)  # None: no answer
    attempts_by_job: Mapping[str, Sequence[JobAttempt]] = field(default_factory=dict)
    error_message: str = ""  # why there is no answer
    cancelled_jobs: Collection[str] = ()  # that a person has cancelled; an array is one id
    cluster: str = ""  # whose jobs these are; empty: not known
    other_users_jobs: frozenset[str] = frozenset()  # of the same sweep

    @property
    def own_jobs(self) -> dict[str, QueuedJob]:
        """The jobs of this user, which the limits count."""
        every = self.jobs or {}
        return {name: job for name, job in every.items() if name not in self.other_users_jobs}

    @property
    def ignored(self) -> bool:
        """Whether a local sweep goes on without SLURM's answer, so that SLURM jobs do not count."""
        return self.jobs is not None and bool(self.error_message)

    def is_live(self, entry: LedgerEntry) -> bool:
        """Whether the job of a task is queued or running; True if SLURM did not answer."""
        if entry.scheduler != "slurm" or self.ignored:
            return False
        return self.jobs is None or self.job(entry) is not None or bool(self.unseen(entry))

    def job(self, entry: LedgerEntry) -> QueuedJob | None:
        """Return the queued or running job of a task; None if SLURM does not list it."""
        return None if self._is_elsewhere(entry) else (self.jobs or {}).get(entry.job)

    def attempts(self, entry: LedgerEntry) -> Sequence[JobAttempt]:
        return () if self._is_elsewhere(entry) else self.attempts_by_job.get(entry.job, ())

    def unseen(self, entry: LedgerEntry) -> str:
        """Return whose job it is if SLURM may hide it: of another cluster or user; else ""."""
        if self.was_cancelled(entry):
            return ""
        if self._is_elsewhere(entry):
            return (
                f"on cluster {entry.cluster}, whose jobs this SLURM does not list; on a login node "
                "there make sweep or make cancel finds it"
            )
        of_other_user = entry.user and entry.user != getpass.getuser()
        if of_other_user and not self.job(entry) and not self.attempts(entry):
            return (
                f"of user {entry.user}, and SLURM does not list it; if it is gone, this user can "
                "type make sweep or make cancel"
            )
        return ""

    def _is_elsewhere(self, entry: LedgerEntry) -> bool:
        return bool(entry.cluster and self.cluster and entry.cluster != self.cluster)

    def was_cancelled(self, entry: LedgerEntry) -> bool:
        """Whether `make cancel` has cancelled the job of a task."""
        return client.array_job_id(entry.job) in self.cancelled_jobs

    def heartbeat_job_ended(self, entry: LedgerEntry, heartbeat: Heartbeat, written: float) -> bool:
        """Whether sacct says that the job of this heartbeat has ended.

        Then the heartbeat is old, whatever the clock of its node says. `written`: when the file
        server got it; what writes later than a minute after the end is not the job that ended.
        """
        if heartbeat.job != entry.job or self.jobs is None or self.job(entry):
            return False
        attempts = self.attempts(entry)
        ended = attempts[-1].ended if attempts else None
        return ended is not None and written < ended + LATE_HEARTBEAT_S


def try_query_slurm(folder: SweepFolder, items: Sequence[str]) -> Queue:
    """Query SLURM if a ledger has a SLURM job of these items; an error is part of the result.

    If the last job went to another cluster, that one is queried, because a command that only shows
    may have no profile.
    """
    entries = latest_slurm_entries(folder, items)
    if not entries:
        return Queue()
    try:
        queue = query_slurm(folder, items, retry=False)
    except SchedulerError as error:
        return Queue(None, {}, str(error))
    cluster = max(entries, key=lambda entry: entry.time).cluster
    if cluster and queue.cluster and cluster != queue.cluster:
        before = environment.addressed_cluster()
        environment.address_cluster(cluster)
        with suppress(SchedulerError):  # the two have no database in common
            return query_slurm(folder, items, retry=False)
        environment.address_cluster(before)
    return queue


def query_slurm(folder: SweepFolder, items: Sequence[str], *, retry: bool = True) -> Queue:
    """Query SLURM for a submission, which needs an answer and the whole queue of this user.

    Raises SchedulerError if there is no answer.
    """
    queued = client.squeue(retry=retry)
    cluster, entries = site_config.cluster_name(), latest_slurm_entries(folder, items)
    others: dict[str, QueuedJob] = {}
    if users := {entry.user for entry in entries if entry.user} - {getpass.getuser()}:
        with suppress(SchedulerError):  # such as a user who is gone
            others = client.squeue(users=users)
    submitted = {
        entry.job: entry.time
        for entry in entries
        if entry.job not in queued | others and (not cluster or entry.cluster in {"", cluster})
    }
    return Queue(
        queued | others,
        sacct.query_job_attempts(set(submitted), submitted),
        cancelled_jobs=folder.cancelled_jobs(),
        cluster=cluster,
        other_users_jobs=frozenset(others),
    )


def latest_slurm_entries(folder: SweepFolder, items: Sequence[str]) -> list[LedgerEntry]:
    """Return the last tasks of these runs and shards, without those last run on this machine."""
    latest = folder.latest()
    entries = dict.fromkeys(latest[item] for item in items if item in latest)
    return [entry for entry in entries if entry.scheduler == "slurm"]


def latest_slurm_jobs(folder: SweepFolder, items: Sequence[str]) -> set[str]:
    return {entry.job for entry in latest_slurm_entries(folder, items)}


def unfinished_items(record: SweepRecord, folder: SweepFolder) -> list[str]:
    """Return the runs that are not done, the shards of their feature sets, the report.

    A run is done if it is finished or stopped early. Runs that left the sweep are included.
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
    removed = unfinished_removed_runs({run.run_id for run in record.runs}, folder)
    return [run.run_id for run in runs] + removed + shards + folder.unwritten_report()


def unfinished_removed_runs(wanted: Collection[str], folder: SweepFolder) -> list[str]:
    """Return submitted runs that left the `wanted` ones and have neither finished nor failed."""
    entries = folder.ledger.entries()
    submitted = {item for entry in entries if entry.kind == "runs" for item in entry.items}
    removed = ((item, folder.run(item)) for item in sorted(submitted - set(wanted)))
    return [item for item, run in removed if not run.finished and not run.failure_file.exists()]


def tasks_of_removed_runs(
    wanted: Collection[str], folder: SweepFolder, queue: Queue
) -> dict[LedgerEntry, list[str]]:
    """Return queued or running task -> its runs that left the sweep and are in no other sweep.

    `wanted`: the runs of the sweep.
    """
    removed = set(unfinished_removed_runs(wanted, folder))
    if not removed or queue.jobs is None:  # SLURM did not answer: nothing is known of their jobs
        return {}
    tasks = {
        entry: [item for item in entry.items if item in removed]
        for entry in folder.ledger.entries()
        if entry.kind == "runs" and not removed.isdisjoint(entry.items) and queue.is_live(entry)
    }
    if tasks:
        others = [other for each, other in read_records(folder.work) if each.name != folder.name]
        elsewhere = {run.run_id for other in others for run in other.runs}
        tasks = {entry: [i for i in runs if i not in elsewhere] for entry, runs in tasks.items()}
    return {entry: runs for entry, runs in tasks.items() if runs}


def pending_feature_jobs(
    record: SweepRecord, latest: Mapping[str, LedgerEntry], queue: Queue
) -> dict[str, QueuedJob]:
    """Return feature set -> a job that computes a part of it, and that waits."""
    found: dict[str, QueuedJob] = {}
    for features in record.features:
        items = (f"{features.feature_id}/{index}" for index in range(features.slices))
        jobs = (queue.job(latest[item]) for item in items if item in latest)
        if job := next((job for job in jobs if job and job.is_pending), None):
            found[features.feature_id] = job
    return found


def features_reason(job: QueuedJob) -> str:
    """Return why runs wait that depend on a job of features, which waits itself."""
    return f"waits for features, job {job.id}: {pending_text(job, 'features: in the profile')}"


def pending_text(job: QueuedJob, to_correct: str) -> str:
    """Return why a job waits, when it starts, and what to do about one that never starts."""
    starts = "" if job.starts is None else f", starts about {clock_text(job.starts)}"
    # make sweep itself cancels a job whose dependency failed.
    never = never_starts(job.reason) and not job.dependency_failed
    advice = f"; correct {to_correct}, then make cancel and make sweep again" if never else ""
    return explain(job.reason) + advice + starts
