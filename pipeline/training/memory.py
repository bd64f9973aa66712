"""Memory: whether frames can be resident, and where.

In:   a device, a number of bytes, a limit.   Out: the device, the CPU, or None.
Not here: putting them there (store.py); how much a run took (machine.py).
"""

from collections.abc import Iterator
from pathlib import Path

import torch

SHARE = 0.25  # of the memory that is free when a run starts: runs may share a machine
ASSUMED_BYTES = 4 * 2**30  # free, where the system does not say
CGROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Controller, as /proc/self/cgroup names it -> where it says limit, use, and cached part of the use.
LIMITS = {
    "": ("memory.max", "memory.current", "file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"),
}


def residence(chosen: torch.device, needed: int, most_gb: float | None) -> torch.device | None:
    """Where so many bytes of frames fit: the device, or memory, or None: they stay in the shards.

    They fit where they take at most `most_gb`; if that is None, a quarter of what is free.
    """
    if chosen.type == "cuda" and needed <= _room(torch.cuda.mem_get_info(chosen)[0], most_gb):
        return chosen
    return torch.device("cpu") if needed <= _room(free_bytes(), most_gb) else None


def _room(free: int, most_gb: float | None) -> float:
    return free * SHARE if most_gb is None else most_gb * 1e9


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
