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
from jobs.code_snapshot import SOURCE
from jobs.display.feature_progress import Tally
from jobs.exit_codes import DONE
from jobs.launch import entrypoint
from jobs.local import executor
from jobs.local.executor import Ended, Process
from jobs.messages import count, say
from jobs.node import failures, feature_task, task_file, training_task
from jobs.node.feature_task import Progress
from jobs.node.task_file import FeatureTask, ReportTask, Run, RunTask, Slice, Task
from jobs.profile import FeatureJobs, Local, Profile, Slurm
from jobs.slurm import client, resources
from jobs.slurm.resources import Request
from jobs.sweep.folder import SweepFolder
from jobs.sweep.ledger import Entry
from jobs.sweep.plan import Array, Plan
from pipeline.corpus.manifest import Refusal
from pipeline.files import read_json
from pipeline.runs.folder import Failure

if TYPE_CHECKING:
    from jobs.slurm.sbatch import Submission

SECONDS_BETWEEN_ARRAYS = 0.3  # sites allow a few calls a second

NOTHING_BEFORE: Mapping[str, str] = {}

Look = Callable[..., None]  # at the runs; or with a function that says how far the features are


@dataclass
class Outcome:
    """What came of a submission."""

    jobs: list[str] = field(default_factory=list)  # of SLURM; an array counts once
    failed_tasks: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    seconds: float = 0.0  # it took, where it was waited for


@dataclass(frozen=True)
class _Sender:
    """One array after another, each in the ledger once sbatch has accepted it."""

    submission: "Submission"
    folder: SweepFolder
    code: Path
    outcome: Outcome

    def send(
        self,
        made: Sequence[Task],
        what: str,
        asked: dict[str, Any],
        behind: list[str],
        *,
        throttle: int | None = None,
        **noted: Any,
    ) -> str:
        written = _write(made, self.folder)
        jobs = self.submission.submit(list(written), asked, throttle=throttle, after=behind)
        try:  # nothing may come between: until the line is written, nobody else can find them
            _record(self.folder, "slurm", jobs, written, self.code, **noted)
        except BaseException:
            client.cancel([_array(jobs)])  # nobody would ever find it
            raise
        self.outcome.jobs.append(_array(jobs))
        waits = f", after job {', '.join(behind)}" if behind else ""
        say(f"submitted {what}: job {_array(jobs)}, {count(len(jobs), 'task')}{waits}")
        time.sleep(SECONDS_BETWEEN_ARRAYS)
        return _array(jobs)


def submit_slurm(
    plan: Plan,
    profile: Slurm,
    folder: SweepFolder,
    *,
    after: Sequence[str],
    commands: tuple[str, ...] = (),
    ended: Mapping[str, str] = NOTHING_BEFORE,
) -> Outcome:
    """Features as arrays, the runs behind them, the report behind those; sbatch has accepted all.

    `after`: jobs of an earlier submission that still compute features. `commands`: for the report.
    `ended`: why the last job of a shard failed.
    """
    # submitit takes its time to import, and few commands need it.
    from jobs.slurm import sbatch  # noqa: PLC0415

    code = code_snapshot.take(folder.code)
    submission = sbatch.Submission(
        profile=profile,
        name=folder.name,
        folder=folder.jobs,
        code=code,
        execute=entrypoint.run_in_slurm,
    )
    outcome = Outcome()

    sender = _Sender(submission, folder, code, outcome)
    of_features, of_runs = list(after), []
    asked = resources.feature_parameters(profile)
    for features in plan.features:
        made = _feature_tasks(features, folder, verify=True)
        wanted = resources.with_request(asked, features.request, profile)
        noted = _noted(features.request, profile.features)
        job = sender.send(
            made, "features", wanted, [], throttle=features.throttle, causes=ended, **noted
        )
        of_features.append(job)
    for runs in plan.runs:
        made = _run_tasks(runs, folder, profile, profile.threads, profile.runs_per_gpu)
        wanted = resources.run_parameters(profile, runs.minutes)
        wanted = resources.with_request(wanted, runs.request, profile)
        noted = _noted(runs.request, profile)
        with _cleared(runs, folder) as causes:
            job = sender.send(
                made, "runs", wanted, of_features, throttle=runs.throttle, causes=causes, **noted
            )
        of_runs.append(job)
    if plan.report:
        report = ReportTask(work=str(folder.work), sweep=folder.name, commands=commands)
        sender.send([report], "the report", asked, of_runs)
    return outcome


def _noted(request: Request, has: Slurm | FeatureJobs) -> dict[str, Any]:
    """What the ledger keeps of what a job asks for."""
    return {"memory_gb": request.memory_gb or has.job_memory_gb, "exclude": request.exclude}


