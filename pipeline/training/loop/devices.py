"""Machine: what a run computes on, and what it says about it.

In:   the device that was asked for.   Out: a device that is there; versions, threads, memory.
"""

import os
import platform
import socket
import sys
from typing import Any, Literal

import numpy as np
import torch

from pipeline.files import InputError
from pipeline.host import free_memory_bytes

FREE_MEMORY_SHARE = 0.25  # of the memory that is free when a run starts: runs may share a machine


def select_frame_device(
    device: torch.device, needed_bytes: int, max_gb: float | None
) -> torch.device | None:
    """Where so many bytes of frames fit: the device, or memory, or None: they stay in the shards.

    They fit where they take at most `most_gb`; if that is None, a quarter of what is free.
    """
    if device.type == "cuda" and needed_bytes <= _max_resident_bytes(
        torch.cuda.mem_get_info(device)[0], max_gb
    ):
        return device
    return (
        torch.device("cpu")
        if needed_bytes <= _max_resident_bytes(free_memory_bytes(), max_gb)
        else None
    )


def _max_resident_bytes(free_bytes: int, max_gb: float | None) -> float:
    return free_bytes * FREE_MEMORY_SHARE if max_gb is None else max_gb * 1e9


Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]


def gpu_names() -> list[str]:
    """Names of the GPUs that this process may use."""
    return [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]


def select_device(requested: Device) -> torch.device:
    if requested == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device cuda: torch sees no GPU here; set device: auto in the profile, or ask the "
            "scheduler for a GPU"
        )
    return torch.device("cuda" if requested != "cpu" and torch.cuda.is_available() else "cpu")


def select_dtype(requested: Precision, device: torch.device) -> torch.dtype:
    if requested == "float16" and device.type == "cpu":
        raise InputError(
            "train.precision float16: there is no GPU here, and a CPU has no fast float16; choose "
            "float32 or bfloat16, or ask the scheduler for a GPU"
        )
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return kinds[requested]


def set_deterministic(enabled: bool, device: torch.device) -> None:
    """Have a GPU give the same bits each time; the CPU does so of itself.

    torch takes deterministic kernels then, cuDNN's among them, and refuses where there is none;
    ctc.py computes the loss on the CPU. cuBLAS reads its variable when it is first used, so this
    comes before anything is computed. Neither the cost nor the effect was measured: no GPU was at
    hand.
    """
    on = enabled and device.type == "cuda"
    if on:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.backends.cudnn.benchmark = False  # it chooses by timing
    if on != torch.are_deterministic_algorithms_enabled():  # to tell it imports its compiler
        torch.use_deterministic_algorithms(on)


def seed_torch(seed: int, device: torch.device) -> None:
    """As torch.manual_seed, which on a CPU also keeps a stack trace for each GPU to come."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def describe_environment(device: torch.device) -> dict[str, Any]:
    """For environment.json: what may make the same experiment give other digits."""
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
    """Of the GPU, or of this process; Windows has no cheap answer: 0."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    # Not at the top: Windows has no such module.
    import resource  # noqa: PLC0415

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
