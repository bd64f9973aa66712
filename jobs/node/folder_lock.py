"""Locks: one process at a time holds a folder (a run that it trains, a sweep that it submits).

In:   a folder.   Out: a `FolderLock` for a `with` block, or `LockHeld` with the owner.
Not here: what a process does without the lock (training_task.py, launch/orphan_jobs.py).

A lock is a directory that holds a file with its owner. It is made under another name, then renamed
to `claim`. A rename onto a directory that is not empty fails on every file system, also on NFS, so
only one of many processes gets the lock. The owner writes a growing count into it. Another process
reads the count and waits, on its own clock, for a change: clocks of two hosts are never compared.
A lock whose count stops, or whose process has exited, is stale: it is broken by a rename to
`claim-TOKEN`, with its owner's token. That name stays taken, so only one process breaks a lock, and
a late one cannot break the next owner's lock instead.
"""

import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from jobs.slurm.client import current_job_id
from pipeline.files import InputError, read_json, write_json
from pipeline.host import is_alive
from pipeline.runs.folder import Heartbeat, RunFolder
from pipeline.runs.records import HEARTBEAT_TIMEOUT_S

REMOTE_HEARTBEAT_TIMEOUT_S = 120  # a process of another host cannot be checked

LOCK_REFRESH_INTERVAL_S = 4.0
STALE_LOCK_TIMEOUT_S = 120.0  # a network file system may show another host's file a minute late
LOCK_POLL_INTERVAL_S = 0.5


class LockOwner(NamedTuple):
    token: str
    host: str
    pid: int
    space: str  # the pid namespace: containers of one host do not see each other's processes
    job: str = ""  # the SLURM job

    @classmethod
    def current_process(cls) -> "LockOwner":
        job = os.environ.get("SLURM_JOB_ID", "")
        return cls(secrets.token_hex(8), socket.gethostname(), os.getpid(), _pid_namespace(), job)

    def has_exited(self) -> bool:
        """Return whether the process has exited; False if it cannot be seen from here."""
        is_visible = (self.host, self.space) == (socket.gethostname(), _pid_namespace())
        return is_visible and not is_alive(self.pid)


class LockHeld(InputError):  # noqa: N818  (most callers do not treat it as an error)
    """Another process holds the lock, and is alive."""

    def __init__(self, folder: Path, owner: LockOwner) -> None:
        super().__init__(f"{folder}: process {owner.pid} on {owner.host} holds the lock")
        self.owner = owner


class FolderLock:
    """A lock of this process, refreshed by a thread until the block ends.

    `lost` becomes True when another process has broken it: this one did not refresh it in time, as
    after a suspension.
    """

    def __init__(self, folder: Path, owner: LockOwner) -> None:
        self._path, self._owner = folder / "claim", owner
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True)
        self.lost = False

    def __enter__(self) -> "FolderLock":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_event.set()
        self._thread.join()
        _release_lock(self._path, self._owner.token)

    def _refresh(self) -> None:
        count = 0
        while not self._stop_event.wait(LOCK_REFRESH_INTERVAL_S):
            count += 1
            try:
                if _read_owner(self._path) != self._owner:
                    self.lost = True
                    return
                # No folder is made for it: a lock that was broken just now must not come back.
                (self._path / _count_file_name(self._owner.token)).write_text(str(count))
            except OSError:
                continue  # such as a full disk; others take the lock only after the timeout


@contextmanager
def acquire(
    folder: Path, should_give_up: Callable[[], bool] = lambda: False
) -> Iterator[FolderLock]:
    """Hold the folder's lock; break it first if it is stale.

    Raise LockHeld if its owner is alive, or if `should_give_up` returns True during the wait, and
    InputError if the lock cannot be read.
    """
    owner = LockOwner.current_process()
    while not _try_acquire(folder, owner):
        _break_if_stale(folder / "claim", owner, should_give_up)
    with FolderLock(folder, owner) as lock:
        yield lock


def cleanup(folder: Path) -> None:
    """Remove the directories of former locks; only for a folder that is not locked again."""
    for former_lock in (*folder.glob("claim-*"), *folder.glob(".claim-*")):
        shutil.rmtree(former_lock, ignore_errors=True)


def _try_acquire(folder: Path, owner: LockOwner) -> bool:
    new_lock = folder / f".claim-{owner.token}"
    write_json(new_lock / "owner.json", owner._asdict())
    # On NFS a rename may report an error after it succeeded, so the directory decides.
    with suppress(OSError):
        new_lock.rename(folder / "claim")
    if _read_owner(folder / "claim") == owner:
        return True
    shutil.rmtree(new_lock, ignore_errors=True)
    return False


def _break_if_stale(
    lock_path: Path, contender: LockOwner, should_give_up: Callable[[], bool]
) -> None:
    """Return when the lock may be free; raise LockHeld if its owner is alive.

    An owner of the same job is an earlier attempt on a node that SLURM has lost. It will end, and
    only this process would continue the run, so this one waits for it.
    """
    folder, owner = lock_path.parent, _read_owner(lock_path)
    if owner is None:
        _raise_if_unreadable(lock_path)
        return
    count, changed_at = _read_count(lock_path, owner), time.monotonic()
    while not owner.has_exited() and time.monotonic() - changed_at < STALE_LOCK_TIMEOUT_S:
        if should_give_up():
            raise LockHeld(folder, owner)
        time.sleep(LOCK_POLL_INTERVAL_S)
        if _read_owner(lock_path) != owner:
            return
        if (new_count := _read_count(lock_path, owner)) != count:
            if not contender.job or owner.job != contender.job:
                raise LockHeld(folder, owner)
            count, changed_at = new_count, time.monotonic()
    _release_lock(lock_path, owner.token)


def _release_lock(lock_path: Path, token: str) -> None:
    """Rename the lock of this token; do nothing if it is gone or has another owner."""
    for _ in range(20):  # Windows refuses the rename while a process reads a file in it
        owner = _read_owner(lock_path)
        if owner is None or owner.token != token:
            return
        with suppress(OSError):
            lock_path.rename(lock_path.with_name(f"claim-{token}"))
            return
        time.sleep(LOCK_POLL_INTERVAL_S / 10)


def _raise_if_unreadable(lock_path: Path) -> None:
    """Raise InputError if the lock stays unreadable; it may also be released or replaced now."""
    for _ in range(20):
        time.sleep(LOCK_POLL_INTERVAL_S / 10)
        if _read_owner(lock_path) or not lock_path.exists():
            return
    raise InputError(
        f"{lock_path}: cannot be read; delete this folder, then run the same command again"
    )


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
    """Return the owner's own file: an owner that lost the lock must not change the next one's."""
    return f"count-{token}.json"


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def is_still_training(heartbeat: Heartbeat) -> bool:
    """Return whether the process of this heartbeat still trains the run."""
    if heartbeat.status != "running":
        return False
    age = time.time() - heartbeat.time
    if heartbeat.host == socket.gethostname():
        return age < HEARTBEAT_TIMEOUT_S and is_alive(heartbeat.pid)
    return age < REMOTE_HEARTBEAT_TIMEOUT_S


def write_heartbeat_status(folder: RunFolder, status: Literal["running", "stopped"]) -> None:
    """Write a heartbeat of this process, with the progress of the last one."""
    doing = "starting torch" if status == "running" else ""
    heartbeat = (folder.heartbeat() or Heartbeat()).with_this_process(status, doing)
    folder.write_heartbeat(replace(heartbeat, job=current_job_id()))
