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
from jobs.node.task_file import FeatureTask, RunTask, lives_path
from jobs.slurm import sacct
from jobs.slurm.client import this_job
from pipeline.files import digest, read_json, write_json
from pipeline.runs.folder import Failure, RunFolder

LIVES = 3  # in a row without anything new

# Cause -> what the last life met, and the way out; `{of}` is where the profile has its fields.
ENDS = {
    "timeout": ("reached the time limit", "raise {of}minutes in the profile"),
    "preemption": (
        "lost its node to another job",
        "choose a {of}partition or {of}qos in the profile that is preempted less",
    ),
    "node failure": ("lost its node", "make sweep again leaves out the nodes that failed"),
}


def begin(path: Path) -> bool:
    """One more life; False where the earlier ones were too many, and nothing is left to do."""
    left = go_on(path, _how_the_last_one_ended)
    reached = _reached(task_file.read(path))
    write_json(lives_path(path), {"reached": reached, "lives": _spent(path, reached) + 1})
    return left


def go_on(path: Path, cause: Callable[[], str]) -> bool:
    """Give up what got no further in so many lives; whether anything is left. `cause`: of the last.

    What waits behind it in the same task has had no turn yet, and may do better.
    """
    task = task_file.read(path)
    if not isinstance(task, RunTask | FeatureTask) or _spent(path, _reached(task)) < LIVES:
        return True
    why = cause()
    met, way_out = ENDS[why]
    of = "features." if isinstance(task, FeatureTask) else ""
    message = (
        f"{LIVES} lives of job {this_job()} in a row brought nothing new to save; the last {met}, "
        f"and it is not requeued any more: {way_out.format(of=of)}"
    )
    print(f"given up: {message}", flush=True)
    failure = Failure(cause=why, message=message)
    if isinstance(task, FeatureTask):
        write_json(task_file.failure_path(path), asdict(failure))
        return False
    unfinished = [run for run in _runs(task) if not run.finished and not _failed(run)]
    for run in unfinished[: task.at_once]:
        run.fail(failure)
    return len(unfinished) > task.at_once


def _spent(path: Path, reached: str) -> int:
    """Lives that began where the task still is."""
    try:
        said = read_json(lives_path(path))
        return int(said["lives"]) if said["reached"] == reached else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # the first one


def _reached(task: task_file.Task) -> str:
    """Another whenever something of the task was saved, done or has failed."""
    if isinstance(task, RunTask):
        return digest([[run.saved, run.finished, _failed(run)] for run in _runs(task)])
    if isinstance(task, FeatureTask):
        folders = (Path(task.work) / "features" / item.split("/")[0] for item in task.items)
        return digest(sorted({str(s) for folder in folders for s in folder.glob("shard-*.h5")}))
    return ""


def _runs(task: RunTask) -> list[RunFolder]:
    return [RunFolder(Path(task.work) / "runs" / run.run_id) for run in task.runs]


def _failed(run: RunFolder) -> bool:
    failure = run.failure()
    return failure is not None and not failure.job  # else of an earlier job


def _how_the_last_one_ended() -> str:
    """As accounting tells it, where there is any: SLURM requeues what loses its node."""
    lives = sacct.lives([this_job()]).get(this_job(), [])
    ended = [life.state for life in lives if life.ended is not None]
    found = failures.of_slurm(ended[-1]) if ended else None
    return found[0] if found and found[0] in ENDS else "preemption"
