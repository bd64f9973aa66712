"""Submission: a plan -> jobs -> ledger; processes of this machine, or SLURM.

In:   a plan, a profile.   Out: an `Outcome`; task files, lines of the ledger.
Not here: deciding what to submit (plan.py, reconcile.py); submitit (slurm.py).
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jobs import failures, local, scheduler, slices, snapshot, tasks
from jobs.console import count, say
from jobs.ledger import Entry
from jobs.local import Ended, Process
from jobs.plan import Array, Plan, Run, Slice
from jobs.processes import DONE
from jobs.profile import Local, Profile, Slurm
from jobs.progress import Tally
from jobs.slices import Progress
from jobs.snapshot import SOURCE
from jobs.tasks import FeatureTask, ReportTask, RunTask, Task
from jobs.wanted import SweepFolder
from pipeline.corpus.manifest import Refusal
from pipeline.files import read_json
from pipeline.training.run import Failure

Look = Callable[..., None]  # at the runs; or with a function that says how far the features are


@dataclass
class Outcome:
    """What came of a submission."""

    jobs: list[str] = field(default_factory=list)  # of SLURM; an array counts once
    failed_tasks: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    seconds: float = 0.0  # it took, where it was waited for


def submit_slurm(
    plan: Plan,
    profile: Slurm,
    folder: SweepFolder,
    *,
    after: Sequence[str],
    commands: tuple[str, ...] = (),
) -> Outcome:
    """Features as arrays, the runs behind them, the report behind those; sbatch has accepted all.

    `after`: jobs of an earlier submission that still compute features. `commands`: for the report.
    """
    from jobs import slurm  # noqa: PLC0415 (submitit takes its time, and few need it)

    code = snapshot.take(folder.code)
    submission = slurm.Submission(profile=profile, name=folder.name, folder=folder.jobs, code=code)
    outcome = Outcome()

    def send(
        made: Sequence[Task],
        what: str,
        asked: dict[str, Any],
        behind: list[str],
        throttle: int | None = None,
    ) -> str:
        written = _write(made, folder)
        jobs = submission.submit(list(written), asked, throttle=throttle, after=behind)
        try:
            _record(folder, "slurm", jobs, written, code)
        except BaseException:
            scheduler.cancel([_array(jobs)])  # nobody would ever find it
            raise
        outcome.jobs.append(_array(jobs))
        waits = f", after job {', '.join(behind)}" if behind else ""
        say(f"submitted {what}: job {_array(jobs)}, {count(len(jobs), 'task')}{waits}")
        return _array(jobs)

    of_features, of_runs = list(after), []
    asked = slurm.feature_parameters(profile)
    for features in plan.features:
        made = _feature_tasks(features, folder, verify=True)
        of_features.append(send(made, "features", asked, [], features.throttle))
    for runs in plan.runs:
        made = _run_tasks(runs, folder, profile, profile.threads, profile.runs_per_gpu)
        wanted = slurm.run_parameters(profile, runs.minutes)
        of_runs.append(send(made, "runs", wanted, of_features, runs.throttle))
    if plan.report:
        report = ReportTask(work=str(folder.work), sweep=folder.name, commands=commands)
        send([report], "the report", asked, of_runs)
    return outcome


def compute_features(
    plan: Plan, profile: Local, folder: SweepFolder, total: Progress, look: Look
) -> Outcome:
    """Processes of this machine; returns when all have ended."""
    outcome, tally = Outcome(), Tally(total)

    def ended(process: Ended) -> None:
        tally.ended += slices.read_progress(process.task)
        if process.code != DONE:
            outcome.failed_tasks += 1
            say(_why_features_failed(process))

    slots = local.slots_for_features(profile)
    for features in plan.features:
        made = _feature_tasks(features, folder)
        # They start now, all at once: no snapshot needs to outlive what is edited meanwhile.
        _run_here(
            made, slots, folder,
            code=SOURCE, look=lambda n: look(lambda: tally.line(n)), ended=ended,
        )  # fmt: skip
    outcome.refusals += dict.fromkeys(tally.ended.refusals)
    outcome.seconds = tally.seconds
    return outcome


def execute_runs(plan: Plan, profile: Local, folder: SweepFolder, look: Look) -> None:
    """Processes of this machine; what came of the runs is in their folders."""

    def ended(process: Ended) -> None:
        tasks.fail_for_silent(process, folder.work)

    slots, code = local.slots_for_runs(profile), snapshot.take(folder.code)
    for runs in plan.runs:
        made = _run_tasks(runs, folder, profile, slots.threads)
        _run_here(made, slots, folder, code=code, look=lambda _: look(), ended=ended)


def _run_here(
    made: Sequence[Task],
    slots: local.Slots,
    folder: SweepFolder,
    *,
    code: Path,
    look: Callable[[Sequence[Process]], None],
    ended: Callable[[Ended], None],
) -> None:
    written = _write(made, folder)
    _record(folder, "local", [str(os.getpid())] * len(written), written, code)

    def look_and_own(running: Sequence[Process]) -> None:
        folder.owner.touch()
        look(running)

    local.run(list(written), slots, code, look_and_own, ended)


def _feature_tasks(array: Array[Slice], folder: SweepFolder, *, verify: bool = False) -> list[Task]:
    work = str(folder.work)
    return [FeatureTask(work=work, slices=slices, verify=verify) for slices in array.tasks]


def _run_tasks(
    array: Array[Run], folder: SweepFolder, profile: Profile, threads: int, at_once: int = 1
) -> list[Task]:
    for runs in array.tasks:
        for run in runs:
            folder.run(run.run_id).clear_failure()
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


def _write(written: Sequence[Task], folder: SweepFolder) -> dict[Path, Task]:
    return {tasks.write(task, folder.tasks): task for task in written}


def _record(
    folder: SweepFolder,
    scheduler: Literal["local", "slurm"],
    jobs: Sequence[str],
    written: Mapping[Path, Task],
    code: Path,
) -> None:
    folder.ledger.append(
        Entry(
            time=time.time(),
            scheduler=scheduler,
            job=job,
            kind=tasks.KINDS[type(task)],
            items=task.items,
            task=path.name,
            code=code.name,
        )
        for job, (path, task) in zip(jobs, written.items(), strict=True)
    )


def _array(jobs: Sequence[str]) -> str:
    """`12` of `12_0`, `12_1`; of a single task the job itself."""
    return jobs[0].split("_")[0]


def _why_features_failed(ended: Ended) -> str:
    path = tasks.failure_path(ended.task)
    if path.exists():
        failure = Failure(**read_json(path))
        remedy = failures.REMEDIES.get(failure.cause, "RUN=")
        if "RUN=" in remedy:  # there is no run yet
            remedy = f"see {local.output_path(ended.task)}"
        return f"features: {failure.cause}: {failure.message}; {remedy}"
    cause, message = failures.of_exit(ended.code)
    return f"features: {cause}: {message}; see {local.output_path(ended.task)}"
