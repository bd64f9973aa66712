"""The plan: planned minus done minus live runs -> tasks -> arrays, within the limits. Pure.

In:   planned, finished and live runs and slices; limits.   Out: a `Plan`.
Not here: reading the disk or the queue (run_status.py, job_queue.py), printing a plan
(display/run_lines.py), submitting it (launch/submit.py).
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

from jobs.node.task_file import Run, Slice
from jobs.slurm.resources import (
    DEFAULT_PREFERENCES,
    NO_OVERRIDE,
    JobPreferences,
    Limits,
    ResourceOverride,
)

Item = TypeVar("Item")

RUN_TIME_MARGIN = 1.25  # a run is slower beside others, and the start of a task takes time


@dataclass(frozen=True)
class JobArray(Generic[Item]):
    """One call of sbatch: tasks, each an ordered list of runs or slices."""

    tasks: tuple[tuple[Item, ...], ...]
    throttle: int | None = None  # tasks of this array that run at once
    minutes: int | None = None  # time limit of a task; None: the profile's
    override: ResourceOverride = NO_OVERRIDE


class Plan(NamedTuple):
    features: tuple[JobArray[Slice], ...] = ()
    runs: tuple[JobArray[Run], ...] = ()
    report: bool = False
    minutes_needed: float | None = None  # by the longest task of runs; None: unknown
    deferred_slices: int = 0  # that the limits leave no room for now
    deferred_runs: int = 0

    @property
    def run_count(self) -> int:
        """Number of runs that have a task."""
        return sum(len(task) for array in self.runs for task in array.tasks)

    @property
    def tasks(self) -> int:
        """Number of tasks of all kinds: as many jobs count for the limits."""
        in_features = sum(len(array.tasks) for array in self.features)
        return in_features + sum(len(array.tasks) for array in self.runs) + self.report


def missing_slices(wanted: Sequence[Slice], live: Collection[tuple[str, int]]) -> tuple[Slice, ...]:
    """Return the slices without the (feature set, index) pairs that a live job computes."""
    left = []
    for piece in wanted:
        ids = tuple(name for name in piece.feature_ids if (name, piece.index) not in live)
        if ids:
            left.append(Slice(piece.manifest, piece.index, ids))
    return tuple(left)


def missing_runs(
    wanted: Sequence[Run], done: Collection[str], live: Collection[str]
) -> tuple[Run, ...]:
    """Return the wanted runs that are neither done nor live, each once, in the given order."""
    return tuple(r for r in dict.fromkeys(wanted) if r.run_id not in done and r.run_id not in live)


def make_plan(
    slices: Sequence[Slice],
    runs: Sequence[Run],
    limits: Limits,
    preferences: JobPreferences = DEFAULT_PREFERENCES,
    minutes_per_run: float | None = None,
) -> Plan:
    """Divide slices and runs into tasks. Features come first: no run can start without them.

    `minutes_per_run`: median of finished runs, if there are any.
    """
    room, feature_room = limits.tasks, limits.feature_room
    report = bool(preferences.report and runs) and (room is None or room > 1 + bool(slices))
    report = report and (feature_room is None or feature_room > bool(slices))
    feature_tasks = _split_into_tasks(
        slices,
        _smallest_limit(
            limits.feature_tasks,
            _room_left(feature_room, int(report)),
            _feature_share(_room_left(room, int(report)), runs=bool(runs)),
            _max_array_tasks(limits),
        ),
    )
    left = _room_left(room, len(feature_tasks) + report)
    run_tasks = _split_into_tasks(
        runs,
        _smallest_limit(left, _max_array_tasks(limits)),
        preferences.runs_per_task,
        preferences.at_once,
    )
    longest_task = max(map(len, run_tasks), default=0)
    needed = _minutes_needed(longest_task, preferences.at_once, minutes_per_run)
    return Plan(
        features=_make_arrays(feature_tasks, limits),
        runs=_make_arrays(
            run_tasks, limits, _time_limit_minutes(needed, preferences.minutes, limits.minutes)
        ),
        report=report and bool(run_tasks),
        minutes_needed=needed,
        deferred_slices=len(slices) - sum(map(len, feature_tasks)),
        deferred_runs=len(runs) - sum(map(len, run_tasks)),
    )


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
    """Plan one array for each different request of the runs, within the limits.

    `overrides`: run id -> its request, if it differs from the profile's. `minutes_per_run`: median
    of finished runs, if there are any.
    """
    groups, deferred = _group_runs(slices, runs, overrides, limits)
    shares = _running_shares(limits.running, len(groups))
    whole, left = Plan(deferred_runs=deferred), limits
    for index, ((override, group), share) in enumerate(zip(groups.items(), shares, strict=True)):
        # A group without a share waits until jobs of the others have ended.
        tasks = 0 if share == 0 else _group_tasks(left.tasks, len(groups) - index - 1)
        group_plan = make_plan(
            slices if index == 0 else (),
            group,
            left._replace(tasks=tasks, running=share),
            preferences._replace(report=preferences.report and not whole.report),
            minutes_per_run,
        )
        feature_tasks = sum(len(array.tasks) for array in group_plan.features) + group_plan.report
        left = left._replace(
            tasks=_subtract(left.tasks, group_plan.tasks),
            feature_room=_subtract(left.feature_room, feature_tasks),
        )
        whole = _merge_plans(whole, group_plan, override)
    features = tuple(replace(array, override=feature_override) for array in whole.features)
    return whole._replace(features=features)


def _group_runs(
    slices: Sequence[Slice],
    runs: Sequence[Run],
    overrides: Mapping[str, ResourceOverride],
    limits: Limits,
) -> tuple[dict[ResourceOverride, list[Run]], int]:
    """Return the runs by their request, and the number of runs that cannot have features now.

    The group of the profile's own request comes first, and is there if no run can be planned.
    """
    no_room = slices if limits.feature_room == 0 else ()
    without_features = {name for piece in no_room for name in piece.feature_ids}
    possible = [run for run in runs if run.feature_id not in without_features]
    groups: dict[ResourceOverride, list[Run]] = {NO_OVERRIDE: []}
    for run in possible:
        groups.setdefault(overrides.get(run.run_id, NO_OVERRIDE), []).append(run)
    if possible and not groups[NO_OVERRIDE]:
        del groups[NO_OVERRIDE]
    return groups, len(runs) - len(possible)


def _group_tasks(tasks: int | None, later_groups: int) -> int | None:
    """Return the tasks for one group: one task is kept for each later group."""
    return None if tasks is None else max(min(tasks, 1), tasks - later_groups)


def _subtract(room: int | None, used: int) -> int | None:
    return None if room is None else room - used


def _running_shares(running: int | None, groups: int) -> list[int | None]:
    """Divide the tasks that may run at once: the first group gets most, the last ones may get 0."""
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


def drop_runs_needing(full_plan: Plan, feature_ids: Collection[str]) -> Plan:
    """Return the plan without the runs that need one of these feature sets."""
    arrays = []
    for array in full_plan.runs:
        left = [tuple(r for r in task if r.feature_id not in feature_ids) for task in array.tasks]
        if tasks := tuple(task for task in left if task):
            arrays.append(replace(array, tasks=tasks))
    return full_plan._replace(runs=tuple(arrays))


def _feature_share(room: int | None, *, runs: bool) -> int | None:
    """Return a third of the room, at least 1, if runs follow, which take longer; else all of it."""
    if room is None or not runs:
        return room
    return min(room, max(1, room // 3))


def _split_into_tasks(
    items: Sequence[Item], max_tasks: int | None, per_task: int | None = None, at_once: int = 1
) -> list[tuple[Item, ...]]:
    """Divide items into at most `max_tasks` tasks of equal size: 480 runs, 100 tasks -> 96 of 5."""
    if max_tasks == 0 or not items:
        return []
    size = per_task or at_once
    if max_tasks is not None:
        fitting = math.ceil(len(items) / max_tasks)
        size = max(size, math.ceil(fitting / at_once) * at_once)
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]


def _minutes_needed(runs: int, at_once: int, minutes_per_run: float | None) -> float | None:
    if minutes_per_run is None or not runs:
        return None
    return math.ceil(runs / at_once) * minutes_per_run


def _time_limit_minutes(
    needed: float | None, preferred: int | None, limit: int | None
) -> int | None:
    """Return the time limit to request: the preferred one, or more if a task needs it."""
    if preferred is None:
        return None
    minutes = preferred if needed is None else max(preferred, math.ceil(RUN_TIME_MARGIN * needed))
    return minutes if limit is None else min(minutes, limit)


def _make_arrays(
    tasks: list[tuple[Item, ...]], limits: Limits, minutes: int | None = None
) -> tuple[JobArray[Item], ...]:
    """Divide tasks into arrays of a permitted length, which share the limit of running tasks."""
    if not tasks:
        return ()
    length = limits.array or len(tasks)
    groups = [tuple(tasks[start : start + length]) for start in range(0, len(tasks), length)]
    throttle = None if limits.running is None else limits.running // len(groups)
    return tuple(JobArray(group, throttle, minutes) for group in groups)


def _max_array_tasks(limits: Limits) -> int | None:
    """Return the number of tasks if each array must have at least one running task; None: any."""
    if limits.array is None or limits.running is None:
        return None
    return limits.array * limits.running


def _room_left(limit: int | None, used: int) -> int | None:
    return None if limit is None else max(0, limit - used)


def _smallest_limit(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
