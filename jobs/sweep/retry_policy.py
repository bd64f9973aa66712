"""Remedies: what the next submission of a failed run asks for, or why there is none.

In:   why it failed, its earlier entries of the ledger, the profile's limits.
Out:  a `Remedy` for each run, `Again` for its features; the plan, an array for each request.
Not here: how a cause is found (failures.py, endings.py), asking SLURM (slurm.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jobs import code_snapshot
from jobs.node.task_file import Run, Slice
from jobs.profile import FeatureJobs, Profile, SlurmProfile
from jobs.slurm.limits import DEFAULT_PREFERENCES, JobPreferences, Limits
from jobs.slurm.resources import NO_OVERRIDE, ResourceOverride
from jobs.sweep import plan
from jobs.sweep.feature_status import ShardFailure
from jobs.sweep.folder import SweepFolder
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.plan import Plan
from jobs.sweep.run_status import RunStatus

# The same code on the same input ends the same way: they wait for other code.
DETERMINISTIC_CAUSES = {"code error", "divergence", "infeasible"}
# What may pass, or not; counted. All else goes on from its last save, or was mended by hand.
COUNTED_CAUSES = {"out of memory", "GPU out of memory", "node failure", "killed"}
# Of a job that ended before its run could say why: a node may lack a module. Counted, too.
UNRECORDED_CAUSE = "code error"


@dataclass(frozen=True)
class FailedAttempt:
    """How the last attempt of a run ended."""

    cause: str
    nodes: frozenset[str] = frozenset()  # that failed under it
    has_traceback: bool = False  # by the run itself, with a traceback


@dataclass(frozen=True)
class RetryDecision:
    override: ResourceOverride = NO_OVERRIDE
    message: str = ""  # what is done differently, or why nothing is
    refused: bool = False


def decide_retries(
    statuses: Sequence[RunStatus], missing: Sequence[Run], folder: SweepFolder, profile: Profile
) -> dict[str, RetryDecision]:
    """Of the missing runs that were tried before."""
    ids, attempts = {run.run_id for run in missing}, folder.entries_by_item()
    tried = [run for run in statuses if run.run_id in ids and run.run_id in attempts]
    code, decisions = code_snapshot.current_digest() if tried else "", {}
    for run in tried:
        failure = folder.run(run.run_id).failure()
        failed_attempt = FailedAttempt(
            run.cause if run.state == "failed" else "",
            frozenset(run.failed_nodes),
            has_traceback=bool(failure and failure.traceback),
        )
        decisions[run.run_id] = decide_retry(
            run.run_id, failed_attempt, attempts[run.run_id], profile, code
        )
    return decisions


@dataclass(frozen=True)
class FeatureRetry:
    """What is done about missing slices."""

    slices: tuple[Slice, ...]
    override: ResourceOverride = NO_OVERRIDE
    left_out: frozenset[str] = frozenset()  # feature sets that stay incomplete
    messages: tuple[str, ...] = ()


def decide_feature_retry(
    slices: Sequence[Slice],
    failures: Mapping[str, ShardFailure],
    folder: SweepFolder,
    profile: Profile,
) -> FeatureRetry:
    """Their jobs ask for the most that one of them needs: they are few, and alike."""
    if not failures or not isinstance(profile, SlurmProfile):
        return FeatureRetry(tuple(slices))
    attempts, code = folder.entries_by_item(), code_snapshot.current_digest()
    decisions = {
        item: decide_retry(
            item,
            FailedAttempt(e.cause, e.nodes, e.has_traceback),
            attempts[item],
            profile,
            code,
            features=True,
        )
        for item, e in failures.items()
    }
    refused = {item.rpartition("/")[0] for item, each in decisions.items() if each.refused}
    kept = [
        replace(piece, feature_ids=tuple(n for n in piece.feature_ids if n not in refused))
        for piece in slices
    ]
    requests = [each.override for each in decisions.values()]
    memory_requests = [each.memory_gb for each in requests if each.memory_gb is not None]
    nodes = sorted({node for each in requests for node in each.exclude})
    return FeatureRetry(
        tuple(piece for piece in kept if piece.feature_ids),
        ResourceOverride(max(memory_requests, default=None), tuple(nodes)),
        frozenset(refused),
        tuple(
            dict.fromkeys(
                f"features: {each.message}" for each in decisions.values() if each.message
            )
        ),
    )


def decide_retry(
    item: str,
    failed_attempt: FailedAttempt,
    attempts: Sequence[LedgerEntry],
    profile: Profile,
    code: str,
    *,
    features: bool = False,
) -> RetryDecision:
    """`attempts`: entries of this run or shard, in order; `code`: the snapshot's by now."""
    cause, last = failed_attempt.cause, attempts[-1] if attempts else None
    if (
        cause in DETERMINISTIC_CAUSES
        and failed_attempt.has_traceback
        and last
        and last.code == code
    ):
        shows = f"the log of {item}" if features else f"make logs RUN={item}"
        return _refuse_retry(
            f"{cause}, and the code is still the same: mend what {shows} shows, or delete its "
            f"failure file where the code is not to blame"
        )
    spent = sum(_counts_as_retry(entry, item, code) for entry in attempts)
    if cause in {*COUNTED_CAUSES, UNRECORDED_CAUSE} and spent >= profile.retries:
        return _refuse_retry(f"{cause}, after {spent} retries; raise retries in the profile")
    if not isinstance(profile, SlurmProfile):
        return RetryDecision()
    exclude = tuple(sorted({*(last.exclude if last else ()), *failed_attempt.nodes}))
    changes = [f"not on {', '.join(exclude)}"] if failed_attempt.nodes else []
    job_settings = profile.features if features else profile
    memory = _memory_to_request(cause, last, job_settings)
    if cause == "out of memory":
        if memory is None:
            key = "features.memory_gb" if features else "max_memory_gb"
            most = f"{job_settings.max_job_memory_gb:g} GB"
            return _refuse_retry(f"out of memory at {most}; raise {key} in the profile")
        changes.append(f"with {memory:g} GB")
    requested_memory = None if memory == job_settings.job_memory_gb else memory
    return RetryDecision(
        ResourceOverride(requested_memory, exclude),
        f"{cause}: again {' and '.join(changes)}" if changes else "",
    )


