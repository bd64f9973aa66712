"""The plan: wanted minus done minus live -> tasks -> arrays, within the site's limits. Pure.

In:   what is wanted, what is done, what is live; limits.   Out: a `Plan` that one can print.
Not here: reading the disk or the queue (status.py, scheduler.py), submitting (submit.py).
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Slice:
    """One slice of a manifest, and the feature sets that lack its shard."""

    manifest: str  # path of the file
    index: int
    feature_ids: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    run_id: str
    feature_id: str


@dataclass(frozen=True)
class Limits:
    """What the site allows, and what is left of it. None: no limit."""

    tasks: int | None = None  # jobs that may still be submitted
    array: int | None = None  # tasks in one array
    running: int | None = None  # tasks at once
    feature_tasks: int | None = None  # of the tasks, those for features


@dataclass(frozen=True)
class Array(Generic[Item]):
    """What one submission carries: tasks, each an ordered list of runs or slices."""

    tasks: tuple[tuple[Item, ...], ...]
    throttle: int | None = None  # tasks of this array at once


@dataclass(frozen=True)
class Plan:
    features: tuple[Array[Slice], ...] = ()
    runs: tuple[Array[Run], ...] = ()
    deferred_slices: int = 0  # the limits leave no room for them now
    deferred_runs: int = 0

    @property
    def waiting(self) -> int:
        """Runs that have a task."""
        return sum(len(task) for array in self.runs for task in array.tasks)

    @property
    def tasks(self) -> int:
        in_features = sum(len(array.tasks) for array in self.features)
        return in_features + sum(len(array.tasks) for array in self.runs)


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


def plan(slices: Sequence[Slice], runs: Sequence[Run], limits: Limits) -> Plan:
    """Features get their tasks before the runs: without features no run can start."""
    # One task is kept for the runs where that still leaves one for the features.
    keep = 1 if runs and limits.tasks is not None and limits.tasks > 1 else 0
    feature_tasks = _chunks(
        slices, _least(limits.feature_tasks, _minus(limits.tasks, keep), _widest(limits))
    )
    run_tasks = _chunks(runs, _least(_minus(limits.tasks, len(feature_tasks)), _widest(limits)))
    return Plan(
        features=_arrays(feature_tasks, limits),
        runs=_arrays(run_tasks, limits),
        deferred_slices=len(slices) - sum(map(len, feature_tasks)),
        deferred_runs=len(runs) - sum(map(len, run_tasks)),
    )


def without(made: Plan, feature_ids: Collection[str]) -> Plan:
    """The plan less the runs that need one of these feature sets."""
    arrays = []
    for array in made.runs:
        left = [tuple(r for r in task if r.feature_id not in feature_ids) for task in array.tasks]
        if tasks := tuple(task for task in left if task):
            arrays.append(replace(array, tasks=tasks))
    return replace(made, runs=tuple(arrays))


def _chunks(items: Sequence[Item], most: int | None) -> list[tuple[Item, ...]]:
    """At most `most` tasks, as short as that allows: 480 runs in 100 tasks are 96 of 5."""
    if most == 0 or not items:
        return []
    size = 1 if most is None else math.ceil(len(items) / most)
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]


def _arrays(tasks: list[tuple[Item, ...]], limits: Limits) -> tuple[Array[Item], ...]:
    """Arrays of a permitted length; they run side by side, and so share the throttle."""
    if not tasks:
        return ()
    length = limits.array or len(tasks)
    groups = [tuple(tasks[start : start + length]) for start in range(0, len(tasks), length)]
    throttle = None if limits.running is None else limits.running // len(groups)
    return tuple(Array(group, throttle) for group in groups)


def _widest(limits: Limits) -> int | None:
    """Tasks in as many arrays as can each have at least one task running."""
    if limits.array is None or limits.running is None:
        return None
    return limits.array * limits.running


def _minus(limit: int | None, used: int) -> int | None:
    return None if limit is None else max(0, limit - used)


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
