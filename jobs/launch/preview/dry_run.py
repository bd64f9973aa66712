"""What DRY=1 prints: jobs, arrays, cost, limits, expected starts, and the batch scripts.

In:   a plan, a profile, limits.   Out: lines.
Not here: making the plan (launch/decision.py), submitting it (launch/submit.py).
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from jobs.display.plan_lines import plan_lines
from jobs.environment import kept_sbatch_variables
from jobs.messages import count_text
from jobs.profile import Profile, SlurmProfile
from jobs.slurm.resources import Limits
from jobs.sweep.folder import SweepFolder
from jobs.sweep.plan import Plan

if TYPE_CHECKING:
    from jobs.launch.submit import SlurmArray
    from jobs.slurm.sbatch import Submission


def dry_run_lines(
    plan: Plan,
    profile: Profile,
    limits: Limits,
    folder: SweepFolder,
    cost: str = "",
) -> Iterator[str]:
    """Yield the lines; `cost`: the line about what the runs will take."""
    yield from plan_lines(plan)
    if plan.runs:
        yield cost
    if isinstance(profile, SlurmProfile) and plan.tasks:
        yield _jobs_line(plan)
        yield _limits_line(plan, profile, limits)
        if plan.minutes_needed and limits.minutes and plan.minutes_needed > limits.minutes:
            yield (
                f"a task of runs needs about {plan.minutes_needed:.0f} min, and {limits.minutes} "
                "are allowed: it is requeued and continues"
            )
        if plan.runs:
            from jobs.slurm import preemption  # noqa: PLC0415 (of SLURM alone, as those below)

            yield preemption.describe_preemption(profile)
        yield from _starts_and_scripts(plan, profile, folder)


def _jobs_line(plan: Plan) -> str:
    calls = len(plan.features) + len(plan.runs) + plan.report
    return f"{count_text(plan.tasks, 'job')} in {count_text(calls, 'call')} of sbatch"


def _limits_line(plan: Plan, profile: SlurmProfile, limits: Limits) -> str:
    lengths = [len(array.tasks) for array in plan.features]
    largest = max([*lengths, *(len(array.tasks) for array in plan.runs)], default=0)
    minutes = [array.minutes or profile.minutes for array in plan.runs]
    requested = max(minutes, default=profile.features.minutes)
    parts = [
        f"{plan.tasks} of {_limit_text(limits.tasks)} jobs that may be submitted",
        f"arrays of {largest}, {_limit_text(limits.array)} allowed",
        f"{_limit_text(limits.running)} at once",
        f"{requested} min each, {_limit_text(limits.minutes)} allowed",
    ]
    return f"limits: {'; '.join(parts)}"


def _limit_text(limit: int | None) -> str:
    return "unlimited" if limit is None else str(limit)


def _starts_and_scripts(plan: Plan, profile: SlurmProfile, folder: SweepFolder) -> Iterator[str]:
    """Yield when jobs may start, and each script that sbatch would get.

    Placeholders stand for job ids and the snapshot.
    """
    if not shutil.which("srun"):
        yield "srun is not on PATH: the scripts are written on a login node"
        return
    from jobs.launch.submit import STARTS_AFTER, make_submission, slurm_arrays  # noqa: PLC0415

    submission = make_submission(profile, folder, folder.code / "SNAPSHOT")
    arrays = list(slurm_arrays(plan, profile, folder))
    yield from _start_lines(arrays, submission)
    kinds = set[str]()
    for array in arrays:
        before = STARTS_AFTER.get(array.kind)
        after = [before.upper()] if before in kinds else []
        script = submission.script(len(array.tasks), array.job_parameters, array.throttle, after)
        kinds.add(array.kind)
        yield f"\n# {array.kind}\n{script}"


def _start_lines(arrays: "Sequence[SlurmArray]", submission: "Submission") -> Iterator[str]:
    """Yield when features and runs may start; the report starts after the runs."""
    if not shutil.which("sbatch"):
        return
    from jobs.launch.preview.start_times import JobScript, start_lines  # noqa: PLC0415

    first = {array.kind: array for array in arrays[::-1] if array.kind != "report"}
    scripts = [
        JobScript(
            kind,
            submission.script(len(array.tasks), array.job_parameters, array.throttle),
            kept_sbatch_variables(array.job_parameters),
        )
        for kind, array in sorted(first.items())
    ]
    yield from start_lines(scripts, time.time())
    if len(scripts) > 1:
        yield "runs also wait for their features"
