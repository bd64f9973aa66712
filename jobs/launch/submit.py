"""Submission to SLURM: a plan -> job arrays -> lines of the ledger.

In:   a plan, the state of the sweep, a profile.   Out: job ids.
Not here: what to submit (decision.py), what a job requests (slurm/resources.py), sbatch
(slurm/sbatch.py), processes of this machine (local_run.py).
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jobs import code_snapshot
from jobs.launch import entrypoint
from jobs.launch.sweep_state import SweepState
from jobs.launch.tasks import (
    append_to_ledger,
    failures_cleared,
    make_feature_tasks,
    make_run_tasks,
    write_tasks,
)
from jobs.messages import count_text, print_line
from jobs.node import folder_lock
from jobs.node.folder_lock import LockHeld
from jobs.node.task_file import ReportTask, RunTask, Task
from jobs.profile import SlurmProfile
from jobs.profile_fields import FeatureJobs
from jobs.slurm import client, reasons, resources
from jobs.slurm.resources import ResourceOverride
from jobs.sweep import queue_cache
from jobs.sweep.folder import SweepFolder
from jobs.sweep.plan import Plan
from jobs.sweep.record import report_commands
from pipeline.files import InputError

if TYPE_CHECKING:
    from jobs.slurm.sbatch import Submission

# 1: a command without a terminal may submit jobs inside a job, such as a cell of a notebook.
IN_JOB_VARIABLE = "BLANKSLATE_IN_JOB"

ARRAY_SUBMIT_INTERVAL_S = 0.3  # sites allow a few calls of sbatch per second

ArrayKind = Literal["features", "runs", "report"]
# An array starts after the jobs of this kind have ended.
STARTS_AFTER: Mapping[ArrayKind, ArrayKind] = {"runs": "features", "report": "runs"}


class SlurmArray(NamedTuple):
    """One call of sbatch: its tasks, and what each of its jobs requests."""

    kind: ArrayKind
    tasks: Sequence[Task]
    job_parameters: Mapping[str, Any]  # in submitit's names
    throttle: int | None = None  # tasks at once
    memory_gb: float | None = None  # for the ledger, as `exclude`
    exclude: tuple[str, ...] = ()  # nodes

    @property
    def run_ids(self) -> list[str]:
        return [item for task in self.tasks if isinstance(task, RunTask) for item in task.items]


def slurm_arrays(
    plan: Plan, profile: SlurmProfile, folder: SweepFolder, commands: tuple[str, ...] = ()
) -> Iterator[SlurmArray]:
    """Yield the arrays of a plan in the order of submission; `commands` go into the report."""
    for_features = resources.feature_parameters(profile)
    for features in plan.features:
        yield SlurmArray(
            kind="features",
            tasks=make_feature_tasks(features, folder, verify=True),
            job_parameters=resources.apply_override(for_features, features.override, profile),
            throttle=features.throttle,
            memory_gb=_requested_memory_gb(features.override, profile.features),
            exclude=features.override.exclude,
        )
    for runs in plan.runs:
        for_runs = resources.run_parameters(profile, runs.minutes)
        yield SlurmArray(
            kind="runs",
            tasks=make_run_tasks(runs, folder, profile, profile.threads, profile.runs_per_gpu),
            job_parameters=resources.apply_override(for_runs, runs.override, profile),
            throttle=runs.throttle,
            memory_gb=_requested_memory_gb(runs.override, profile),
            exclude=runs.override.exclude,
        )
    if plan.report:
        report = ReportTask(work=str(folder.work), sweep=folder.name, commands=commands)
        yield SlurmArray(
            kind="report",
            tasks=[report],
            job_parameters=resources.report_parameters(profile),
            memory_gb=profile.report_memory_gb,
        )


@contextmanager
def submission_lock(folder: SweepFolder) -> Iterator[None]:
    """Let only one process at a time submit a sweep; raise InputError for a second one.

    If the sweep was refused before anything was stored, its empty folder is removed.
    """
    refuse_inside_a_job()
    try:
        with folder_lock.acquire(folder.path):
            yield
    except LockHeld as held:
        raise InputError(
            f"{folder.name}: process {held.owner.pid} on {held.owner.host} submits it now; "
            f"wait for it, then make status shows the jobs"
        ) from None
    finally:
        queue_cache.invalidate_cache(folder)
        if not folder.record_file.exists():
            folder_lock.cleanup(folder.path)
            with suppress(OSError):  # another terminal has started to write
                folder.path.rmdir()


def refuse_inside_a_job() -> None:
    """Raise InputError in a batch job, which must not submit jobs by accident.

    A person may in an interactive job, as in Open OnDemand: that has a terminal.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job and not sys.stdin.isatty() and os.environ.get(IN_JOB_VARIABLE) != "1":
        raise InputError(
            f"this is inside job {job}, and a batch job may not submit jobs: type it in a terminal "
            f"or on a login node, or set {IN_JOB_VARIABLE}=1"
        )


