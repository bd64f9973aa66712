"""The entry point of a job: execute one task file.

In:   a task file, written at submission.   Out: shards, run folders or a report; an exit code.
Not here: who starts the process (local/executor.py, slurm/sbatch.py), the work itself
(node/feature_task.py, node/training_task.py, sweep/report.py).

A task may write to the folders of its feature sets or runs, to the report's folder, and to files
beside its task file; to nothing else. It stops at a step boundary once `stop` is set: by a signal
(node/signals.py), or because the parent process has ended. This module stands above sweep/ because
the report task needs it.
"""

import argparse
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from jobs.exit_codes import DISK_FULL, DONE, FAILED, REQUEUE, STOPPED
from jobs.messages import exit_code
from jobs.node import failures, feature_task, requeue
from jobs.node.checks import run_check_task
from jobs.node.failures import make_failure
from jobs.node.signals import StopRequest, catch_stop_signals, parent_pid
from jobs.node.task_file import CheckTask, ReportTask, RunTask, failure_path, read_task
from jobs.node.training_task import run_training_task
from jobs.slurm import client
from jobs.slurm.client import termination_reason
from jobs.slurm.resources import REQUEUE_FROM_BATCH_VARIABLE
from jobs.sweep.folder import SweepFolder
from pipeline.files import write_json


def execute_task(path: Path, stop: StopRequest) -> int:
    """Execute a task file; return DONE, FAILED, or STOPPED if `stop` was set and state is saved."""
    task = read_task(path)
    if isinstance(task, RunTask):
        return run_training_task(task, path, stop)
    if isinstance(task, CheckTask):
        return run_check_task(task, stop)
    try:
        if isinstance(task, ReportTask):
            return _run_report_task(task)
        done = feature_task.compute_slices(Path(task.work), task.slices, path, stop)
        if done and task.verify:
            feature_task.verify_complete_sets(Path(task.work), task.slices)
        return DONE if done else STOPPED
    except Exception as error:
        write_json(failure_path(path), asdict(make_failure(error)))
        raise


def _run_report_task(task: ReportTask) -> int:
    # It imports pandas and matplotlib, which no other task needs.
    from jobs.sweep import report  # noqa: PLC0415

    report.write_sweep_report([SweepFolder(Path(task.work), task.sweep)], task.commands)
    return DONE


def task(options: argparse.Namespace) -> int:
    """Run the verb task, with which a process of this machine is started for one task file."""
    return run_child(options.file)


def run_child(path: Path) -> int:
    """Execute a task file in a child process of this machine; return its exit code."""
    return exit_code(lambda: _run_child(path))


def _run_child(path: Path) -> int:
    with catch_stop_signals(parent=parent_pid()) as stop:
        return execute_task(path, stop)


def run_in_slurm(path: Path, requeue_job: Callable[[], None]) -> int:
    """Execute a task file in a SLURM job; return an exit code.

    A task that was stopped by SLURM has saved its state, and asks for a requeue: it calls
    `requeue_job`, or returns REQUEUE if the batch script must do it. If the work folder takes no
    file, the tasks of its array that still wait are cancelled: each of them would fail.
    """
    try:
        code = _run_in_slurm(path, requeue_job)
    except OSError as error:
        if not failures.is_disk_full(error):
            raise
        code = DISK_FULL
    if code == DISK_FULL:
        with suppress(OSError):  # the output of the job lies on the same disk
            print(f"disk full: {failures.DISK_FULL_MESSAGE}", flush=True)
        client.cancel_waiting_tasks()
    return code


def _run_in_slurm(path: Path, requeue_job: Callable[[], None]) -> int:
    with catch_stop_signals() as stop:
        code = execute_task(path, stop) if requeue.on_start(path) else FAILED
        # SLURM requeues a job only if it kills it, and this one ends by itself within its grace
        # time. Without SIGUSR2 the time limit may have passed while the run still saved.
        if code == STOPPED and (stop.signal == signal.SIGUSR2 or termination_reason()):
            if not requeue.may_requeue(path, lambda: termination_reason() or "timeout"):
                return FAILED
            if REQUEUE_FROM_BATCH_VARIABLE in os.environ:
                return REQUEUE
            requeue_job()
    return code
