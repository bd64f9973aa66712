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

from jobs.code_snapshot import SOURCE
from jobs.exit_codes import DONE, FAILED, STOPPED
from jobs.local import executor
from jobs.messages import exit_code
from jobs.node import run_lock
from jobs.node.failures import SLURM_STATES, MissingFeaturesError, classify, of_exit
from jobs.node.run_lock import Claim, Taken
from jobs.node.signals import StopRequest, dealer, listening
from jobs.node.task_file import Run, RunTask, read, write
from jobs.node.usage import WAITED, Asked, Meter, job_ran_out_of_memory, seconds_waited
from jobs.profile import Device, Workers
from jobs.slurm.client import this_job
from pipeline.corpus.manifest import require_all
from pipeline.files import InputError
from pipeline.host import cpus
from pipeline.runs.folder import Failure, Heartbeat, RunFolder, Stopped

MOST_AUTO = 2  # workers of a run


@dataclass(frozen=True)
class Means:
    """What a run has on its node. No answer depends on it but by rounding."""

    device: Device
    threads: int
    workers: Workers = "auto"
    resident_gb: float | None = None

    def feeders(self, *, gpu: bool) -> int:
        """Worker processes that read for a run.

        Beside a CPU that trains they only take its time: a thread of the run reads ten times as
        fast as one of them can hand over. Where a GPU trains, CPUs idle that spare its launching
        thread the reading.
        """
        if isinstance(self.workers, int):
            return self.workers
        if self.workers != "auto":
            return int(self.workers.split()[0]) * self.threads
        return min(MOST_AUTO, cpus() - 1) if gpu else 0


def _execute_runs(task: RunTask, path: Path, stop: StopRequest) -> int:
    if len(task.runs) == 1:
        means = Means(task.device, task.threads, task.workers, task.resident_gb)
        asked = Asked.here(task.threads, _seconds_waited(task, path))
        return execute(Path(task.work), task.runs, means, stop, asked)
    return _execute_apart(task, path, stop)


def _execute_apart(task: RunTask, path: Path, stop: StopRequest) -> int:
    """A process for each run: one that is killed takes no other with it.

    `at_once` at a time: small ones share a GPU.
    """
    code, folder = DONE, Path(task.work) / "runs"

    def ended(process: executor.Ended) -> None:
        nonlocal code
        code = max(code, int(process.code != DONE))
        if not stop():
            fail_for_silent(process, Path(task.work))

    left = [run for run in task.runs if not RunFolder(folder / run.run_id).finished]
    files = [write(replace(task, runs=(run,), at_once=1), path.parent) for run in left]
    if left:
        _import_for_copies()
    os.environ[WAITED] = str(_seconds_waited(task, path))
    slots = executor.Slots(task.at_once, task.threads, fork=_run_child)
    executor.deal(files, slots, SOURCE, lambda _: None, ended, stop=stop)
    return STOPPED if stop() else code


def _run_child(path: Path) -> int:
    """What a fork of this process calls with the task file of a single run."""

    def act() -> int:
        with listening(parent=dealer()) as stop:
            return _execute_runs(cast("RunTask", read(path)), path, stop)

    return exit_code(act)


def _seconds_waited(task: RunTask, path: Path) -> float:
    folders = (RunFolder(Path(task.work) / "runs" / run.run_id) for run in task.runs)
    return seconds_waited(path.stat().st_mtime, folders)


def _import_for_copies() -> None:
    """Once for all runs of a job: importing torch takes seconds, and copying a process does not."""
    if "numpy" not in sys.modules:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process with its threads cannot be copied
    with suppress(Exception):  # each run will meet it in turn, and say so
        import_module("pipeline.features.feature_set")
        import_module("pipeline.training.loop.trainer")


def fail_for_silent(ended: executor.Ended, work: Path) -> None:
    """A process that died without a word: the run that it was at gets its failure from here."""
    task = read(ended.task)
    if ended.code in {DONE, FAILED, STOPPED} or not isinstance(task, RunTask):
        return
    for run_id in task.items:
        run = RunFolder(work / "runs" / run_id)
        beat = run.heartbeat()
        failure = run.failure()
        said = failure and not failure.job
        if not run.finished and not said and not (beat and run_lock.beats(beat)):
            cause, message = of_exit(ended.code)
            if cause == "killed" and job_ran_out_of_memory():
                cause, message = SLURM_STATES["OUT_OF_MEMORY"]
            printed = executor.output_path(ended.task)
            run.fail(Failure(cause=cause, message=f"{message}; see {printed}"))
            return


