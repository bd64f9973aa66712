"""Training tasks: the failure of a process that could not record one itself."""

from pathlib import Path

from jobs.local.executor import ExitStatus
from jobs.node import task_file, training_task
from jobs.node.task_file import Run, RunTask
from pipeline.runs.folder import RunFolder


def test_a_run_whose_process_was_killed_gets_a_failure_without_traceback(tmp_path: Path):
    task = RunTask(work=str(tmp_path), runs=(Run("a1", "mel-0"),), device="cpu", threads=1)
    file = task_file.write_task(task, tmp_path)
    training_task.record_silent_failure(ExitStatus(file, -9), tmp_path)
    failure = RunFolder(tmp_path / "runs" / "a1").failure()
    assert failure is not None
    assert (failure.cause, failure.traceback) == ("killed", "")
