"""Tasks: what one job executes; an ordered list of slices or of runs.

In:   a task file, written at submission.   Out: shards, or run folders; an exit code.
Not here: where the process starts (local.py, slurm.py), the slices and the runs one by one
(slices.py, runs.py).
"""

import argparse
import os
import socket
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Literal

from jobs import claims, local, runs, slices
from jobs.failures import SLURM_STATES, of_exit
from jobs.means import Means, cpus
from jobs.meter import WAITED, Asked, job_ran_out_of_memory, seconds_waited
from jobs.plan import Run, Slice
from jobs.processes import DONE, FAILED, STOPPED, StopRequest, dealer, listening
from jobs.profile import Device, Workers
from jobs.snapshot import SOURCE
from jobs.wanted import SweepFolder
from pipeline.files import digest, read_json, write_json
from pipeline.training.run import Failure, RunFolder
from pipeline.values import dataclass

SECONDS_FOR_SIGNAL = 180.0  # the file system may show the answer late


@dataclass(frozen=True, kw_only=True)
class FeatureTask:
    work: str
    slices: tuple[Slice, ...]
    verify: bool = False  # by whoever completes a feature set

    @property
    def items(self) -> tuple[str, ...]:
        return tuple(f"{name}/{piece.index}" for piece in self.slices for name in piece.feature_ids)


@dataclass(frozen=True, kw_only=True)
class RunTask:
    work: str
    runs: tuple[Run, ...]
    device: Device
    threads: int  # of each run
    at_once: int = 1  # runs side by side, as processes
    workers: Workers = "auto"
    resident_gb: float | None = None

    @property
    def items(self) -> tuple[str, ...]:
        return tuple(run.run_id for run in self.runs)


@dataclass(frozen=True, kw_only=True)
class CheckTask:
    """Says what the place it runs in is like."""

    answer: str  # path of the file to write
    signalled: bool = False  # then it waits for SIGUSR2, and says in its next life that it lives
    scratch: str | None = None  # the variable that names the node's own disk
    items: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReportTask:
    """Writes the report of a sweep, of whatever there is when it starts."""

    work: str
    sweep: str  # name
    commands: tuple[str, ...]  # that a reader may type
    items: tuple[str, ...] = ()


Kind = Literal["features", "runs", "report", "check"]
Task = FeatureTask | RunTask | ReportTask | CheckTask
KINDS: dict[type[Task], Kind] = {
    FeatureTask: "features",
    RunTask: "runs",
    ReportTask: "report",
    CheckTask: "check",
}


def write(task: Task, folder: Path) -> Path:
    """A file named by its content: the same task typed again is the same file."""
    kind = KINDS[type(task)]
    content = {"kind": kind, **asdict(task)}
    path = folder / f"{kind}-{digest(content)[:12]}.json"
    write_json(path, content)
    for stale in (slices.progress_path(path), failure_path(path), lives_path(path)):
        stale.unlink(missing_ok=True)
    return path


def read(path: Path) -> Task:
    content = read_json(path)
    kind = content.pop("kind")
    if kind == "features":
        pieces = (
            Slice(s["manifest"], s["index"], tuple(s["feature_ids"])) for s in content["slices"]
        )
        return FeatureTask(**{**content, "slices": tuple(pieces)})
    if kind == "check":
        return CheckTask(**{**content, "items": ()})
    if kind == "report":
        return ReportTask(**{**content, "commands": tuple(content["commands"]), "items": ()})
    return RunTask(**{**content, "runs": tuple(Run(**run) for run in content["runs"])})


def failure_path(task: Path) -> Path:
    return task.with_suffix(".failure")


def lives_path(task: Path) -> Path:
    return task.with_suffix(".lives")


def execute(path: Path, stop: StopRequest) -> int:
    task = read(path)
    if isinstance(task, RunTask):
        return _execute_runs(task, path, stop)
    if isinstance(task, CheckTask):
        return _examine(task, stop)
    if isinstance(task, ReportTask):
        return _report(task)
    try:
        done = slices.execute(Path(task.work), task.slices, path, stop)
        if done and task.verify:
            slices.finish(Path(task.work), task.slices)
        return DONE if done else STOPPED
    except Exception as error:
        write_json(failure_path(path), asdict(runs.failure_of(error)))
        raise


