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

from jobs.slurm.client import current_job_id
from pipeline.files import InputError, read_json, write_json
from pipeline.host import is_alive
from pipeline.runs.folder import Heartbeat, RunFolder
from pipeline.runs.records import HEARTBEAT_TIMEOUT_S

REMOTE_HEARTBEAT_TIMEOUT_S = 120  # on another host nobody can look at the process

LOCK_REFRESH_INTERVAL_S = 4.0
STALE_LOCK_TIMEOUT_S = 120.0  # a network file system may show another host's file a minute late
LOCK_POLL_INTERVAL_S = 0.5


@dataclass(frozen=True)
class LockOwner:
    token: str
    host: str
    pid: int
    space: str  # of pids: containers of one host do not see each other's
    job: str = ""  # of SLURM

    @classmethod
    def current_process(cls) -> "LockOwner":
        job = os.environ.get("SLURM_JOB_ID", "")
        return cls(secrets.token_hex(8), socket.gethostname(), os.getpid(), _pid_namespace(), job)

    def has_exited(self) -> bool:
        """Known only where its process could be seen."""
        here = (self.host, self.space) == (socket.gethostname(), _pid_namespace())
        return here and not is_alive(self.pid)


class LockHeld(InputError):  # noqa: N818  (to most who find one it is no error)
    """Somebody else holds the claim, and lives."""

    def __init__(self, folder: Path, owner: LockOwner) -> None:
        super().__init__(f"{folder}: process {owner.pid} on {owner.host} has it")
        self.owner = owner


class FolderLock:
    """Held; `lost` once somebody took this process for dead, as after a long suspension."""

    def __init__(self, folder: Path, owner: LockOwner) -> None:
        self._path, self._owner = folder / "claim", owner
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True)
        self.lost = False

    def __enter__(self) -> "FolderLock":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        _release_lock(self._path, self._owner.token)

    def _refresh(self) -> None:
        count = 0
        while not self._ended.wait(LOCK_REFRESH_INTERVAL_S):
            count += 1
            try:
                if _read_owner(self._path) != self._owner:
                    self.lost = True
                    return
                # Into the claim alone: one that was broken just now must not come back half.
                (self._path / _count_file_name(self._owner.token)).write_text(str(count))
            except OSError:
                continue  # a full disk; the others wait for a while


@contextmanager
def acquire(
    folder: Path, should_give_up: Callable[[], bool] = lambda: False
) -> Iterator[FolderLock]:
    """Hold the folder's claim, or raise `Taken`; a dead owner's is broken first."""
    owner = LockOwner.current_process()
    while not _try_acquire(folder, owner):
        _break_if_stale(folder / "claim", owner, should_give_up)
    with FolderLock(folder, owner) as lock:
        yield lock


def cleanup(folder: Path) -> None:
    """Remove what claims left behind, where nobody will want the folder any more."""
    for left in (*folder.glob("claim-*"), *folder.glob(".claim-*")):
        shutil.rmtree(left, ignore_errors=True)


def _try_acquire(folder: Path, owner: LockOwner) -> bool:
    new_lock = folder / f".claim-{owner.token}"
    write_json(new_lock / "owner.json", asdict(owner))
    # An answer may be lost on the network after the deed, so the directory itself is asked.
    with suppress(OSError):
        new_lock.rename(folder / "claim")
    if _read_owner(folder / "claim") == owner:
        return True
    shutil.rmtree(new_lock, ignore_errors=True)
    return False


def _break_if_stale(
    lock_path: Path, contender: LockOwner, should_give_up: Callable[[], bool]
) -> None:
    """Return when the way may be free; raise `Taken` when the owner was seen alive.

    An earlier life of the same job, on a node that SLURM has lost, lives on borrowed time, and
    nobody but this one would go on after it: it is waited for.
    """
    folder, owner = lock_path.parent, _read_owner(lock_path)
    if owner is None:
        _raise_if_unreadable(lock_path)
        return
    count, seen_at = _read_count(lock_path, owner), time.monotonic()
    while not owner.has_exited() and time.monotonic() - seen_at < STALE_LOCK_TIMEOUT_S:
        if should_give_up():
            raise LockHeld(folder, owner)
        time.sleep(LOCK_POLL_INTERVAL_S)
        if _read_owner(lock_path) != owner:
            return
        if (now := _read_count(lock_path, owner)) != count:
            if not contender.job or owner.job != contender.job:
                raise LockHeld(folder, owner)
            count, seen_at = now, time.monotonic()
    _release_lock(lock_path, owner.token)


def _release_lock(lock_path: Path, token: str) -> None:
    """Fails where somebody did it already: the name is not free, and never will be."""
    for _ in range(20):  # Windows refuses while somebody reads in it
        owner = _read_owner(lock_path)
        if owner is None or owner.token != token:
            return
        with suppress(OSError):
            lock_path.rename(lock_path.with_name(f"claim-{token}"))
            return
        time.sleep(LOCK_POLL_INTERVAL_S / 10)


def _raise_if_unreadable(lock_path: Path) -> None:
    """None was there a moment ago; it may have been let go, or be another one by now."""
    for _ in range(20):
        time.sleep(LOCK_POLL_INTERVAL_S / 10)
        if _read_owner(lock_path) or not lock_path.exists():
            return
    raise InputError(f"{lock_path}: cannot be read; delete it")


def _read_owner(lock_path: Path) -> LockOwner | None:
    try:
        return LockOwner(**read_json(lock_path / "owner.json"))
    except (OSError, ValueError, TypeError):
        return None


def _read_count(lock_path: Path, owner: LockOwner) -> int:
    try:
        return int(read_json(lock_path / _count_file_name(owner.token)))
    except (OSError, ValueError, TypeError):
        return 0


def _count_file_name(token: str) -> str:
    """Each owner counts in a file of its own: one that was broken unawares confuses nobody."""
    return f"count-{token}.json"


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def is_still_training(heartbeat: Heartbeat) -> bool:
    """Whether the process of this heartbeat still trains the run."""
    if heartbeat.status != "running":
        return False
    age = time.time() - heartbeat.time
    if heartbeat.host == socket.gethostname():
        return age < HEARTBEAT_TIMEOUT_S and is_alive(heartbeat.pid)
    return age < REMOTE_HEARTBEAT_TIMEOUT_S


def write_heartbeat_status(folder: RunFolder, status: Literal["running", "stopped"]) -> None:
    """This process says that it has the run, or lets it go."""
    doing = "starting torch" if status == "running" else ""
    heartbeat = (folder.heartbeat() or Heartbeat()).with_this_process(status, doing)
    folder.write_heartbeat(replace(heartbeat, job=current_job_id()))
