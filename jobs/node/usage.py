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

USAGE_SAMPLE_INTERVAL_S = 1.0
USAGE_WRITE_INTERVAL_S = 15.0
NVIDIA_SMI_TIMEOUT_S = 10.0  # nvidia-smi may hang where a card has failed
PROC_ROOT = Path("/proc")
CGROUP_ROOT = Path("/sys/fs/cgroup")
QUEUE_WAIT_VARIABLE = (
    "BLANKSLATE_SECONDS_WAITED"  # for a process of a job to tell those that it starts
)


@dataclass(frozen=True)
class Allocation:
    """What one run of a job has been given."""

    cpus: int
    memory_gb: float | None = None
    gpus: int = 0
    waited: float = math.nan  # seconds, from its submission or requeue

    @classmethod
    def from_environment(cls, threads: int, waited: float = math.nan) -> "Allocation":
        """As SLURM's variables tell it; runs that share a job share its memory."""
        memory = _environment_number("SLURM_MEM_PER_NODE")
        of_cpu, cpus = (
            _environment_number("SLURM_MEM_PER_CPU"),
            _environment_number("SLURM_CPUS_PER_TASK") or threads,
        )
        if of_cpu:
            memory = of_cpu * cpus
        share = min(1.0, threads / cpus)
        return cls(
            cpus=threads,
            memory_gb=memory * share / 1024 if memory else None,
            gpus=round(_environment_number("SLURM_GPUS_ON_NODE") or len(_visible_gpu_ids())),
            waited=waited,
        )


def queue_wait_seconds(submitted: float, runs: Iterable[RunFolder]) -> float:
    """Until the job that has these runs started: since its submission, or since it was requeued.

    A requeue is noted by nobody; but until then some process of the job had one of the runs.
    """
    if inherited := os.environ.get(QUEUE_WAIT_VARIABLE):
        return float(inherited)
    ends = (usage.began + usage.seconds for run in runs for usage in run.usages())
    return max(0.0, time.time() - max([submitted, *ends]))


class UsageMonitor:
    """Samples in a thread, so that training does not wait for it."""

    def __init__(self, folder: RunFolder, asked: Allocation) -> None:
        self._folder, self._allocation = folder, asked
        self._previous_usages = folder.usages()
        self._began, self._cpu = time.time(), _cpu_seconds()
        self._peak, self._gpu_samples = 0, list[float]()
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped, daemon=True)

    def __enter__(self) -> "UsageMonitor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_event.set()
        self._thread.join()
        self._write_usage()

    def _sample_until_stopped(self) -> None:
        told = 0.0
        while not self._stop_event.wait(USAGE_SAMPLE_INTERVAL_S):
            self._peak = max(self._peak, _resident_bytes())
            if time.monotonic() - told >= USAGE_WRITE_INTERVAL_S:
                self._gpu_samples += _query_gpu_utilisation()
                self._write_usage()
                told = time.monotonic()

    def _write_usage(self) -> None:
        """A full disk ends the training, which says so; the meter is silent about it."""
        used = Usage(
            began=self._began,
            seconds=time.time() - self._began,
            cpu_seconds=max(0.0, _cpu_seconds() - self._cpu),
            peak_bytes=max(self._peak, _resident_bytes()),
            gpu_busy=sum(self._gpu_samples) / len(self._gpu_samples)
            if self._gpu_samples
            else math.nan,
            cpus=self._allocation.cpus,
            memory_gb=self._allocation.memory_gb,
            gpus=self._allocation.gpus,
            waited=self._allocation.waited,
        )
        with suppress(OSError):
            self._folder.write_usages([*self._previous_usages, used])


def job_ran_out_of_memory() -> bool:
    """Whether the system killed something of this SLURM job for its memory, as cgroups count."""
    return "SLURM_JOB_ID" in os.environ and any(map(_oom_kills, _own_cgroups()))


def _own_cgroups() -> Iterator[Path]:
    """This process's own, of version 2 or 1."""
    with suppress(OSError):
        for line in (PROC_ROOT / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers in {"", "memory"}:
                yield CGROUP_ROOT / controllers / group.strip("/")


def _oom_kills(group: Path) -> int:
    found = 0
    for name in ("memory.events", "memory.oom_control"):
        with suppress(OSError):
            for line in (group / name).read_text(encoding="ascii").splitlines():
                key, _, number = line.partition(" ")
                found += int(number) if key == "oom_kill" else 0
    return found


def _environment_number(name: str) -> float:
    text = os.environ.get(name, "")
    return float(text) if text.isdigit() else 0.0


def _visible_gpu_ids() -> list[str]:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [word for word in chosen.split(",") if word.strip() not in {"", "-1"}]


def _cpu_seconds() -> float:
    """Of this process, of children that ended, and of those that live."""
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return own + sum(map(_cpu_seconds_of, _descendants(os.getpid())))


def _cpu_seconds_of(pid: int) -> float:
    try:
        stat = (PROC_ROOT / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
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
        pages = (PROC_ROOT / str(pid) / "statm").read_text(encoding="ascii").split()
        # Less what is shared: workers share the pages of the process that they were forked from.
        private = int(pages[1]) - (int(pages[2]) if pid != os.getpid() else 0)
        return private * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _descendants(pid: int) -> Iterator[int]:
    for file in (PROC_ROOT / str(pid) / "task").glob("*/children"):
        with suppress(OSError, ValueError):
            for child in map(int, file.read_text(encoding="ascii").split()):
                yield child
                yield from _descendants(child)


def _query_gpu_utilisation() -> list[float]:
    """Share of the last moment in which this process's cards worked; nothing without nvidia-smi."""
    if not _visible_gpu_ids() or not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        answer = subprocess.run(
            [*command, f"--id={','.join(_visible_gpu_ids())}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=NVIDIA_SMI_TIMEOUT_S,
        )
        shares = [int(word) / 100 for word in answer.stdout.split()]
        return [sum(shares) / len(shares)] if shares else []
    return []