def _examine(task: CheckTask, stop: StopRequest) -> int:
    # What a run imports, and only here, for the reason given at _fit.
    from pipeline.features import precompute  # noqa: PLC0415
    from pipeline.training import trainer  # noqa: PLC0415

    path = Path(task.answer)
    if path.exists():  # written before the requeue
        write_json(path.with_suffix(".again"), os.environ.get("SLURM_RESTART_COUNT", "0"))
        return DONE
    answer = {
        "host": socket.gethostname(),
        "python": sys.version.split()[0],
        "modules": [name for name in os.environ.get("LOADEDMODULES", "").split(":") if name],
        "code": [module.__file__ for module in (precompute, trainer)],
        "cpus": cpus(),
        "gpus": trainer.gpus(),
        "scratch": os.environ.get(task.scratch or "", ""),
        "temporary": tempfile.gettempdir(),  # of the first folder that it could write into
        "time": time.time(),
    }
    write_json(path, answer)
    began = time.monotonic()
    while task.signalled and not stop() and time.monotonic() - began < SECONDS_FOR_SIGNAL:
        time.sleep(0.1)
    if stop():
        write_json(path.with_suffix(".heard"), time.time())
    return STOPPED if stop() else DONE


def _report(task: ReportTask) -> int:
    # pandas and matplotlib, for the same reason; and a sweep that goes to SLURM has written no
    # report before its first run.
    from jobs import reporting  # noqa: PLC0415

    reporting.write(SweepFolder(Path(task.work), task.sweep), task.commands)
    return DONE


def _execute_runs(task: RunTask, path: Path, stop: StopRequest) -> int:
    if len(task.runs) == 1:
        means = Means(task.device, task.threads, task.workers, task.resident_gb)
        asked = Asked.here(task.threads, _seconds_waited(task, path))
        return runs.execute(Path(task.work), task.runs, means, stop, asked)
    return _execute_apart(task, path, stop)


def _execute_apart(task: RunTask, path: Path, stop: StopRequest) -> int:
    """A process for each run: one that is killed takes no other with it.

    `at_once` at a time: small ones share a GPU.
    """
    code, folder = DONE, Path(task.work) / "runs"

    def ended(process: local.Ended) -> None:
        nonlocal code
        code = max(code, int(process.code != DONE))
        if not stop():
            fail_for_silent(process, Path(task.work))

    left = [run for run in task.runs if not RunFolder(folder / run.run_id).finished]
    files = [write(replace(task, runs=(run,), at_once=1), path.parent) for run in left]
    if left:
        _import_for_copies()
    os.environ[WAITED] = str(_seconds_waited(task, path))
    slots = local.Slots(task.at_once, task.threads, copied=True)
    local.deal(files, slots, SOURCE, lambda _: None, ended, stop=stop)
    return STOPPED if stop() else code


def _seconds_waited(task: RunTask, path: Path) -> float:
    folders = (RunFolder(Path(task.work) / "runs" / run.run_id) for run in task.runs)
    return seconds_waited(path.stat().st_mtime, folders)


def _import_for_copies() -> None:
    """Once for all runs of a job: importing torch takes seconds, and copying a process does not."""
    if "numpy" not in sys.modules:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process with its threads cannot be copied
    with suppress(Exception):  # each run will meet it in turn, and say so
        import_module("pipeline.features.feature_set")
        import_module("pipeline.training.trainer")


def fail_for_silent(ended: local.Ended, work: Path) -> None:
    """A process that died without a word: the run that it was at gets its failure from here."""
    task = read(ended.task)
    if ended.code in {DONE, FAILED, STOPPED} or not isinstance(task, RunTask):
        return
    for run_id in task.items:
        run = RunFolder(work / "runs" / run_id)
        beat = run.heartbeat()
        failure = run.failure()
        said = failure and not failure.job
        if not run.finished and not said and not (beat and claims.beats(beat)):
            cause, message = of_exit(ended.code)
            if cause == "killed" and job_ran_out_of_memory():
                cause, message = SLURM_STATES["OUT_OF_MEMORY"]
            printed = local.output_path(ended.task)
            run.fail(Failure(cause=cause, message=f"{message}; see {printed}"))
            return


def task(options: argparse.Namespace) -> int:
    """The verb that a local child process is started with."""
    with listening(parent=dealer()) as stop:
        return execute(options.file, stop)
