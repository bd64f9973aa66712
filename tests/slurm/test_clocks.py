"""A node whose clock is five minutes ahead, and whose processes cannot be seen from here."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.node import folder_lock
from jobs.node.folder_lock import LockHeld

SKEW = 300  # seconds
FAR = "far"
# It changes the time of day only, not sleeps or file times (libfaketime 0.9.10 breaks either sleep
# or threads).
CLOCK = """
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += SKEW;
    return failed;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""
SLOW = "base: ../experiments/tiny.yaml\naxes: {features.spectrum: [mel], train.epochs: [20000]}\n"


@pytest.fixture
def python(tmp_path: Path) -> str:
    """A python whose clock is ahead."""
    for needed in ("cc", "unshare"):
        if not shutil.which(needed):
            pytest.skip(f"{needed} is not on PATH: apt-get install gcc libc6-dev util-linux")
    source, library, python = (tmp_path / name for name in ("clock.c", "clock.so", "python"))
    source.write_text(CLOCK)
    build = ("cc", "-shared", "-fPIC", f"-DSKEW={SKEW}", "-o", library, source)
    subprocess.run(build, check=True)
    python.write_text(
        f"#!/bin/sh\nexport LD_PRELOAD='{library}'\n"
        f'exec unshare --uts sh -c \'hostname {FAR}; exec {sys.executable} "$@"\' sh "$@"\n'
    )
    python.chmod(0o755)
    return str(python)


def test_a_node_whose_clock_is_wrong_keeps_its_run_only_while_its_process_runs(
    slurm_project, python, monkeypatch
):
    profile = slurm_project.write_profile(python=python)
    checked = slurm_project.run_verb("cluster-check", profile)
    assert checked.code == 1, checked
    wrong = [line for line in checked.out.splitlines() if line.startswith("WRONG ")]
    assert wrong
    assert all("its clock is " in line and " ahead of this one" in line for line in wrong)

    (slurm_project.folder / "configs/sweeps/slow.yaml").write_text(SLOW)
    slurm_project.submit_sweep("slow", profile=profile)
    ((label, run),) = slurm_project.run_folders("slow").items()
    slurm_project.wait_until(run.rows)
    monkeypatch.setattr(folder_lock, "STALE_LOCK_TIMEOUT_S", 20.0)  # the owner counts every 4 s
    with pytest.raises(LockHeld) as held, folder_lock.acquire(run.path):
        pytest.fail("the lock was broken while its owner runs")
    assert held.value.owner.host == FAR
    assert slurm_project.run_states("slow")[label]["state"] == "running"

    os.kill(run.heartbeat().pid, signal.SIGKILL)
    with folder_lock.acquire(run.path) as lock:
        assert not lock.lost
    slurm_project.wait_until(lambda: slurm_project.run_states("slow")[label]["state"] == "failed")
