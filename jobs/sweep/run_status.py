"""Run status: the state of each run, from its folder first, then from SLURM.

In:   a sweep's record, its ledger, run folders, what SLURM knows of its jobs.
Out:  a state for each run, see `State`.
Not here: printing it (display/run_lines.py, display/run_table.py).
"""

import itertools
import math
import statistics
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jobs.exit_codes import REQUEUE, STOPPED
from jobs.node import failures
from jobs.node.folder_lock import is_still_training
from jobs.slurm.client import QueuedJob, array_job_id
from jobs.slurm.reasons import explain
from jobs.slurm.sacct import JobAttempt
from jobs.sweep import job_queue
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import PlannedRun, SweepRecord
from pipeline.files import InputError
from pipeline.runs.folder import Failure, Heartbeat, RunFolder, Usage
from pipeline.runs.state import read_early_stop, state_from_files

State = Literal[
    "waiting", "queued", "running", "stopped", "stopped early", "finished", "failed", "lost"
]

StateWithCause = tuple[State, str, str]  # state, cause, detail

MAX_RUNS_FOR_ESTIMATE = 9  # finished runs whose time is read; enough for a median

LIVE_STATES: frozenset[State] = frozenset({"queued", "running"})

OUTPUT_TAIL_BYTES = 8192  # of a job's output, which ends with the reason why SLURM ended it


class RunStatus(NamedTuple):
    label: str
    run_id: str
    state: State
    cause: str = ""  # if it failed or stopped
    detail: str = ""  # one line: the message, or why it waits
    job: str = ""
    heartbeat: Heartbeat | None = None
    failed_nodes: tuple[str, ...] = ()  # nodes that failed during its last job
    usage: Usage | None = None  # of the process that trains it

    def to_dict(self) -> dict[str, Any]:
        """Return one flat record for `status --json`."""
        record = self._asdict()
        heartbeat, usage = record.pop("heartbeat"), record.pop("usage")
        if usage:
            record |= {"cpus_used": usage.cpus_used, "gpu_busy": _finite_or_none(usage.gpu_busy)}
        for name, value in vars(heartbeat).items() if heartbeat else ():
            if name not in {"status", "job"}:  # `state`, and the ledger's `job`, are there already
                record[name] = _finite_or_none(value)
        return record


