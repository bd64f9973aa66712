"""Means: what a run has on its node: CPUs, threads, processes that read for it.

In:   the system, control groups, SLURM's variables; what a profile wishes.   Out: numbers.
Not here: the profile (profile.py), GPUs (local.py).
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from jobs.profile import Device, Workers
from pipeline.values import dataclass

CGROUPS = Path("/sys/fs/cgroup")
MOST_AUTO = 2  # workers of a run


def cpus() -> int:
    """CPUs that this process may use: on a shared machine often fewer than there are."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on Windows, not on macOS
    there = len(affinity(0)) if affinity else os.cpu_count() or 1
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")  # where the site does not bind its tasks
    return min([there, *([int(given)] if given.isdigit() else []), *_quota()])


def _quota() -> Iterator[int]:
    """Of a container: CPU time in each period, under control groups of version 2, then 1."""
    with suppress(OSError, ValueError):
        quota, period = (CGROUPS / "cpu.max").read_text(encoding="ascii").split()
        yield max(1, round(int(quota) / int(period)))
    with suppress(OSError, ValueError):
        quota, period = (
            (CGROUPS / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="ascii")
            for name in ("quota", "period")
        )
        if int(quota) > 0:
            yield max(1, round(int(quota) / int(period)))


@dataclass(frozen=True)
class Means:
    """What a run has on its node. No answer depends on it but by rounding."""

    device: Device
    threads: int
    workers: Workers = "auto"
    resident_gb: float | None = None

    def feeders(self, *, gpu: bool) -> int:
        """Worker processes that read for a run.

        Beside a CPU that trains they only take its time: a thread of the run reads ten times as
        fast as one of them can hand over. Where a GPU trains, CPUs idle that spare its launching
        thread the reading.
        """
        if isinstance(self.workers, int):
            return self.workers
        if self.workers != "auto":
            return int(self.workers.split()[0]) * self.threads
        return min(MOST_AUTO, cpus() - 1) if gpu else 0
