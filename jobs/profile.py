"""Profiles: where to run.

In:   a file of cluster/.   Out: a frozen `Local` or `Slurm`.
Not here: what to run (pipeline/config.py), how much of it at once (plan.py), on how many CPUs
(means.py).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)

from pipeline.config.loader import Settings, read_yaml, validate_settings
from pipeline.files import InputError

BUILT_IN_PROFILE = Path("the built-in profile")
DEFAULT_PROFILES = {BUILT_IN_PROFILE, Path("cluster/local.yaml")}  # what make takes unasked

MAX_COUNT = 4096  # of what a machine has some of: more is a slip, and would be counted out in vain

# Minutes of a job: SLURM warns of its limit up to a minute early, and python must listen by then.
MIN_JOB_MINUTES = 3

# A number; `auto`: what the scheduler says; `unlimited`.
LimitSetting = Annotated[int, Field(ge=1)] | Literal["auto", "unlimited"]
Device = Literal["auto", "cpu", "cuda"]


def _validate_workers(workers: Any, validate: Callable[[Any], Any]) -> Any:
    try:
        return validate(workers)
    except ValidationError:
        raise ValueError("a number up to 256, auto, or 1 to 8 as in '2 per thread'") from None


# A number; of each thread; `auto`: as `Means` says.
Workers = Annotated[
    Annotated[int, Field(ge=0, le=256)]
    | Literal["auto"]
    | Annotated[str, Field(pattern=r"^[1-8] per thread$")],
    WrapValidator(_validate_workers),
]


# It stands in a line of the script; a blank would end it there, and sbatch take the rest for more.
SingleWord = Annotated[str, Field(pattern=r"^\S+$")]


class StrictSettings(Settings):
    """What a profile states."""

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_booleans(cls, value: Any, info: ValidationInfo) -> Any:
        """Which pydantic takes for 1: `max_submit: yes` would be a sweep in a single job."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and bool not in {kind, *get_args(kind)}:
            raise ValueError("yes, no, true and false are no value of it")
        return value


class CommonProfile(StrictSettings):
    """What each profile says, whatever the scheduler."""

    work: str = Field(default="work", description="folder; $NAME is read from the environment")
    device: Device = Field(default="auto", description="auto: a GPU where there is one")
    workers: Workers = Field(
        default="auto",
        description="processes of a run that read frames which are not resident: a number, such "
        "as 0 (a thread reads ahead), or '2 per thread'; auto: up to 2 CPUs that a GPU leaves idle",
    )
    resident_gb: float | None = Field(
        default=None,
        ge=0,
        description="frames of a run that are held on the GPU, or in memory, at most; null: a "
        "quarter of what is free; larger sets are read from their shards",
    )
    retries: int = Field(
        default=3,
        ge=0,
        description="of a run that was killed, ran out of memory, or lost its node; typed once "
        "more, make sweep leaves it out",
    )
    max_runs: int = Field(default=1000, ge=1, description="of one sweep; stops a runaway grid")
    poll_min_s: float = Field(
        default=30.0,
        ge=30,  # administrators have complained of less
        description="seconds between two questions to SLURM, at least; while nothing changes, "
        "status waits longer each time, up to 180",
    )
    _path: Path = PrivateAttr(default=BUILT_IN_PROFILE)

    @property
    def path(self) -> Path:
        """The file it was read from: error messages name it."""
        return self._path


class LocalProfile(CommonProfile):
    """This machine: as many processes at once as there are slots."""

    scheduler: Literal["local"] = "local"
    slots: int | None = Field(
        default=None,
        ge=1,
        le=MAX_COUNT,
        description="runs at once; null: one per GPU, else one per CPU",
    )
    threads: int | None = Field(
        default=None, ge=1, le=MAX_COUNT, description="of each run; null: CPUs shared by the slots"
    )


class FeatureJobs(StrictSettings):
    """Jobs that compute features: no GPU, and so often another partition."""

    partition: SingleWord | None = Field(
        default=None, description="null: the partition of the runs"
    )
    qos: SingleWord | None = Field(default=None, description="null: the qos of the runs")
    constraint: SingleWord | None = None
    tasks: int = Field(default=8, ge=1, description="jobs at most, each with its share of slices")
    cpus: int = Field(default=1, ge=1)
    memory_gb: float = Field(default=4.0, gt=0)
    minutes: int = Field(default=60, ge=MIN_JOB_MINUTES)

    @property
    def job_memory_gb(self) -> float:
        return self.memory_gb

    @property
    def max_job_memory_gb(self) -> float:
        """What a job may ask for whose predecessor ran out of memory."""
        return 4 * self.memory_gb