def compute_features(
    plan: Plan, profile: Local, folder: SweepFolder, total: Progress, look: Look, *, listed: int
) -> Outcome:
    """Processes of this machine; returns when all have ended. `listed`: utterances in manifests."""
    outcome, tally = Outcome(), Tally(total)
    told: set[str] = set()  # two processes often meet the same

    def ended(process: Ended) -> None:
        tally.ended += feature_task.read_progress(process.task)
        if process.code != DONE:
            outcome.failed_tasks += 1
            if (why := _why_features_failed(process)) not in told:
                say(why)
                told.add(why)

    slots = executor.slots_for_features(profile, entrypoint.run_child, listed)
    for features in plan.features:
        written = _write(_feature_tasks(features, folder), folder)
        _record_here(folder, written, SOURCE, {})
        # They start now, all at once: no snapshot needs to outlive what is edited meanwhile.
        _run_here(
            written, slots, folder,
            code=SOURCE, look=lambda n: look(lambda: tally.line(n)), ended=ended,
        )  # fmt: skip
    outcome.refusals += dict.fromkeys(tally.ended.refusals)
    outcome.seconds = tally.seconds
    return outcome


def execute_runs(plan: Plan, profile: Local, folder: SweepFolder, look: Look) -> None:
    """Processes of this machine; what came of the runs is in their folders."""
    if not plan.runs:
        return  # nothing needs a snapshot

    def ended(process: Ended) -> None:
        training_task.fail_for_silent(process, folder.work)

    slots, code = executor.slots_for_runs(profile), code_snapshot.take(folder.code)
    for runs in plan.runs:
        made = _run_tasks(runs, folder, profile, slots.threads)
        with _cleared(runs, folder) as causes:
            written = _write(made, folder)
            _record_here(folder, written, code, causes)
        _run_here(written, slots, folder, code=code, look=lambda _: look(), ended=ended)


def _run_here(
    written: Mapping[Path, Task],
    slots: executor.Slots,
    folder: SweepFolder,
    *,
    code: Path,
    look: Callable[[Sequence[Process]], None],
    ended: Callable[[Ended], None],
) -> None:
    def look_and_own(running: Sequence[Process]) -> None:
        folder.owner.touch()
        look(running)

    executor.run(list(written), slots, code, look_and_own, ended)


def _feature_tasks(array: Array[Slice], folder: SweepFolder, *, verify: bool = False) -> list[Task]:
    work = str(folder.work)
    return [FeatureTask(work=work, slices=slices, verify=verify) for slices in array.tasks]


def _run_tasks(
    array: Array[Run], folder: SweepFolder, profile: Profile, threads: int, at_once: int = 1
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
def _cleared(array: Array[Run], folder: SweepFolder) -> Iterator[dict[str, str]]:
    """Without the failures of the last attempt, whose causes are yielded; kept if none follows."""
    runs = [folder.run(run.run_id) for task in array.tasks for run in task]
    failures = {run.run_id: failure for run in runs if (failure := run.failure())}
    for run in runs:
        run.clear_failure()
    try:
        yield {run_id: failure.cause for run_id, failure in failures.items()}
    except BaseException:
        for run_id, failure in failures.items():
            folder.run(run_id).fail(failure)
        raise


def _write(written: Sequence[Task], folder: SweepFolder) -> dict[Path, Task]:
    return {task_file.write(task, folder.tasks): task for task in written}


def _record_here(
    folder: SweepFolder, written: Mapping[Path, Task], code: Path, causes: Mapping[str, str]
) -> None:
    jobs = [str(os.getpid())] * len(written)
    _record(folder, "local", jobs, written, code, causes=causes)


def _record(
    folder: SweepFolder,
    scheduler: Literal["local", "slurm"],
    jobs: Sequence[str],
    written: Mapping[Path, Task],
    code: Path,
    *,
    causes: Mapping[str, str] = NOTHING_BEFORE,
    memory_gb: float | None = None,
    exclude: tuple[str, ...] = (),
) -> None:
    folder.ledger.append(
        Entry(
            time=time.time(),
            scheduler=scheduler,
            job=job,
            kind=task_file.KINDS[type(task)],
            items=task.items,
            task=path.name,
            code=code.name,
            causes=tuple(causes.get(item, "") for item in task.items),
            memory_gb=memory_gb,
            exclude=exclude,
        )
        for job, (path, task) in zip(jobs, written.items(), strict=True)
    )


def _array(jobs: Sequence[str]) -> str:
    """`12` of `12_0`, `12_1`; of a single task the job itself."""
    return jobs[0].split("_")[0]


def _why_features_failed(ended: Ended) -> str:
    path = task_file.failure_path(ended.task)
    if path.exists():
        failure = Failure(**read_json(path))
        remedy = failures.REMEDIES.get(failure.cause, "RUN=")
        if "RUN=" in remedy:  # there is no run yet
            remedy = f"see {executor.output_path(ended.task)}"
        return f"features: {failure.cause}: {failure.message}; {remedy}"
    cause, message = failures.of_exit(ended.code)
    return f"features: {cause}: {message}; see {executor.output_path(ended.task)}"
