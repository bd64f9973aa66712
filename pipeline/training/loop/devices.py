"""Devices: the device and precision of a run, its determinism, and a record of its environment.

In:   the requested device.   Out: an available device; where the frames fit; versions, memory.
Not here: the free memory of the host (pipeline/host.py).
"""

import logging
import os
import platform
import socket
import sys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from pipeline.files import InputError
from pipeline.host import free_memory_bytes

log = logging.getLogger(__name__)

OTHER_BUILD = "make setup TORCH={} installs another build"
OLDEST_BUILD = "cu126"  # for the oldest GPUs and drivers, see cluster/README.md

APPLE_GPU = (
    "Apple's GPU (MPS) is not used, because most versions of torch have no CTC loss for it; on a "
    "Mac device is cpu or auto"
)

FREE_MEMORY_SHARE = 0.25  # of the memory that is free at the start: runs may share a machine

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]


def select_frame_device(
    device: torch.device, needed_bytes: int, max_gb: float | None
) -> torch.device | None:
    """Return where the frames fit: the GPU, else host memory, else None (they stay in the shards).

    They fit if they need at most `max_gb` GB; without `max_gb`, a quarter of the free memory.
    """
    if device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(device)
        if needed_bytes <= _max_resident_bytes(free_bytes, max_gb):
            return device
    if needed_bytes <= _max_resident_bytes(free_memory_bytes(), max_gb):
        return torch.device("cpu")
    return None


def _max_resident_bytes(free_bytes: int, max_gb: float | None) -> float:
    return free_bytes * FREE_MEMORY_SHARE if max_gb is None else max_gb * 1e9


def gpu_names() -> list[str]:
    """Return the names of the GPUs that this process may use."""
    return [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]


class UnusableGpuError(InputError):
    """The run was to use a GPU, and this torch cannot use one here."""


def select_device(requested: Device) -> torch.device:
    """Return the device; raise UnusableGpuError if a GPU is requested and cannot be used.

    `auto` takes the CPU then, and the log says so where there is a GPU.
    """
    if requested == "cpu":
        return torch.device("cpu")
    problems = gpu_problems()
    if problems and requested == "cuda":
        raise UnusableGpuError("; ".join(problems))
    if problems and (torch.cuda.is_available() or _has_apple_gpu()):
        log.warning("trains on the CPU: %s", "; ".join(problems))
    return torch.device("cpu" if problems else "cuda")


def gpu_problems() -> list[str]:
    """Return what keeps this torch from using the GPUs of this process; empty if it can."""
    version = torch.version.cuda
    if version is None and _has_apple_gpu():
        return [APPLE_GPU]
    if version is None:
        return [f"torch {torch.__version__} is built for the CPU: {OTHER_BUILD.format('auto')}"]
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return [f"torch {torch.__version__} finds no GPU: {_describe_error(error)}"]
    problems = (_gpu_problem(number) for number in range(torch.cuda.device_count()))
    return [problem for problem in problems if problem]


def _has_apple_gpu() -> bool:
    return torch.backends.mps.is_available()


def _describe_error(error: Exception) -> str:
    """Return the first line of torch's error, and the way out of a driver that is too old."""
    text = str(error).split(". Please")[0].splitlines()[0] if str(error) else type(error).__name__
    if "driver" not in text or "too old" not in text:
        return f"{text}; request one in the profile, or set device: cpu there"
    older = OTHER_BUILD.format(OLDEST_BUILD)
    return f"{text}. This build needs CUDA {torch.version.cuda}: {older}"


def _gpu_problem(number: int) -> str:
    """Return why a GPU cannot be used: no code for it in this build, or a kernel that fails."""
    name, capability = torch.cuda.get_device_name(number), torch.cuda.get_device_capability(number)
    built_for = torch.cuda.get_arch_list()
    if not _has_code_for(capability, built_for):
        return (
            f"{name} has compute capability {capability[0]}.{capability[1]}, and this torch has "
            f"code for {', '.join(built_for)} only: {OTHER_BUILD.format(OLDEST_BUILD)}, or request "
            "a newer GPU with gpu_type"
        )
    try:
        ones = torch.ones(8, device=torch.device("cuda", number))
        total = float((ones + ones).sum())
    except RuntimeError as error:
        return f"{name}: a first computation fails: {str(error).splitlines()[0]}"
    return "" if total == 16.0 else f"{name}: a first computation is wrong: {total} instead of 16"


def _has_code_for(capability: tuple[int, int], built_for: Sequence[str]) -> bool:
    """Return whether a build runs on a GPU.

    Code (sm_86) runs on GPUs of the same generation that are as new or newer; an intermediate form
    (compute_90) also on all later generations.
    """
    for kind, digits in (arch.rstrip("af").split("_") for arch in built_for):
        built = int(digits[:-1]), int(digits[-1])
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return True
    return False


def select_dtype(requested: Precision, device: torch.device) -> torch.dtype:
    if requested == "float16" and device.type == "cpu":
        raise InputError(
            "train.precision float16: there is no GPU here, and a CPU has no fast float16; set it "
            "to float32 or bfloat16, or request a GPU in the profile"
        )
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return kinds[requested]


def set_deterministic(enabled: bool, device: torch.device) -> None:
    """Make a GPU give the same bits each time; a CPU always does.

    torch then uses deterministic kernels and raises where there is none; loss/ctc.py computes the
    loss on the CPU. Call this before any computation, because cuBLAS reads its environment variable
    when it is first used. Cost and effect are not measured.
    """
    on = enabled and device.type == "cuda"
    if on:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.backends.cudnn.benchmark = False  # it would choose kernels by timing them
    if (
        on != torch.are_deterministic_algorithms_enabled()
    ):  # the call imports torch's compiler, so only when needed
        torch.use_deterministic_algorithms(on)


def seed_torch(seed: int, device: torch.device) -> None:
    """Do what torch.manual_seed does, without its stack trace for GPUs that are not in use yet."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return what environment.json stores: all that may change the numbers of an experiment."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cuda": torch.version.cuda if gpu else None,
        "device": gpu or device.type,
        "processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "deterministic": not gpu or torch.are_deterministic_algorithms_enabled(),
        "host": socket.gethostname(),
    }


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak memory of the GPU, or of this process on a CPU; 0 on Windows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource  # noqa: PLC0415  (Windows does not have this module)

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