def make_submission(profile: SlurmProfile, folder: SweepFolder, code: Path) -> "Submission":
    """Return what submits job arrays of the sweep, whose jobs run the snapshot at `code`."""
    if wrong := {"%", "\\"} & set(str(folder.jobs)):
        raise InputError(
            f"{folder.jobs}: SLURM replaces {' and '.join(sorted(wrong))} in the names of output "
            "files: rename the sweep file, or choose another work folder with WORK=…"
        )
    # submitit takes long to import, and few commands need it.
    from jobs.slurm.sbatch import Submission  # noqa: PLC0415

    return Submission(
        profile=profile,
        name=folder.name,
        folder=folder.jobs,
        code=code,
        execute=entrypoint.run_in_slurm,
    )


def submit_to_slurm(plan: Plan, state: SweepState, profile: SlurmProfile) -> list[str]:
    """Submit features, the runs after them, the report after those; return the job ids.

    Raises SubmissionRefusedError if sbatch refuses an array; those before it stay submitted.
    """
    folder = state.files.folder
    code = code_snapshot.take_snapshot(folder.code)
    submission = make_submission(profile, folder, code)
    jobs: dict[ArrayKind, list[str]] = {"features": _live_array_ids(state), "runs": []}
    submitted = []
    commands = report_commands(state.files.record, profile, folder.work)
    shard_causes = {shard: failure.cause for shard, failure in state.shard_failures.items()}
    for array in slurm_arrays(plan, profile, folder, commands):
        after_jobs = jobs[STARTS_AFTER[array.kind]] if array.kind in STARTS_AFTER else []
        job = _submit_array(
            array, submission, folder, code,
            after_jobs=after_jobs, shard_causes=shard_causes, cluster=state.queue.cluster,
        )  # fmt: skip
        jobs.setdefault(array.kind, []).append(job)
        submitted.append(job)
        time.sleep(ARRAY_SUBMIT_INTERVAL_S)
    return submitted


def _submit_array(
    array: SlurmArray,
    submission: "Submission",
    folder: SweepFolder,
    code: Path,
    *,
    after_jobs: Sequence[str],
    shard_causes: Mapping[str, str],
    cluster: str,
) -> str:
    """Submit one array and write its tasks into the ledger; return its job id."""
    written = write_tasks(array.tasks, folder)
    submit = partial(submission.submit, list(written), throttle=array.throttle, after=after_jobs)
    with failures_cleared(array.run_ids, folder) as run_causes:
        try:
            jobs = submit(array.job_parameters)
        except InputError as refusal:
            if not array.exclude or not reasons.lacks_nodes(str(refusal)):
                raise
            print_line(f"no node is left without {', '.join(array.exclude)}: they are used again")
            array = without_exclusion(array)
            jobs = submit(array.job_parameters)
        job = client.array_job_id(jobs[0])
        try:  # nothing may come between: without a line in the ledger nobody finds these jobs
            append_to_ledger(
                folder,
                "slurm",
                jobs,
                written,
                code,
                causes={**shard_causes, **run_causes},
                memory_gb=array.memory_gb,
                exclude=array.exclude,
                cluster=cluster,
            )
        except BaseException:
            client.cancel_jobs([job])
            raise
    what = "the report" if array.kind == "report" else array.kind
    after = f", after job {', '.join(after_jobs)}" if after_jobs else ""
    print_line(f"submitted {what}: job {job}, {count_text(len(jobs), 'task')}{after}")
    return job


def without_exclusion(array: SlurmArray) -> SlurmArray:
    """Return the array without the nodes that failed; those that the profile excludes stay."""
    parameters = dict(array.job_parameters)
    own = parameters.pop("exclude").removesuffix(",".join(array.exclude)).rstrip(",")
    kept = {"exclude": own} if own else {}
    return array._replace(job_parameters={**parameters, **kept}, exclude=())


def _live_array_ids(state: SweepState) -> list[str]:
    """Return jobs of an earlier submission that still compute features."""
    return sorted({client.array_job_id(task.job) for task in state.live_feature_tasks})


def _requested_memory_gb(
    override: ResourceOverride, job_settings: SlurmProfile | FeatureJobs
) -> float:
    return override.memory_gb or job_settings.job_memory_gb
