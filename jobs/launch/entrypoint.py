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
from jobs.node.checks import _run_check_task
from jobs.node.signals import StopRequest, catch_stop_signals, parent_pid
from jobs.node.task_file import CheckTask, ReportTask, RunTask, failure_path, read_task
from jobs.node.training_task import _run_training_task
from jobs.slurm.client import termination_reason
from jobs.slurm.resources import REQUEUE_FROM_BATCH_VARIABLE
from jobs.sweep.folder import SweepFolder
from pipeline.files import write_json


def execute_task(path: Path, stop: StopRequest) -> int:
    task = read_task(path)
    if isinstance(task, RunTask):
        return _run_training_task(task, path, stop)
    if isinstance(task, CheckTask):
        return _run_check_task(task, stop)
    if isinstance(task, ReportTask):
        return _run_report_task(task)
    try:
        done = feature_task.compute_slices(Path(task.work), task.slices, path, stop)
        if done and task.verify:
            feature_task.verify_complete_sets(Path(task.work), task.slices)
        return DONE if done else STOPPED
    except Exception as error:
        write_json(failure_path(path), asdict(training_task.make_failure(error)))
        raise


def _run_report_task(task: ReportTask) -> int:
    # pandas and matplotlib, for the same reason; and a sweep that goes to SLURM has written no
    # report before its first run.
    from jobs.sweep import report  # noqa: PLC0415

    report.write_sweep_report(SweepFolder(Path(task.work), task.sweep), task.commands)
    return DONE


def run_child(path: Path) -> int:
    """Execute a task file in a child process of this machine; return its exit code."""
    return exit_code(lambda: _run_child(path))


def _run_child(path: Path) -> int:
    with catch_stop_signals(parent=parent_pid()) as stop:
        return execute_task(path, stop)


def run_in_slurm(path: Path, requeue: Callable[[], None]) -> int:
    """Execute a task file in a SLURM job; call `requeue` where it has saved and must end."""
    with catch_stop_signals() as stop:
        code = execute_task(path, stop) if lives.on_start(path) else FAILED
        # SLURM requeues only what it kills: one that ends in its grace time has ended. The
        # limit itself may come while a run that was warned of it still saves.
        if code == STOPPED and (stop.signal == signal.SIGUSR2 or termination_reason()):
            if not lives.may_requeue(path, lambda: termination_reason() or "timeout"):
                return FAILED
            if REQUEUE_FROM_BATCH_VARIABLE in os.environ:
                return REQUEUE
            requeue()
    return code
