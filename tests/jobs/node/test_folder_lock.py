"""Locks: one owner at a time, whatever the clocks say; one of many breaks a stale lock."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pytest

from jobs.node import folder_lock
from jobs.node.folder_lock import LockHeld, LockOwner, acquire, is_still_training
from pipeline.files import InputError, write_json
from pipeline.runs.folder import Heartbeat, RunFolder

CONTENDERS = 8
ROUNDS = 6


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_lock, "LOCK_REFRESH_INTERVAL_S", 0.05)
    monkeypatch.setattr(folder_lock, "LOCK_POLL_INTERVAL_S", 0.02)
    monkeypatch.setattr(folder_lock, "STALE_LOCK_TIMEOUT_S", 1.0)


@pytest.fixture
def ended_owner() -> LockOwner:
    """Return the owner of a lock whose process, on this host, has exited."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return LockOwner.current_process()._replace(pid=ended.pid)


def write_abandoned_lock(folder: Path, owner: LockOwner) -> None:
    """Write a lock that nobody refreshes."""
    write_json(folder / "claim" / "owner.json", owner._asdict())


def test_a_lock_is_held_once_and_free_afterwards(tmp_path):
    with acquire(tmp_path):
        with (
            pytest.raises(LockHeld, match=f"process {os.getpid()} on ") as held,
            acquire(tmp_path),
        ):
            pytest.fail("the lock was held twice")
        assert held.value.owner.pid == os.getpid()
    assert not list(tmp_path.glob(".claim-*"))
    with acquire(tmp_path) as lock:
        assert not lock.lost
    (tmp_path / ".claim-0").mkdir()  # left by a process that was killed
    folder_lock.cleanup(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_an_exited_process_is_broken_at_once(tmp_path, ended_owner, monkeypatch):
    monkeypatch.setattr(folder_lock, "STALE_LOCK_TIMEOUT_S", 3600)
    write_abandoned_lock(tmp_path, ended_owner)
    with acquire(tmp_path):
        pass


@pytest.mark.parametrize("elsewhere", [{"host": "node7"}, {"space": "pid:[1]"}])
def test_a_lock_of_another_host_or_container_is_broken_after_the_timeout(
    tmp_path, ended_owner, elsewhere
):
    write_abandoned_lock(tmp_path, ended_owner._replace(**elsewhere))
    began = time.monotonic()
    with acquire(tmp_path):
        assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("skew", [-86_400.0, 86_400.0])
def test_a_lock_is_held_while_its_count_changes_whatever_the_clocks_show(
    tmp_path, monkeypatch, skew
):
    with acquire(tmp_path) as lock:
        for path in (tmp_path / "claim").iterdir():
            os.utime(path, (time.time() + skew, time.time() + skew))
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + skew)
        with pytest.raises(LockHeld), acquire(tmp_path):
            pytest.fail("the lock was broken although its owner is alive")
        assert not lock.lost


def test_an_owner_that_was_suspended_notices_that_its_lock_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(
        folder_lock, "LOCK_REFRESH_INTERVAL_S", 1.2
    )  # above the timeout, as if suspended
    monkeypatch.setattr(folder_lock, "STALE_LOCK_TIMEOUT_S", 0.3)
    with acquire(tmp_path) as first:
        with acquire(tmp_path) as second:
            first._thread.join(10)
            assert first.lost
            assert not second.lost
        with acquire(tmp_path) as third:
            shutil.rmtree(tmp_path / f"claim-{first._owner.token}")  # so that its name is free
            first.__exit__()
            assert not third.lost
            with pytest.raises(LockHeld), acquire(tmp_path, lambda: True):
                pytest.fail("the former owner released the lock of another")


def test_a_requeued_job_waits_for_its_earlier_attempt(tmp_path, monkeypatch):
    """The earlier attempt may still run on a node that SLURM counts as lost."""
    monkeypatch.setattr(folder_lock, "STALE_LOCK_TIMEOUT_S", 1.5)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    ended = threading.Event()

    def train_on() -> None:
        with acquire(tmp_path):
            ended.wait(60)

    earlier = threading.Thread(target=train_on)
    earlier.start()
    while not (tmp_path / "claim" / "owner.json").exists():
        time.sleep(0.01)
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    with pytest.raises(LockHeld), acquire(tmp_path):
        pytest.fail("the lock was held twice")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with pytest.raises(LockHeld), acquire(tmp_path, lambda: True):
        pytest.fail("the lock was acquired although it should give up")
    threading.Timer(2.0, ended.set).start()  # it refreshes its lock until then
    with acquire(tmp_path):
        assert ended.is_set()
    earlier.join()


