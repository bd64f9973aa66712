"""The host: CPUs and memory that this process may use, cgroups included.

In:   the operating system, cgroups, variables of SLURM.   Out: numbers.
Not here: GPUs (training/loop/devices.py), what a run used (jobs/node/usage.py).
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ASSUMED_FREE_BYTES = 4 * 2**30  # free, where the system does not say


CGROUP_ROOT, OWN_CGROUPS_FILE = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


# Controller, as /proc/self/cgroup names it -> where it says limit, use, and cached part of the use.
CGROUP_MEMORY_FILES = {
    "": ("memory.max", "memory.current", "file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"),
}


def free_memory_bytes() -> int:
    """Memory that this process may still take: of the machine, and of the cgroup it is in."""
    return min([*_free_bytes_of_machine(), *_free_bytes_of_cgroups()], default=ASSUMED_FREE_BYTES)


def _free_bytes_of_machine() -> Iterator[int]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # only Linux has it
        return
    yield from (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def _free_bytes_of_cgroups() -> Iterator[int]:
    """What each group from this process's up may still take; SLURM limits a job by one of them."""
    try:
        own = OWN_CGROUPS_FILE.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in own:
        _, controller, group = line.split(":", 2)
        if controller in CGROUP_MEMORY_FILES:
            top = CGROUP_ROOT / controller
            folder = top / group.strip("/")
            for each in (folder, *folder.parents):
                if each.is_relative_to(top):
                    yield from _free_bytes_of_cgroup(each, *CGROUP_MEMORY_FILES[controller])


def _free_bytes_of_cgroup(folder: Path, limit: str, usage: str, cache: str) -> Iterator[int]:
    """The page cache is counted as used, but gives way."""
    try:
        most, used = ((folder / name).read_text(encoding="ascii") for name in (limit, usage))
        stat = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:  # the root group has no limit
        return
    cached = sum(int(line.split()[1]) for line in stat if line.split()[0] == cache)
    if most.strip() != "max":
        yield int(most) - int(used) + cached


def available_cpus() -> int:
    """CPUs that this process may use: on a shared machine often fewer than there are."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on Windows, not on macOS
    usable = len(affinity(0)) if affinity else os.cpu_count() or 1
    allocated = os.environ.get("SLURM_CPUS_PER_TASK", "")  # where the site does not bind its tasks
    return min([usable, *([int(allocated)] if allocated.isdigit() else []), *_cgroup_cpu_limits()])


def _cgroup_cpu_limits() -> Iterator[int]:
    """Of a container: CPU time in each period, under control groups of version 2, then 1."""
    with suppress(OSError, ValueError):
        quota, period = (CGROUP_ROOT / "cpu.max").read_text(encoding="ascii").split()
        yield max(1, round(int(quota) / int(period)))
    with suppress(OSError, ValueError):
        quota, period = (
            (CGROUP_ROOT / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="ascii")
            for name in ("quota", "period")
        )
        if int(quota) > 0:
            yield max(1, round(int(quota) / int(period)))
