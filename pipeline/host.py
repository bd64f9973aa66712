"""The host: CPUs, memory and processes, as the operating system and its cgroups report them.

In:   the operating system, cgroups, variables of SLURM.   Out: numbers.
Not here: GPUs (pipeline/training/loop/devices.py), what a run used (jobs/node/usage.py).

psutil takes 30 ms to import: only functions that measure import it, and `is_alive` does without.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

CGROUP_ROOT, OWN_CGROUPS_FILE = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
OWN_THREADS_FOLDER = Path("/proc/self/task")  # one entry for each thread; only on Linux

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
    if pid <= 0:  # to os.kill this is a group of processes
        return False
    if sys.platform == "win32":  # os.kill(pid, 0) would end the process
        import psutil  # noqa: PLC0415

        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)  # signal 0 only checks
    except ProcessLookupError:
        return False
    except PermissionError:  # it belongs to another user
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Return whether Linux reports state Z: the third field, after the name in parentheses."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no /proc: macOS
        return False
    return stat.rpartition(")")[2].split()[0] == "Z"


def thread_count() -> int | None:
    """Return how many threads this process has; None where the system is not Linux."""
    try:
        return len(list(OWN_THREADS_FOLDER.iterdir()))
    except OSError:
        return None


def available_cpus() -> int:
    """Return how many CPUs this process may use, often fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on Windows, not on macOS
    usable = len(affinity(0)) if affinity else os.cpu_count() or 1
    allocated = os.environ.get("SLURM_CPUS_PER_TASK", "")  # some sites do not bind tasks to CPUs
    return min([usable, *([int(allocated)] if allocated.isdigit() else []), *_cgroup_cpu_limits()])


def default_threads() -> int:
    """Return the threads to compute with if no setting says: OMP_NUM_THREADS, else every CPU."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # a list is per nested level
    return int(wanted) if wanted.isdigit() and int(wanted) else available_cpus()


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
