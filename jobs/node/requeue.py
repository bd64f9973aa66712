"""Requeue limit: a job that restarts again and again without saving progress is given up.

In:   a task file, when an attempt of its job starts and before the next requeue.
Out:  whether the task has anything left to do; a failure for each run that is given up.
Not here: the requeue itself (slurm/sbatch.py), executing the task (launch/entrypoint.py).

The attempts are counted in a file beside the task file; the count starts again when progress was
saved. An attempt that was killed before it could request a requeue is checked when the next starts.
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

MAX_STALLED_ATTEMPTS = 3  # in a row, without saved progress

# Cause -> how the last attempt ended, and what to do; `{section}` is "features." or "".
INTERRUPTIONS = {
    "timeout": ("reached the time limit", "raise {section}minutes in the profile"),
    "preemption": (
        "lost its node to another job",
        "choose a {section}partition or {section}qos in the profile that is preempted less",
    ),
    "node failure": ("lost its node", "make sweep again leaves out the nodes that failed"),
}


def on_start(path: Path) -> bool:
    """Count one more attempt; return False if all of the task's work was given up."""
    has_work = may_requeue(path, _last_attempt_cause)
    progress = _progress_digest(task_file.read_task(path))
    write_json(
        attempts_path(path), {"reached": progress, "lives": _stalled_attempts(path, progress) + 1}
    )
    return has_work


def may_requeue(path: Path, find_cause: Callable[[], str]) -> bool:
    """Give up what has stalled for MAX_STALLED_ATTEMPTS; return whether the task has work left.

    Only the runs that had their turn, the first `at_once` unfinished ones, are given up: the runs
    after them have not started yet. `find_cause` returns why the last attempt ended.
    """
    task = task_file.read_task(path)
    if (
        not isinstance(task, RunTask | FeatureTask)
        or _stalled_attempts(path, _progress_digest(task)) < MAX_STALLED_ATTEMPTS
    ):
        return True
    cause = find_cause()
    what_happened, advice = INTERRUPTIONS[cause]
    section = "features." if isinstance(task, FeatureTask) else ""
    message = (
        f"job {current_job_id()} started {MAX_STALLED_ATTEMPTS} times without saving progress; "
        f"the last attempt {what_happened}; not requeued again: {advice.format(section=section)}"
    )
    print(f"given up: {message}", flush=True)
    failure = Failure(cause=cause, message=message)
    if isinstance(task, FeatureTask):
        write_json(task_file.failure_path(path), asdict(failure))
        return False
    unfinished = [run for run in _run_folders(task) if not run.finished and not _has_failed(run)]
    for run in unfinished[: task.at_once]:
        run.write_failure(failure)
    return len(unfinished) > task.at_once


def _stalled_attempts(path: Path, progress: str) -> int:
    """Return the number of attempts that started with the progress that the task has now."""
    try:
        content = read_json(attempts_path(path))
        return int(content["lives"]) if content["reached"] == progress else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # no attempt so far


def _progress_digest(task: task_file.Task) -> str:
    """Return a digest that changes when a part of the task is saved, finished or failed."""
    if isinstance(task, RunTask):
        return json_digest(
            [[run.state_version, run.finished, _has_failed(run)] for run in _run_folders(task)]
        )
    if isinstance(task, FeatureTask):
        folders = (Path(task.work) / "features" / item.split("/")[0] for item in task.items)
        return json_digest(
            sorted({str(shard) for folder in folders for shard in folder.glob("shard-*.h5")})
        )
    return ""


def _run_folders(task: RunTask) -> list[RunFolder]:
    return [RunFolder(Path(task.work) / "runs" / run.run_id) for run in task.runs]


def _has_failed(run: RunFolder) -> bool:
    failure = run.failure()
    return failure is not None and not failure.job  # one with a job is from an earlier job


def _last_attempt_cause() -> str:
    """Return the cause from sacct; "preemption" if sacct has none, since SLURM requeued the job."""
    attempts = sacct.query_job_attempts([current_job_id()]).get(current_job_id(), [])
    end_states = [attempt.state for attempt in attempts if attempt.ended is not None]
    reason = failures.classify_slurm_state(end_states[-1]) if end_states else None
    return reason[0] if reason and reason[0] in INTERRUPTIONS else "preemption"
