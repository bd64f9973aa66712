"""Task files: what one job executes, such as a list of slices or of runs, as JSON.

In:   a task.   Out: its file, named by its content; the task that a file holds.
Not here: executing it (feature_task.py, training_task.py, checks.py).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jobs.profile_fields import Device, Workers
from pipeline.files import json_digest, read_json, write_json


@dataclass(frozen=True)
class Slice:
    """One slice of a manifest, and the feature sets that lack its shard."""

    manifest: str  # path
    index: int
    feature_ids: tuple[str, ...]


class Run(NamedTuple):
    """A run and the feature set that it trains on."""

    run_id: str
    feature_id: str


class FeatureTask(NamedTuple):
    """Computes shards."""

    work: str
    slices: tuple[Slice, ...]
    verify: bool = False  # the task that completes a feature set verifies it

    @property
    def items(self) -> tuple[str, ...]:
        """Return `FEATURE_ID/SLICE` for each shard."""
        return tuple(f"{name}/{piece.index}" for piece in self.slices for name in piece.feature_ids)


class RunTask(NamedTuple):
    """Trains runs."""

    work: str
    runs: tuple[Run, ...]
    device: Device
    threads: int  # per run
    at_once: int = 1  # runs at a time, each in its own process
    workers: Workers = "auto"
    resident_gb: float | None = None
    early_stop_file: str = ""  # the rules of the sweep; the file is missing where it has none

    @property
    def items(self) -> tuple[str, ...]:
        """Return the run ids."""
        return tuple(run.run_id for run in self.runs)


class CheckTask(NamedTuple):
    """Writes down what its node offers."""

    answer: str  # path of the file to write
    signalled: bool = False  # wait for SIGUSR2, and write another file after the requeue
    scratch: str | None = None  # the environment variable that names the node's own disk
    gpu: bool = False  # try to compute on the GPU
    items: tuple[str, ...] = ()


class ReportTask(NamedTuple):
    """Writes the report of a sweep from the runs that exist when it starts."""

    work: str
    sweep: str  # name
    commands: tuple[str, ...]  # shown in the report for the reader to run

    @property
    def items(self) -> tuple[str, ...]:
        return (report_item(self.sweep),)


Task = FeatureTask | RunTask | ReportTask | CheckTask
TaskKind = Literal["features", "runs", "report", "check"]

TASK_KINDS: dict[type[Task], TaskKind] = {
    FeatureTask: "features",
    RunTask: "runs",
    ReportTask: "report",
    CheckTask: "check",
}


def write_task(task: Task, folder: Path) -> Path:
    """Write a task and return its file, named by its content: the same task has the same file.

    Files that an earlier submission of the task left beside it are removed.
    """
    kind = TASK_KINDS[type(task)]
    content: dict[str, Any] = {"kind": kind, **task._asdict()}
    if isinstance(task, FeatureTask):
        content["slices"] = [asdict(each) for each in task.slices]
    if isinstance(task, RunTask):
        content["runs"] = [run._asdict() for run in task.runs]
    path = folder / f"{kind}-{json_digest(content)[:12]}.json"
    write_json(path, content)
    for stale in (progress_path(path), failure_path(path), attempts_path(path)):
        stale.unlink(missing_ok=True)
    return path


def read_task(path: Path) -> Task:
    """Read a task file."""
    content = read_json(path)
    kind = content.pop("kind")
    if kind == "features":
        slices = (
            Slice(s["manifest"], s["index"], tuple(s["feature_ids"])) for s in content["slices"]
        )
        return FeatureTask(**{**content, "slices": tuple(slices)})
    if kind == "check":
        return CheckTask(**{**content, "items": ()})
    if kind == "report":
        return ReportTask(**{**content, "commands": tuple(content["commands"])})
    return RunTask(**{**content, "runs": tuple(Run(**run) for run in content["runs"])})


def report_item(sweep: str) -> str:
    """Return the ledger's name for the report of a sweep."""
    return f"report/{sweep}"


def progress_path(task: Path) -> Path:
    """Return the file with the progress of a feature task."""
    return task.with_suffix(".progress")


def failure_path(task: Path) -> Path:
    """Return the file with the failure of a task of features or of the report."""
    return task.with_suffix(".failure")


def attempts_path(task: Path) -> Path:
    """Return the file that counts the attempts of a job without progress."""
    return task.with_suffix(".lives")
