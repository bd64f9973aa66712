"""Meter: what a run uses of its node while one process has it, measured by that process.

In:   the run's folder, what its job asked for.   Out: usage.json, a line for each process.
Not here: what came of it (pipeline/results/thrift.py), a scheduler's own figures (accounting.py).

Nothing of it needs a scheduler or its accounting. A sample is taken each second; a process that is
killed leaves what it had noted until then.
"""

import math
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.runs.folder import RunFolder
from pipeline.runs.records import Usage

SECONDS_BETWEEN_SAMPLES = 1.0
SECONDS_BETWEEN_NOTES = 15.0
SECONDS_FOR_GPU = 10.0  # nvidia-smi may hang where a card has failed
PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
WAITED = "BLANKSLATE_SECONDS_WAITED"  # for a process of a job to tell those that it starts


@dataclass(frozen=True)
class Asked:
    """What one run of a job has been given."""

    cpus: int
    memory_gb: float | None = None
    gpus: int = 0
    waited: float = math.nan  # seconds, from its submission or requeue

    @classmethod
    def here(cls, threads: int, waited: float = math.nan) -> "Asked":
        """As SLURM's variables tell it; runs that share a job share its memory."""
        memory = _number("SLURM_MEM_PER_NODE")
        of_cpu, cpus = _number("SLURM_MEM_PER_CPU"), _number("SLURM_CPUS_PER_TASK") or threads
        if of_cpu:
            memory = of_cpu * cpus
        share = min(1.0, threads / cpus)
        return cls(
            cpus=threads,
            memory_gb=memory * share / 1024 if memory else None,
            gpus=round(_number("SLURM_GPUS_ON_NODE") or len(_cards())),
            waited=waited,
        )


def seconds_waited(submitted: float, runs: Iterable[RunFolder]) -> float:
    """Until the job that has these runs started: since its submission, or since it was requeued.

    A requeue is noted by nobody; but until then some process of the job had one of the runs.
    """
    if given := os.environ.get(WAITED):
        return float(given)
    ends = (used.began + used.seconds for run in runs for used in run.usages())
    return max(0.0, time.time() - max([submitted, *ends]))


class Meter:
    """Samples in a thread, so that training does not wait for it."""

    def __init__(self, folder: RunFolder, asked: Asked) -> None:
        self._folder, self._asked = folder, asked
        self._earlier = folder.usages()
        self._began, self._cpu = time.time(), _cpu_seconds()
        self._peak, self._busy = 0, list[float]()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Meter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._note()

    def _run(self) -> None:
        told = 0.0
        while not self._ended.wait(SECONDS_BETWEEN_SAMPLES):
            self._peak = max(self._peak, _resident_bytes())
            if time.monotonic() - told >= SECONDS_BETWEEN_NOTES:
                self._busy += _gpu_busy()
                self._note()
                told = time.monotonic()

    def _note(self) -> None:
        """A full disk ends the training, which says so; the meter is silent about it."""
        used = Usage(
            began=self._began,
            seconds=time.time() - self._began,
            cpu_seconds=max(0.0, _cpu_seconds() - self._cpu),
            peak_bytes=max(self._peak, _resident_bytes()),
            gpu_busy=sum(self._busy) / len(self._busy) if self._busy else math.nan,
            cpus=self._asked.cpus,
            memory_gb=self._asked.memory_gb,
            gpus=self._asked.gpus,
            waited=self._asked.waited,
        )
        with suppress(OSError):
            self._folder.write_usages([*self._earlier, used])


def job_ran_out_of_memory() -> bool:
    """Whether the system killed something of this SLURM job for its memory, as cgroups count."""
    return "SLURM_JOB_ID" in os.environ and any(map(_kills, _cgroups()))


def _cgroups() -> Iterator[Path]:
    """This process's own, of version 2 or 1."""
    with suppress(OSError):
        for line in (PROC / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers in {"", "memory"}:
                yield CGROUPS / controllers / group.strip("/")


def _kills(group: Path) -> int:
    found = 0
    for name in ("memory.events", "memory.oom_control"):
        with suppress(OSError):
            for line in (group / name).read_text(encoding="ascii").splitlines():
                key, _, number = line.partition(" ")
                found += int(number) if key == "oom_kill" else 0
    return found


def _number(name: str) -> float:
    text = os.environ.get(name, "")
    return float(text) if text.isdigit() else 0.0


def _cards() -> list[str]:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [word for word in chosen.split(",") if word.strip() not in {"", "-1"}]


def _cpu_seconds() -> float:
    """Of this process, of children that ended, and of those that live."""
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return own + sum(map(_cpu_seconds_of, _descendants(os.getpid())))


def _cpu_seconds_of(pid: int) -> float:
    try:
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        user, system = stat.rpartition(")")[2].split()[11:13]  # the name may hold anything
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return 0.0


def _resident_bytes() -> int:
    """Of this process and those it has started; 0 where the system does not say."""
    pids = [os.getpid(), *_descendants(os.getpid())]
    return sum(map(_resident_bytes_of, pids))


def _resident_bytes_of(pid: int) -> int:
    try:
        pages = (PROC / str(pid) / "statm").read_text(encoding="ascii").split()
        # Less what is shared: workers share the pages of the process that they were forked from.
        private = int(pages[1]) - (int(pages[2]) if pid != os.getpid() else 0)
        return private * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _descendants(pid: int) -> Iterator[int]:
    for file in (PROC / str(pid) / "task").glob("*/children"):
        with suppress(OSError, ValueError):
            for child in map(int, file.read_text(encoding="ascii").split()):
                yield child
                yield from _descendants(child)


def _gpu_busy() -> list[float]:
    """Share of the last moment in which this process's cards worked; nothing without nvidia-smi."""
    if not _cards() or not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        answer = subprocess.run(
            [*command, f"--id={','.join(_cards())}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS_FOR_GPU,
        )
        shares = [int(word) / 100 for word in answer.stdout.split()]
        return [sum(shares) / len(shares)] if shares else []
    return []
