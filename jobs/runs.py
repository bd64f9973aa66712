"""Runs on the node: each is claimed, trained, and leaves its reason where it fails.

In:   runs, one after another; a work folder.   Out: run folders; an exit code.
Not here: which task they belong to (tasks.py), the training (pipeline/training/trainer.py).

A failing run leaves its reason in its folder, and the next one has its turn.
"""

import logging
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from jobs import claims
from jobs.claims import Claim, Taken
from jobs.failures import SLURM_STATES, MissingFeaturesError, classify
from jobs.means import Means
from jobs.meter import Asked, Meter, job_ran_out_of_memory
from jobs.plan import Run
from jobs.processes import DONE, FAILED, STOPPED, StopRequest
from jobs.scheduler import this_job
from pipeline.corpus.manifest import require_all
from pipeline.files import InputError
from pipeline.training.run import Failure, Heartbeat, RunFolder, Stopped

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
            with claims.holding(folder.path, stop) as claim:
                if not folder.finished:  # by whoever let it go just now
                    code = _train(folder, fit, stop, claim, log)
        except Taken as taken:
            owner = taken.owner
            log.info("left to process %d on %s, which trains this run", owner.pid, owner.host)
            return STOPPED if stop() else DONE
        if folder.finished:
            claims.settle(folder.path)
    return code


def _train(
    folder: RunFolder, fit: Fit, stop: StopRequest, claim: Claim, log: logging.Logger
) -> int:
    try:
        # Importing torch takes seconds: until the first heartbeat this one says that it runs.
        claims.mark(folder, "running")
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
        claims.mark(folder, "stopped")  # this process lives on, with the next run
        return FAILED
    return DONE


def _metered(folder: RunFolder, fit: Fit, asked: Asked, stop: Callable[[], bool]) -> None:
    with Meter(folder, asked):
        fit(stop)


def _fit(folder: RunFolder, features: Path, means: Means, stop: Callable[[], bool]) -> None:
    # torch takes seconds and memory that a login node must not pay: only a run that is executed
    # imports the trainer.
    from pipeline.features.feature_set import FeatureSet  # noqa: PLC0415
    from pipeline.training import trainer  # noqa: PLC0415

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
        yield logging.getLogger("jobs.runs")
    finally:
        root.setLevel(former)
        root.removeHandler(handler)
        handler.close()
