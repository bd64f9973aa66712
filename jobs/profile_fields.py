"""Fields of profiles: their kinds, and what all profiles have.

In:   values of a settings file.   Out: validated models.
Not here: the profiles themselves (profile.py).
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    field_validator,
)

from pipeline.config.loader import Settings

BUILT_IN_PROFILE = Path("the built-in profile")
MAX_COUNT = 4096  # CPUs, slots, runs per GPU: a larger number is a typing error

# SLURM's warning may come a minute before the limit, and python must have its handlers by then.
MIN_JOB_MINUTES = 3

# A number; `auto`: the limit that SLURM reports; `unlimited`.
LimitSetting = Annotated[int, Field(ge=1)] | Literal["auto", "unlimited"]
Device = Literal["auto", "cpu", "cuda"]


def _validate_workers(workers: Any, validate: Callable[[Any], Any]) -> Any:
    try:
        return validate(workers)
    except ValidationError:
        raise ValueError("a number up to 256, auto, or 1 to 8 as in '2 per thread'") from None


# A number; a number per thread; `auto`: see node/training_task.py.
Workers = Annotated[
    Annotated[int, Field(ge=0, le=256)]
    | Literal["auto"]
    | Annotated[str, Field(pattern=r"^[1-8] per thread$")],
    WrapValidator(_validate_workers),
]


# It is a word of an #SBATCH line: sbatch would read the text after a space as another option.
SingleWord = Annotated[str, Field(pattern=r"^\S+$")]


class StrictSettings(Settings):
    """Settings that do not take yes or no for a number."""

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_booleans(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse yes and no: pydantic reads `yes` as 1: `max_submit: yes` would allow one job."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and bool not in {kind, *get_args(kind)}:
            raise ValueError("must not be yes, no, true or false")
        return value


class CommonProfile(StrictSettings):
    """Settings of every profile."""

    work: str = Field(default="work", description="work folder; $NAME is an environment variable")
    device: Device = Field(default="auto", description="auto: a GPU if there is one")
    workers: Workers = Field(
        default="auto",
        description="processes of a run that read frames from shards: a number (0: a thread reads "
        "ahead), or '2 per thread'; auto: up to 2 on a GPU, if CPUs are free",
    )
    resident_gb: float | None = Field(
        default=None,
        ge=0,
        description="GB of frames that a run may keep on the GPU or in memory; null: a quarter of "
        "what is free; larger sets are read from their shards",
    )
    retries: int = Field(
        default=3,
        ge=0,
        description="new attempts for a run that was killed, ran out of memory, or lost its node; "
        "after them make sweep leaves it out",
    )
    max_runs: int = Field(
        default=1000, ge=1, description="runs of one sweep; a larger sweep is refused"
    )
    poll_min_s: float = Field(
        default=30.0,
        ge=30,  # administrators complain about shorter intervals
        description="shortest time between two queries of SLURM, in seconds; while nothing "
        "changes, status waits longer each time, up to 180 s",
    )
    _path: Path = PrivateAttr(default=BUILT_IN_PROFILE)

    @property
    def path(self) -> Path:
        """The file that it was read from; error messages name it."""
        return self._path


# Option of sbatch -> the field of a profile that requests it.
FIELD_OF_OPTION = {
    **{name: name for name in ("account", "clusters", "constraint", "partition", "qos", "wckey")},
    "cpus-per-task": "cpus",
    "time": "minutes",
    "mem": "memory_gb",
    **dict.fromkeys(("mem-per-cpu", "mem-per-gpu"), "memory_gb and memory_style"),
    **dict.fromkeys(("gpus", "gpus-per-node", "gpus-per-task"), "gpus and gpu_request_style"),
    **dict.fromkeys(("requeue", "no-requeue"), "preemption"),
}
# A job has one task on one node, and this program decides about these.
OWN_OPTIONS = {
    *("array", "comment", "dependency", "error", "export", "export-file", "input", "job-name"),
    *("nodes", "ntasks", "ntasks-per-node", "open-mode", "output", "parsable", "signal"),
    *("test-only", "wait", "wrap"),
}


def _validate_options(options: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
    """Refuse an option that contradicts another field, or that would break the job."""
    for name, value in options.items():
        if name in FIELD_OF_OPTION:
            raise ValueError(f"{name}: set {FIELD_OF_OPTION[name]} of the profile instead")
        if name in OWN_OPTIONS:
            raise ValueError(f"{name}: is set for each job; leave it out")
        if not re.fullmatch(r"[a-z][a-z0-9-]+", name):
            raise ValueError(f"{name!r}: is no long option of sbatch, such as mail-type")
        if value is False or not str(value).isprintable():
            raise ValueError(f"{name}: {value!r} is no value; true is an option without a value")
    return options


# Long options of sbatch, such as mail-type: END
SbatchOptions = Annotated[
    dict[str, str | int | bool],
    AfterValidator(_validate_options),
]


class FeatureJobs(StrictSettings):
    """Jobs that compute features: they need no GPU, and so often another partition."""

    partition: SingleWord | None = Field(
        default=None, description="null: the partition of the runs"
    )
    qos: SingleWord | None = Field(default=None, description="null: the qos of the runs")
    constraint: SingleWord | None = None
    tasks: int = Field(default=8, ge=1, description="most jobs; they share the slices")
    cpus: int = Field(default=1, ge=1)
    memory_gb: float = Field(default=4.0, gt=0)
    minutes: int = Field(default=60, ge=MIN_JOB_MINUTES)
    sbatch: SbatchOptions | None = Field(
        default=None, description="as below; null: that of the runs, without what is for GPUs"
    )

    @property
    def job_memory_gb(self) -> float:
        return self.memory_gb

    @property
    def max_job_memory_gb(self) -> float:
        """The most memory that a job may request after one that ran out of memory."""
        return 4 * self.memory_gb
