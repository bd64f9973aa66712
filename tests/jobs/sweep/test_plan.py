"""The plan: each missing run is in exactly one task, in order, within all limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.node.task_file import Run, Slice
from jobs.slurm.resources import JobPreferences, Limits
from jobs.sweep.plan import RUN_TIME_MARGIN, make_plan, missing_runs, missing_slices

limits_drawn = st.builds(
    Limits,
    tasks=st.none() | st.integers(0, 40),
    array=st.none() | st.integers(1, 12),
    running=st.none() | st.integers(1, 12),
    feature_tasks=st.none() | st.integers(1, 12),
    feature_room=st.none() | st.integers(0, 12),
    minutes=st.none() | st.integers(1, 300),
)
preferences_drawn = st.builds(
    JobPreferences,
    runs_per_task=st.none() | st.integers(1, 9),
    at_once=st.integers(1, 4),
    minutes=st.integers(1, 300),
    report=st.booleans(),
)
drawn = (st.integers(0, 60), st.integers(0, 60), limits_drawn, preferences_drawn)
estimates_drawn = st.none() | st.floats(0.1, 500)


def runs(count: int) -> list[Run]:
    return [Run(f"r{index}", "mel-0") for index in range(count)]


def slices(count: int) -> list[Slice]:
    return [Slice("corpus.jsonl", index, ("mel-0",)) for index in range(count)]


def flat(arrays):
    return [item for array in arrays for task in array.tasks for item in task]


@given(*drawn)
def test_each_item_is_in_exactly_one_task_in_order_or_is_deferred(
    n_slices, n_runs, limits, preferences
):
    made = make_plan(slices(n_slices), runs(n_runs), limits, preferences)
    assert flat(made.features) == slices(n_slices)[: n_slices - made.deferred_slices]
    assert flat(made.runs) == runs(n_runs)[: n_runs - made.deferred_runs]
    assert made.deferred_slices in {0, n_slices}
    assert made.deferred_runs in {0, n_runs}


@given(*drawn, estimates_drawn)
def test_no_limit_is_exceeded(n_slices, n_runs, limits, preferences, minutes_per_run):
    made = make_plan(slices(n_slices), runs(n_runs), limits, preferences, minutes_per_run)
    if limits.minutes is not None:
        assert all(array.minutes <= limits.minutes for array in made.runs)
    assert limits.tasks is None or made.tasks <= limits.tasks
    for arrays in (made.features, made.runs):
        assert all(array.tasks and all(array.tasks) for array in arrays)
        if limits.array is not None:
            assert all(len(array.tasks) <= limits.array for array in arrays)
        if limits.running is not None and arrays:
            assert all(array.throttle >= 1 for array in arrays)
            assert sum(array.throttle for array in arrays) <= limits.running
    if limits.feature_tasks is not None:
        assert sum(len(array.tasks) for array in made.features) <= limits.feature_tasks
    if limits.feature_room is not None:
        beside = sum(len(array.tasks) for array in made.features) + made.report
        assert beside <= limits.feature_room


@given(st.integers(0, 60), st.integers(1, 60), limits_drawn, preferences_drawn)
def test_runs_are_deferred_only_where_the_features_left_no_room(
    n_slices, n_runs, limits, preferences
):
    made = make_plan(slices(n_slices), runs(n_runs), limits, preferences)
    room = None if limits.tasks is None else limits.tasks - sum(len(a.tasks) for a in made.features)
    assert bool(made.deferred_runs) == (room == 0)
    assert not made.report or preferences.report


@given(st.integers(1, 60), limits_drawn, preferences_drawn, st.floats(0.1, 500))
def test_a_task_gets_the_time_that_its_runs_need_where_the_site_allows_it(
    n, limits, preferences, each
):
    made = make_plan([], runs(n), limits, preferences, each)
    for array in made.runs:
        for task in array.tasks:
            one_after_another = -(-len(task) // preferences.at_once)
            enough = array.minutes >= RUN_TIME_MARGIN * one_after_another * each
            assert enough or array.minutes == limits.minutes
        assert array.minutes >= min(preferences.minutes, limits.minutes or preferences.minutes)


@given(st.integers(1, 60), preferences_drawn)
def test_without_limits_a_task_has_the_preferred_number_of_runs(n, preferences):
    made = make_plan([], runs(n), Limits(), preferences)
    sizes = [len(task) for array in made.runs for task in array.tasks]
    preferred = preferences.runs_per_task or preferences.at_once
    assert sizes[:-1] == [preferred] * (len(sizes) - 1)
    assert sizes[-1] <= preferred


def test_the_runs_of_a_task_are_a_multiple_of_those_that_share_a_gpu():
    made = make_plan([], runs(20), Limits(tasks=3), JobPreferences(at_once=4))
    assert [len(task) for array in made.runs for task in array.tasks] == [8, 8, 4]


def test_60_runs_under_10_jobs_and_arrays_of_8_need_one_submission():
    limits = Limits(tasks=10, array=8, feature_tasks=8)
    made = make_plan(slices(9), runs(60), limits, JobPreferences(report=True))
    assert [len(array.tasks) for array in made.features] == [3]
    assert [len(array.tasks) for array in made.runs] == [6]
    assert (made.tasks, made.report, made.deferred_runs) == (10, True, 0)


def test_one_job_of_the_features_partition_is_kept_for_the_report():
    made = make_plan(
        slices(9), runs(9), Limits(feature_tasks=8, feature_room=2), JobPreferences(report=True)
    )
    assert (len(made.features[0].tasks), made.report) == (1, True)


def test_480_runs_where_100_may_be_submitted_become_96_tasks_of_5():
    made = make_plan([], runs(480), Limits(tasks=100))
    assert [len(task) for array in made.runs for task in array.tasks] == [5] * 96


def test_one_task_is_kept_for_the_runs():
    made = make_plan(slices(10), runs(10), Limits(tasks=2))
    assert [len(array.tasks) for array in (*made.features, *made.runs)] == [1, 1]


def test_without_limits_each_run_is_a_task_of_one_array():
    made = make_plan([], runs(7), Limits())
    assert [len(array.tasks) for array in made.runs] == [7]
    assert made.runs[0].throttle is None


@given(st.lists(st.sampled_from("abcdefgh")), st.sets(st.sampled_from("abcdefgh")), st.data())
def test_missing_runs_are_planned_ones_that_are_neither_done_nor_live(names, done, data):
    live = data.draw(st.sets(st.sampled_from("abcdefgh")))
    left = [run.run_id for run in missing_runs([Run(n, "f") for n in names], done, live)]
    assert set(left) == set(names) - done - live
    assert len(left) == len(set(left))
    assert left == sorted(left, key=names.index)


@pytest.mark.parametrize(
    ("live", "left"),
    [
        (set(), [("mel", "power")]),
        ({("mel", 3)}, [("power",)]),
        ({("mel", 3), ("power", 3)}, []),
        ({("mel", 4)}, [("mel", "power")]),
    ],
)
def test_a_shard_that_a_live_job_computes_is_not_computed_twice(live, left):
    piece = Slice("corpus.jsonl", 3, ("mel", "power"))
    assert [piece.feature_ids for piece in missing_slices([piece], live)] == left
