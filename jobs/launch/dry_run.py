"""What DRY=1 prints: jobs, arrays, GPU-hours, limits, and the batch scripts.

In:   a plan, a profile, limits.   Out: lines.
Not here: making the plan (decision.py), submitting it (submit.py).
"""

import shutil
from collections.abc import Iterator

from jobs.display.plan_lines import plan_lines
from jobs.launch.submit import STARTS_AFTER, make_submission, slurm_arrays
from jobs.messages import count_text
from jobs.profile import Profile, SlurmProfile
from jobs.slurm import preemption
from jobs.slurm.limits import Limits
from jobs.sweep.folder import SweepFolder
from jobs.sweep.plan import Plan


def dry_run_lines(
    plan: Plan, profile: Profile, limits: Limits, folder: SweepFolder
) -> Iterator[str]:
    yield from plan_lines(plan)
    if isinstance(profile, SlurmProfile) and plan.tasks:
        yield _cost_line(plan, profile)
        yield _limits_line(plan, profile, limits)
        if plan.minutes_needed and limits.minutes and plan.minutes_needed > limits.minutes:
            yield (
                f"a task of runs needs about {plan.minutes_needed:.0f} min, and {limits.minutes} "
                "are allowed: it is requeued and continues"
            )
        if plan.runs:
            yield preemption.describe_preemption(profile)
        yield from _batch_scripts(plan, profile, folder)


def _cost_line(plan: Plan, profile: SlurmProfile) -> str:
    runs = [(len(array.tasks), array.minutes or profile.minutes) for array in plan.runs]
    hours = sum(tasks * minutes for tasks, minutes in runs) / 60
    feature_tasks = sum(len(array.tasks) for array in plan.features)
    calls = len(plan.features) + len(plan.runs) + plan.report
    parts = [f"{count_text(plan.tasks, 'job')} in {count_text(calls, 'call')} of sbatch"]
    if profile.gpus and runs:
        parts.append(f"at most {profile.gpus * hours:.1f} GPU-hours")
    feature_hours = feature_tasks * profile.features.minutes / 60
    cpu_hours = profile.cpus * hours + profile.features.cpus * feature_hours
    return ", ".join([*parts, f"at most {cpu_hours:.1f} CPU-hours"])


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


def _batch_scripts(plan: Plan, profile: SlurmProfile, folder: SweepFolder) -> Iterator[str]:
    """Yield each script that sbatch would get, with placeholders for job ids and the snapshot."""
    if not shutil.which("srun"):
        yield "srun is not on PATH: the scripts are written on a login node"
        return
    submission = make_submission(profile, folder, folder.code / "SNAPSHOT")
    earlier = set[str]()
    for array in slurm_arrays(plan, profile, folder):
        before = STARTS_AFTER.get(array.kind)
        after = [before.upper()] if before in earlier else []
        script = submission.script(len(array.tasks), array.job_parameters, array.throttle, after)
        earlier.add(array.kind)
        yield f"\n# {array.kind}\n{script}"