def _memory_to_request(
    cause: str, last: LedgerEntry | None, job_settings: SlurmProfile | FeatureJobs
) -> float | None:
    """Doubled where it was too little, and kept so; None where there is no more to be had."""
    previous = (last.memory_gb if last else None) or job_settings.job_memory_gb
    if cause != "out of memory":
        return max(job_settings.job_memory_gb, min(previous, job_settings.max_job_memory_gb))
    most = max(job_settings.job_memory_gb, min(2 * previous, job_settings.max_job_memory_gb))
    return most if most > previous else None


def _counts_as_retry(entry: LedgerEntry, item: str, code: str) -> bool:
    """As a retry; one after a code error does while the code is the same."""
    before = _previous_cause(entry, item)
    return before in COUNTED_CAUSES or (before == UNRECORDED_CAUSE and entry.code == code)


def _previous_cause(entry: LedgerEntry, item: str) -> str:
    causes = dict(zip(entry.items, entry.causes, strict=False))
    return causes.get(item, "")


def _refuse_retry(why: str) -> RetryDecision:
    return RetryDecision(message=f"left out: {why}", refused=True)


def plan_with_retries(
    slices: Sequence[Slice],
    runs: Sequence[Run],
    overrides: Mapping[str, ResourceOverride],
    limits: Limits,
    preferences: JobPreferences = DEFAULT_PREFERENCES,
    *,
    minutes_per_run: float | None = None,
    feature_override: ResourceOverride = NO_OVERRIDE,
) -> Plan:
    """Runs that ask for something of their own get arrays of their own, in what room there is."""
    refused = slices if limits.feature_room == 0 else ()
    starved = {name for piece in refused for name in piece.feature_ids}
    able = [run for run in runs if run.feature_id not in starved]
    groups: dict[ResourceOverride, list[Run]] = {NO_OVERRIDE: []}
    for run in able:
        groups.setdefault(overrides.get(run.run_id, NO_OVERRIDE), []).append(run)
    if able and not groups[NO_OVERRIDE]:
        del groups[NO_OVERRIDE]
    shares = _running_shares(limits.running, len(groups))
    whole, left = Plan(deferred_runs=len(runs) - len(able)), limits
    for place, ((override, group), share) in enumerate(zip(groups.items(), shares, strict=True)):
        group_limits = replace(
            left, tasks=_group_tasks(left.tasks, len(groups) - place - 1), running=share
        )
        if share == 0:
            group_limits = replace(group_limits, tasks=0)  # until others have ended
        group_preferences = replace(preferences, report=preferences.report and not whole.report)
        group_plan = plan.make_plan(
            slices if place == 0 else (), group, group_limits, group_preferences, minutes_per_run
        )
        feature_tasks = sum(len(array.tasks) for array in group_plan.features) + group_plan.report
        left = replace(
            left,
            tasks=_subtract(left.tasks, group_plan.tasks),
            feature_room=_subtract(left.feature_room, feature_tasks),
        )
        whole = _merge_plans(whole, group_plan, override)
    features = tuple(replace(array, override=feature_override) for array in whole.features)
    return replace(whole, features=features)


def _group_tasks(tasks: int | None, to_come: int) -> int | None:
    """One is kept for each group to come."""
    return None if tasks is None else max(min(tasks, 1), tasks - to_come)


def _subtract(room: int | None, used: int) -> int | None:
    return None if room is None else room - used


def _running_shares(running: int | None, groups: int) -> list[int | None]:
    """Of the tasks that may run at once: most for the first; none where there are too few."""
    if running is None:
        return [None] * groups
    served = min(groups, running)
    others = max(1, running // (2 * groups))
    shares = [running - others * (served - 1)] + [others] * (served - 1)
    return [*shares, *[0] * (groups - served)]


def _merge_plans(whole: Plan, addition: Plan, override: ResourceOverride) -> Plan:
    needed = [each.minutes_needed for each in (whole, addition) if each.minutes_needed is not None]
    return Plan(
        features=(*whole.features, *addition.features),
        runs=(*whole.runs, *(replace(array, override=override) for array in addition.runs)),
        report=whole.report or addition.report,
        minutes_needed=max(needed, default=None),
        deferred_slices=whole.deferred_slices + addition.deferred_slices,
        deferred_runs=whole.deferred_runs + addition.deferred_runs,
    )
