"""The host: CPUs and memory that this process may use, cgroups included.

In:   the operating system, cgroups, variables of SLURM.   Out: numbers.
Not here: GPUs (training/loop/devices.py), what a run used (jobs/node/usage.py).
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ASSUMED_BYTES = 4 * 2**30  # free, where the system does not say


CGROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


# Controller, as /proc/self/cgroup names it -> where it says limit, use, and cached part of the use.
LIMITS = {
    "": ("memory.max", "memory.current", "file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"),
}


def free_bytes() -> int:
    """Memory that this process may still take: of the machine, and of the cgroup it is in."""
    return min([*_of_machine(), *_of_cgroups()], default=ASSUMED_BYTES)


def _of_machine() -> Iterator[int]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # only Linux has it
        return
    yield from (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def _of_cgroups() -> Iterator[int]:
    """What each group from this process's up may still take; SLURM limits a job by one of them."""
    try:
        own = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in own:
        _, controller, group = line.split(":", 2)
        if controller in LIMITS:
            top = CGROUPS / controller
            folder = top / group.strip("/")
            for each in (folder, *folder.parents):
                if each.is_relative_to(top):
                    yield from _of_cgroup(each, *LIMITS[controller])


def _of_cgroup(folder: Path, limit: str, usage: str, cache: str) -> Iterator[int]:
    """The page cache is counted as used, but gives way."""
    try:
        most, used = ((folder / name).read_text(encoding="ascii") for name in (limit, usage))
        stat = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:  # the root group has no limit
        return
    cached = sum(int(line.split()[1]) for line in stat if line.split()[0] == cache)
    if most.strip() != "max":
        yield int(most) - int(used) + cached


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
