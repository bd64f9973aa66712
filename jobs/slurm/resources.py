"""Resources: what a job requests from SLURM, as submitit's parameters, and within which limits.

In:   a profile; what one job needs beyond it.
Out:  a dictionary for submitit; the profile's `JobPreferences`.
Not here: the script and its submission (sbatch.py), finding the `Limits` (limits.py).
"""

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs.profile import LocalProfile, Profile, SlurmProfile

if TYPE_CHECKING:
    from jobs.slurm.tres import Budget


class Limits(NamedTuple):
    """What may be submitted now. None: no limit."""

    tasks: int | None = None  # jobs that may still be submitted
    array: int | None = None  # tasks in one array
    running: int | None = None  # tasks that run at once
    feature_tasks: int | None = None  # tasks that compute features, by the profile
    feature_room: int | None = None  # jobs that the partition and QOS of features still allow
    minutes: int | None = None  # time limit of one task
    budgets: "tuple[Budget, ...]" = ()  # what is left of GPU-minutes and their like
    notes: tuple[str, ...] = ()  # what a person should know of them


class JobPreferences(NamedTuple):
    """What the profile prefers for the jobs of runs."""

    runs_per_task: int | None = None  # None: as few as the limits allow
    at_once: int = 1  # runs of a task that share its GPU at the same time
    minutes: int | None = None  # time limit of a task; the plan may raise it for long runs
    report: bool = False  # a last task writes the report


DEFAULT_PREFERENCES = JobPreferences()


class ResourceOverride(NamedTuple):
    """What a job requests differently from its profile, because an earlier attempt failed."""

    memory_gb: float | None = None  # None: as in the profile
    exclude: tuple[str, ...] = ()  # nodes (sbatch --exclude)


NO_OVERRIDE = ResourceOverride()

# SLURM may send the signal up to a minute early. A tenth of the time limit, at most this, keeps it
# from arriving before python has set its handlers (profile_fields.MIN_JOB_MINUTES).
MAX_WARNING_S = 90

# Options of sbatch that a job without a GPU does not take over.
GPU_OPTIONS = r"gpu|gres|tres"

# Environment variable of jobs whose python runs in a container and cannot call scontrol.
REQUEUE_FROM_BATCH_VARIABLE = "BLANKSLATE_REQUEUE_FROM_BATCH"


def job_preferences(profile: Profile) -> JobPreferences:
    if isinstance(profile, LocalProfile):
        return JobPreferences()
    runs_per_task = profile.runs_per_task
    return JobPreferences(
        runs_per_task=None if runs_per_task == "auto" else runs_per_task,
        at_once=profile.runs_per_gpu,
        minutes=profile.minutes,
        report=profile.report,
    )


def run_parameters(profile: SlurmProfile, minutes: int | None = None) -> dict[str, Any]:
    """Return the parameters of a job of runs."""
    parameters = _job_parameters(
        profile, profile.cpus, profile.job_memory_gb, minutes or profile.minutes, profile.gpus
    )
    return _add_options(parameters, _gpu_parameters(profile), profile.sbatch)


def apply_override(
    parameters: Mapping[str, Any], override: ResourceOverride, profile: SlurmProfile
) -> dict[str, Any]:
    """Return the parameters with the changes of `override`."""
    changes: dict[str, Any] = {}
    additional = dict(parameters["additional_parameters"])
    if override.memory_gb is not None:
        gpus = profile.gpus if "mem_per_gpu" in parameters else 0
        cpus = parameters["cpus_per_task"]
        changes |= _memory_parameters(profile, cpus, override.memory_gb, gpus)
    if override.exclude:
        excluded = [additional.pop("exclude")] if "exclude" in additional else []
        changes["exclude"] = ",".join([*map(str, excluded), *override.exclude])
    return {**parameters, **changes, "additional_parameters": additional}


def feature_parameters(profile: SlurmProfile) -> dict[str, Any]:
    """Return the parameters of a job of features, which needs no GPU.

    One thread, whatever the CPUs: with more threads the last bits of a sum differ, and the bytes of
    a shard must not depend on the machine that made it.
    """
    jobs = profile.features
    return _without_gpu(profile, jobs.cpus, jobs.memory_gb, jobs.minutes)


def report_parameters(profile: SlurmProfile) -> dict[str, Any]:
    """Return the parameters of the job of the report: where features are computed, on one CPU."""
    return _without_gpu(profile, 1, profile.report_memory_gb, profile.report_minutes)


def _without_gpu(
    profile: SlurmProfile, cpus: int, memory_gb: float, minutes: int
) -> dict[str, Any]:
    jobs = profile.features
    parameters = _job_parameters(profile, cpus, memory_gb, minutes)
    own = {"partition": jobs.partition, "qos": jobs.qos, "constraint": jobs.constraint}
    set_in_profile = {name: value for name, value in own.items() if value is not None}
    options = jobs.sbatch
    if options is None:
        options = {k: v for k, v in profile.sbatch.items() if not re.search(GPU_OPTIONS, k)}
    return {**_add_options(parameters, set_in_profile, options), "threads": 1}


def _add_options(
    parameters: Mapping[str, Any], changes: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the parameters with these changes, and with the profile's own options of sbatch."""
    additional = [each.get("additional_parameters", {}) for each in (parameters, changes)]
    return {
        **parameters,
        **changes,
        "additional_parameters": {**additional[0], **additional[1], **options},
    }


def _job_parameters(
    profile: SlurmProfile, cpus: int, memory_gb: float, minutes: int, gpus: int = 0
) -> dict[str, Any]:
    return {
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "wckey": profile.wckey,  # without this submitit sends its own name
        "cpus_per_task": cpus,
        "srun_args": [f"--cpus-per-task={cpus}"],  # since SLURM 22.05 the step does not inherit it
        **_memory_parameters(profile, cpus, memory_gb, gpus),
        "time": minutes,
        "signal_delay_s": min(MAX_WARNING_S, minutes * 60 // 10),
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True},  # a site may have set JobRequeue=0
    }


def _memory_parameters(
    profile: SlurmProfile, cpus: int, memory_gb: float, gpus: int
) -> dict[str, str]:
    megabytes = memory_gb * 1024  # rounded up below: --mem=0 requests all memory of the node
    if profile.memory_style == "mem_per_gpu" and gpus:
        return {"mem_per_gpu": f"{math.ceil(megabytes / gpus)}MB"}
    if profile.memory_style != "mem_per_cpu":
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
