"""The ledger: what was submitted for a sweep, one line per task, never rewritten.

In:   entries.   Out: `work/sweeps/<sweep>/ledger.jsonl`.
Not here: the state of a task (run_status.py, feature_status.py).
"""

import json
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.files import parse_json


class LedgerEntry(NamedTuple):
    time: float  # unix time of the submission
    scheduler: Literal["local", "slurm"]
    job: str  # slurm: 12_3 in an array, else 12; local: pid of the parent process
    kind: Literal["features", "runs", "report", "check"]
    items: tuple[str, ...]  # run ids, or feature_id/index of shards
    task: str  # name of its file in tasks/
    code: str  # digest of the code snapshot that it imports
    causes: tuple[str, ...] = ()  # for each item: why it failed before; empty: it had not failed
    states: tuple[str, ...] = ()  # for each item: the version of its saved state; shards have none
    memory_gb: float | None = None  # requested from SLURM
    exclude: tuple[str, ...] = ()  # nodes that it must not start on
    cluster: str = ""  # of SLURM; empty: not known
    user: str = ""  # who submitted it; empty: not known


def excluded_since(entries: Sequence[LedgerEntry]) -> dict[str, float]:
    """Return node -> when it was first excluded, for the nodes that the last task is kept off.

    `entries`: the tasks of one run or shard in order.
    """
    since: dict[str, float] = {}
    for entry in entries:
        since = {node: since.get(node, entry.time) for node in entry.exclude}
    return since


class Ledger:
    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, entries: Iterable[LedgerEntry]) -> None:
        """Add entries in one write, so that two commands at the same time lose nothing.

        `files.atomic_write` would let the second command overwrite the lines of the first.
        """
        lines = "".join(json.dumps(entry._asdict()) + "\n" for entry in entries).encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            if file.tell() and not self._ends_with_newline():
                lines = b"\n" + lines  # an earlier write was cut off in the middle of a line
            file.write(lines)
            os.fsync(file.fileno())

    def entries(self) -> list[LedgerEntry]:
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return []
        return list(_read_entries(self.path, stat.st_mtime_ns, stat.st_size))

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


@lru_cache(maxsize=32)
def _read_entries(path: Path, *version: int) -> tuple[LedgerEntry, ...]:
    """Return the entries; `version`: of the file, which one command reads several times."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = parse_json(line)
            lists = {k: tuple(v) for k, v in record.items() if isinstance(v, list)}
            found.append(LedgerEntry(**{**record, **lists}))
        except (ValueError, TypeError, KeyError):
            continue  # a line that was cut off
    return tuple(found)
