"""Claims: one process at a time holds a folder (a run that it trains, a sweep that it submits).

In:   a folder.   Out: a `Claim` while the block lasts, or `Taken`: who has it.
Not here: what is done about it (tasks.py, reconcile.py); who deals a sweep's tasks (processes.py).

A claim is a directory, made elsewhere with its owner's name in it and then renamed to `claim`.
Renaming onto a directory that is not empty fails, on every file system and also over NFS, so one
of many wins. While it lives the owner counts up. Who finds a claim watches whether the count moves,
on a clock of its own: the clocks of hosts are never compared. A claim that stands still, or whose
process is gone, is renamed to the name of its owner's token. That name is taken for ever, so one
contender breaks a claim, and one who comes late cannot break the next owner's in its place.
"""

import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from jobs.local.processes import alive
from jobs.slurm.client import this_job
from pipeline.files import InputError, read_json, write_json
from pipeline.runs.folder import Heartbeat, RunFolder
from pipeline.runs.records import SECONDS_OF_SILENCE

SECONDS_OF_SILENCE_ELSEWHERE = 120  # on another host nobody can look at the process

SECONDS_BETWEEN_COUNTS = 4.0
SECONDS_UNTIL_STALE = 120.0  # a network file system may show another host's file a minute late
SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Owner:
    token: str
    host: str
    pid: int
    space: str  # of pids: containers of one host do not see each other's
    job: str = ""  # of SLURM

    @classmethod
    def me(cls) -> "Owner":
        job = os.environ.get("SLURM_JOB_ID", "")
        return cls(secrets.token_hex(8), socket.gethostname(), os.getpid(), _space(), job)

    def gone(self) -> bool:
        """Known only where its process could be seen."""
        here = (self.host, self.space) == (socket.gethostname(), _space())
        return here and not alive(self.pid)


class Taken(InputError):  # noqa: N818  (to most who find one it is no error)
    """Somebody else holds the claim, and lives."""

    def __init__(self, folder: Path, owner: Owner) -> None:
        super().__init__(f"{folder}: process {owner.pid} on {owner.host} has it")
        self.owner = owner


class Claim:
    """Held; `lost` once somebody took this process for dead, as after a long suspension."""

    def __init__(self, folder: Path, owner: Owner) -> None:
        self._claim, self._owner = folder / "claim", owner
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self.lost = False

    def __enter__(self) -> "Claim":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        _bury(self._claim, self._owner.token)

    def _count(self) -> None:
        count = 0
        while not self._ended.wait(SECONDS_BETWEEN_COUNTS):
            count += 1
            try:
                if _owner(self._claim) != self._owner:
                    self.lost = True
                    return
                # Into the claim alone: one that was broken just now must not come back half.
                (self._claim / _count_name(self._owner.token)).write_text(str(count))
            except OSError:
                continue  # a full disk; the others wait for a while


@contextmanager
def holding(folder: Path, give_up: Callable[[], bool] = lambda: False) -> Iterator[Claim]:
    """Hold the folder's claim, or raise `Taken`; a dead owner's is broken first."""
    mine = Owner.me()
    while not _take(folder, mine):
        _break_if_stale(folder / "claim", mine, give_up)
    with Claim(folder, mine) as claim:
        yield claim


def settle(folder: Path) -> None:
    """Remove what claims left behind, where nobody will want the folder any more."""
    for left in (*folder.glob("claim-*"), *folder.glob(".claim-*")):
        shutil.rmtree(left, ignore_errors=True)


def _take(folder: Path, mine: Owner) -> bool:
    made = folder / f".claim-{mine.token}"
    write_json(made / "owner.json", asdict(mine))
    # An answer may be lost on the network after the deed, so the directory itself is asked.
    with suppress(OSError):
        made.rename(folder / "claim")
    if _owner(folder / "claim") == mine:
        return True
    shutil.rmtree(made, ignore_errors=True)
    return False


def _break_if_stale(claim: Path, mine: Owner, give_up: Callable[[], bool]) -> None:
    """Return when the way may be free; raise `Taken` when the owner was seen alive.

    An earlier life of the same job, on a node that SLURM has lost, lives on borrowed time, and
    nobody but this one would go on after it: it is waited for.
    """
    folder, owner = claim.parent, _owner(claim)
    if owner is None:
        _refuse_unreadable(claim)
        return
    count, began = _counted(claim, owner), time.monotonic()
    while not owner.gone() and time.monotonic() - began < SECONDS_UNTIL_STALE:
        if give_up():
            raise Taken(folder, owner)
        time.sleep(SECONDS_BETWEEN_LOOKS)
        if _owner(claim) != owner:
            return
        if (now := _counted(claim, owner)) != count:
            if not mine.job or owner.job != mine.job:
                raise Taken(folder, owner)
            count, began = now, time.monotonic()
    _bury(claim, owner.token)


def _bury(claim: Path, token: str) -> None:
    """Fails where somebody did it already: the name is not free, and never will be."""
    for _ in range(20):  # Windows refuses while somebody reads in it
        owner = _owner(claim)
        if owner is None or owner.token != token:
            return
        with suppress(OSError):
            claim.rename(claim.with_name(f"claim-{token}"))
            return
        time.sleep(SECONDS_BETWEEN_LOOKS / 10)


def _refuse_unreadable(claim: Path) -> None:
    """None was there a moment ago; it may have been let go, or be another one by now."""
    for _ in range(20):
        time.sleep(SECONDS_BETWEEN_LOOKS / 10)
        if _owner(claim) or not claim.exists():
            return
    raise InputError(f"{claim}: cannot be read; delete it")


def _owner(claim: Path) -> Owner | None:
    try:
        return Owner(**read_json(claim / "owner.json"))
    except (OSError, ValueError, TypeError):
        return None


def _counted(claim: Path, owner: Owner) -> int:
    try:
        return int(read_json(claim / _count_name(owner.token)))
    except (OSError, ValueError, TypeError):
        return 0


def _count_name(token: str) -> str:
    """Each owner counts in a file of its own: one that was broken unawares confuses nobody."""
    return f"count-{token}.json"


def _space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def beats(beat: Heartbeat) -> bool:
    """Whether the process of this heartbeat still trains the run."""
    if beat.status != "running":
        return False
    age = time.time() - beat.time
    if beat.host == socket.gethostname():
        return age < SECONDS_OF_SILENCE and alive(beat.pid)
    return age < SECONDS_OF_SILENCE_ELSEWHERE


def mark(folder: RunFolder, status: Literal["running", "stopped"]) -> None:
    """This process says that it has the run, or lets it go."""
    doing = "starting torch" if status == "running" else ""
    beat = (folder.heartbeat() or Heartbeat()).taken_over(status, doing)
    folder.beat(replace(beat, job=this_job()))
