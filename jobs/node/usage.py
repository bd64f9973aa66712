"""Usage: the CPU time, memory and GPU share that a run uses, measured by its own process.

In:   the run's folder, what its job allocated.   Out: usage.json, one record per process.
Not here: reading /proc and cgroups (pipeline/host.py), what SLURM reports (jobs/slurm/sacct.py).

It needs neither a scheduler nor its accounting. It samples once a second; a process that is killed
leaves what it wrote before.
"""

import math
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from pipeline.host import cpu_seconds_of_tree, oom_kills, private_bytes_of_tree
from pipeline.runs.folder import RunFolder
from pipeline.runs.records import Usage

USAGE_SAMPLE_INTERVAL_S = 1.0
USAGE_WRITE_INTERVAL_S = 15.0
NVIDIA_SMI_TIMEOUT_S = 10.0  # nvidia-smi may hang when a GPU has failed
# A process of a job passes its queue wait to the processes that it starts.
QUEUE_WAIT_VARIABLE = "BLANKSLATE_SECONDS_WAITED"


class Allocation(NamedTuple):
    """What SLURM allocated to one run of a job."""

    cpus: int
    memory_gb: float | None = None
    gpus: int = 0
    waited: float = math.nan  # seconds in the queue since its submission or requeue

    @classmethod
    def from_environment(cls, threads: int, waited: float = math.nan) -> "Allocation":
        """Read SLURM's variables; runs that share a job share its memory."""
        memory = _environment_number("SLURM_MEM_PER_NODE")
        cpus = _environment_number("SLURM_CPUS_PER_TASK") or threads
        if memory_per_cpu := _environment_number("SLURM_MEM_PER_CPU"):
            memory = memory_per_cpu * cpus
        share = min(1.0, threads / cpus)
        return cls(
            cpus=threads,
            memory_gb=memory * share / 1024 if memory else None,
            gpus=round(_environment_number("SLURM_GPUS_ON_NODE") or len(_visible_gpu_ids())),
            waited=waited,
        )


def queue_wait_seconds(submitted: float, runs: Iterable[RunFolder]) -> float:
    """Return seconds from the job's submission, or its last requeue, until now.

    Nobody records the time of a requeue. The end of the last recorded usage of its runs is used.
    """
    if inherited := os.environ.get(QUEUE_WAIT_VARIABLE):
        return float(inherited)
    ends = (usage.began + usage.seconds for run in runs for usage in run.usages())
    return max(0.0, time.time() - max([submitted, *ends]))


class UsageMonitor:
    """Samples usage in a thread, so that training does not wait for it."""

    def __init__(self, folder: RunFolder, allocation: Allocation) -> None:
        self._folder, self._allocation = folder, allocation
        self._previous_usages = folder.usages()
        self._began, self._cpu = time.time(), cpu_seconds_of_tree()
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
        written = 0.0
        while not self._stop_event.wait(USAGE_SAMPLE_INTERVAL_S):
            self._peak = max(self._peak, private_bytes_of_tree())
            if time.monotonic() - written >= USAGE_WRITE_INTERVAL_S:
                self._gpu_samples += _query_gpu_utilisation()
                self._write_usage()
                written = time.monotonic()

    def _write_usage(self) -> None:
        """Write usage.json; ignore a full disk, because the training itself reports it."""
        usage = Usage(
            began=self._began,
            seconds=time.time() - self._began,
            cpu_seconds=max(0.0, cpu_seconds_of_tree() - self._cpu),
            peak_bytes=max(self._peak, private_bytes_of_tree()),
            gpu_busy=sum(self._gpu_samples) / len(self._gpu_samples)
            if self._gpu_samples
            else math.nan,
            cpus=self._allocation.cpus,
            memory_gb=self._allocation.memory_gb,
            gpus=self._allocation.gpus,
            waited=self._allocation.waited,
        )
        with suppress(OSError):
            self._folder.write_usages([*self._previous_usages, usage])


def job_ran_out_of_memory() -> bool:
    """Return whether the kernel killed a process of this SLURM job for its memory."""
    return "SLURM_JOB_ID" in os.environ and oom_kills() > 0


def _environment_number(name: str) -> float:
    text = os.environ.get(name, "")
    return float(text) if text.isdigit() else 0.0


def _visible_gpu_ids() -> list[str]:
    ids = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [word for word in ids.split(",") if word.strip() not in {"", "-1"}]


def _query_gpu_utilisation() -> list[float]:
    """Return [mean utilisation of this process's GPUs, 0 to 1], or [] without nvidia-smi."""
    if not _visible_gpu_ids() or not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        result = subprocess.run(
            [*command, f"--id={','.join(_visible_gpu_ids())}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=NVIDIA_SMI_TIMEOUT_S,
        )
        shares = [int(word) / 100 for word in result.stdout.split()]
        return [sum(shares) / len(shares)] if shares else []
    return []
