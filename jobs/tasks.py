"""Tasks: what one job executes; an ordered list of slices or of runs.

In:   a task file, written at submission.   Out: shards, or run folders; an exit code.
Not here: where the process starts (local.py, slurm.py), the slices one by one (slices.py).

A failing run leaves its reason in its folder, and the next one has its turn.
"""

import argparse
import logging
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from jobs import claims, slices
from jobs.failures import MissingFeaturesError, classify
from jobs.plan import Run, Slice
from jobs.processes import StopRequest, dealer, listening
from jobs.profile import Device, cpus
from pipeline.files import InputError, digest, read_json, write_json
from pipeline.training.run import Failure, Heartbeat, RunFolder, Stopped

DONE, FAILED = 0, 1
STOPPED = 75  # sysexits' "temporary failure: try again"; typed again it continues

SECONDS_BETWEEN_BEATS = 1.0


@dataclass(frozen=True, kw_only=True)
class FeatureTask:
    work: str
    slices: tuple[Slice, ...]

    @property
    def items(self) -> tuple[str, ...]:
        return tuple(f"{name}/{piece.index}" for piece in self.slices for name in piece.feature_ids)


@dataclass(frozen=True, kw_only=True)
class RunTask:
    work: str
    runs: tuple[Run, ...]
    device: Device
    threads: int

    @property
    def items(self) -> tuple[str, ...]:
        return tuple(run.run_id for run in self.runs)


@dataclass(frozen=True, kw_only=True)
class CheckTask:
    """Says what the place it runs in is like."""

    answer: str  # path of the file to write
    items: tuple[str, ...] = ()


Task = FeatureTask | RunTask | CheckTask
KINDS: dict[type[Task], Literal["features", "runs", "check"]] = {
    FeatureTask: "features",
    RunTask: "runs",
    CheckTask: "check",
}


def write(task: Task, folder: Path) -> Path:
    """A file named by its content: the same task typed again is the same file."""
    kind = KINDS[type(task)]
    content = {"kind": kind, **asdict(task)}
    path = folder / f"{kind}-{digest(content)[:12]}.json"
    write_json(path, content)
    for stale in (slices.progress_path(path), failure_path(path)):
        stale.unlink(missing_ok=True)
    return path


def read(path: Path) -> Task:
    content = read_json(path)
    kind = content.pop("kind")
    if kind == "features":
        pieces = (
            Slice(s["manifest"], s["index"], tuple(s["feature_ids"])) for s in content["slices"]
        )
        return FeatureTask(work=content["work"], slices=tuple(pieces))
    if kind == "check":
        return CheckTask(answer=content["answer"])
    runs = tuple(Run(**run) for run in content["runs"])
    return RunTask(**{**content, "runs": runs})


def failure_path(task: Path) -> Path:
    return task.with_suffix(".failure")


def execute(path: Path, stop: StopRequest) -> int:
    task = read(path)
    if isinstance(task, RunTask):
        return _execute_runs(task, stop)
    if isinstance(task, CheckTask):
        return _examine(task)
    try:
        done = slices.execute(Path(task.work), task.slices, path, stop)
        return DONE if done else STOPPED
    except Exception as error:
        write_json(failure_path(path), asdict(_failure(error)))
        raise


def _examine(task: CheckTask) -> int:
    # What a run imports, and only here, for the reason given at _fit.
    from pipeline.features import precompute  # noqa: PLC0415
    from pipeline.training import trainer  # noqa: PLC0415

    answer = {
        "host": socket.gethostname(),
        "python": sys.version.split()[0],
        "code": [module.__file__ for module in (precompute, trainer)],
        "cpus": cpus(),
        "gpus": trainer.gpus(),
        "time": time.time(),
    }
    write_json(Path(task.answer), answer)
    return DONE


def _execute_runs(task: RunTask, stop: StopRequest) -> int:
    code = DONE
    for run in task.runs:
        folder = RunFolder(Path(task.work) / "runs" / run.run_id)
        if stop():
            return STOPPED
        if folder.finished:
            continue
        if folder.failure():
            code = FAILED  # failed before the job was requeued; a new submission clears it
            continue
        ended = _execute_run(task, run, folder, stop)
        if ended == STOPPED:
            return STOPPED
        code = max(code, ended)
    return code


def _execute_run(task: RunTask, run: Run, folder: RunFolder, stop: StopRequest) -> int:
    with _log(folder) as log:
        if other := claims.other(folder, stop):
            log.info("left to process %d on %s, which trains this run", other.pid, other.host)
            return DONE
        try:
            # Importing torch takes seconds: until the first heartbeat this one keeps others away.
            claims.mark(folder, "running")
            _fit(task, run, folder, stop)
        except Stopped:
            log.info("stopped at a step boundary, state saved; typed again it continues")
            return STOPPED
        except Exception as error:
            failure = _failure(error)
            log.error("%s: %s\n%s", failure.cause, failure.message, failure.traceback)
            folder.fail(failure)
            claims.mark(folder, "stopped")  # this process lives on, with the next run
            return FAILED
    return DONE


def _fit(task: RunTask, run: Run, folder: RunFolder, stop: StopRequest) -> None:
    # torch takes seconds and memory that a login node must not pay: only a run that is executed
    # imports the trainer.
    from pipeline.features.feature_set import FeatureSet  # noqa: PLC0415
    from pipeline.training import trainer  # noqa: PLC0415

    try:
        features = FeatureSet.open(Path(task.work) / "features" / run.feature_id)
        features.verify()  # training reads it all anyway; flipped bits must not change an answer
    except InputError as error:
        raise MissingFeaturesError(str(error)) from None
    trainer.fit(
        folder.experiment(),
        features,
        folder,
        device=task.device,
        threads=task.threads,
        should_stop=stop,
        observe=_beats(folder),
    )


def _beats(folder: RunFolder) -> Callable[[Heartbeat], None]:
    """Write a heartbeat at most each second, and whenever an epoch or the run ends."""
    last: tuple[str, int] | None = None
    written = 0.0

    def beat(heartbeat: Heartbeat) -> None:
        nonlocal last, written
        now = time.monotonic()
        if (heartbeat.status, heartbeat.epoch) != last or now - written >= SECONDS_BETWEEN_BEATS:
            folder.beat(heartbeat)
            last, written = (heartbeat.status, heartbeat.epoch), now

    return beat


def _failure(error: Exception) -> Failure:
    cause, message = classify(error)
    return Failure(
        cause=cause, message=message, traceback="".join(traceback.format_exception(error))
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
        yield logging.getLogger("jobs.tasks")
    finally:
        root.setLevel(former)
        root.removeHandler(handler)
        handler.close()


def task(options: argparse.Namespace) -> int:
    """The verb that a local child process is started with."""
    with listening(parent=dealer()) as stop:
        return execute(options.file, stop)
