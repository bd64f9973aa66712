"""Claims: one holder at a time, whatever the clocks say; of many, one breaks a dead one's."""

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from jobs.node import run_lock
from jobs.node.run_lock import LockHeld, LockOwner, acquire
from pipeline.files import write_json

CONTENDERS = 8
ROUNDS = 6


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "LOCK_REFRESH_INTERVAL_S", 0.05)
    monkeypatch.setattr(run_lock, "LOCK_POLL_INTERVAL_S", 0.02)
    monkeypatch.setattr(run_lock, "STALE_LOCK_TIMEOUT_S", 1.0)


@pytest.fixture
def ended_owner() -> LockOwner:
    """A process of this host that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return replace(LockOwner.current_process(), pid=ended.pid)


def leave(folder: Path, owner: LockOwner) -> None:
    """A claim whose owner does nothing about it any more."""
    write_json(folder / "claim" / "owner.json", asdict(owner))


def test_a_claim_is_held_once_and_free_afterwards(tmp_path):
    with acquire(tmp_path):
        with (
            pytest.raises(LockHeld, match=f"process {os.getpid()} on ") as taken,
            acquire(tmp_path),
        ):
            pytest.fail("held twice")
        assert taken.value.owner.pid == os.getpid()
    with acquire(tmp_path) as claim:
        assert not claim.lost
    run_lock.cleanup(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_this_host_that_is_gone_is_not_waited_for(tmp_path, ended_owner, monkeypatch):
    monkeypatch.setattr(run_lock, "STALE_LOCK_TIMEOUT_S", 3600)
    leave(tmp_path, ended_owner)
    with acquire(tmp_path):
        pass


@pytest.mark.parametrize("strange", [{"host": "node7"}, {"space": "pid:[1]"}])
def test_a_process_that_nobody_here_can_see_is_waited_for(tmp_path, ended_owner, strange):
    leave(tmp_path, replace(ended_owner, **strange))
    began = time.monotonic()
    with acquire(tmp_path):
        assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("skew", [-86_400.0, 86_400.0])
def test_an_owner_is_known_to_live_by_its_count_and_not_by_its_clock(tmp_path, monkeypatch, skew):
    with acquire(tmp_path) as claim:
        for path in (tmp_path / "claim").iterdir():
            os.utime(path, (time.time() + skew, time.time() + skew))
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + skew)
        with pytest.raises(LockHeld), acquire(tmp_path):
            pytest.fail("broken under a living owner")
        assert not claim.lost


def test_who_was_taken_for_dead_learns_that_the_claim_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "LOCK_REFRESH_INTERVAL_S", 1.2)  # suspended for longer than stale
    monkeypatch.setattr(run_lock, "STALE_LOCK_TIMEOUT_S", 0.3)
    with acquire(tmp_path) as first:
        with acquire(tmp_path) as second:
            first._thread.join(10)
            assert first.lost
            assert not second.lost
        with acquire(tmp_path) as third:
            first.__exit__()
            assert not third.lost
            with pytest.raises(LockHeld), acquire(tmp_path, lambda: True):
                pytest.fail("who had lost it let it go for another")


def test_an_earlier_life_of_the_same_job_is_waited_for(tmp_path, monkeypatch):
    """It counts on, on a node that SLURM has lost; when it ends, nobody else would go on."""
    monkeypatch.setattr(run_lock, "STALE_LOCK_TIMEOUT_S", 60.0)
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
        pytest.fail("held twice")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with pytest.raises(LockHeld), acquire(tmp_path, lambda: True):
        pytest.fail("held although it was to give up")
    threading.Timer(0.5, ended.set).start()  # until then it is seen counting
    with acquire(tmp_path):
        assert ended.is_set()
    earlier.join()


def test_a_claim_that_was_broken_just_now_does_not_come_back(tmp_path, monkeypatch):
    owner_of = run_lock._read_owner

    def late(claim: Path) -> LockOwner | None:
        owner = owner_of(claim)
        if owner and threading.current_thread() is not threading.main_thread():
            with suppress(OSError):
                claim.rename(claim.with_name(f"claim-{owner.token}"))  # after its look
        return owner

    monkeypatch.setattr(run_lock, "_read_owner", late)
    with acquire(tmp_path) as claim:
        claim._thread.join(10)
        assert claim.lost
        assert not (tmp_path / "claim").exists()


def test_a_late_breaker_cannot_take_the_next_owners_claim_away(tmp_path, ended_owner):
    leave(tmp_path, ended_owner)
    with acquire(tmp_path):
        theirs = (tmp_path / "claim" / "owner.json").read_bytes()
        # It saw the dead owner's claim before, and renames now.
        with pytest.raises(OSError, match=r"."):
            (tmp_path / "claim").rename(tmp_path / f"claim-{ended_owner.token}")
        assert (tmp_path / "claim" / "owner.json").read_bytes() == theirs


def test_a_claim_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "claim").mkdir()
    (tmp_path / "claim" / "owner.json").write_text('{"tok')
    with pytest.raises(Exception, match=r"claim.*: cannot be read; delete it"), acquire(tmp_path):
        pytest.fail("held")


def contend(folder: Path, number: int) -> int:
    """Take the claim when it can be had; nobody else may be inside. -> times that it was held."""
    run_lock.LOCK_REFRESH_INTERVAL_S = 0.05
    run_lock.LOCK_POLL_INTERVAL_S = 0.01
    run_lock.STALE_LOCK_TIMEOUT_S = 30.0
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


def test_of_many_contenders_one_at_a_time_is_inside_after_a_dead_owner(tmp_path, ended_owner):
    leave(tmp_path, ended_owner)
    with get_context("spawn").Pool(CONTENDERS) as pool:
        held = pool.starmap(contend, [(tmp_path, number) for number in range(CONTENDERS)])
    assert held == [ROUNDS] * CONTENDERS
    buried = [path for path in tmp_path.iterdir() if path.name.startswith("claim-")]
    assert len(buried) == CONTENDERS * ROUNDS + 1
