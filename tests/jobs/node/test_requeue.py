"""Requeue limit: a job is given up after three attempts in a row without saved progress."""

import json
from pathlib import Path

import pytest

from jobs.node import requeue, task_file
from jobs.node.task_file import FeatureTask, ReportTask, Run, RunTask, Slice
from jobs.slurm.sacct import JobAttempt
from pipeline.files import write_bytes
from pipeline.runs.folder import Failure, Heartbeat, RunFolder


@pytest.fixture(autouse=True)
def in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    monkeypatch.setattr(requeue.sacct, "query_job_attempts", lambda jobs: {})


def write_run_task(work: Path, *names: str, at_once: int = 1) -> Path:
    runs = tuple(Run(name, "mel-0") for name in names)
    task = RunTask(work=str(work), runs=runs, device="cpu", threads=1, at_once=at_once)
    return task_file.write_task(task, work / "tasks")


def folder(work: Path, name: str) -> RunFolder:
    return RunFolder(work / "runs" / name)


def cause(run: RunFolder) -> str:
    failure = run.failure()
    return failure.cause if failure else ""


def save(run: RunFolder) -> None:
    write_bytes(run.state_file, b"state")


def timeout() -> str:
    return "timeout"


def test_a_run_that_is_stopped_three_times_without_progress_is_given_up(tmp_path):
    task, run = write_run_task(tmp_path, "a"), folder(tmp_path, "a")
    save(run)
    for _ in range(requeue.MAX_STALLED_ATTEMPTS - 1):
        assert requeue.on_start(task)
        assert requeue.may_requeue(task, timeout)
    assert requeue.on_start(task)
    assert cause(run) == ""
    assert not requeue.may_requeue(task, timeout)
    assert cause(run) == "timeout"
    assert run.failure().message == (
        "job 12 started 3 times without saving progress; the last attempt reached the time limit; "
        "not requeued again: raise minutes in the profile"
    )


def test_a_run_that_saves_progress_is_never_given_up(tmp_path):
    task, run = write_run_task(tmp_path, "a"), folder(tmp_path, "a")
    for attempt in range(4 * requeue.MAX_STALLED_ATTEMPTS):
        assert requeue.on_start(task)
        if attempt % requeue.MAX_STALLED_ATTEMPTS == 2:
            save(run)
        assert requeue.may_requeue(task, timeout)
    assert run.failure() is None


@pytest.mark.parametrize(
    ("states", "expected", "advice"),
    [
        ([], "preemption", "choose a partition or qos in the profile that is preempted less"),
        (["PREEMPTED"], "preemption", "choose a partition"),
        (["PREEMPTED", "NODE_FAIL"], "node failure", "leaves out the nodes that failed"),
        (["REQUEUED"], "preemption", "choose a partition"),
        (["CANCELLED by 0"], "preemption", "choose a partition"),
    ],
)
def test_a_run_whose_attempts_were_all_killed_is_given_up_by_the_next_one(
    tmp_path, monkeypatch, states, expected, advice
):
    before = [*(JobAttempt(state, ended=1.0) for state in states), JobAttempt("RUNNING")]
    monkeypatch.setattr(requeue.sacct, "query_job_attempts", lambda jobs: {"12": before})
    task, run = write_run_task(tmp_path, "a"), folder(tmp_path, "a")
    for _ in range(requeue.MAX_STALLED_ATTEMPTS):
        assert requeue.on_start(task)
        run.write_heartbeat(Heartbeat(job="12"))
    assert not requeue.on_start(task)
    assert cause(run) == expected
    assert advice in run.failure().message


def test_the_runs_after_a_given_up_one_get_their_own_attempts(tmp_path):
    task = write_run_task(tmp_path, "a", "b", "c", "d", at_once=2)
    a, b, c, d = (folder(tmp_path, name) for name in "abcd")
    b.write_failure(Failure(cause="divergence", message="no"))
    d.write_failure(Failure(cause="timeout", message="of an earlier job", job="11"))
    for _ in range(requeue.MAX_STALLED_ATTEMPTS):
        assert requeue.on_start(task)
    assert requeue.may_requeue(task, timeout)
    assert [cause(run) for run in (a, b, c)] == ["timeout", "divergence", "timeout"]
    assert d.failure().job == "11"
    for _ in range(requeue.MAX_STALLED_ATTEMPTS):
        assert requeue.on_start(task)
    assert not requeue.may_requeue(task, timeout)
    assert d.failure().job == ""


def test_a_run_that_finishes_counts_as_progress_and_is_never_given_up(tmp_path):
    task = write_run_task(tmp_path, "a", "b", "c")
    a, b, c = (folder(tmp_path, name) for name in "abc")
    for _ in range(requeue.MAX_STALLED_ATTEMPTS):
        assert requeue.on_start(task)
    a.finish([])
    for _ in range(requeue.MAX_STALLED_ATTEMPTS):
        assert requeue.may_requeue(task, timeout)
        assert [cause(run) for run in (a, b, c)] == ["", "", ""]
        assert requeue.on_start(task)
    assert requeue.may_requeue(task, timeout)
    assert [cause(run) for run in (a, b, c)] == ["", "timeout", ""]


def test_a_report_task_is_always_requeued(tmp_path):
    report = ReportTask(work=str(tmp_path), sweep="spectrum", commands=())
    task = task_file.write_task(report, tmp_path / "tasks")
    for _ in range(requeue.MAX_STALLED_ATTEMPTS + 1):
        assert requeue.on_start(task)
    assert requeue.may_requeue(task, timeout)


def test_a_new_submission_counts_from_zero(tmp_path):
    task = write_run_task(tmp_path, "a")
    for _ in range(requeue.MAX_STALLED_ATTEMPTS):
        requeue.on_start(task)
    assert write_run_task(tmp_path, "a") == task
    assert requeue.on_start(task)
    assert requeue.may_requeue(task, timeout)


def test_a_feature_task_that_never_completes_a_shard_is_given_up(tmp_path):
    piece = Slice("demo.jsonl", 0, ("mel-0",))
    task = task_file.write_task(
        FeatureTask(work=str(tmp_path), slices=(piece,)), tmp_path / "tasks"
    )
    shard = tmp_path / "features" / "mel-0" / "shard-00007-of-00008.h5"
    for _ in range(requeue.MAX_STALLED_ATTEMPTS):
        assert requeue.on_start(task)
    write_bytes(shard, b"")
    for attempt in range(requeue.MAX_STALLED_ATTEMPTS):
        write_bytes(shard.with_name(f".{shard.name}.{attempt}.partial"), b"")  # no progress
        assert requeue.on_start(task)
    assert not requeue.on_start(task)
    failure = json.loads(task_file.failure_path(task).read_text())
    assert failure["cause"] == "preemption"
    assert "features.partition or features.qos" in failure["message"]
