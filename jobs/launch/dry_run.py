"""What DRY=1 prints: jobs, arrays, GPU-hours, the limits that they stay within, the scripts.

In:   a plan, a profile, limits.   Out: lines.
Not here: making the plan (plan.py), submitting it (submit.py).
"""

import shutil
from collections.abc import Iterator

from jobs.display.run_lines import plan_lines
from jobs.launch import entrypoint
from jobs.messages import count
from jobs.profile import Profile, Slurm
from jobs.slurm import preemption, resources, sbatch
from jobs.slurm.limits import Limits
from jobs.sweep.folder import SweepFolder
from jobs.sweep.plan import Plan


def lines(
    plan: Plan, profile: Profile, limits: Limits, folder: SweepFolder, cost: str = ""
) -> Iterator[str]:
    """`cost` of the whole sweep, in the words of its file."""
    yield from plan_lines(plan)
    if plan.runs and cost:
        yield f"all its runs cost, as the sweep file says: {cost}"
    if isinstance(profile, Slurm) and plan.tasks:
        yield _cost(plan, profile)
        yield _limits(plan, profile, limits)
        if plan.minutes_needed and limits.minutes and plan.minutes_needed > limits.minutes:
            yield (
                f"a task of runs needs about {plan.minutes_needed:.0f} min, {limits.minutes} are "
                f"allowed: it is requeued, and goes on"
            )
        if plan.runs:
            yield preemption.told(profile)
        yield from _scripts(plan, profile, folder)


def _cost(plan: Plan, profile: Slurm) -> str:
    runs = [(len(array.tasks), array.minutes or profile.minutes) for array in plan.runs]
    hours = sum(tasks * minutes for tasks, minutes in runs) / 60
    features = sum(len(array.tasks) for array in plan.features)
    parts = [f"{count(plan.tasks, 'job')} in {count(_calls(plan), 'call')} of sbatch"]
    if profile.gpus and runs:
        parts.append(f"at most {profile.gpus * hours:.1f} GPU-hours")
    cpu_hours = profile.cpus * hours + features * profile.features.cpus * (
        profile.features.minutes / 60
    )
    return ", ".join([*parts, f"at most {cpu_hours:.1f} CPU-hours"])


def _calls(plan: Plan) -> int:
    return len(plan.features) + len(plan.runs) + plan.report


def _limits(plan: Plan, profile: Slurm, limits: Limits) -> str:
    lengths = [len(array.tasks) for array in plan.features]
    largest = max([*lengths, *(len(array.tasks) for array in plan.runs)], default=0)
    minutes = [array.minutes or profile.minutes for array in plan.runs]
    asked = max(minutes, default=profile.features.minutes)
    parts = [
        f"{plan.tasks} of {_number(limits.tasks)} jobs that may be submitted",
        f"arrays of {largest}, {_number(limits.array)} allowed",
        f"{_number(limits.running)} at once",
        f"{asked} min each, {_number(limits.minutes)} allowed",
    ]
    return f"limits: {'; '.join(parts)}"


def _number(limit: int | None) -> str:
    return "unlimited" if limit is None else str(limit)


def _scripts(plan: Plan, profile: Slurm, folder: SweepFolder) -> Iterator[str]:
    if not shutil.which("srun"):
        yield "srun is not on PATH: the scripts are written on a login node"
        return
    made = sbatch.Submission(
        profile=profile,
        name=folder.name,
        folder=folder.jobs,
        code=folder.code / "SNAPSHOT",
        execute=entrypoint.run_in_slurm,
    )
    small = resources.feature_parameters(profile)
    for features in plan.features:
        asked = resources.with_request(small, features.request, profile)
        yield f"\n# features\n{made.script(len(features.tasks), asked, features.throttle)}"
    behind = ["FEATURES"] if plan.features else []
    for runs in plan.runs:
        asked = resources.run_parameters(profile, runs.minutes)
        asked = resources.with_request(asked, runs.request, profile)
        yield f"\n# runs\n{made.script(len(runs.tasks), asked, runs.throttle, behind)}"
    if plan.report:
        yield f"\n# report\n{made.script(1, small, None, ['RUNS'])}"
