"""Resources: what a job asks of SLURM, in the names of submitit's parameters.

In:   a profile; what one job needs beyond it.   Out: a dictionary for submitit.
Not here: the script and its submission (sbatch.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.profile import SlurmProfile


@dataclass(frozen=True)
class ResourceOverride:
    """What a job asks for otherwise than its profile says, because of how a run ended before."""

    memory_gb: float | None = None
    exclude: tuple[str, ...] = ()  # nodes


NO_OVERRIDE = ResourceOverride()


# SLURM sends the signal up to a minute early. A tenth of the limit, at most this, keeps it from
# arriving before python has its handlers (profile.SHORTEST).
MAX_WARNING_S = 90

# Environment variable, set where python runs in a container, from which scontrol cannot be reached.
REQUEUE_FROM_BATCH_VARIABLE = "BLANKSLATE_REQUEUE_FROM_BATCH"


def run_parameters(profile: SlurmProfile, minutes: int | None = None) -> dict[str, Any]:
    """What a job of runs asks for, in submitit's words."""
    parameters = _job_parameters(
        profile, profile.cpus, profile.job_memory_gb, minutes or profile.minutes
    )
    return {
        **parameters,
        **_gpu_parameters(profile),
        "additional_parameters": {
            **parameters["additional_parameters"],
            **_gpu_parameters(profile).get("additional_parameters", {}),
        },
    }


def apply_override(
    parameters: Mapping[str, Any], override: ResourceOverride, profile: SlurmProfile
) -> dict[str, Any]:
    """The same, with what a task asks for because of how it ended before."""
    changes: dict[str, Any] = {}
    if override.memory_gb is not None:
        changes |= _memory_parameters(profile, parameters["cpus_per_task"], override.memory_gb)
    if override.exclude:
        changes["exclude"] = ",".join(override.exclude)
    return {**parameters, **changes}


def feature_parameters(profile: SlurmProfile) -> dict[str, Any]:
    """Features need no GPU, and so often another partition; so does the report.

    One thread, whatever the CPUs: sums over more of them have other last bits, and the bytes of a
    shard must not depend on where it was made.
    """
    jobs = profile.features
    own = {"partition": jobs.partition, "qos": jobs.qos, "constraint": jobs.constraint}
    parameters = _job_parameters(profile, jobs.cpus, jobs.memory_gb, jobs.minutes)
    given = {name: value for name, value in own.items() if value is not None}
    return {**parameters, **given, "threads": 1}


def _job_parameters(
    profile: SlurmProfile, cpus: int, memory_gb: float, minutes: int
) -> dict[str, Any]:
    return {
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "wckey": profile.wckey,  # submitit sends its own name where this is not passed
        "cpus_per_task": cpus,
        "srun_args": [f"--cpus-per-task={cpus}"],  # since SLURM 22.05 the step does not inherit it
        **_memory_parameters(profile, cpus, memory_gb),
        "time": minutes,
        "signal_delay_s": min(MAX_WARNING_S, minutes * 60 // 10),
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True},  # the site's default may be not to
    }


def _memory_parameters(profile: SlurmProfile, cpus: int, memory_gb: float) -> dict[str, str]:
    megabytes = memory_gb * 1024  # rounded up: of 0 SLURM gives all that the node has
    if profile.memory_style == "mem":
        return {"mem": f"{math.ceil(megabytes)}MB"}
    return {"mem_per_cpu": f"{math.ceil(megabytes / cpus)}MB"}


def _gpu_parameters(profile: SlurmProfile) -> dict[str, Any]:
    if not profile.gpus:
        return {}
    number = f"{profile.gpu_type}:{profile.gpus}" if profile.gpu_type else str(profile.gpus)
    if profile.gpu_request_style == "gres":
        return {"gres": f"gpu:{number}"}
    if profile.gpu_request_style == "gpus_per_node":
        return {"gpus_per_node": number}
    return {"additional_parameters": {"gpus": number}}
