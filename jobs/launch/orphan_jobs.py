"""Orphan jobs: jobs of a sweep that no ledger knows or that can never start; and unused files.

In:   a sweep's folder, the queue.   Out: the queue without them; a line for each correction.
Not here: what is submitted instead (decision.py, submit.py).

A submission holds the sweep's lock (submit.py). So two terminals cannot submit the same runs, and
a job without a line in the ledger comes from a submission that was interrupted.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jobs import code_snapshot
from jobs.display.changed_lines import removed_run_lines
from jobs.messages import count_text, print_line
from jobs.profile import Profile
from jobs.slurm import client
from jobs.slurm.client import QueuedJob, SchedulerError, sweep_tag
from jobs.sweep import job_queue
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import SweepRecord
from jobs.work_folder import make_command
from pipeline.runs.state import read_early_stop


def cancel_orphan_jobs(folder: SweepFolder, queue: Queue) -> Queue:
    """Cancel jobs that no ledger knows or that can never start; return the queue without them.

    Jobs that SLURM holds after a failed launch are released. Unused code snapshots are deleted.
    """
    queued = queue.jobs or {}
    entries = folder.ledger.entries()
    known = {e.job for e in entries if e.scheduler == "slurm" and queue.job(e)}
    tag = sweep_tag(folder.jobs)
    orphans = {
        job.id for job in queued.values() if job.comment.startswith(tag) and job.id not in known
    }
    stuck = {job.id for job in queued.values() if job.id in known and job.dependency_failed}
    _release_and_print({job.id for job in queued.values() if job.id in known and job.launch_failed})
    _cancel_and_print(orphans, "was left by a submission that was interrupted")
    _cancel_and_print(
        stuck, "waits for a job that can no longer succeed (DependencyNeverSatisfied)"
    )
    remaining: Mapping[str, QueuedJob] = {
        name: job for name, job in queued.items() if name not in orphans | stuck
    }
    if not orphans:  # a cancelled job may still be saving, and needs its files
        unseen = {e.job for e in entries if e.scheduler == "slurm" and queue.unseen(e)}
        remove_unused_files(folder, {*remaining, *unseen})
    return replace(queue, jobs=remaining)


def print_removed_runs(
    record: SweepRecord,
    folder: SweepFolder,
    labels: Mapping[str, str],
    profile: Profile,
    queue: Queue | None = None,
) -> None:
    """Name runs that were taken out of the sweep and whose jobs go on.

    `labels`: run id -> its label in the sweep before. `queue` None: SLURM is queried, if there
    may be such a job.
    """
    wanted = {run.run_id for run in record.runs}
    if queue is None:
        removed = job_queue.unfinished_removed_runs(wanted, folder)
        if not removed:
            return
        queue = job_queue.try_query_slurm(folder, removed)
    cancel = make_command(f"make cancel {record.sweep_argument} REMOVED=1", profile, folder.work)
    for line in removed_run_lines(record, wanted, folder, queue, cancel=cancel, labels=labels):
        print_line(line)


def remove_unused_files(folder: SweepFolder, queued: Collection[str] | None = None) -> None:
    """Delete code snapshots that no job imports any more, and files of jobs that are done.

    `queued`: ids of queued jobs; None: squeue is called if the sweep has SLURM jobs.
    """
    entries = folder.ledger.entries()
    if queued is None:
        try:
            in_slurm = any(entry.scheduler == "slurm" for entry in entries)
            queued = client.squeue() if in_slurm else ()
        except SchedulerError:
            return
    here = folder.owner_file.exists()  # a process runs its tasks on some machine
    used = {e.code for e in entries if (e.job in queued if e.scheduler == "slurm" else here)}
    code_snapshot.delete_snapshots(folder.code, keep=used)
    _remove_job_files(folder, [entry for entry in entries if entry.scheduler == "slurm"], queued)


def _remove_job_files(
    folder: SweepFolder, entries: Sequence[LedgerEntry], queued: Collection[str]
) -> None:
    """Delete pickles, scripts and output of arrays that are done; submitit never does.

    The files of an array with a failed task stay, so that a person can read them.
    """
    files: dict[str, list[Path]] = {}
    for file in folder.jobs.glob("[0-9]*_*"):
        files.setdefault(client.array_job_id(file.name), []).append(file)
    kept = {
        array
        for entry in entries
        if (array := client.array_job_id(entry.job)) in files
        and (entry.job in queued or not _outputs_exist(entry, folder))
    }
    known = {client.array_job_id(entry.job) for entry in entries}
    for array in (known & files.keys()) - kept:
        for file in files[array]:
            file.unlink(missing_ok=True)
    for link in folder.jobs.glob(".submission_file_*.sh"):  # a link to a script
        if not link.exists():
            link.unlink(missing_ok=True)


def _outputs_exist(entry: LedgerEntry, folder: SweepFolder) -> bool:
    """Whether everything that the task should write exists, whichever task wrote it."""
    if entry.kind == "runs":
        runs = map(folder.run, entry.items)
        return all(run.finished or read_early_stop(run) for run in runs)
    if entry.kind == "features":
        return all(_shard_exists(item, folder) for item in entry.items)
    return folder.report_file.exists()


def _shard_exists(item: str, folder: SweepFolder) -> bool:
    feature_id, _, index = item.rpartition("/")
    return any(folder.features(feature_id).glob(f"shard-{int(index):05d}-of-*.h5"))


def _release_and_print(jobs: set[str]) -> None:
    if not jobs:
        return
    try:
        client.release_jobs(sorted(jobs))
    except SchedulerError as error:
        print_line(
            f"{', '.join(sorted(jobs))}: held after a failed launch, and not released: {error}"
        )
    else:
        print_line(f"released {', '.join(sorted(jobs))}: held after a failed launch")


def _cancel_and_print(jobs: set[str], reason: str) -> None:
    if not jobs:
        return
    client.cancel_jobs(sorted(jobs))
    for array in sorted({client.array_job_id(job) for job in jobs}):
        tasks = sum(client.array_job_id(job) == array for job in jobs)
        print_line(f"cancelled job {array} ({count_text(tasks, 'task')}): it {reason}")
