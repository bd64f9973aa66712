"""Task files: what one job executes, an ordered list of slices or of runs, as JSON.

In:   a task.   Out: its file, named by its content; the task again.
Not here: executing it (feature_task.py, training_task.py, checks.py).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from jobs.profile import Device, Workers
from pipeline.files import json_digest, read_json, write_json


@dataclass(frozen=True)
class Slice:
    """One slice of a manifest, and the feature sets that lack its shard."""

    manifest: str  # path of the file
    index: int
    feature_ids: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    run_id: str
    feature_id: str


def progress_path(task: Path) -> Path:
    return task.with_suffix(".progress")


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


TaskKind = Literal["features", "runs", "report", "check"]


Task = FeatureTask | RunTask | ReportTask | CheckTask


TASK_KINDS: dict[type[Task], TaskKind] = {
    FeatureTask: "features",
    RunTask: "runs",
    ReportTask: "report",
    CheckTask: "check",
}


def write_task(task: Task, folder: Path) -> Path:
    """A file named by its content: the same task typed again is the same file."""
    kind = TASK_KINDS[type(task)]
    content = {"kind": kind, **asdict(task)}
    path = folder / f"{kind}-{json_digest(content)[:12]}.json"
    write_json(path, content)
    for stale in (progress_path(path), failure_path(path), attempts_path(path)):
        stale.unlink(missing_ok=True)
    return path


def read_task(path: Path) -> Task:
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


def attempts_path(task: Path) -> Path:
    return task.with_suffix(".lives")
