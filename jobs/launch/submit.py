"""Submission: a plan -> jobs -> ledger; processes of this machine, or SLURM.

In:   a plan, a profile.   Out: an `Outcome`; task files, lines of the ledger.
Not here: deciding what to submit (plan.py, reconcile.py); submitit (slurm.py).
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs import code_snapshot
from jobs.code_snapshot import REPOSITORY_ROOT
from jobs.display.feature_progress import FeatureProgress
from jobs.exit_codes import DONE
from jobs.launch import entrypoint
from jobs.local import executor
from jobs.local.executor import ExitStatus, RunningTask
from jobs.messages import count_text, print_line
from jobs.node import failures, feature_task, task_file, training_task
from jobs.node.feature_task import TaskProgress
from jobs.node.task_file import FeatureTask, ReportTask, Run, RunTask, Slice, Task
from jobs.profile import FeatureJobs, LocalProfile, Profile, SlurmProfile
from jobs.slurm import client, resources
from jobs.slurm.resources import ResourceOverride
from jobs.sweep.folder import SweepFolder
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.plan import JobArray, Plan
from pipeline.corpus.manifest import Refusal
from pipeline.files import read_json
from pipeline.runs.folder import Failure

if TYPE_CHECKING:
    from jobs.slurm.sbatch import Submission

ARRAY_SUBMIT_INTERVAL_S = 0.3  # sites allow a few calls a second

NO_CAUSES: Mapping[str, str] = {}

PollCallback = Callable[
    ..., None
]  # at the runs; or with a function that says how far the features are


@dataclass
class SubmissionResult:
    """What came of a submission."""

    jobs: list[str] = field(default_factory=list)  # of SLURM; an array counts once
    failed_tasks: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    seconds: float = 0.0  # it took, where it was waited for


@dataclass(frozen=True)
class _ArraySubmitter:
    """One array after another, each in the ledger once sbatch has accepted it."""

    submission: "Submission"
    folder: SweepFolder
    code: Path
    outcome: SubmissionResult

    def submit_array(
        self,
        made: Sequence[Task],
        what: str,
        asked: dict[str, Any],
        behind: list[str],
        *,
        throttle: int | None = None,
        **noted: Any,
    ) -> str:
        written = _write_tasks(made, self.folder)
        jobs = self.submission.submit(list(written), asked, throttle=throttle, after=behind)
        try:  # nothing may come between: until the line is written, nobody else can find them
            _append_to_ledger(self.folder, "slurm", jobs, written, self.code, **noted)
        except BaseException:
            client.cancel_jobs([_array_job_id(jobs)])  # nobody would ever find it
            raise
        self.outcome.jobs.append(_array_job_id(jobs))
        waits = f", after job {', '.join(behind)}" if behind else ""
        print_line(
            f"submitted {what}: job {_array_job_id(jobs)}, {count_text(len(jobs), 'task')}{waits}"
        )
        time.sleep(ARRAY_SUBMIT_INTERVAL_S)
        return _array_job_id(jobs)


def submit_to_slurm(
    plan: Plan,
    profile: SlurmProfile,
    folder: SweepFolder,
    *,
    after: Sequence[str],
    commands: tuple[str, ...] = (),
    previous_causes: Mapping[str, str] = NO_CAUSES,
) -> SubmissionResult:
    """Features as arrays, the runs behind them, the report behind those; sbatch has accepted all.

    `after`: jobs of an earlier submission that still compute features. `commands`: for the report.
    `ended`: why the last job of a shard failed.
    """
    # submitit takes its time to import, and few commands need it.
    from jobs.slurm import sbatch  # noqa: PLC0415

    code = code_snapshot.take_snapshot(folder.code)
    submission = sbatch.Submission(
        profile=profile,
        name=folder.name,
        folder=folder.jobs,
        code=code,
        execute=entrypoint.run_in_slurm,
    )
    outcome = SubmissionResult()

    submitter = _ArraySubmitter(submission, folder, code, outcome)
    feature_jobs, run_jobs = list(after), []
    parameters = resources.feature_parameters(profile)
    for features in plan.features:
        new_tasks = _make_feature_tasks(features, folder, verify=True)
        job_parameters = resources.apply_override(parameters, features.override, profile)
        ledger_fields = _ledger_fields(features.override, profile.features)
        job = submitter.submit_array(
            new_tasks,
            "features",
            job_parameters,
            [],
            throttle=features.throttle,
            causes=previous_causes,
            **ledger_fields,
        )
        feature_jobs.append(job)
    for runs in plan.runs:
        new_tasks = _make_run_tasks(runs, folder, profile, profile.threads, profile.runs_per_gpu)
        job_parameters = resources.run_parameters(profile, runs.minutes)
        job_parameters = resources.apply_override(job_parameters, runs.override, profile)
        ledger_fields = _ledger_fields(runs.override, profile)
        with _failures_cleared(runs, folder) as causes:
            job = submitter.submit_array(
                new_tasks,
                "runs",
                job_parameters,
                feature_jobs,
                throttle=runs.throttle,
                causes=causes,
                **ledger_fields,
            )
        run_jobs.append(job)
    if plan.report:
        report = ReportTask(work=str(folder.work), sweep=folder.name, commands=commands)
        submitter.submit_array([report], "the report", parameters, run_jobs)
    return outcome


def _ledger_fields(
    override: ResourceOverride, job_settings: SlurmProfile | FeatureJobs
) -> dict[str, Any]:
    """What the ledger keeps of what a job asks for."""
    return {
        "memory_gb": override.memory_gb or job_settings.job_memory_gb,
        "exclude": override.exclude,
    }


def compute_features_locally(
    plan: Plan,
    profile: LocalProfile,
    folder: SweepFolder,
    total: TaskProgress,
    on_poll: PollCallback,
    *,
    utterances: int,
) -> SubmissionResult:
    """Processes of this machine; returns when all have ended. `listed`: utterances in manifests."""
    outcome, progress = SubmissionResult(), FeatureProgress(total)
    printed: set[str] = set()  # two processes often meet the same

    def ended(process: ExitStatus) -> None:
        progress.completed += feature_task.read_progress(process.task)
        if process.code != DONE:
            outcome.failed_tasks += 1
            if (why := _describe_feature_failure(process)) not in printed:
                print_line(why)
                printed.add(why)

    slots = executor.slots_for_features(profile, entrypoint.run_child, utterances)
    for features in plan.features:
        written = _write_tasks(_make_feature_tasks(features, folder), folder)
        _record_local_tasks(folder, written, REPOSITORY_ROOT, {})
        # They start now, all at once: no snapshot needs to outlive what is edited meanwhile.
        _run_local_tasks(
            written, slots, folder,
            code=REPOSITORY_ROOT, on_poll=lambda n: on_poll(lambda: progress.format_line(n)), on_exit=ended,
        )  # fmt: skip
    outcome.refusals += dict.fromkeys(progress.completed.refusals)
    outcome.seconds = progress.elapsed_s
    return outcome


def train_runs_locally(
    plan: Plan, profile: LocalProfile, folder: SweepFolder, on_poll: PollCallback
) -> None:
    """Processes of this machine; what came of the runs is in their folders."""
    if not plan.runs:
        return  # nothing needs a snapshot

    def ended(process: ExitStatus) -> None:
        training_task.record_silent_failure(process, folder.work)

    slots, code = executor.slots_for_runs(profile), code_snapshot.take_snapshot(folder.code)
    for runs in plan.runs:
        new_tasks = _make_run_tasks(runs, folder, profile, slots.threads)
        with _failures_cleared(runs, folder) as causes:
            written = _write_tasks(new_tasks, folder)
            _record_local_tasks(folder, written, code, causes)
        _run_local_tasks(
            written, slots, folder, code=code, on_poll=lambda _: on_poll(), on_exit=ended
        )


def _run_local_tasks(
    written: Mapping[Path, Task],
    slots: executor.Slots,
    folder: SweepFolder,
    *,
    code: Path,
    on_poll: Callable[[Sequence[RunningTask]], None],
    on_exit: Callable[[ExitStatus], None],
) -> None:
    def look_and_own(running: Sequence[RunningTask]) -> None:
        folder.owner_file.touch()
        on_poll(running)

    executor.run_tasks_interruptible(list(written), slots, code, look_and_own, on_exit)


def _make_feature_tasks(
    array: JobArray[Slice], folder: SweepFolder, *, verify: bool = False
) -> list[Task]:
    work = str(folder.work)
    return [FeatureTask(work=work, slices=slices, verify=verify) for slices in array.tasks]


def _make_run_tasks(
    array: JobArray[Run], folder: SweepFolder, profile: Profile, threads: int, at_once: int = 1
) -> list[Task]:
    return [
        RunTask(
            work=str(folder.work),
            runs=runs,
            device=profile.device,
            threads=threads,
            at_once=at_once,
            workers=profile.workers,
            resident_gb=profile.resident_gb,
        )
        for runs in array.tasks
    ]


@contextmanager
def _failures_cleared(array: JobArray[Run], folder: SweepFolder) -> Iterator[dict[str, str]]:
    """Without the failures of the last attempt, whose causes are yielded; kept if none follows."""
    runs = [folder.run(run.run_id) for task in array.tasks for run in task]
    failures = {run.run_id: failure for run in runs if (failure := run.failure())}
    for run in runs:
        run.clear_failure()
    try:
        yield {run_id: failure.cause for run_id, failure in failures.items()}
    except BaseException:
        for run_id, failure in failures.items():
            folder.run(run_id).write_failure(failure)
        raise


def _write_tasks(written: Sequence[Task], folder: SweepFolder) -> dict[Path, Task]:
    return {task_file.write_task(task, folder.tasks): task for task in written}


def _record_local_tasks(
    folder: SweepFolder, written: Mapping[Path, Task], code: Path, causes: Mapping[str, str]
) -> None:
    jobs = [str(os.getpid())] * len(written)
    _append_to_ledger(folder, "local", jobs, written, code, causes=causes)


def _append_to_ledger(
    folder: SweepFolder,
    scheduler: Literal["local", "slurm"],
    jobs: Sequence[str],
    written: Mapping[Path, Task],
    code: Path,
    *,
    causes: Mapping[str, str] = NO_CAUSES,
    memory_gb: float | None = None,
    exclude: tuple[str, ...] = (),
) -> None:
    folder.ledger.append(
        LedgerEntry(
            time=time.time(),
            scheduler=scheduler,
            job=job,
            kind=task_file.TASK_KINDS[type(task)],
            items=task.items,
            task=path.name,
            code=code.name,
            causes=tuple(causes.get(item, "") for item in task.items),
            memory_gb=memory_gb,
            exclude=exclude,
        )
        for job, (path, task) in zip(jobs, written.items(), strict=True)
    )


def _array_job_id(jobs: Sequence[str]) -> str:
    """`12` of `12_0`, `12_1`; of a single task the job itself."""
    return jobs[0].split("_")[0]


def _describe_feature_failure(exit_status: ExitStatus) -> str:
    path = task_file.failure_path(exit_status.task)
    if path.exists():
        failure = Failure(**read_json(path))
        remedy = failures.REMEDIES.get(failure.cause, "RUN=")
        if "RUN=" in remedy:  # there is no run yet
            remedy = f"see {executor.output_path(exit_status.task)}"
        return f"features: {failure.cause}: {failure.message}; {remedy}"
    cause, message = failures.classify_exit_code(exit_status.code)
    return f"features: {cause}: {message}; see {executor.output_path(exit_status.task)}"