def test_a_refresh_does_not_restore_a_lock_that_was_just_broken(tmp_path, monkeypatch):
    read_owner = folder_lock._read_owner

    def read_then_break(lock_path: Path) -> LockOwner | None:
        owner = read_owner(lock_path)
        if owner and threading.current_thread() is not threading.main_thread():
            with suppress(OSError):
                lock_path.rename(lock_path.with_name(f"claim-{owner.token}"))
        return owner

    monkeypatch.setattr(folder_lock, "_read_owner", read_then_break)
    with acquire(tmp_path) as lock:
        lock._thread.join(10)
        assert lock.lost
        assert not (tmp_path / "claim").exists()


def test_a_late_refresh_does_not_change_the_count_of_the_next_owner(tmp_path, monkeypatch):
    read_owner, next_owner = folder_lock._read_owner, LockOwner.current_process()

    def read_then_replace(lock_path: Path) -> LockOwner | None:
        owner = read_owner(lock_path)
        is_refresh = threading.current_thread() is not threading.main_thread()
        if owner and owner != next_owner and is_refresh:
            lock_path.rename(lock_path.with_name(f"claim-{owner.token}"))
            write_abandoned_lock(tmp_path, next_owner)
        return owner

    monkeypatch.setattr(folder_lock, "_read_owner", read_then_replace)
    with acquire(tmp_path) as lock:
        lock._thread.join(10)
        assert lock.lost
        assert folder_lock._read_count(tmp_path / "claim", next_owner) == 0


def test_a_process_that_read_the_stale_lock_cannot_break_the_next_one(tmp_path, ended_owner):
    write_abandoned_lock(tmp_path, ended_owner)
    with acquire(tmp_path):
        owner_file = (tmp_path / "claim" / "owner.json").read_bytes()
        # That process read the stale lock before, and renames it only now.
        with pytest.raises(OSError, match=r"."):
            (tmp_path / "claim").rename(tmp_path / f"claim-{ended_owner.token}")
        assert (tmp_path / "claim" / "owner.json").read_bytes() == owner_file


def test_a_lock_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "claim").mkdir()
    (tmp_path / "claim" / "owner.json").write_text('{"tok')
    message = r"claim: cannot be read; delete this folder"
    with pytest.raises(InputError, match=message), acquire(tmp_path):
        pytest.fail("an unreadable lock was acquired")


def test_a_lock_that_was_released_or_replaced_while_it_was_read_is_no_error(tmp_path, ended_owner):
    folder_lock._raise_if_unreadable(tmp_path / "claim")
    write_abandoned_lock(tmp_path, ended_owner)
    folder_lock._raise_if_unreadable(tmp_path / "claim")


@pytest.mark.parametrize(
    ("fields", "age_s", "expected"),
    [
        ({}, 0, True),
        ({}, 540, True),
        ({}, 601, False),
        ({"status": "stopped"}, 0, False),
        ({"status": "finished"}, 0, False),
        ({"host": "node7"}, 60, True),
        ({"host": "node7"}, 121, False),
    ],
)
def test_a_heartbeat_shows_whether_its_process_still_trains(fields, age_s, expected):
    assert is_still_training(Heartbeat(time=time.time() - age_s, **fields)) is expected


def test_a_heartbeat_of_an_exited_process_counts_only_on_another_host(ended_owner):
    assert not is_still_training(Heartbeat(pid=ended_owner.pid))
    assert is_still_training(Heartbeat(pid=ended_owner.pid, host="node7"))


def test_the_status_is_written_with_this_process_and_the_earlier_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    folder = RunFolder(tmp_path / "a1")
    folder.write_heartbeat(Heartbeat(status="stopped", epoch=3, pid=1, host="node7"))
    for status, doing in (("running", "starting torch"), ("stopped", "")):
        folder_lock.write_heartbeat_status(folder, status)
        found = folder.heartbeat()
        assert found is not None
        assert (found.status, found.doing, found.epoch) == (status, doing, 3)
        assert (found.pid, found.host, found.job) == (os.getpid(), socket.gethostname(), "12")


def contend(folder: Path, number: int) -> int:
    """Acquire the lock ROUNDS times; fail if another process holds it too; return the count."""
    folder_lock.LOCK_REFRESH_INTERVAL_S = 0.05
    folder_lock.LOCK_POLL_INTERVAL_S = 0.01
    folder_lock.STALE_LOCK_TIMEOUT_S = 30.0
    held = 0
    while held < ROUNDS:
        try:
            with acquire(folder):
                with (folder / "inside").open("x"):
                    time.sleep(0.002)
                (folder / "inside").unlink()
                held += 1
        except LockHeld:
            continue
    return held


def test_one_contender_at_a_time_holds_the_lock_after_a_stale_one(tmp_path, ended_owner):
    write_abandoned_lock(tmp_path, ended_owner)
    with get_context("spawn").Pool(CONTENDERS) as pool:
        held = pool.starmap(contend, [(tmp_path, number) for number in range(CONTENDERS)])
    assert held == [ROUNDS] * CONTENDERS
    former_locks = [path for path in tmp_path.iterdir() if path.name.startswith("claim-")]
    assert len(former_locks) == CONTENDERS * ROUNDS + 1
