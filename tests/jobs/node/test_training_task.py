"""Training tasks: the failure of a process that could not record one itself."""

from pathlib import Path

import pytest

from jobs.exit_codes import DONE, FAILED, STOPPED
from jobs.local.executor import ExitStatus
from jobs.node import task_file, training_task
from jobs.node.task_file import Run, RunTask
from pipeline.runs.folder import Failure, Heartbeat, RunFolder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the file of a task with two runs."""
    runs = (Run("a1", "mel-0"), Run("a2", "mel-0"))
    task = RunTask(work=str(tmp_path), runs=runs, device="cpu", threads=1)
    return task_file.write_task(task, tmp_path)


def causes(work: Path) -> list[str]:
    failures = [RunFolder(work / "runs" / name).failure() for name in ("a1", "a2")]
    return [failure.cause if failure else "" for failure in failures]


def test_a_run_whose_process_was_killed_gets_a_failure_without_traceback(tmp_path, file):
    training_task.record_silent_failure(ExitStatus(file, -9), tmp_path)
    failure = RunFolder(tmp_path / "runs" / "a1").failure()
    assert failure is not None
    assert (failure.cause, failure.traceback) == ("killed", "")
    assert failure.message.endswith(f"; see {file.with_suffix('.out')}")
    assert causes(tmp_path) == ["killed", ""]


@pytest.mark.parametrize("code", [DONE, FAILED, STOPPED])
def test_a_process_that_ended_by_itself_has_recorded_its_failure(tmp_path, file, code):
    training_task.record_silent_failure(ExitStatus(file, code), tmp_path)
    assert causes(tmp_path) == ["", ""]


def test_the_failure_goes_to_the_first_run_without_a_result_or_a_live_process(tmp_path, file):
    first = RunFolder(tmp_path / "runs" / "a1")
    first.finish([])
    training_task.record_silent_failure(ExitStatus(file, 3), tmp_path)
    assert causes(tmp_path) == ["", "code error"]
    first.write_heartbeat(Heartbeat())
    first.write_failure(Failure(cause="timeout", message="of an earlier job", job="11"))
    training_task.record_silent_failure(ExitStatus(file, -9), tmp_path)
    assert causes(tmp_path) == ["timeout", "code error"]  # this process trains the first run
    first.write_heartbeat(Heartbeat(status="stopped"))
    training_task.record_silent_failure(ExitStatus(file, -9), tmp_path)
    assert causes(tmp_path) == ["killed", "code error"]


def test_a_killed_process_of_a_job_without_memory_ran_out_of_it(tmp_path, file, monkeypatch):
    monkeypatch.setattr(training_task, "job_ran_out_of_memory", lambda: True)
    training_task.record_silent_failure(ExitStatus(file, -9), tmp_path)
    assert causes(tmp_path) == ["out of memory", ""]
