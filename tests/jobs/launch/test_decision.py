"""The decision: what gets a task, what is left out, and what is printed about it."""

from pathlib import Path

import pytest

from jobs.launch.decision import Decision, decide
from jobs.launch.missing_features import MissingFeatures
from jobs.launch.sweep_state import SweepFiles, SweepState
from jobs.node.task_file import Slice
from jobs.profile import LocalProfile, SlurmProfile
from jobs.slurm.client import QueuedJob
from jobs.slurm.resources import Limits
from jobs.slurm.tres import Budget, TresLimit
from jobs.sweep.feature_status import ShardFailure
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.plan import Plan
from jobs.sweep.record import PlannedRun, SweepRecord
from jobs.sweep.retry_policy import RetryHistory
from jobs.sweep.run_status import RunStatus
from pipeline.config.sweep import Sweep

SLURM = SlurmProfile(scheduler="slurm", memory_gb=4, report=False)
MEL = (Slice("m.jsonl", 0, ("mel",)), Slice("m.jsonl", 1, ("mel",)))


def attempt(kind: str, *items: str, **facts: object) -> LedgerEntry:
    content = {"time": 1.0, "scheduler": "slurm", "job": "12", "task": "t", "code": "old"}
    return LedgerEntry(**{**content, "kind": kind, "items": items, **facts})


def make_state(
    *statuses: RunStatus, slices: tuple[Slice, ...] = (), with_runs: bool = True, **facts: object
) -> SweepState:
    """The state of a sweep of these runs, all on feature set `mel`."""
    runs = tuple(PlannedRun(status.label, {}, status.run_id, "mel") for status in statuses)
    files = SweepFiles(
        sweep=Sweep("spectrum", "", Path("s.yaml"), ()),
        record=SweepRecord("spectrum", "", "s.yaml", "", runs, ()),
        folder=SweepFolder(Path("work"), "spectrum"),
        corpus_manifests={},
        missing=MissingFeatures(slices=list(slices)),
        unfinished_runs=(),
        with_runs=with_runs,
        wanted_runs=runs if with_runs else (),
        first_only=False,
        code=0,
        meaningful=True,
    )
    other = {
        "queue": Queue(),
        "live_feature_tasks": (),
        "shard_failures": {},
        "history": RetryHistory({}),
        "limits": Limits(),
        "minutes_per_run": None,
    }
    return SweepState(files=files, statuses=statuses, **{**other, **facts})


def run_ids(decision: Decision) -> list[str]:
    return [run.run_id for array in decision.plan.runs for task in array.tasks for run in task]


def planned_slices(plan: Plan) -> list[Slice]:
    return [piece for array in plan.features for task in array.tasks for piece in task]


def test_what_is_neither_done_nor_live_gets_a_task():
    states = ("waiting", "queued", "running", "stopped", "finished", "failed", "lost")
    decision = decide(make_state(*(RunStatus(s, s, s) for s in states)), LocalProfile())
    assert run_ids(decision) == ["waiting", "stopped", "failed", "lost"]
    assert decision.messages == ("2 runs of spectrum are queued or running",)


@pytest.mark.parametrize(
    ("queue", "planned"),
    [
        (Queue({"12": QueuedJob("12", "COMPLETING", "None")}), []),
        (Queue({"13": QueuedJob("13", "COMPLETING", "None")}), ["a"]),
        (Queue(None), ["a"]),
    ],
)
def test_a_cancelled_run_waits_until_its_job_has_left_the_queue(queue, planned):
    """Its job may be saving its state, and two processes must not train one run."""
    cancelled = RunStatus("a", "a", "stopped", "cancelled", job="12")
    decision = decide(make_state(cancelled, queue=queue), LocalProfile())
    assert run_ids(decision) == planned
    assert bool(decision.messages) == (not planned)


def test_a_failed_run_is_tried_again_while_its_job_goes_on_with_other_runs():
    failed = RunStatus("a", "a", "failed", "killed", job="12")
    queue = Queue({"12": QueuedJob("12", "RUNNING", "None")})
    decision = decide(make_state(failed, queue=queue), LocalProfile())
    assert (run_ids(decision), decision.messages) == (["a"], ())