Fit = Callable[[Callable[[], bool]], None]  # until it is asked to stop


def execute(
    work: Path, runs: Sequence[Run], means: Means, stop: StopRequest, asked: Asked | None = None
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
        fit = partial(_fit, folder, work / "features" / run.feature_id, means)
        fit = partial(_metered, folder, fit, asked or Asked(means.threads))
        ended = _execute(folder, fit, stop)
        if ended == STOPPED:
            return STOPPED
        code = max(code, ended)
    return code


def _execute(folder: RunFolder, fit: Fit, stop: StopRequest) -> int:
    code = DONE
    with _log(folder) as log:
        try:
            with run_lock.holding(folder.path, stop) as claim:
                if not folder.finished:  # by whoever let it go just now
                    code = _train(folder, fit, stop, claim, log)
        except Taken as taken:
            owner = taken.owner
            log.info("left to process %d on %s, which trains this run", owner.pid, owner.host)
            return STOPPED if stop() else DONE
        if folder.finished:
            run_lock.settle(folder.path)
    return code


def _train(
    folder: RunFolder, fit: Fit, stop: StopRequest, claim: Claim, log: logging.Logger
) -> int:
    try:
        # Importing torch takes seconds: until the first heartbeat this one says that it runs.
        run_lock.mark(folder, "running")
        fit(lambda: stop() or claim.lost)
    except Stopped:
        if claim.lost:
            log.warning("another process took this one for dead, and has the run now")
            return DONE
        log.info("stopped at a step boundary, state saved; typed again it continues")
        return STOPPED
    except Exception as error:
        failure = failure_of(error)
        log.error("%s: %s\n%s", failure.cause, failure.message, failure.traceback)
        folder.fail(failure)
        run_lock.mark(folder, "stopped")  # this process lives on, with the next run
        return FAILED
    return DONE


def _metered(folder: RunFolder, fit: Fit, asked: Asked, stop: Callable[[], bool]) -> None:
    with Meter(folder, asked):
        fit(stop)


def _fit(folder: RunFolder, features: Path, means: Means, stop: Callable[[], bool]) -> None:
    # torch takes seconds and memory that a login node must not pay: only a run that is executed
    # imports the trainer.
    from pipeline.features.feature_set import FeatureSet  # noqa: PLC0415
    from pipeline.training.loop import trainer  # noqa: PLC0415

    try:
        whole = FeatureSet.open(features)
        whole.verify()  # training reads it all anyway; flipped bits must not change an answer
    except InputError as error:
        raise MissingFeaturesError(str(error)) from None
    experiment = folder.experiment()
    if experiment.corpus.strict:
        require_all(experiment.corpus.name, whole.refusals)
    trainer.fit(
        experiment,
        whole,
        folder,
        device=means.device,
        threads=means.threads,
        workers=means.feeders(gpu=means.device != "cpu" and bool(trainer.gpus())),
        resident_gb=means.resident_gb,
        should_stop=stop,
        observe=_beats(folder),
    )


def _beats(folder: RunFolder) -> Callable[[Heartbeat], None]:
    """Write each: the trainer sends one a second, and one whenever an epoch or the run ends."""
    job = this_job()
    return lambda heartbeat: folder.beat(replace(heartbeat, job=job))


def failure_of(error: Exception) -> Failure:
    cause, message = classify(error)
    if cause == "killed" and job_ran_out_of_memory():  # what read for it
        cause, message = "out of memory", f"{SLURM_STATES['OUT_OF_MEMORY'][1]}: {message}"
    return Failure(
        cause=cause,
        message=message,
        traceback="".join(traceback.format_exception(error)),
        node=os.environ.get("SLURMD_NODENAME", ""),
    )


@contextmanager
def _log(folder: RunFolder) -> Iterator[logging.Logger]:
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
