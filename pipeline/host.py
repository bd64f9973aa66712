"""The host: CPUs, memory and processes, as the operating system and its cgroups report them.

In:   the operating system, cgroups, variables of SLURM.   Out: numbers.
Not here: GPUs (training/loop/devices.py), writing what a run used (jobs/node/usage.py).

psutil takes 30 ms to import, so a function imports it when it needs it.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

CGROUP_ROOT, OWN_CGROUPS_FILE = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")

# Controller, as /proc/self/cgroup names it -> files of limit and usage, name of the page cache.
CGROUP_MEMORY_FILES = {
    "": ("memory.max", "memory.current", "file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"),
}
OOM_COUNT_FILES = ("memory.events", "memory.oom_control")  # of cgroups version 2, and 1


def free_memory_bytes() -> int:
    """Return the bytes that this process can still allocate: on the machine and in its cgroups."""
    import psutil  # noqa: PLC0415

    available: int = psutil.virtual_memory().available
    return min([available, *_free_bytes_of_cgroups()])


def oom_kills() -> int:
    """Return how many processes of this process's cgroup the kernel killed for their memory."""
    return sum(_oom_kills_of_cgroup(folder) for _, _, folder in _memory_cgroups())


def _oom_kills_of_cgroup(folder: Path) -> int:
    kills = 0
    for name in OOM_COUNT_FILES:
        with suppress(OSError):
            for line in (folder / name).read_text(encoding="ascii").splitlines():
                key, _, number = line.partition(" ")
                kills += int(number) if key == "oom_kill" else 0
    return kills


def _memory_cgroups() -> Iterator[tuple[str, Path, Path]]:
    """Yield (controller, root folder, own folder) of the cgroups that count memory."""
    try:
        lines = OWN_CGROUPS_FILE.read_text(encoding="utf-8").splitlines()
    except OSError:  # only Linux has cgroups
        return
    for line in lines:
        _, controller, group = line.split(":", 2)
        if controller in CGROUP_MEMORY_FILES:
            root = CGROUP_ROOT / controller
            yield controller, root, root / group.strip("/")


def _free_bytes_of_cgroups() -> Iterator[int]:
    """Yield the free bytes of the own cgroup and its parents; SLURM limits a job by one of them."""
    for controller, root, own in _memory_cgroups():
        for folder in (own, *own.parents):
            if folder.is_relative_to(root):
                yield from _free_bytes_of_cgroup(folder, *CGROUP_MEMORY_FILES[controller])


def _free_bytes_of_cgroup(folder: Path, limit: str, usage: str, cache: str) -> Iterator[int]:
    """Yield limit - usage + page cache: the kernel drops the cache when memory is needed."""
    try:
        limit_text, usage_text = (
            (folder / name).read_text(encoding="ascii") for name in (limit, usage)
        )
        stat = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:  # the root group has no limit
        return
    cached = sum(int(line.split()[1]) for line in stat if line.split()[0] == cache)
    if limit_text.strip() != "max":
        yield int(limit_text) - int(usage_text) + cached


def cpu_seconds_of_tree() -> float:
    """Return CPU seconds of this process, of its ended children and of its living descendants."""
    import psutil  # noqa: PLC0415

    own = os.times()
    seconds = own.user + own.system + own.children_user + own.children_system
    for process in _descendants():
        with suppress(psutil.Error):  # it ended since the list was made
            times = process.cpu_times()
            seconds += times.user + times.system
    return seconds


def private_bytes_of_tree() -> int:
    """Return resident bytes of this process, plus those of its descendants less shared pages.

    Forked workers share libraries, mapped files and shared memory with this process. These pages
    count once, here.
    """
    import psutil  # noqa: PLC0415

    total: int = psutil.Process().memory_info().rss
    for process in _descendants():
        with suppress(psutil.Error):
            memory = process.memory_info()
            total += memory.rss - getattr(memory, "shared", 0)  # only Linux reports shared pages
    return total


def _descendants() -> "list[psutil.Process]":
    import psutil  # noqa: PLC0415

    processes: list[psutil.Process] = psutil.Process().children(recursive=True)
    return processes


def is_alive(pid: int) -> bool:
    """Return whether the process runs. A zombie (ended, not yet waited for) does not."""
    import psutil  # noqa: PLC0415

    try:
        return pid > 0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # it belongs to another user
        return True


def available_cpus() -> int:
    """Return how many CPUs this process may use, often fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on Windows, not on macOS
    usable = len(affinity(0)) if affinity else os.cpu_count() or 1
    allocated = os.environ.get(
        "SLURM_CPUS_PER_TASK", ""
    )  # for sites that do not bind tasks to CPUs
    return min([usable, *([int(allocated)] if allocated.isdigit() else []), *_cgroup_cpu_limits()])


def _cgroup_cpu_limits() -> Iterator[int]:
    """Yield the CPUs that a container may use: quota / period of cgroups version 2, then 1."""
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
