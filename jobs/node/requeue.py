"""Lives: a job that comes back again and again without having got any further is given up.

In:   a task's file, at the beginning of a life of its job and before another is asked for.
Out:  whether there is anything to go on with; failures of what is given up.
Not here: asking for another turn (slurm.py), what a task does with its own (tasks.py).

A task counts its lives beside its file, and from one again whenever something new was saved. What
is killed before it can ask for another turn, and requeued by SLURM, is counted by the life after.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from jobs.node import failures, task_file
from jobs.node.task_file import FeatureTask, RunTask, attempts_path
from jobs.slurm import sacct
from jobs.slurm.client import current_job_id
from pipeline.files import json_digest, read_json, write_json
from pipeline.runs.folder import Failure, RunFolder

MAX_STALLED_ATTEMPTS = 3  # in a row without anything new

# Cause -> what the last life met, and the way out; `{of}` is where the profile has its fields.
INTERRUPTIONS = {
    "timeout": ("reached the time limit", "raise {of}minutes in the profile"),
    "preemption": (
        "lost its node to another job",
        "choose a {of}partition or {of}qos in the profile that is preempted less",
    ),
    "node failure": ("lost its node", "make sweep again leaves out the nodes that failed"),
}


def on_start(path: Path) -> bool:
    """One more life; False where the earlier ones were too many, and nothing is left to do."""
    left = may_requeue(path, _last_attempt_cause)
    reached = _progress_digest(task_file.read_task(path))
    write_json(
        attempts_path(path), {"reached": reached, "lives": _stalled_attempts(path, reached) + 1}
    )
    return left


def may_requeue(path: Path, find_cause: Callable[[], str]) -> bool:
    """Give up what got no further in so many lives; whether anything is left. `cause`: of the last.

    What waits behind it in the same task has had no turn yet, and may do better.
    """
    task = task_file.read_task(path)
    if (
        not isinstance(task, RunTask | FeatureTask)
        or _stalled_attempts(path, _progress_digest(task)) < MAX_STALLED_ATTEMPTS
    ):
        return True
    ended_by = find_cause()
    what_happened, way_out = INTERRUPTIONS[ended_by]
    section = "features." if isinstance(task, FeatureTask) else ""
    message = (
        f"job {current_job_id()} started {MAX_STALLED_ATTEMPTS} times without saving progress; "
        f"the last attempt {what_happened}; not requeued again: {way_out.format(of=section)}"
    )
    print(f"given up: {message}", flush=True)
    failure = Failure(cause=ended_by, message=message)
    if isinstance(task, FeatureTask):
        write_json(task_file.failure_path(path), asdict(failure))
        return False
    unfinished = [run for run in _run_folders(task) if not run.finished and not _has_failed(run)]
    for run in unfinished[: task.at_once]:
        run.write_failure(failure)
    return len(unfinished) > task.at_once


def _stalled_attempts(path: Path, progress: str) -> int:
    """Lives that began where the task still is."""
    try:
        content = read_json(attempts_path(path))
        return int(content["lives"]) if content["reached"] == progress else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # the first one


def _progress_digest(task: task_file.Task) -> str:
    """Another whenever something of the task was saved, done or has failed."""
    if isinstance(task, RunTask):
        return json_digest(
            [[run.state_version, run.finished, _has_failed(run)] for run in _run_folders(task)]
        )
    if isinstance(task, FeatureTask):
        folders = (Path(task.work) / "features" / item.split("/")[0] for item in task.items)
        return json_digest(
            sorted({str(s) for folder in folders for s in folder.glob("shard-*.h5")})
        )
    return ""


def _run_folders(task: RunTask) -> list[RunFolder]:
    return [RunFolder(Path(task.work) / "runs" / run.run_id) for run in task.runs]


def _has_failed(run: RunFolder) -> bool:
    failure = run.failure()
    return failure is not None and not failure.job  # else of an earlier job


def _last_attempt_cause() -> str:
    """As accounting tells it, where there is any: SLURM requeues what loses its node."""
    attempts = sacct.query_job_attempts([current_job_id()]).get(current_job_id(), [])
    ended = [attempt.state for attempt in attempts if attempt.ended is not None]
    found = failures.classify_slurm_state(ended[-1]) if ended else None
    return found[0] if found and found[0] in INTERRUPTIONS else "preemption"