class SlurmProfile(CommonProfile):
    """A SLURM cluster. What is null is not asked for, and the site's default holds."""

    scheduler: Literal["slurm"]
    partition: SingleWord | None = None
    account: SingleWord | None = None
    qos: SingleWord | None = None
    constraint: SingleWord | None = None
    wckey: SingleWord | None = Field(
        default=None, description="null: none is sent; some sites refuse any"
    )
    gpus: int = Field(default=1, ge=0, description="of each job")
    gpu_type: SingleWord | None = Field(default=None, description="as in gres: gpu:TYPE:1")
    gpu_request_style: Literal["gres", "gpus_per_node", "gpus"] = "gres"
    cpus: int = Field(
        default=2, ge=1, le=MAX_COUNT, description="of each job; its runs at once share them"
    )
    min_cpus_per_gpu: int | None = Field(default=None, ge=1, description="the site wants so many")
    max_cpus_per_gpu: int | None = Field(default=None, ge=1, description="the site gives so many")
    memory_gb: float | None = Field(
        default=16.0, gt=0, description="null: cpus x default_memory_per_cpu_gb"
    )
    default_memory_per_cpu_gb: float | None = Field(
        default=None, gt=0, description="what the site gives where nothing is asked"
    )
    memory_style: Literal["mem", "mem_per_cpu"] = Field(
        default="mem", description="mem_per_cpu: memory_gb is asked for as a share of each CPU"
    )
    max_memory_gb: float | None = Field(
        default=None,
        gt=0,
        description="a run that ran out of memory asks for twice as much, at most so much; "
        "null: four times as much as at first",
    )
    minutes: int = Field(default=120, ge=MIN_JOB_MINUTES, description="time limit of a job")
    max_minutes: LimitSetting = Field(
        default="auto", description="the longest that a job may ask for"
    )
    runs_per_task: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto", description="auto: as few as the limits allow, each in its own job"
    )
    runs_per_gpu: int = Field(default=1, ge=1, le=MAX_COUNT, description="side by side in one job")
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
        description="what becomes of a job whose node is taken; none: no node is taken; cancel: "
        "it comes back only if it has saved in time",
    )
    grace_s: int | None = Field(
        default=None, ge=0, description="seconds between warning and kill then; null: unknown"
    )
    user_signal_on_preempt: bool | None = Field(
        default=None, description="the warning is SIGUSR2, and not SIGTERM; null: unknown"
    )
    local_scratch_var: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",  # it stands in a shell script
        description="the environment variable that names a job's folder on its node's own disk: "
        "temporary files go there; null: where the node puts them",
    )
    internet_on_compute: bool | None = Field(
        default=None,
        description="false: trackers write into the work folder, and no run waits for a network "
        "that its node has not; null: unknown",
    )
    report: bool = Field(default=True, description="a last job writes the report")
    features: FeatureJobs = FeatureJobs()

    @model_validator(mode="after")
    def _check_cpus_per_gpu(self) -> "SlurmProfile":
        least, most = self.min_cpus_per_gpu, self.max_cpus_per_gpu
        if least and self.cpus < least * self.gpus:
            raise ValueError(f"cpus: {self.cpus} for {self.gpus} GPU, and {least} each are wanted")
        if most and self.gpus and self.cpus > most * self.gpus:
            raise ValueError(f"cpus: {self.cpus} for {self.gpus} GPU, and {most} each are given")
        return self

    @model_validator(mode="after")
    def _check_memory(self) -> "SlurmProfile":
        if self.memory_gb is None and self.default_memory_per_cpu_gb is None:
            raise ValueError("memory_gb: null, and so is default_memory_per_cpu_gb")
        return self

    @property
    def threads(self) -> int:
        """Of each run."""
        return max(1, self.cpus // self.runs_per_gpu)

    @property
    def job_memory_gb(self) -> float:
        """What a job asks for: also where that is the site's default, so that it can be doubled."""
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
