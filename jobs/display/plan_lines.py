"""Lines about a sweep before it runs: its arms and seeds, its plan, what no limit allows now.

In:   a sweep, a plan.   Out: lines.
Not here: lines about runs (run_lines.py).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from jobs.messages import count_text
from jobs.slurm.resources import ResourceOverride
from jobs.sweep.plan import Plan
from pipeline.config.sweep import Sweep
from pipeline.config.sweep_sections.early_stop import StopRules

if TYPE_CHECKING:
    from jobs.slurm.tres import Budget


def opening_lines(sweep: Sweep) -> list[str]:
    """Return how many runs a sweep has, and their cost; nothing for a sweep of one run.

    `spectrum: 3 arms x 3 seeds = 9 runs`; two labels of one experiment are one run.
    """
    if len(sweep.experiments) == 1:
        return []
    runs_of_arms = [len({swept.experiment for swept in arm}) for arm in sweep.arms]
    seeds = sorted(set(runs_of_arms))
    arms, runs = count_text(len(runs_of_arms), "arm"), count_text(sum(runs_of_arms), "run")
    each = (
        f" x {count_text(seeds[0], 'seed')}"
        if len(seeds) == 1
        else f" of {seeds[0]} to {count_text(seeds[-1], 'seed')}"
    )
    lines = [f"{sweep.name}: {arms}{each} = {runs}"]
    if sweep.cost:
        of = f"without SEEDS={sweep.seeds}" if sweep.seeds else "of all its runs"
        lines.append(f"cost {of}, as the sweep file says: {sweep.cost}")
    if sweep.stop:
        lines.append(_early_stop_line(sweep.stop, sweep.experiments[0].experiment.corpus.rate_name))
    return lines


def _early_stop_line(rules: StopRules, rate: str) -> str:
    parts = []
    if rules.plateau_updates:
        parts.append(f"on the blank plateau after {rules.plateau_updates} updates")
    if halving := rules.halving:
        first, factor = halving.first_epoch, halving.factor
        metric = halving.metric.replace("_", " ").replace("cer", rate)
        parts.append(
            f"not among the best 1/{factor} by {metric} at epoch {first}, {first * factor}, "
            f"{first * factor**2}, …"
        )
    return f"stop: runs are stopped early if they are {', or '.join(parts)}"


def plan_lines(plan: Plan) -> list[str]:
    """Return what DRY=1 prints first: the tasks that would be submitted."""
    lines = []
    for name, arrays in (("features", plan.features), ("runs", plan.runs)):
        noun = "slice" if name == "features" else "run"
        for array in arrays:
            items = sum(map(len, array.tasks))
            at_once = f", {array.throttle} at once" if array.throttle else ""
            lines.append(
                f"{name}: {count_text(items, noun)} in {count_text(len(array.tasks), 'task')} "
                f"of at most {max(map(len, array.tasks))}{at_once}{_override_text(array.override)}"
            )
    if plan.report:
        lines.append("report: 1 task")
    return [*lines, *deferred_lines(plan)]


def deferred_lines(plan: Plan) -> list[str]:
    """Lines about slices and runs that the limits leave no room for now."""
    return [
        f"no room now for {count_text(left, noun)}: make sweep again later"
        for left, noun in ((plan.deferred_slices, "slice"), (plan.deferred_runs, "run"))
        if left
    ]


def budget_lines(plan: Plan, budgets: "Iterable[Budget]") -> list[str]:
    """Lines about limits such as GrpTRESMins that the time limits of the runs exceed."""
    minutes = sum(len(array.tasks) * (array.minutes or 0) for array in plan.runs)
    return [
        f"{each.limit}: the time limits of these jobs are {minutes * each.request} {each.unit}-"
        f"minutes, and {each.left} are left: SLURM lets further jobs wait, and ends "
        "running jobs when it is used up"
        for each in budgets
        if minutes * each.request > each.left
    ]


def _override_text(override: ResourceOverride) -> str:
    memory = f", {override.memory_gb:g} GB each" if override.memory_gb else ""
    return memory + (f", not on {', '.join(override.exclude)}" if override.exclude else "")
