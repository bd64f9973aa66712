"""Status: what is true of each run; the disk first, then the scheduler.

In:   what a sweep wants, its ledger, run folders, one answer of squeue and sacct.
Out:  a state for each run: waiting, queued, running, stopped, finished, failed, lost.
Not here: printing it (console.py, picture.py).
"""

import itertools
import math
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jobs.exit_codes import REQUEUE, STOPPED
from jobs.node import failures
from jobs.node.run_lock import is_still_training
from jobs.slurm.client import QueuedJob
from jobs.slurm.reasons import explain, never_starts
from jobs.slurm.sacct import JobAttempt
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import PlannedRun, SweepRecord
from pipeline.runs.folder import Failure, Heartbeat, Usage
from pipeline.runs.state import state_from_files

State = Literal["waiting", "queued", "running", "stopped", "finished", "failed", "lost"]

StateWithCause = tuple[State, str, str]  # with cause and detail

MAX_RUNS_FOR_ESTIMATE = 9  # more would only take longer

LIVE_STATES: frozenset[State] = frozenset({"queued", "running"})

OUTPUT_TAIL_BYTES = 8192  # at its end stands why SLURM ended a job


@dataclass(frozen=True)
class RunStatus:
    label: str
    run_id: str
    state: State
    cause: str = ""  # of failed and stopped
    detail: str = ""  # one line: message, or why it waits
    job: str = ""
    heartbeat: Heartbeat | None = None
    failed_nodes: tuple[str, ...] = ()  # under its last job
    usage: Usage | None = None  # of the process that has it

    def to_dict(self) -> dict[str, Any]:
        """Flat, for --json."""
        own = dict(vars(self))  # asdict copies, which takes long of a thousand
        beat, usage = own.pop("heartbeat"), own.pop("usage")
        if usage:
            own |= {"cpus_used": usage.cpus_used, "gpu_busy": _finite_or_none(usage.gpu_busy)}
        told = {name: _finite_or_none(value) for name, value in vars(beat).items()} if beat else {}
        for name in ("status", "job"):  # the state, and the job of the ledger, stand above
            told.pop(name, None)
        return {**own, **told}