def test_without_runs_only_slices_get_a_task():
    state = make_state(RunStatus("a", "a", "waiting"), slices=MEL, with_runs=False)
    decision = decide(state, LocalProfile())
    assert (planned_slices(decision.plan), run_ids(decision)) == (list(MEL), [])
    live = make_state(RunStatus("a", "a", "running"), with_runs=False)
    assert decide(live, LocalProfile()).messages == ()


def test_a_shard_that_a_live_job_computes_gets_no_second_task():
    live = (attempt("features", "mel/0", "power/7"),)
    state = make_state(slices=MEL, live_feature_tasks=live)
    assert planned_slices(decide(state, SLURM).plan) == [MEL[1]]


def test_runs_wait_for_features_that_may_not_be_tried_again():
    failures = {"mel/1": ShardFailure("code error", "no", has_traceback=True)}
    entries = {"mel/1": [attempt("features", "mel/1", code="now")]}
    state = make_state(
        RunStatus("a", "a", "waiting"),
        RunStatus("b", "b", "waiting"),
        slices=MEL,
        shard_failures=failures,
        history=RetryHistory(entries, code="now"),
    )
    decision = decide(state, SLURM)
    assert (run_ids(decision), planned_slices(decision.plan)) == ([], [])
    refusal, left_out = decision.messages
    assert refusal.startswith("features: left out: code error")
    assert left_out == "left out: 2 runs, because these features are missing"


def test_a_run_that_may_not_be_tried_again_is_left_out_with_the_reason():
    history = RetryHistory(
        {name: [attempt("runs", name)] for name in ("a", "b")}, frozenset({"a"}), code="old"
    )
    failed = [RunStatus(f"run {name}", name, "failed", "code error") for name in ("a", "b")]
    decision = decide(make_state(*failed, history=history), LocalProfile())
    assert run_ids(decision) == ["b"]
    (line,) = decision.messages
    assert line.startswith("run a: left out: code error, and the code ")


def test_a_run_that_ran_out_of_memory_gets_more_in_an_array_of_its_own():
    history = RetryHistory({"a": [attempt("runs", "a", memory_gb=4.0)]})
    statuses = [RunStatus("a", "a", "failed", "out of memory"), RunStatus("b", "b", "waiting")]
    decision = decide(make_state(*statuses, history=history), SLURM)
    found = {
        run.run_id: array.override.memory_gb
        for array in decision.plan.runs
        for task in array.tasks
        for run in task
    }
    assert found == {"a": 8.0, "b": None}
    assert decision.messages == ("a: out of memory: submitted again with 8 GB",)


def test_tasks_that_the_limits_leave_no_room_for_are_deferred():
    statuses = [RunStatus(name, name, "waiting") for name in "abc"]
    decision = decide(make_state(*statuses, limits=Limits(tasks=0)), SLURM)
    assert run_ids(decision) == []
    assert decision.deferred == ["no room now for 3 runs: make sweep again later"]
    assert decide(make_state(*statuses, limits=Limits(tasks=3)), SLURM).deferred == []


def test_runs_whose_time_limits_exceed_a_budget_are_named():
    limit = TresLimit("account lab", "budget", "gres/gpu", 9000, left=300)
    profile = SlurmProfile(scheduler="slurm", minutes=60, report=False)
    runs = [RunStatus(str(n), str(n), "waiting") for n in range(6)]

    def messages(wanted: int) -> tuple[str, ...]:
        limits = Limits(budgets=(Budget(limit, 300, 1, "GPU"),))
        return decide(make_state(*runs[:wanted], limits=limits), profile).messages

    assert messages(5) == ()
    (line,) = messages(6)
    assert line == (
        "account lab (GrpTRESMins: gres/gpu=9000): the time limits of these jobs are 360 "
        "GPU-minutes, and 300 are left: SLURM lets further jobs wait, and ends running "
        "jobs when it is used up"
    )
