"""Retry policy: twice the memory, another node, or no retry; and a plan within the limits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.node.task_file import Run, Slice
from jobs.profile import LocalProfile, SlurmProfile
from jobs.profile_fields import FeatureJobs
from jobs.slurm.resources import JobPreferences, Limits, ResourceOverride
from jobs.sweep import plan, retry_policy
from jobs.sweep.feature_status import ShardFailure
from jobs.sweep.folder import SweepFolder
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.retry_policy import FailedAttempt, RetryDecision, RetryHistory
from jobs.sweep.run_status import RunStatus

RUN = "0123456789ab"
SLURM = SlurmProfile(scheduler="slurm", memory_gb=4)


def attempt(cause: str = "", **facts) -> LedgerEntry:
    """Return the ledger entry of a job submitted after the run had failed with `cause`."""
    return LedgerEntry(
        **{
            "time": 0.0,
            "scheduler": "slurm",
            "job": "12_0",
            "kind": "runs",
            "items": ("another", RUN),
            "task": "t.json",
            "code": "c",
            "causes": ("killed", cause),
            **facts,
        }
    )


def decision(failed: FailedAttempt | str, *attempts: LedgerEntry, profile=SLURM, code: str = "c"):
    failed = FailedAttempt(failed) if isinstance(failed, str) else failed
    history = RetryHistory({RUN: attempts or (attempt(),)}, code=code)
    return retry_policy.decide_retry(RUN, failed, history, profile)


def test_out_of_memory_doubles_the_request_each_time_up_to_the_limit():
    profile = SLURM.model_copy(update={"max_memory_gb": 12.0, "retries": 9})
    requested, attempts = [], [attempt(memory_gb=4.0)]
    while not (found := decision("out of memory", *attempts, profile=profile)).refused:
        requested.append(found.override.memory_gb)
        attempts.append(attempt("out of memory", memory_gb=found.override.memory_gb))
    assert requested == [8.0, 12.0]
    assert found.message == "left out: out of memory at 12 GB; raise max_memory_gb in the profile"


def test_the_default_of_the_site_is_doubled_like_a_number_of_the_profile():
    site = SlurmProfile(scheduler="slurm", memory_gb=None, default_memory_per_cpu_gb=2, cpus=3)
    assert decision(
        "out of memory", attempt(memory_gb=6.0), profile=site
    ).override == ResourceOverride(12.0)
    assert decision("timeout", attempt(memory_gb=6.0), profile=site).override == ResourceOverride()
    assert decision("out of memory", attempt(memory_gb=24.0), profile=site).refused


def test_raised_memory_is_kept_after_another_cause():
    raised = attempt("out of memory", memory_gb=8.0)
    assert decision("timeout", attempt(), raised).override == ResourceOverride(8.0)
    assert decision("timeout", attempt(memory_gb=4.0)).override == ResourceOverride()


def test_a_larger_request_in_the_profile_is_used():
    more = SLURM.model_copy(update={"memory_gb": 32.0})
    assert (
        decision("out of memory", attempt(memory_gb=16.0), profile=more).override
        == ResourceOverride()
    )


@pytest.mark.parametrize(
    "cause", ["timeout", "preemption", "GPU out of memory", "killed", "node failure", "disk full"]
)
def test_nothing_but_out_of_memory_raises_the_memory(cause):
    assert decision(cause).override.memory_gb is None


def test_a_node_that_failed_is_excluded_from_then_on():
    found = decision(FailedAttempt("node failure", frozenset({"node2"})))
    assert found.override.exclude == ("node2",)
    assert found.message == "node failure: submitted again without node2"
    later = attempt("node failure", exclude=("node2",))
    assert decision("timeout", later).override.exclude == ("node2",)
    second = decision(FailedAttempt("node failure", frozenset({"node1"})), later)
    assert second.override.exclude == ("node1", "node2")


def test_an_excluded_node_is_used_again_after_a_day():
    tries = [attempt(), attempt("node failure", exclude=("node2",), time=100.0)]
    tries += [attempt("timeout", exclude=("node1", "node2"), time=5000.0)]
    history = RetryHistory({RUN: tries}, code="c", now=100.0 + retry_policy.EXCLUSION_S)
    assert retry_policy.decide_retry(
        RUN, FailedAttempt("timeout"), history, SLURM
    ).override.exclude == ("node1",)


@pytest.mark.parametrize(
    ("up", "exclude"),
    [
        ((), ("node1", "node2")),  # SLURM does not say
        (("node1", "node2", "node3"), ("node1", "node2")),
        (("node1", "node2"), ()),
        (("node2",), ()),  # the other one is down
    ],
)
def test_nodes_are_excluded_only_while_another_one_is_up(up, exclude):
    profile = SLURM.model_copy(update={"partition": "gpu"})
    later = attempt("node failure", exclude=("node2",))
    history = RetryHistory({RUN: [later]}, code="c", nodes_up={"gpu": up})
    failed = FailedAttempt("", frozenset({"node1"}))
    found = retry_policy.decide_retry(RUN, failed, history, profile)
    assert found.override.exclude == exclude
    other = "without node1" if exclude else "on the same nodes, because no other one is up"
    assert found.message.startswith(f"node failure: submitted again {other}")
    features = {
        f"set/{n}": ShardFailure("node failure", "", frozenset({f"node{n}"})) for n in (1, 2)
    }
    entries = {item: [attempt(items=(item,))] for item in features}
    retried = retry_policy.decide_feature_retry(
        [Slice("m", n, ("set",)) for n in (1, 2)],
        features,
        RetryHistory(entries, code="c", nodes_up={"gpu": up}),
        profile,
    )
    assert retried.override.exclude == (("node1",) if up == ("node2",) else exclude)


@pytest.mark.parametrize("cause", ["code error", "divergence", "infeasible"])
def test_a_failure_that_the_code_repeats_is_not_retried_with_the_same_code(cause):
    recorded = FailedAttempt(cause, has_traceback=True)
    refused = decision(recorded)
    assert refused.refused
    assert refused.message.startswith(f"left out: {cause}, and the code has not changed: fix ")
    assert f"RUN={RUN}" in refused.message
    assert "delete its failure file" in refused.message
    assert not decision(recorded, code="corrected").refused
    # Without a traceback of the run, the job may have lacked a module: it is retried.
    assert not decision(FailedAttempt(cause)).refused


@pytest.mark.parametrize("cause", sorted(retry_policy.COUNTED_CAUSES))
@pytest.mark.parametrize("profile", [SLURM, LocalProfile()])
def test_the_profile_sets_the_number_of_retries(cause, profile):
    profile = profile.model_copy(update={"retries": 2, "max_memory_gb": 1e9})
    tries = [attempt(), attempt("killed"), attempt("node failure")]
    assert not decision(cause, *tries[:2], profile=profile).refused
    found = decision(cause, *tries, profile=profile)
    assert found.refused
    assert found.message == f"left out: {cause}, after 2 retries; raise retries in the profile"


def test_a_code_error_that_no_run_recorded_is_retried_as_often_as_the_profile_says():
    profile = SLURM.model_copy(update={"retries": 1})
    assert not decision("code error", attempt(), profile=profile).refused
    tries = [attempt(), attempt("code error")]
    found = decision("code error", *tries, profile=profile)
    assert found.message == "left out: code error, after 1 retries; raise retries in the profile"
    assert not decision("code error", *tries, profile=profile, code="corrected").refused


def test_each_missing_run_that_was_tried_is_decided_by_how_it_failed():
    lost = RunStatus("a", "lost", "failed", "node failure", failed_nodes=("node2",))
    statuses = [
        lost,
        RunStatus("b", "wrong", "failed", "code error"),
        RunStatus("c", "ended", "failed", "code error"),  # its process recorded nothing
        RunStatus("d", "stopped", "stopped", "out of memory"),
        RunStatus("e", "new", "waiting"),
        RunStatus("f", "queued", "queued"),
    ]
    missing = [Run(run.run_id, "mel") for run in statuses if run.state != "queued"]
    entries = {run.run_id: [attempt()] for run in statuses if run.state != "waiting"}
    history = RetryHistory(entries, frozenset({"wrong"}), code="c")
    found = retry_policy.decide_retries(statuses, missing, history, SLURM)
    assert list(found) == ["lost", "wrong", "ended", "stopped"]
    assert found["lost"].override == ResourceOverride(exclude=("node2",))
    assert found["wrong"].refused
    assert found["ended"] == found["stopped"] == RetryDecision()


def test_a_ledger_of_an_earlier_version_names_no_causes():
    profile = SLURM.model_copy(update={"retries": 1})
    tries = [attempt(causes=()), attempt(causes=())]
    assert not decision("killed", *tries, profile=profile).refused


SHARDS = ("mel/0", "mel/1", "power/0")
PIECES = [Slice("m", 0, ("mel", "power")), Slice("m", 1, ("mel",))]


def of_features(
    tmp_path, *attempts: LedgerEntry, profile=SLURM, **ended: ShardFailure
) -> retry_policy.FeatureRetry:
    folder = SweepFolder(tmp_path, "spectrum")
    folder.ledger.append(attempts or [features_attempt()])
    named = {item.replace("_", "/"): ending for item, ending in ended.items()}
    history = RetryHistory(folder.entries_by_item(), code="now")
    return retry_policy.decide_feature_retry(PIECES, named, history, profile)


def features_attempt(cause: str = "", **facts) -> LedgerEntry:
    return attempt(**{"kind": "features", "items": SHARDS, "causes": (cause,) * 3, **facts})


def test_features_that_ran_out_of_memory_get_twice_as_much_and_the_lost_node_is_left_out(tmp_path):
    oom, lost = (
        ShardFailure("out of memory", ""),
        ShardFailure("node failure", "", frozenset({"node2"})),
    )
    again = of_features(tmp_path, mel_0=oom, mel_1=lost)
    assert again.override == ResourceOverride(8.0, ("node2",))
    assert (again.slices, again.left_out) == (tuple(PIECES), frozenset())
    assert again.messages == (
        "features: out of memory: submitted again with 8 GB",
        "features: node failure: submitted again without node2",
    )
    made = plan.plan_with_retries(PIECES, [], {}, Limits(), feature_override=again.override)
    assert [array.override for array in made.features] == [again.override]


def test_jobs_of_features_request_the_largest_memory_that_one_of_them_needs(tmp_path):
    first = features_attempt(items=("mel/0",), causes=("",), memory_gb=8.0)
    second = features_attempt(items=("mel/1",), causes=("",), memory_gb=4.0)
    oom = ShardFailure("out of memory", "")
    assert of_features(tmp_path, first, second, mel_0=oom, mel_1=oom).override.memory_gb == 16.0


def test_jobs_of_features_have_memory_of_their_own_and_no_line_without_a_change(tmp_path):
    profile = SLURM.model_copy(update={"features": FeatureJobs(memory_gb=1.0)})
    oom = ShardFailure("out of memory", "")
    again = of_features(tmp_path / "a", features_attempt(), profile=profile, mel_0=oom)
    assert again.override.memory_gb == 2.0
    late = of_features(tmp_path / "b", profile=profile, mel_0=ShardFailure("timeout", ""))
    assert (late.messages, late.override) == ((), ResourceOverride())


def test_features_at_their_memory_limit_are_left_out_and_others_computed(tmp_path):
    tries = [features_attempt(), features_attempt("out of memory", memory_gb=16.0)]
    again = of_features(tmp_path, *tries, power_0=ShardFailure("out of memory", ""))
    assert again.left_out == {"power"}
    assert again.slices == (Slice("m", 0, ("mel",)), Slice("m", 1, ("mel",)))
    left_out = "left out: out of memory at 16 GB; raise features.memory_gb in the profile"
    assert again.messages == (f"features: {left_out}",)


def test_features_are_retried_as_often_as_the_profile_says_and_not_after_a_code_error(tmp_path):
    profile = SLURM.model_copy(update={"retries": 1})
    tries = [features_attempt(), features_attempt("killed")]
    again = of_features(tmp_path / "a", *tries, profile=profile, mel_0=ShardFailure("killed", ""))
    assert again.left_out == {"mel"}
    code = "now"
    wrong = ShardFailure("code error", "", has_traceback=True)
    assert of_features(tmp_path / "b", features_attempt(code=code), mel_0=wrong).left_out == {"mel"}
    assert not of_features(tmp_path / "c", mel_0=wrong).left_out


def test_a_local_profile_computes_all_missing_features(tmp_path):
    again = of_features(tmp_path, profile=LocalProfile(), mel_0=ShardFailure("out of memory", ""))
    assert again == retry_policy.FeatureRetry(tuple(PIECES))


def test_preemptions_and_timeouts_do_not_count_as_retries():
    tries = [attempt("preemption")] * 50
    assert not decision("timeout", *tries).refused


requests = st.builds(
    ResourceOverride, st.sampled_from([None, 8.0, 16.0]), st.sampled_from([(), ("node2",)])
)
numbers = st.none() | st.integers(1, 12)


limits_drawn = st.builds(
    Limits,
    tasks=st.none() | st.integers(0, 20),
    array=numbers,
    running=numbers,
    feature_tasks=st.none() | st.integers(1, 5),
    feature_room=st.none() | st.integers(0, 5),
)


@given(st.integers(0, 6), st.lists(requests, max_size=30), limits_drawn, st.booleans())
def test_each_run_is_in_one_task_with_its_own_request_and_no_limit_is_exceeded(
    slices, overrides, limits, report
):
    runs = [Run(f"{number}", "mel") for number in range(len(overrides))]
    overrides_by_run = {run.run_id: request for run, request in zip(runs, overrides, strict=True)}
    room, array, running, beside = limits.tasks, limits.array, limits.running, limits.feature_room
    pieces = [Slice("m", index, ("mel",)) for index in range(slices)]
    made = plan.plan_with_retries(
        pieces, runs, overrides_by_run, limits, JobPreferences(report=report)
    )
    placed = [(run, a.override) for a in made.runs for task in a.tasks for run in task]
    assert all(overrides_by_run[run.run_id] == request for run, request in placed)
    ids = [run.run_id for run, _ in placed]
    placed_slices = sum(len(task) for array in made.features for task in array.tasks)
    assert placed_slices + made.deferred_slices == slices
    assert len(set(ids)) == len(ids)
    assert len(ids) + made.deferred_runs == len(runs)
    assert made.tasks <= (math.inf if room is None else room)
    assert all(len(a.tasks) <= (array or math.inf) for a in (*made.features, *made.runs))
    if running is not None:
        assert all(a.throttle >= 1 for a in made.runs)
        assert sum(a.throttle for a in made.runs) <= running
    if beside is not None:
        assert sum(len(a.tasks) for a in made.features) + made.report <= beside
    if made.deferred_slices:
        assert not placed  # a run would find no features
    if (
        room is None
        and beside is None
        and (running is None or running >= len({*overrides, ResourceOverride()}))
    ):
        assert not made.deferred_runs
        assert not made.deferred_slices


def test_runs_without_an_override_are_planned_as_by_make_plan():
    runs = [Run(f"{number}", "mel") for number in range(9)]
    limits = Limits(tasks=4, array=2, running=3)
    made = plan.plan_with_retries((), runs, {}, limits)
    assert made == plan.make_plan((), runs, limits)
    assert made._replace(runs=()).tasks == 0


def test_the_plan_needs_the_time_of_its_longest_task_whatever_its_request():
    runs = [Run(f"{number}", "mel") for number in range(4)]
    overrides = {run.run_id: ResourceOverride(8.0) for run in runs[:3]}
    made = plan.plan_with_retries((), runs, overrides, Limits(tasks=2), minutes_per_run=10)
    assert sorted(len(array.tasks[0]) for array in made.runs) == [1, 3]
    assert made.minutes_needed == 30


def test_there_is_one_report_after_all_arrays_of_runs():
    runs = [Run(f"{number}", "mel") for number in range(2)]
    for overrides_by_run in (
        {},
        {"0": ResourceOverride(8.0)},
        {"0": ResourceOverride(8.0), "1": ResourceOverride(16.0)},
    ):
        made = plan.plan_with_retries(
            (), runs, overrides_by_run, Limits(), JobPreferences(report=True)
        )
        assert made.report
        assert made.tasks == 3


def test_tasks_at_once_are_shared_by_the_requests():
    runs = [Run(f"{number}", "mel") for number in range(9)]
    made = plan.plan_with_retries((), runs, {"0": ResourceOverride(8.0)}, Limits(running=4))
    assert [array.throttle for array in made.runs] == [3, 1]


def test_there_are_no_more_arrays_than_tasks_may_run_at_once():
    runs = [Run(f"{number}", "mel") for number in range(4)]
    overrides_by_run = {f"{number}": ResourceOverride(8.0 * number) for number in range(1, 4)}
    made = plan.plan_with_retries((), runs, overrides_by_run, Limits(running=2))
    assert [array.throttle for array in made.runs] == [1, 1]
    assert made.deferred_runs == 2


@pytest.mark.parametrize(
    ("with_override", "report", "tasks"), [({"3"}, False, [3, 1]), ({"1", "2"}, True, [1, 2])]
)
def test_only_one_task_is_kept_for_each_later_request_and_one_for_the_report(
    with_override, report, tasks
):
    runs = [Run(f"{number}", "mel") for number in range(4 - report)]
    overrides = dict.fromkeys(with_override, ResourceOverride(8.0))
    made = plan.plan_with_retries(
        (), runs, overrides, Limits(tasks=4), JobPreferences(report=report)
    )
    assert [len(array.tasks) for array in made.runs] == tasks


def test_a_retry_that_saved_progress_does_not_count():
    """Four kills, each after a new state was saved: the run is submitted again."""
    attempts = [attempt("killed", states=("", f"state {n}")) for n in range(4)]
    history = RetryHistory({RUN: attempts}, code="c", states={RUN: "state 4"})
    found = retry_policy.decide_retry(RUN, FailedAttempt("killed"), history, SLURM)
    assert not found.refused


def test_retries_without_progress_count_after_earlier_ones_with_progress():
    attempts = [attempt("killed", states=("", f"state {n}")) for n in (0, 1, 2, 2, 2)]
    history = RetryHistory({RUN: attempts}, code="c", states={RUN: "state 2"})
    found = retry_policy.decide_retry(RUN, FailedAttempt("killed"), history, SLURM)
    assert found.message == "left out: killed, after 3 retries; raise retries in the profile"
