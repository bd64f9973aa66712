"""Tasks: what one job executes; an ordered list of slices or of runs.

In:   a task file, written at submission.   Out: shards, or run folders; an exit code.
Not here: where the process starts (local.py, slurm.py), the slices and the runs one by one
(slices.py, runs.py).
"""

import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from jobs.exit_codes import DONE, FAILED, REQUEUE, STOPPED
from jobs.messages import exit_code
from jobs.node import feature_task, training_task
from jobs.node import requeue as lives
from jobs.node.checks import _examine
from jobs.node.signals import StopRequest, dealer, listening
from jobs.node.task_file import CheckTask, ReportTask, RunTask, failure_path, read
from jobs.node.training_task import _execute_runs
from jobs.slurm.client import must_leave
from jobs.slurm.resources import BATCH
from jobs.sweep.folder import SweepFolder
from pipeline.files import write_json


def execute(path: Path, stop: StopRequest) -> int:
    task = read(path)
    if isinstance(task, RunTask):
        return _execute_runs(task, path, stop)
    if isinstance(task, CheckTask):
        return _examine(task, stop)
    if isinstance(task, ReportTask):
        return _report(task)
    try:
        done = feature_task.execute(Path(task.work), task.slices, path, stop)
        if done and task.verify:
            feature_task.finish(Path(task.work), task.slices)
        return DONE if done else STOPPED
    except Exception as error:
        write_json(failure_path(path), asdict(training_task.failure_of(error)))
        raise


def _report(task: ReportTask) -> int:
    # pandas and matplotlib, for the same reason; and a sweep that goes to SLURM has written no
    # report before its first run.
    from jobs.sweep import report  # noqa: PLC0415

    report.write(SweepFolder(Path(task.work), task.sweep), task.commands)
    return DONE


def run_child(path: Path) -> int:
    """Execute a task file in a child process of this machine; return its exit code."""
    return exit_code(lambda: _run_child(path))


def _run_child(path: Path) -> int:
    with listening(parent=dealer()) as stop:
        return execute(path, stop)


def run_in_slurm(path: Path, requeue: Callable[[], None]) -> int:
    """Execute a task file in a SLURM job; call `requeue` where it has saved and must end."""
    with listening() as stop:
        code = execute(path, stop) if lives.begin(path) else FAILED
        # SLURM requeues only what it kills: one that ends in its grace time has ended. The
        # limit itself may come while a run that was warned of it still saves.
        if code == STOPPED and (stop.signal == signal.SIGUSR2 or must_leave()):
            if not lives.go_on(path, lambda: must_leave() or "timeout"):
                return FAILED
            if BATCH in os.environ:
                return REQUEUE
            requeue()
    return code
