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
from jobs.node.run_lock import beats
from jobs.slurm.client import QueuedJob
from jobs.slurm.reasons import in_words, never
from jobs.slurm.sacct import Life
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import Entry
from jobs.sweep.record import Wanted, WantedRun
from pipeline.runs.folder import Failure, Heartbeat, Usage
from pipeline.runs.state import standing

State = Literal["waiting", "queued", "running", "stopped", "finished", "failed", "lost"]

Found = tuple[State, str, str]  # with cause and detail

RUNS_TO_JUDGE_BY = 9  # more would only take longer

LIVE: frozenset[State] = frozenset({"queued", "running"})

BYTES_OF_OUTPUT = 8192  # at its end stands why SLURM ended a job


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

    def record(self) -> dict[str, Any]:
        """Flat, for --json."""
        own = dict(vars(self))  # asdict copies, which takes long of a thousand
        beat, usage = own.pop("heartbeat"), own.pop("usage")
        if usage:
            own |= {"cpus_used": usage.cpus_used, "gpu_busy": _plain(usage.gpu_busy)}
        told = {name: _plain(value) for name, value in vars(beat).items()} if beat else {}
        for name in ("status", "job"):  # the state, and the job of the ledger, stand above
            told.pop(name, None)
        return {**own, **told}


def _plain(value: Any) -> Any:
    """JSON has no nan and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def survey(wanted: Wanted, folder: SweepFolder, queue: Queue) -> list[RunStatus]:
    latest, queue = folder.latest(), replace(queue, cancelled=folder.cancelled())
    return [_status(run, folder, latest.get(run.run_id), queue) for run in wanted.runs]


def minutes_per_run(wanted: Wanted, folder: SweepFolder) -> float | None:
    """What the finished runs of a sweep took, in the middle; None where there is none."""
    folders = (folder.run(run.run_id) for run in wanted.runs)
    done = itertools.islice((run for run in folders if run.finished), RUNS_TO_JUDGE_BY)
    took = [sum(row["seconds"] for row in run.rows()) / 60 for run in done]
    return statistics.median(took) if took else None


def _status(run: WantedRun, sweep: SweepFolder, entry: Entry | None, queue: Queue) -> RunStatus:
    folder, job = sweep.run(run.run_id), entry.job if entry else ""
    beat = folder.heartbeat()
    if damage := folder.damage(beat):
        return RunStatus(run.label, run.run_id, "failed", "damaged file", damage, job, beat)
    if beat and beat.status == "finished":
        return RunStatus(run.label, run.run_id, "finished", job=job, heartbeat=beat)
    failure = folder.failure()
    if failure and failure.job and failure.job != job:
        failure = None  # the end of an earlier job
    state, cause, detail = _state(beat, failure, entry, queue, sweep)
    if entry and entry.scheduler == "slurm" and cause in {"code error", "killed"} and not failure:
        detail += f"; see {sweep.output(job)}"
    nodes = tuple(life.failed_node for life in queue.ended.get(job, ()) if life.failed_node)
    if failure and failure.cause == "node failure" and failure.node not in {"", *nodes}:
        nodes = (*nodes, failure.node)
    usage = next(reversed(folder.usages()), None) if state == "running" else None
    return RunStatus(run.label, run.run_id, state, cause, detail, job, beat, nodes, usage)


def _state(
    beat: Heartbeat | None,
    failure: Failure | None,
    entry: Entry | None,
    queue: Queue,
    sweep: SweepFolder,
) -> Found:
    lives = bool(beat and beats(beat) and not (entry and queue.saw_the_end(entry, beat)))
    by_files = standing(beat, failure, lives=lives)
    asked = entry and entry.scheduler == "slurm" and not queue.ignored
    if entry and asked and by_files[0] in {"waiting", "stopped"}:
        return _state_in_slurm(beat, entry, queue, sweep)
    return by_files


def _state_in_slurm(
    beat: Heartbeat | None, entry: Entry, queue: Queue, sweep: SweepFolder
) -> Found:
    if queue.jobs is None:
        return "queued", "", f"job {entry.job}; the scheduler does not answer"
    job = queue.jobs.get(entry.job)
    if beat and not _tells_of(beat, entry):
        beat = None  # of an earlier job
    if job and entry.job.split("_")[0] in queue.cancelled:
        return "stopped", "cancelled", "its job leaves the queue"
    if job:
        return _state_in_queue(beat, job)
    found = state_after(beat, entry, queue.ended.get(entry.job, ()), sweep.output(entry.job))
    if found[0] in {"failed", "lost"} and not beat and _others_began(entry, sweep):
        return "stopped", "", "its job ended before its turn; typed again it gets another"
    return found


def _others_began(entry: Entry, sweep: SweepFolder) -> bool:
    """Whether a run of the same job got as far as its first heartbeat, or further."""
    found = (sweep.run(item).heartbeat() for item in entry.items)
    return any(beat and _tells_of(beat, entry) for beat in found)


def _tells_of(beat: Heartbeat, entry: Entry) -> bool:
    return beat.job == entry.job if beat.job else beat.time >= entry.time


def state_after(beat: Heartbeat | None, entry: Entry, lives: Sequence[Life], output: Path) -> Found:
    """Of a job that has left the queue."""
    life = lives[-1] if lives else Life("")
    asked = (entry.memory_gb or math.inf) * 1024**3
    ended = failures.of_job(life.state, life.signal, _end_of(output), life.peak_bytes / asked)
    saved = beat is not None and beat.status == "stopped" and life.code in {0, STOPPED, REQUEUE}
    if ended and ended[0] == "node failure" and life.failed_node:
        ended = ended[0], f"{ended[1]}: {life.failed_node}"
    if ended and ended[0] != "cancelled" and not (saved and ended[0] == "code error"):
        return "failed", *ended
    if ended and ended[0] == "cancelled":
        return "stopped", *ended
    if saved:
        return "stopped", "", "typed again it continues"
    # SLURM forgets a task that is cancelled alone while it waits (22.05: squeue and scontrol do not
    # list it, sacct lists its array as pending), but makes the output of each that it starts.
    if life.state in {"", "PENDING"} and not output.exists():
        return "stopped", "cancelled", "the job was cancelled before it started"
    return "lost", "", f"job {entry.job} left the queue without a word; make sweep again"


def _end_of(output: Path) -> str:
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - BYTES_OF_OUTPUT))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _clock(then: float) -> str:
    """`14:05`, with the day where it is another."""
    local = time.localtime(then)
    same = local[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if same else "%d %b %H:%M", local)


def _state_in_queue(beat: Heartbeat | None, job: QueuedJob) -> Found:
    if job.waits:
        starts = "" if job.starts is None else f", starts about {_clock(job.starts)}"
        in_vain = never(job.reason) and not job.never_starts  # which make sweep cancels by itself
        mend = "; mend the profile, then make cancel and make sweep again" if in_vain else ""
        return "queued", "", in_words(job.reason) + mend + starts
    if beat and beat.status == "running":
        return "running", "", f"silent for {time.time() - beat.time:.0f} s"
    return "queued", "", "starting, or behind another run of its job"


def keep(statuses: Sequence[RunStatus], folder: SweepFolder) -> None:
    """Whoever only looks at another's work folder may not write there, and sees it all the same."""
    for run in statuses:
        target = folder.run(run.run_id)
        if (
            run.state == "failed"
            and run.job
            and not target.failure()
            and not target.damage(run.heartbeat)
        ):
            with suppress(PermissionError):
                target.fail(Failure(cause=run.cause, message=run.detail, job=run.job))