def _finite_or_none(value: Any) -> Any:
    """JSON has no nan and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def run_statuses(record: SweepRecord, folder: SweepFolder, queue: Queue) -> list[RunStatus]:
    latest, queue = folder.latest(), replace(queue, cancelled_jobs=folder.cancelled_jobs())
    return [_run_status(run, folder, latest.get(run.run_id), queue) for run in record.runs]


def median_run_minutes(record: SweepRecord, folder: SweepFolder) -> float | None:
    """What the finished runs of a sweep took, in the middle; None where there is none."""
    folders = (folder.run(run.run_id) for run in record.runs)
    done = itertools.islice((run for run in folders if run.finished), MAX_RUNS_FOR_ESTIMATE)
    minutes = [sum(row["seconds"] for row in run.rows()) / 60 for run in done]
    return statistics.median(minutes) if minutes else None


def _run_status(
    run: PlannedRun, sweep: SweepFolder, entry: LedgerEntry | None, queue: Queue
) -> RunStatus:
    folder, job = sweep.run(run.run_id), entry.job if entry else ""
    heartbeat = folder.heartbeat()
    if damage := folder.integrity_error(heartbeat):
        return RunStatus(run.label, run.run_id, "failed", "damaged file", damage, job, heartbeat)
    if heartbeat and heartbeat.status == "finished":
        return RunStatus(run.label, run.run_id, "finished", job=job, heartbeat=heartbeat)
    failure = folder.failure()
    if failure and failure.job and failure.job != job:
        failure = None  # the end of an earlier job
    state, cause, detail = _state(heartbeat, failure, entry, queue, sweep)
    if entry and entry.scheduler == "slurm" and cause in {"code error", "killed"} and not failure:
        detail += f"; see {sweep.output(job)}"
    nodes = tuple(
        life.failed_node for life in queue.attempts_by_job.get(job, ()) if life.failed_node
    )
    if failure and failure.cause == "node failure" and failure.node not in {"", *nodes}:
        nodes = (*nodes, failure.node)
    usage = next(reversed(folder.usages()), None) if state == "running" else None
    return RunStatus(run.label, run.run_id, state, cause, detail, job, heartbeat, nodes, usage)


def _state(
    heartbeat: Heartbeat | None,
    failure: Failure | None,
    entry: LedgerEntry | None,
    queue: Queue,
    sweep: SweepFolder,
) -> StateWithCause:
    is_training = bool(
        heartbeat
        and is_still_training(heartbeat)
        and not (entry and queue.heartbeat_job_ended(entry, heartbeat))
    )
    by_files = state_from_files(heartbeat, failure, process_alive=is_training)
    ask_slurm = entry and entry.scheduler == "slurm" and not queue.ignored
    if entry and ask_slurm and by_files[0] in {"waiting", "stopped"}:
        return _state_in_slurm(heartbeat, entry, queue, sweep)
    return by_files


def _state_in_slurm(
    heartbeat: Heartbeat | None, entry: LedgerEntry, queue: Queue, sweep: SweepFolder
) -> StateWithCause:
    if queue.jobs is None:
        return "queued", "", f"job {entry.job}; the scheduler does not answer"
    job = queue.jobs.get(entry.job)
    if heartbeat and not _is_heartbeat_of(heartbeat, entry):
        heartbeat = None  # of an earlier job
    if job and entry.job.split("_")[0] in queue.cancelled_jobs:
        return "stopped", "cancelled", "its job leaves the queue"
    if job:
        return _state_in_queue(heartbeat, job)
    found = state_after_job_ended(
        heartbeat, entry, queue.attempts_by_job.get(entry.job, ()), sweep.output(entry.job)
    )
    if found[0] in {"failed", "lost"} and not heartbeat and _job_started_any_run(entry, sweep):
        return "stopped", "", "its job ended before its turn; typed again it gets another"
    return found


def _job_started_any_run(entry: LedgerEntry, sweep: SweepFolder) -> bool:
    """Whether a run of the same job got as far as its first heartbeat, or further."""
    found = (sweep.run(item).heartbeat() for item in entry.items)
    return any(heartbeat and _is_heartbeat_of(heartbeat, entry) for heartbeat in found)


def _is_heartbeat_of(heartbeat: Heartbeat, entry: LedgerEntry) -> bool:
    return heartbeat.job == entry.job if heartbeat.job else heartbeat.time >= entry.time


def state_after_job_ended(
    heartbeat: Heartbeat | None, entry: LedgerEntry, attempts: Sequence[JobAttempt], output: Path
) -> StateWithCause:
    """Of a job that has left the queue."""
    attempt = attempts[-1] if attempts else JobAttempt("")
    requested_bytes = (entry.memory_gb or math.inf) * 1024**3
    ended = failures.classify_job_end(
        attempt.state,
        attempt.signal,
        _read_output_tail(output),
        attempt.peak_bytes / requested_bytes,
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
        return "stopped", "", "typed again it continues"
    # SLURM forgets a task that is cancelled alone while it waits (22.05: squeue and scontrol do not
    # list it, sacct lists its array as pending), but makes the output of each that it starts.
    if attempt.state in {"", "PENDING"} and not output.exists():
        return "stopped", "cancelled", "the job was cancelled before it started"
    return "lost", "", f"job {entry.job} left the queue without a word; make sweep again"


def _read_output_tail(output: Path) -> str:
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - OUTPUT_TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _format_clock(then: float) -> str:
    """`14:05`, with the day where it is another."""
    local = time.localtime(then)
    same = local[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if same else "%d %b %H:%M", local)


def _state_in_queue(heartbeat: Heartbeat | None, job: QueuedJob) -> StateWithCause:
    if job.is_pending:
        starts = "" if job.starts is None else f", starts about {_format_clock(job.starts)}"
        never_will = (
            never_starts(job.reason) and not job.dependency_failed
        )  # which make sweep cancels by itself
        advice = "; mend the profile, then make cancel and make sweep again" if never_will else ""
        return "queued", "", explain(job.reason) + advice + starts
    if heartbeat and heartbeat.status == "running":
        return "running", "", f"silent for {time.time() - heartbeat.time:.0f} s"
    return "queued", "", "starting, or behind another run of its job"


def record_scheduler_failures(statuses: Sequence[RunStatus], folder: SweepFolder) -> None:
    """Whoever only looks at another's work folder may not write there, and sees it all the same."""
    for run in statuses:
        target = folder.run(run.run_id)
        if (
            run.state == "failed"
            and run.job
            and not target.failure()
            and not target.integrity_error(run.heartbeat)
        ):
            with suppress(PermissionError):
                target.write_failure(Failure(cause=run.cause, message=run.detail, job=run.job))
