"""Records: what a run reports about itself; each record is one file of the run folder.

In, out: plain values; the environments of a run's attempts as a file.
Not here: the other files (folder.py), rows (rows.py). Free of torch.
"""

import json
import math
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_origin

from pipeline.files import parse_json, read_json, write_text
from pipeline.runs.rows import Row, decode_float

HEARTBEAT_TIMEOUT_S = 600  # a heartbeat comes every second, but a first batch may take minutes

Record = TypeVar("Record", "Heartbeat", "Failure", "EarlyStop", "Usage")


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The progress of a run, as its process last reported it."""

    status: Literal["running", "finished", "stopped"] = "running"
    epoch: int = 0
    epochs: int = 0
    update: int = 0
    loss_per_character: float = math.nan
    reference_loss: float = math.nan
    dev_cer: float = math.nan
    rate_name: str = "CER"  # or PER: what `dev_cer` counts
    blank_argmax: float = math.nan
    frames_per_second: float = math.nan
    seconds_left: float = math.nan
    doing: str = ""  # what takes the time before the first update
    digest: str = ""  # of the rows and hypotheses that a finished run wrote
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    job: str = ""  # id of the job that runs the process
    time: float = field(default_factory=time.time)  # seconds since 1970

    def with_this_process(
        self, status: Literal["running", "stopped"], doing: str = ""
    ) -> "Heartbeat":
        """Return a copy with the host, pid and time of this process; the progress stays."""
        own = Heartbeat()
        return replace(self, status=status, doing=doing, host=own.host, pid=own.pid, time=own.time)

    def with_rows(self, train: Row | None, dev: Row | None) -> "Heartbeat":
        """Return a copy with the figures of these rows; a row that is None changes none."""
        copy = replace(self, dev_cer=dev["cer"]) if dev else self
        if train is None:
            return copy
        return replace(
            copy,
            epoch=train["epoch"],  # the epoch of the loss
            loss_per_character=train["loss_per_character"],
            blank_argmax=train["blank_argmax"],
            frames_per_second=train["frames_per_second"],
        )


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a run ended early; jobs/node/failures.py finds the cause and the message."""

    cause: str  # a short phrase: "out of memory"
    message: str  # one line that says what to do
    traceback: str = ""
    node: str = ""  # name of the cluster node
    job: str = ""  # the job that the scheduler reported; empty where the run itself reported
    host: str = field(default_factory=socket.gethostname)
    time: float = field(default_factory=time.time)  # seconds since 1970


@dataclass(frozen=True, kw_only=True)
class EarlyStop:
    """Why a run was stopped before its last epoch; its state is saved.

    A rule of a sweep leaves the run unfinished. With train.patience the run is tested and finished.
    """

    rule: dict[str, Any]  # the setting, of `stop` in the sweep file or patience, with its value
    message: str  # one line
    sweep: str  # name of the sweep whose rule it was; empty for train.patience
    epoch: int  # the last one that was trained
    updates: int
    host: str = field(default_factory=socket.gethostname)
    time: float = field(default_factory=time.time)  # seconds since 1970


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one process used while it trained the run, and what its job had requested."""

    began: float  # seconds since 1970
    seconds: float
    cpu_seconds: float  # of the process and its children
    peak_bytes: int = 0  # of memory; 0: unknown
    gpu_busy: float = math.nan  # share of samples in which the GPU was busy
    cpus: int = 1
    memory_gb: float | None = None  # None: not requested
    gpus: int = 0
    waited: float = math.nan  # seconds in the queue

    @property
    def cpus_used(self) -> float:
        return self.cpu_seconds / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class EpochReport:
    """A summary of the latest epoch, for the terminal."""

    epoch: int
    sentence: str
    samples: tuple[tuple[str, str, str], ...]  # utterance id, reference, hypothesis


def record_from_json(kind: type[Record], values: Any) -> Record:
    """Return a record; TypeError or ValueError where a value is missing or of another type."""
    if not isinstance(values, dict):
        raise TypeError(f"a {type(values).__name__} instead of names with values")
    known = values.copy()
    for column in fields(kind):
        if column.name not in known:
            continue
        value, of_type = known[column.name], get_origin(column.type) or column.type
        if of_type is float:
            known[column.name] = decode_float(value)
        elif of_type in (str, int, dict) and not isinstance(value, of_type):
            raise TypeError(f"{column.name} is {value!r}")
    return kind(**known)


def append_environment(folder: Path, environment: Mapping[str, Any]) -> None:
    """Add the environment of an attempt that starts now, with its time in seconds since 1970."""
    line = json.dumps({"time": time.time(), **environment}, ensure_ascii=False)
    file = _environments_file(folder)
    cut = file.exists() and not file.read_bytes().endswith(b"\n")  # a kill may cut a line
    with file.open("a", encoding="utf-8") as opened:
        opened.write(f"{chr(10) * cut}{line}\n")


def read_environment(file: Path) -> dict[str, Any]:
    """Return {} for a damaged file, because nothing writes it again once the run is finished."""
    try:
        return _as_facts(read_json(file))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def read_environments(folder: Path) -> list[dict[str, Any]]:
    """Return the environment of each attempt; of a run of an earlier version the last one."""
    file = _environments_file(folder)
    last = folder / "environment.json"
    if file.exists():
        texts = file.read_text(encoding="utf-8", errors="replace").splitlines()
    else:
        texts = [last.read_text(encoding="utf-8", errors="replace")] if last.exists() else []
    found = []
    for text in texts:
        try:
            found.append(_as_facts(parse_json(text)))
        except (ValueError, TypeError):
            continue  # a line that was cut off, or a damaged file
    return found


def _as_facts(values: Any) -> dict[str, Any]:
    """Return the values of an environment; one that is no number and no text becomes a text.

    ValueError or TypeError where they are no mapping.
    """
    return {
        name: json.dumps(value) if isinstance(value, list | dict) else value
        for name, value in dict(values).items()
    }


def copy_environments(source: Path, folder: Path) -> None:
    """Put the environments of another run's attempts before those of this one, which continues it.

    Nothing happens where they are there already, because a process was killed after this.
    """
    theirs, own = _environments_file(source), _environments_file(folder)
    before = theirs.read_text(encoding="utf-8") if theirs.exists() else ""
    after = own.read_text(encoding="utf-8") if own.exists() else ""
    if not after.startswith(before):
        write_text(own, before + "\n" * (not before.endswith("\n")) + after)


def _environments_file(folder: Path) -> Path:
    return folder / "environments.jsonl"
