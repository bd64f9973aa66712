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
    plan: Plan,
    profile: Profile,
    limits: Limits,
    folder: SweepFolder,
    minutes_per_run: float | None = None,
) -> Iterator[str]:
    """`minutes_per_run`: median of the sweep's finished runs; None: no run is finished."""
    yield from plan_lines(plan)
    if plan.runs:
        yield _cost_line(plan, profile, minutes_per_run)
    if isinstance(profile, SlurmProfile) and plan.tasks:
        yield _jobs_line(plan)
        yield _limits_line(plan, profile, limits)
        if plan.minutes_needed and limits.minutes and plan.minutes_needed > limits.minutes:
            yield (
                f"a task of runs needs about {plan.minutes_needed:.0f} min, and {limits.minutes} "
                "are allowed: it is requeued and continues"
            )
        if plan.runs:
            yield preemption.describe_preemption(profile)
        yield from _batch_scripts(plan, profile, folder)


def _cost_line(plan: Plan, profile: Profile, minutes_per_run: float | None) -> str:
    """Return what the runs will take. Time limits do not show it, because jobs are requeued."""
    runs = count_text(plan.run_count, "run")
    if minutes_per_run is None:
        return f"cost of {runs}: unknown until a run of this sweep is finished"
    hours = plan.run_count * minutes_per_run / 60
    measured = f"{runs} x {minutes_per_run:.1f} min, the median of its finished runs"
    if not isinstance(profile, SlurmProfile):
        return f"cost: about {hours:.1f} hours of one slot: {measured}"
    job_hours = hours / profile.runs_per_gpu  # runs of a job share its GPU and CPUs
    parts = [f"about {profile.gpus * job_hours:.1f} GPU-hours"] if profile.gpus else []
    parts.append(f"{profile.cpus * job_hours:.1f} CPU-hours")
    return f"cost: {', '.join(parts)}: {measured}"


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
