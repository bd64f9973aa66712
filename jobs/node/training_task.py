"""Training tasks: the runs of a job, each in its own process if there are several.

In:   a task with runs, its file.   Out: run folders; an exit code.
Not here: the training of one run (run_training.py), other kinds of tasks (launch/entrypoint.py).
"""

import os
import sys
from contextlib import nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import cast

from jobs.environment import REPOSITORY_ROOT
from jobs.exit_codes import DISK_FULL, DONE, FAILED, STOPPED
from jobs.imports import quick_imports
from jobs.local import executor
from jobs.messages import exit_code
from jobs.node import failures, folder_lock
from jobs.node.failures import SLURM_STATES, classify_exit_code
from jobs.node.run_training import RunResources, train_run
from jobs.node.signals import StopRequest, catch_stop_signals, parent_pid
from jobs.node.task_file import RunTask, read_task, write_task
from jobs.node.usage import (
    QUEUE_WAIT_VARIABLE,
    Allocation,
    job_ran_out_of_memory,
    queue_wait_seconds,
)
from pipeline.runs.folder import Failure, RunFolder


def run_training_task(task: RunTask, path: Path, stop: StopRequest) -> int:
    """Train the runs of a task; return DONE, FAILED if one failed, or STOPPED if `stop` was set."""
    if len(task.runs) > 1:
        return _run_in_processes(task, path, stop)
    (run,) = task.runs
    resources = RunResources(task.device, task.threads, task.workers, task.resident_gb)
    allocation = Allocation.from_environment(task.threads, _task_queue_wait(task, path))
    folder = RunFolder(Path(task.work) / "runs" / run.run_id)
    features = Path(task.work) / "features" / run.feature_id
    rules = Path(task.early_stop_file) if task.early_stop_file else None
    try:
        return train_run(folder, features, resources, allocation, stop, early_stop_file=rules)
    except OSError as error:
        if not failures.is_disk_full(error):
            raise
        return DISK_FULL  # a failure could not be recorded


def _run_in_processes(task: RunTask, path: Path, stop: StopRequest) -> int:
    """Train each run in its own process, so that one that is killed does not end the others.

    `at_once` of them run at a time: small runs share a GPU.
    """
    code, work = DONE, Path(task.work)

    def on_exit(exit_status: executor.ExitStatus) -> None:
        nonlocal code
        if exit_status.code != DONE and code != DISK_FULL:
            code = DISK_FULL if exit_status.code == DISK_FULL else FAILED
        if not stop():
            record_silent_failure(exit_status, work)

    unfinished = [run for run in task.runs if not RunFolder(work / "runs" / run.run_id).finished]
    files = [write_task(task._replace(runs=(run,), at_once=1), path.parent) for run in unfinished]
    if unfinished:
        _import_before_fork()
    os.environ[QUEUE_WAIT_VARIABLE] = str(_task_queue_wait(task, path))
    slots = executor.Slots(task.at_once, task.threads, fork=_run_child)
    executor.run_tasks(
        files, slots, REPOSITORY_ROOT, lambda _: None, on_exit,
        stop=lambda: stop() or code == DISK_FULL,
    )  # fmt: skip
    return STOPPED if stop() else code


def _run_child(path: Path) -> int:
    """Train the run of a task file in a fork of this process; return its exit code."""

    def train() -> int:
        with catch_stop_signals(parent=parent_pid()) as stop:
            return run_training_task(cast("RunTask", read_task(path)), path, stop)

    return exit_code(train)


def _task_queue_wait(task: RunTask, path: Path) -> float:
    folders = (RunFolder(Path(task.work) / "runs" / run.run_id) for run in task.runs)
    return queue_wait_seconds(path.stat().st_mtime, folders)


def _import_before_fork() -> None:
    """Import torch once for all runs of a job: the import takes seconds, a fork does not."""
    if "numpy" not in sys.modules:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process with threads cannot be forked
    with suppress(Exception), quick_imports():  # each run raises it again, and records it
        import_module("pipeline.features.feature_set")
        import_module("pipeline.training.loop.fit")


def record_silent_failure(exit_status: executor.ExitStatus, work: Path) -> None:
    """Record a failure for the run of a process that ended without recording one itself."""
    task = read_task(exit_status.task)
    if exit_status.code in {DONE, FAILED, STOPPED} or not isinstance(task, RunTask):
        return
    for run_id in task.items:
        run = RunFolder(work / "runs" / run_id)
        heartbeat = run.heartbeat()
        failure = run.failure()
        already_recorded = failure and not failure.job
        if (
            not run.finished
            and not already_recorded
            and not (heartbeat and folder_lock.is_still_training(heartbeat))
        ):
            cause, message = classify_exit_code(exit_status.code)
            if cause == "killed" and job_ran_out_of_memory():
                cause, message = SLURM_STATES["OUT_OF_MEMORY"]
            output = executor.output_path(exit_status.task)
            with suppress(OSError) if cause == "disk full" else nullcontext():
                run.write_failure(Failure(cause=cause, message=f"{message}; see {output}"))
            return