def _finite_or_none(value: Any) -> Any:
    """Return the value, or None for nan and infinity, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def run_statuses(record: SweepRecord, folder: SweepFolder, queue: Queue) -> list[RunStatus]:
    """Return the status of each run, in the order of the record."""
    latest, queue = folder.latest(), replace(queue, cancelled_jobs=folder.cancelled_jobs())
    statuses = [_run_status(run, folder, latest.get(run.run_id), queue) for run in record.runs]
    pending = job_queue.pending_feature_jobs(record, latest, queue)
    return _with_full_disks(
        [
            status._replace(detail=job_queue.features_reason(pending[run.feature_id]))
            if status.detail.startswith(explain("Dependency")) and run.feature_id in pending
            else status
            for run, status in zip(record.runs, statuses, strict=True)
        ]
    )


def _with_full_disks(statuses: Sequence[RunStatus]) -> list[RunStatus]:
    """Give the cause "disk full" to tasks that were cancelled because of it.

    The task that met the full disk has cancelled the others of its array, which waited.
    """
    arrays = {array_job_id(run.job) for run in statuses if run.cause == "disk full"}
    detail = "its job was cancelled before it started, because the disk was full"
    return [
        run._replace(cause="disk full", detail=detail)
        if run.cause == "cancelled" and "_" in run.job and array_job_id(run.job) in arrays
        else run
        for run in statuses
    ]


def is_done(status: RunStatus) -> bool:
    """Whether nothing is left to do for the run: it is finished, or a rule stopped it early."""
    return status.state in {"finished", "stopped early"}


def median_run_minutes(record: SweepRecord, folder: SweepFolder) -> float | None:
    """Return the median duration of finished runs; None if no run is finished."""
    return median_minutes(folder.run(run.run_id) for run in record.runs)


def median_minutes(runs: Iterable[RunFolder]) -> float | None:
    """Return the median duration of those that are finished and can be read; None if none is."""
    finished = itertools.islice((run for run in runs if run.finished), MAX_RUNS_FOR_ESTIMATE)
    minutes = []
    for run in finished:
        with suppress(InputError):  # damaged rows, which the table of the sweep reports
            minutes.append(sum(row["seconds"] for row in run.rows()) / 60)
    return statistics.median(minutes) if minutes else None


def _run_status(
    run: PlannedRun, sweep: SweepFolder, entry: LedgerEntry | None, queue: Queue
) -> RunStatus:
    state: State
    folder, job = sweep.run(run.run_id), entry.job if entry else ""
    heartbeat, failure = folder.heartbeat(), folder.failure()
    if failure and failure.job and failure.job != job:
        failure = None  # an earlier job recorded it
    state, cause, detail = state_from_files(
        heartbeat,
        failure,
        read_early_stop(folder),
        process_alive=_is_training(folder, heartbeat, entry, queue),
        damage=folder.integrity_error(heartbeat),
    )
    in_slurm = entry and entry.scheduler == "slurm" and not queue.ignored
    if entry and in_slurm and state in {"waiting", "stopped"}:
        state, cause, detail = _state_in_slurm(heartbeat, entry, queue, sweep)
    if entry and entry.scheduler == "slurm" and cause in {"code error", "killed"} and not failure:
        detail += f"; see {sweep.output(job)}"
    nodes = _failed_nodes(queue.attempts(entry) if entry else (), failure)
    usage = next(reversed(folder.usages()), None) if state == "running" else None
    return RunStatus(run.label, run.run_id, state, cause, detail, job, heartbeat, nodes, usage)


def _failed_nodes(attempts: Sequence[JobAttempt], failure: Failure | None) -> tuple[str, ...]:
    """Return the nodes that SLURM reports as failed, and the one that the run itself reports."""
    nodes = [attempt.failed_node for attempt in attempts]
    if failure and failure.cause in {"node failure", "unusable GPU"}:
        nodes.append(failure.node)
    return tuple(dict.fromkeys(filter(None, nodes)))


def _is_training(
    run: RunFolder, heartbeat: Heartbeat | None, entry: LedgerEntry | None, queue: Queue
) -> bool:
    """Return whether the process that wrote the heartbeat still trains the run."""
    written = _modification_time(run.heartbeat_file) if heartbeat and entry else 0.0
    return bool(
        heartbeat
        and is_still_training(heartbeat)
        and not (entry and queue.heartbeat_job_ended(entry, heartbeat, written))
    )


def _modification_time(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _state_in_slurm(
    heartbeat: Heartbeat | None, entry: LedgerEntry, queue: Queue, sweep: SweepFolder
) -> StateWithCause:
    if queue.jobs is None:
        return "queued", "", f"job {entry.job}; SLURM does not answer"
    job = queue.job(entry)
    if heartbeat and not _is_heartbeat_of(heartbeat, entry):
        heartbeat = None  # an earlier job wrote it
    if job and queue.was_cancelled(entry):
        return "stopped", "cancelled", "its job is leaving the queue"
    if job:
        return _state_in_queue(heartbeat, job)
    if unseen := queue.unseen(entry):
        return "queued", "", f"job {entry.job} {unseen}"
    ended = state_after_job_ended(heartbeat, entry, queue.attempts(entry), sweep.output(entry.job))
    if ended[0] in {"failed", "lost"} and not heartbeat and _job_started_any_run(entry, sweep):
        return "stopped", "", "its job ended before it started this run; make sweep again"
    return ended


def _job_started_any_run(entry: LedgerEntry, sweep: SweepFolder) -> bool:
    """Return whether any run of the job has written a heartbeat."""
    heartbeats = (sweep.run(item).heartbeat() for item in entry.items)
    return any(heartbeat and _is_heartbeat_of(heartbeat, entry) for heartbeat in heartbeats)


def _is_heartbeat_of(heartbeat: Heartbeat, entry: LedgerEntry) -> bool:
    return heartbeat.job == entry.job if heartbeat.job else heartbeat.time >= entry.time


def state_after_job_ended(
    heartbeat: Heartbeat | None, entry: LedgerEntry, attempts: Sequence[JobAttempt], output: Path
) -> StateWithCause:
    """Return the state of a run, or of a shard (no heartbeat), whose job has left the queue."""
    attempt = attempts[-1] if attempts else JobAttempt("")
    requested_bytes = (entry.memory_gb or math.inf) * 1024**3
    ended = failures.classify_job_end(
        attempt.state,
        attempt.signal,
        _read_output_tail(output),
        attempt.peak_bytes / requested_bytes,
        attempt.code,
    )
    saved = (
        heartbeat is not None
        and heartbeat.status == "stopped"
        and attempt.code in {0, STOPPED, REQUEUE}
    )
    if ended and ended[0] == "node failure" and attempt.failed_node:
        ended = ended[0], f"{ended[1]}: {attempt.failed_node}"
    if ended and ended[0] != "cancelled" and not (saved and ended[0] == "code error"):
        return "failed", *ended
    if ended and ended[0] == "cancelled":
        return "stopped", *ended
    if saved:
        return "stopped", "", "make sweep again continues it"
    # SLURM 22.05 forgets an array task that is cancelled alone while it waits: squeue and scontrol
    # do not list it, and sacct lists its array as pending. A task that starts has an output file.
    if attempt.state in {"", "PENDING"} and not output.exists():
        return "stopped", "cancelled", "the job was cancelled before it started"
    gone = f"job {entry.job} is gone from the queue, and sacct does not say why; make sweep again"
    return "lost", "", gone


def _read_output_tail(output: Path) -> str:
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - OUTPUT_TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _state_in_queue(heartbeat: Heartbeat | None, job: QueuedJob) -> StateWithCause:
    if job.is_pending:
        return "queued", "", job_queue.pending_text(job, "the profile")
    if job.state == "COMPLETING":
        return "queued", "", "its job is ending"
    is_running = heartbeat is not None and heartbeat.status == "running"
    if job.state in {"SUSPENDED", "STOPPED"}:
        return "running" if is_running else "queued", "", "its job is suspended and will go on"
    if heartbeat and is_running:
        return "running", "", f"no heartbeat for {time.time() - heartbeat.time:.0f} s"
    return "queued", "", "starts soon, or waits for another run of its job"


def record_scheduler_failures(statuses: Sequence[RunStatus], folder: SweepFolder) -> None:
    """Write what SLURM said of failed runs into their folders, for commands that cannot query it.

    Another user's work folder may be read-only, and a disk full; then nothing is written.
    """
    for run in statuses:
        target = folder.run(run.run_id)
        if (
            run.state == "failed"
            and run.job
            and not target.failure()
            and not target.integrity_error(run.heartbeat)
        ):
            with suppress(OSError):
                target.write_failure(Failure(cause=run.cause, message=run.detail, job=run.job))
