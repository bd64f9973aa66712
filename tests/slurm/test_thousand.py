"""A thousand runs need few calls of sbatch, little memory, and seconds; -s prints the table."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

RUNS = 1000
MOST_CALLS = 4
MOST_MEGABYTES = 120
# The limits are for a slow and busy machine; see tests/benchmarks/README.md for a quiet one.
SECONDS_TO_SUBMIT, SECONDS_TO_SHOW = 60.0, 10.0


# VmHWM is the peak of this program; wait4 would include the process that forked it.
PROGRAM = """
import re, sys
from pathlib import Path
from jobs.commands import parser
code = parser.main(sys.argv[2:])
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
Path(sys.argv[1]).write_text(peak[1])
sys.exit(code)
"""


@dataclass(frozen=True)
class Took:
    seconds: float
    megabytes: float


@pytest.fixture
def counting_commands(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """An environment in which sbatch records its calls, and the file of the calls."""
    notes, folder = tmp_path / "calls", tmp_path / "bin"
    folder.mkdir()
    notes.touch()
    script = folder / "sbatch"
    script.write_text(f'#!/bin/sh\necho "$@" >> {notes}\nexec {shutil.which("sbatch")} "$@"\n')
    script.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}, notes


def test_a_thousand_runs_are_a_few_calls_little_memory_and_seconds(
    slurm_project, counting_commands
):
    environment, calls = counting_commands
    profile = slurm_project.write_profile(
        gated=True, max_running=1
    )  # one job waits before python, and no run trains
    sweep = slurm_project.folder / "configs/sweeps/thousand.yaml"

    def took(what: str, *words: str | Path) -> Took:
        place, peak = (
            ("--cluster", profile, "--work", slurm_project.work),
            slurm_project.folder / "peak",
        )
        began = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, (peak, *words, *place))],
            cwd=slurm_project.REPOSITORY,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0, what
        found = Took(time.perf_counter() - began, int(peak.read_text()) / 1024)
        processor = usage.ru_utime + usage.ru_stime
        print(
            f"{what:20} {found.seconds:6.2f} s  CPU {processor:5.2f} s  {found.megabytes:4.0f} MB"
        )
        assert found.megabytes < MOST_MEGABYTES, what
        return found

    took("the corpus is spoken", "sweep", sweep, "--dry-run")
    assert took("plan and submit", "sweep", sweep).seconds < SECONDS_TO_SUBMIT
    assert calls.read_text().count("\n") <= MOST_CALLS
    entries = [entry for entry in slurm_project.ledger_entries("thousand") if entry.kind == "runs"]
    assert sum(len(entry.items) for entry in entries) == RUNS
    assert len({item for entry in entries for item in entry.items}) == RUNS
    before = calls.read_text()
    took("run again", "sweep", sweep)
    assert calls.read_text() == before
    for _ in range(2):
        for what, option in (("status, drawn", "--once"), ("status, JSON", "--json")):
            assert took(what, "status", "thousand", option).seconds < SECONDS_TO_SHOW
    states = [run["state"] for run in slurm_project.run_states("thousand").values()]
    assert states == ["queued"] * RUNS
    took("cancel", "cancel", "thousand")
    slurm_project.await_jobs()
