"""Runs on the node: each is claimed, trained, and leaves its reason where it fails.

In:   runs, one after another; a work folder.   Out: run folders; an exit code.
Not here: which task they belong to (tasks.py), the training (pipeline/training/trainer.py).

A failing run leaves its reason in its folder, and the next one has its turn.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import cast

from jobs.code_snapshot import REPOSITORY_ROOT
from jobs.exit_codes import DONE, FAILED, STOPPED
from jobs.local import executor
from jobs.messages import exit_code
from jobs.node import run_lock
from jobs.node.failures import (
    SLURM_STATES,
    MissingFeaturesError,
    classify_error,
    classify_exit_code,
)
from jobs.node.run_lock import FolderLock, LockHeld
from jobs.node.signals import StopRequest, catch_stop_signals, parent_pid
from jobs.node.task_file import Run, RunTask, read_task, write_task
from jobs.node.usage import (
    QUEUE_WAIT_VARIABLE,
    Allocation,
    UsageMonitor,
    job_ran_out_of_memory,
    queue_wait_seconds,
)
from jobs.profile import Device, Workers
from jobs.slurm.client import current_job_id
from pipeline.corpus.manifest import require_no_refusals
from pipeline.files import InputError
from pipeline.host import available_cpus
from pipeline.runs.folder import Failure, Heartbeat, RunFolder, Stopped

MAX_AUTO_WORKERS = 2  # workers of a run


@dataclass(frozen=True)
class RunResources:
    """What a run has on its node. No answer depends on it but by rounding."""

    device: Device
    threads: int
    workers: Workers = "auto"
    resident_gb: float | None = None

    def num_workers(self, *, gpu: bool) -> int:
        """Worker processes that read for a run.

        Beside a CPU that trains they only take its time: a thread of the run reads ten times as
        fast as one of them can hand over. Where a GPU trains, CPUs idle that spare its launching
        thread the reading.
        """
        if isinstance(self.workers, int):
            return self.workers
        if self.workers != "auto":
            return int(self.workers.split()[0]) * self.threads
        return min(MAX_AUTO_WORKERS, available_cpus() - 1) if gpu else 0


def run_training_task(task: RunTask, path: Path, stop: StopRequest) -> int:
    if len(task.runs) == 1:
        resources = RunResources(task.device, task.threads, task.workers, task.resident_gb)
        allocation = Allocation.from_environment(task.threads, _task_queue_wait(task, path))
        return train_runs(Path(task.work), task.runs, resources, stop, allocation)
    return _run_in_processes(task, path, stop)


def _run_in_processes(task: RunTask, path: Path, stop: StopRequest) -> int:
    """A process for each run: one that is killed takes no other with it.

    `at_once` at a time: small ones share a GPU.
    """
    code, folder = DONE, Path(task.work) / "runs"

    def ended(process: executor.ExitStatus) -> None:
        nonlocal code
        code = max(code, int(process.code != DONE))
        if not stop():
            record_silent_failure(process, Path(task.work))

    left = [run for run in task.runs if not RunFolder(folder / run.run_id).finished]
    files = [write_task(replace(task, runs=(run,), at_once=1), path.parent) for run in left]
    if left:
        _import_before_fork()
    os.environ[QUEUE_WAIT_VARIABLE] = str(_task_queue_wait(task, path))
    slots = executor.Slots(task.at_once, task.threads, fork=_run_child)
    executor.run_tasks(files, slots, REPOSITORY_ROOT, lambda _: None, ended, stop=stop)
    return STOPPED if stop() else code


def _run_child(path: Path) -> int:
    """What a fork of this process calls with the task file of a single run."""

    def act() -> int:
        with catch_stop_signals(parent=parent_pid()) as stop:
            return run_training_task(cast("RunTask", read_task(path)), path, stop)

    return exit_code(act)


def _task_queue_wait(task: RunTask, path: Path) -> float:
    folders = (RunFolder(Path(task.work) / "runs" / run.run_id) for run in task.runs)
    return queue_wait_seconds(path.stat().st_mtime, folders)


def _import_before_fork() -> None:
    """Once for all runs of a job: importing torch takes seconds, and copying a process does not."""
    if "numpy" not in sys.modules:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process with its threads cannot be copied
    with suppress(Exception):  # each run will meet it in turn, and say so
        import_module("pipeline.features.feature_set")
        import_module("pipeline.training.loop.trainer")


def record_silent_failure(exit_status: executor.ExitStatus, work: Path) -> None:
    """A process that died without a word: the run that it was at gets its failure from here."""
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
            and not (heartbeat and run_lock.is_still_training(heartbeat))
        ):
            cause, message = classify_exit_code(exit_status.code)
            if cause == "killed" and job_ran_out_of_memory():
                cause, message = SLURM_STATES["OUT_OF_MEMORY"]
            printed = executor.output_path(exit_status.task)
            run.write_failure(Failure(cause=cause, message=f"{message}; see {printed}"))
            return


FitFunction = Callable[[Callable[[], bool]], None]  # until it is asked to stop


def train_runs(
    work: Path,
    runs: Sequence[Run],
    resources: RunResources,
    stop: StopRequest,
    allocation: Allocation | None = None,
) -> int:
    """`asked`: what the job was given, if its use is to be measured against that."""
    code = DONE
    for run in runs:
        folder = RunFolder(work / "runs" / run.run_id)
        if stop():
            return STOPPED
        if folder.finished:
            continue
        failure = folder.failure()
        if failure and not failure.job:
            code = FAILED  # failed before the job was requeued; a new submission clears it
            continue
        # Whoever looked between the clearing and the ledger's new line has told it once more.
        folder.clear_failure()
        fit = partial(_fit, folder, work / "features" / run.feature_id, resources)
        fit = partial(_fit_monitored, folder, fit, allocation or Allocation(resources.threads))
        exit_code = _train_locked(folder, fit, stop)
        if exit_code == STOPPED:
            return STOPPED
        code = max(code, exit_code)
    return code


def _train_locked(folder: RunFolder, fit: FitFunction, stop: StopRequest) -> int:
    code = DONE
    with _log_to_run_file(folder) as log:
        try:
            with run_lock.acquire(folder.path, stop) as lock:
                if not folder.finished:  # by whoever let it go just now
                    code = _train_and_record(folder, fit, stop, lock, log)
        except LockHeld as taken:
            owner = taken.owner
            log.info("left to process %d on %s, which trains this run", owner.pid, owner.host)
            return STOPPED if stop() else DONE
        if folder.finished:
            run_lock.cleanup(folder.path)
    return code


def _train_and_record(
    folder: RunFolder, fit: FitFunction, stop: StopRequest, lock: FolderLock, log: logging.Logger
) -> int:
    try:
        # Importing torch takes seconds: until the first heartbeat this one says that it runs.
        run_lock.write_heartbeat_status(folder, "running")
        fit(lambda: stop() or lock.lost)
    except Stopped:
        if lock.lost:
            log.warning("another process took this one for dead, and has the run now")
            return DONE
        log.info("stopped at a step boundary, state saved; run the same command again to continue")
        return STOPPED
    except Exception as error:
        failure = make_failure(error)
        log.error("%s: %s\n%s", failure.cause, failure.message, failure.traceback)
        folder.write_failure(failure)
        run_lock.write_heartbeat_status(
            folder, "stopped"
        )  # this process lives on, with the next run
        return FAILED
    return DONE


def _fit_monitored(
    folder: RunFolder, fit: FitFunction, allocation: Allocation, stop: Callable[[], bool]
) -> None:
    with UsageMonitor(folder, allocation):
        fit(stop)


def _fit(
    folder: RunFolder, features: Path, resources: RunResources, stop: Callable[[], bool]
) -> None:
    # torch takes seconds and memory that a login node must not pay: only a run that is executed
    # imports the trainer.
    from pipeline.features.feature_set import FeatureSet  # noqa: PLC0415
    from pipeline.training.loop import trainer  # noqa: PLC0415

    try:
        feature_set = FeatureSet.open(features)
        feature_set.verify()  # training reads it all anyway; flipped bits must not change an answer
    except InputError as error:
        raise MissingFeaturesError(str(error)) from None
    experiment = folder.experiment()
    if experiment.corpus.strict:
        require_no_refusals(experiment.corpus.name, feature_set.refusals)
    trainer.fit(
        experiment,
        feature_set,
        folder,
        device=resources.device,
        threads=resources.threads,
        workers=resources.num_workers(gpu=resources.device != "cpu" and bool(trainer.gpu_names())),
        resident_gb=resources.resident_gb,
        should_stop=stop,
        on_heartbeat=_heartbeat_writer(folder),
    )


def _heartbeat_writer(folder: RunFolder) -> Callable[[Heartbeat], None]:
    """Write each: the trainer sends one a second, and one whenever an epoch or the run ends."""
    job = current_job_id()
    return lambda heartbeat: folder.write_heartbeat(replace(heartbeat, job=job))


def make_failure(error: Exception) -> Failure:
    cause, message = classify_error(error)
    if cause == "killed" and job_ran_out_of_memory():  # what read for it
        cause, message = "out of memory", f"{SLURM_STATES['OUT_OF_MEMORY'][1]}: {message}"
    return Failure(
        cause=cause,
        message=message,
        traceback="".join(traceback.format_exception(error)),
        node=os.environ.get("SLURMD_NODENAME", ""),
    )


@contextmanager
def _log_to_run_file(folder: RunFolder) -> Iterator[logging.Logger]:
    """What the pipeline logs during a run goes to the run's own file."""
    folder.path.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder.log_file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    former = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield logging.getLogger("jobs.node.training_task")
    finally:
        root.setLevel(former)
        root.removeHandler(handler)
        handler.close()
