"""The plan: wanted minus done minus live -> tasks -> arrays, within the site's limits. Pure.

In:   what is wanted, what is done, what is live; limits.   Out: a `Plan` that one can print.
Not here: reading the disk or the queue (status.py, scheduler.py), submitting (submit.py).
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from jobs.node.task_file import Run, Slice
from jobs.slurm.limits import DEFAULT_PREFERENCES, JobPreferences, Limits
from jobs.slurm.resources import NO_OVERRIDE, ResourceOverride

Item = TypeVar("Item")

RUN_TIME_MARGIN = 1.25  # a run takes longer beside others, and a task has to start


@dataclass(frozen=True)
class JobArray(Generic[Item]):
    """What one submission carries: tasks, each an ordered list of runs or slices."""

    tasks: tuple[tuple[Item, ...], ...]
    throttle: int | None = None  # tasks of this array at once
    minutes: int | None = None  # time limit of a task, where it is not the profile's
    override: ResourceOverride = NO_OVERRIDE


@dataclass(frozen=True)
class Plan:
    features: tuple[JobArray[Slice], ...] = ()
    runs: tuple[JobArray[Run], ...] = ()
    report: bool = False
    minutes_needed: float | None = None  # by the longest task of runs, where that can be told
    deferred_slices: int = 0  # the limits leave no room for them now
    deferred_runs: int = 0

    @property
    def run_count(self) -> int:
        """Runs that have a task."""
        return sum(len(task) for array in self.runs for task in array.tasks)

    @property
    def tasks(self) -> int:
        in_features = sum(len(array.tasks) for array in self.features)
        return in_features + sum(len(array.tasks) for array in self.runs) + self.report


def missing_slices(wanted: Sequence[Slice], live: Collection[tuple[str, int]]) -> tuple[Slice, ...]:
    """Wanted slices without the (feature set, index) pairs that a live job computes anyway."""
    left = []
    for piece in wanted:
        ids = tuple(name for name in piece.feature_ids if (name, piece.index) not in live)
        if ids:
            left.append(Slice(piece.manifest, piece.index, ids))
    return tuple(left)


def missing_runs(
    wanted: Sequence[Run], done: Collection[str], live: Collection[str]
) -> tuple[Run, ...]:
    """Wanted minus done minus live, each once, in the written order."""
    return tuple(r for r in dict.fromkeys(wanted) if r.run_id not in done and r.run_id not in live)


def make_plan(
    slices: Sequence[Slice],
    runs: Sequence[Run],
    limits: Limits,
    preferences: JobPreferences = DEFAULT_PREFERENCES,
    minutes_per_run: float | None = None,
) -> Plan:
    """Features get their tasks before the runs: without features no run can start.

    `minutes_per_run`: what finished runs took, where there are any.
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


def drop_runs_needing(full_plan: Plan, feature_ids: Collection[str]) -> Plan:
    """The plan less the runs that need one of these feature sets."""
    arrays = []
    for array in full_plan.runs:
        left = [tuple(r for r in task if r.feature_id not in feature_ids) for task in array.tasks]
        if tasks := tuple(task for task in left if task):
            arrays.append(replace(array, tasks=tasks))
    return replace(full_plan, runs=tuple(arrays))


def _feature_share(room: int | None, *, runs: bool) -> int | None:
    """A third of the room where runs wait behind them, which take longer; one at least."""
    if room is None or not runs:
        return room
    return min(room, max(1, room // 3))


def _split_into_tasks(
    items: Sequence[Item], max_tasks: int | None, per_task: int | None = None, at_once: int = 1
) -> list[tuple[Item, ...]]:
    """At most `most` tasks, as short as that allows: 480 runs in 100 tasks are 96 of 5."""
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
    """What to ask for: more than was wished where the runs of a task need it, never too much."""
    if preferred is None:
        return None
    minutes = preferred if needed is None else max(preferred, math.ceil(RUN_TIME_MARGIN * needed))
    return minutes if limit is None else min(minutes, limit)


def _make_arrays(
    tasks: list[tuple[Item, ...]], limits: Limits, minutes: int | None = None
) -> tuple[JobArray[Item], ...]:
    """Arrays of a permitted length; they run side by side, and so share the throttle."""
    if not tasks:
        return ()
    length = limits.array or len(tasks)
    groups = [tuple(tasks[start : start + length]) for start in range(0, len(tasks), length)]
    throttle = None if limits.running is None else limits.running // len(groups)
    return tuple(JobArray(group, throttle, minutes) for group in groups)


def _max_array_tasks(limits: Limits) -> int | None:
    """Tasks in as many arrays as can each have at least one task running."""
    if limits.array is None or limits.running is None:
        return None
    return limits.array * limits.running


def _room_left(limit: int | None, used: int) -> int | None:
    return None if limit is None else max(0, limit - used)


def _smallest_limit(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
