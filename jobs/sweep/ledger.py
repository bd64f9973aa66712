"""The ledger: what was submitted for a sweep, one line per task, never rewritten.

In:   entries.   Out: `work/sweeps/<sweep>/ledger.jsonl`.
Not here: what became of a task (status.py).
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    time: float  # unix
    scheduler: Literal["local", "slurm"]
    job: str  # slurm: 12_3 in an array, else 12; local: the pid of the process that deals tasks
    kind: Literal["features", "runs", "report", "check"]
    items: tuple[str, ...]  # run ids, or feature_id/index of shards
    task: str  # name of its file in tasks/
    code: str  # digest of the snapshot it imports
    causes: tuple[str, ...] = ()  # of each item: why it failed before; nothing where it had not
    memory_gb: float | None = None  # asked for, of SLURM
    exclude: tuple[str, ...] = ()  # nodes it must not start on


class Ledger:
    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, entries: Iterable[LedgerEntry]) -> None:
        """Add whole lines in one write: two terminals that submit at once lose nothing.

        `files.replacing` would let the later one rewrite what the earlier one had added.
        """
        lines = "".join(json.dumps(asdict(entry)) + "\n" for entry in entries).encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            if file.tell() and not self._ends_with_newline():
                lines = b"\n" + lines  # a writer was killed here: its half line stays alone
            file.write(lines)
            os.fsync(file.fileno())

    def entries(self) -> list[LedgerEntry]:
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
                lists = {k: tuple(v) for k, v in record.items() if isinstance(v, list)}
                found.append(LedgerEntry(**{**record, **lists}))
            except (ValueError, TypeError, KeyError):
                continue  # half a line, from a power cut
        return found

    def latest(self) -> dict[str, LedgerEntry]:
        """Item -> the last task that was to make it."""
        return {item: entry for entry in self.entries() for item in entry.items}

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
