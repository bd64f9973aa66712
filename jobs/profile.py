"""Profiles: where to run, and with which resources.

In:   a file of cluster/.   Out: a frozen `LocalProfile` or `SlurmProfile`.
Not here: the kinds of fields (profile_fields.py), what to run (pipeline/config/experiment.py), the
work folder of a command (work_folder.py), the division into jobs (sweep/plan.py).
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from jobs.profile_fields import (
    BUILT_IN_PROFILE,
    MAX_COUNT,
    MIN_JOB_MINUTES,
    CommonProfile,
    FeatureJobs,
    LimitSetting,
    SbatchOptions,
    SingleWord,
)
from pipeline.config.loader import read_yaml, validate_settings
from pipeline.files import InputError

DEFAULT_PROFILES = {BUILT_IN_PROFILE, Path("cluster/local.yaml")}  # what make uses without CLUSTER=


class LocalProfile(CommonProfile):
    """This machine: each slot is one process at a time."""

    scheduler: Literal["local"] = "local"
    slots: int | None = Field(
        default=None,
        ge=1,
        le=MAX_COUNT,
        description="runs at the same time; null: one per GPU, else one per CPU",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=MAX_COUNT,
        description="CPU threads of each run; null: the CPUs divided by the slots. Of a command "
        "that computes itself, such as decode: null is OMP_NUM_THREADS, else every CPU",
    )


class SlurmProfile(CommonProfile):
    """A SLURM cluster. A null setting is not requested: the default of the site holds."""

    scheduler: Literal["slurm"]
    clusters: SingleWord | None = Field(
        default=None,
        description="one cluster, for sites with several (sbatch --clusters); null: the one that "
        "this login node belongs to",
    )
    partition: SingleWord | None = None
    account: SingleWord | None = None
    qos: SingleWord | None = None
    constraint: SingleWord | None = None
    wckey: SingleWord | None = Field(
        default=None, description="null: none is sent, because some sites refuse any"
    )
    gpus: int = Field(default=1, ge=0, description="GPUs of each job")
    gpu_type: SingleWord | None = Field(default=None, description="as in gres: gpu:TYPE:1")
    gpu_request_style: Literal["gres", "gpus_per_node", "gpus"] = "gres"
    cpus: int = Field(
        default=2, ge=1, le=MAX_COUNT, description="CPUs of each job; runs side by side share them"
    )
    min_cpus_per_gpu: int | None = Field(
        default=None, ge=1, description="the least that the site accepts"
    )
    max_cpus_per_gpu: int | None = Field(
        default=None, ge=1, description="the most that the site accepts"
    )
    memory_gb: float | None = Field(
        default=16.0, gt=0, description="null: cpus x default_memory_per_cpu_gb"
    )
    default_memory_per_cpu_gb: float | None = Field(
        default=None, gt=0, description="the site's default"
    )
    memory_style: Literal["mem", "mem_per_cpu", "mem_per_gpu"] = Field(
        default="mem",
        description="mem_per_cpu, mem_per_gpu: memory_gb is divided by the CPUs or GPUs, and "
        "requested for each; jobs without a GPU request mem",
    )
    max_memory_gb: float | None = Field(
        default=None,
        gt=0,
        description="after out of memory a run requests twice as much, up to this; "
        "null: four times memory_gb",
    )
    minutes: int = Field(default=120, ge=MIN_JOB_MINUTES, description="time limit of a job")
    max_minutes: LimitSetting = Field(
        default="auto", description="the longest time limit that a job may request"
    )
    runs_per_task: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="runs of one job, one after another; auto: as few as the limits allow",
    )
    runs_per_gpu: int = Field(
        default=1, ge=1, le=MAX_COUNT, description="runs side by side in one job"
    )
    max_submit: LimitSetting = Field(
        default="auto", description="queued and running jobs of one user"
    )
    max_running: LimitSetting = Field(default="auto", description="running jobs of one user")
    max_array_size: LimitSetting = Field(
        default="auto", description="largest index of an array, plus 1"
    )
    setup: tuple[str, ...] = Field(default=(), description="shell lines before python starts")
    python: str | None = Field(
        default=None, pattern=r"\S", description="null: the interpreter that submits; or a command"
    )
    requeue_from: Literal["job", "batch"] = Field(
        default="job", description="batch: python runs in a container that has no scontrol"
    )
    preemption: Literal["none", "requeue", "cancel", "unknown"] = Field(
        default="unknown",
        description="what SLURM does with a preempted job; none: no job is preempted; cancel: the "
        "job is requeued only if it has saved in time",
    )
    grace_s: int | None = Field(
        default=None,
        ge=0,
        description="seconds from the warning to the kill at preemption; null: unknown",
    )
    user_signal_on_preempt: bool | None = Field(
        default=None, description="true: the warning is SIGUSR2; false: SIGTERM; null: unknown"
    )
    local_scratch_var: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",  # it is written into a shell script
        description="environment variable with the folder of a job on the disk of its node, for "
        "temporary files; null: the node's default",
    )
    internet_on_compute: bool | None = Field(
        default=None,
        description="false: trackers write only into the work folder, so no run waits for a "
        "network; null: unknown",
    )
    sbatch: SbatchOptions = Field(
        default={},
        description="other long options of sbatch for each job, such as mail-type: END, nice: 100, "
        "reservation: course, licenses: x, exclusive: true",
    )
    report: bool = Field(default=True, description="true: a last job writes the report")
    report_memory_gb: float = Field(default=4.0, gt=0, description="memory of that job")
    report_minutes: int = Field(
        default=30, ge=MIN_JOB_MINUTES, description="time limit of that job"
    )
    features: FeatureJobs = Field(default_factory=FeatureJobs)

    @model_validator(mode="after")
    def _check_cpus_per_gpu(self) -> "SlurmProfile":
        least, most = self.min_cpus_per_gpu, self.max_cpus_per_gpu
        if least and self.cpus < least * self.gpus:
            raise ValueError(
                f"cpus: {self.cpus} for {self.gpus} GPU, and min_cpus_per_gpu is {least}; raise "
                f"cpus to {least * self.gpus} or more"
            )
        if most and self.gpus and self.cpus > most * self.gpus:
            raise ValueError(
                f"cpus: {self.cpus} for {self.gpus} GPU, and max_cpus_per_gpu is {most}; lower "
                f"cpus to {most * self.gpus} or less"
            )
        return self

    @model_validator(mode="after")
    def _check_gres(self) -> "SlurmProfile":
        if self.gpus and self.gpu_request_style == "gres" and "gres" in self.sbatch:
            raise ValueError(
                "sbatch: gres: gpus requests gres already; set gpus: 0 for another gres, such as "
                "shard:1, or another gpu_request_style"
            )
        return self

    @model_validator(mode="after")
    def _check_memory(self) -> "SlurmProfile":
        if self.memory_gb is None and self.default_memory_per_cpu_gb is None:
            raise ValueError(
                "memory_gb: null, and so is default_memory_per_cpu_gb; set one of them"
            )
        return self

    @property
    def cluster(self) -> str:
        """The cluster of `clusters`, or of the variables that sbatch reads; "": of this host."""
        variables = ("SBATCH_CLUSTERS", "SLURM_CLUSTERS")
        return self.clusters or next(filter(None, map(os.environ.get, variables)), "")

    @property
    def threads(self) -> int:
        """CPU threads of each run."""
        return max(1, self.cpus // self.runs_per_gpu)

    @property
    def job_memory_gb(self) -> float:
        """Memory of a job, also if it is the site's default: a retry may double it."""
        return self.memory_gb or self.cpus * (self.default_memory_per_cpu_gb or 0.0)

    @property
    def max_job_memory_gb(self) -> float:
        return self.max_memory_gb or 4 * self.job_memory_gb


Profile = LocalProfile | SlurmProfile


def load_profile(path: Path) -> Profile:
    content = read_yaml(path)
    kinds: dict[Any, type[LocalProfile] | type[SlurmProfile]] = {
        "local": LocalProfile,
        "slurm": SlurmProfile,
    }
    scheduler = content.get("scheduler", "local")
    if not isinstance(scheduler, str) or scheduler not in kinds:
        raise InputError(f"{path}: scheduler: {scheduler!r} — choose local or slurm")
    profile = validate_settings(kinds[scheduler], content, path)
    profile._path = path
    return profile
