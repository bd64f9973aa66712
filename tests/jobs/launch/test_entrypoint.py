"""Execution of tasks: a run of a live process is left to it, one of a dead process continues."""

import os
import socket
import time
from pathlib import Path

import pytest

from jobs import exit_codes
from jobs.launch import entrypoint
from jobs.node import failures, folder_lock, run_training, task_file
from jobs.node.signals import StopRequest
from jobs.node.task_file import Run, RunTask
from pipeline.files import write_json
from pipeline.runs.folder import Heartbeat, RunFolder

RUN = "0123456789ab"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "work" / "runs" / RUN)


@pytest.fixture
def heartbeats_at_fit(monkeypatch: pytest.MonkeyPatch) -> list[Heartbeat | None]:
    """The heartbeat that others find while each run is trained."""
    found: list[Heartbeat | None] = []
    monkeypatch.setattr(run_training, "_fit", lambda folder, *_: found.append(folder.heartbeat()))
    monkeypatch.setattr("jobs.node.folder_lock.LOCK_POLL_INTERVAL_S", 0.01)
    monkeypatch.setattr("jobs.node.folder_lock.LOCK_REFRESH_INTERVAL_S", 0.05)
    monkeypatch.setattr("jobs.node.folder_lock.STALE_LOCK_TIMEOUT_S", 0.5)
    return found


def execute(folder: RunFolder) -> int:
    task = RunTask(
        work=str(folder.path.parents[1]), runs=(Run(RUN, "mel-0"),), device="cpu", threads=1
    )
    return entrypoint.execute_task(
        task_file.write_task(task, folder.path.parents[1]), StopRequest()
    )


def test_a_run_that_another_process_trains_is_left_to_it(folder, heartbeats_at_fit):
    with folder_lock.acquire(folder.path):
        folder.write_heartbeat(Heartbeat(epoch=3))
        assert execute(folder) == exit_codes.DONE
    assert heartbeats_at_fit == []
    assert folder.heartbeat().epoch == 3
    assert folder.failure() is None
    assert f"left to process {os.getpid()}" in folder.log_file.read_text()


def test_a_run_shows_its_process_before_torch_is_imported(folder, heartbeats_at_fit):
    folder.write_heartbeat(Heartbeat(status="stopped", epoch=3, pid=1, host="elsewhere"))
    assert execute(folder) == exit_codes.DONE
    (found,) = heartbeats_at_fit
    assert (found.status, found.pid, found.host) == ("running", os.getpid(), socket.gethostname())
    assert found.epoch == 3


def test_the_lock_of_a_failed_node_delays_a_requeued_job_only_for_a_while(
    folder, heartbeats_at_fit
):
    there = {"token": "0", "host": "node7", "pid": 1, "space": ""}
    write_json(folder.path / "claim" / "owner.json", there)
    folder.write_heartbeat(
        Heartbeat(host="node7", pid=1, time=time.time() + 3600)
    )  # its clock is fast
    began = time.monotonic()
    assert execute(folder) == exit_codes.DONE
    assert len(heartbeats_at_fit) == 1
    assert 0.5 <= time.monotonic() - began < 20


def test_a_failed_run_may_be_taken_up_while_its_process_goes_on_with_others(folder, monkeypatch):
    def fail(*_: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr(run_training, "_fit", fail)
    assert execute(folder) == exit_codes.FAILED
    assert folder.heartbeat().status == "stopped"
    assert folder.failure().message == "ValueError: no"


def test_a_run_whose_reader_was_killed_for_its_memory_ran_out_of_it(folder, monkeypatch):
    class WorkerDiedError(RuntimeError):
        """Has the name of the trainer's error."""

    def fail(*_: object) -> None:
        raise WorkerDiedError("a worker was killed by signal 9")

    monkeypatch.setattr(run_training, "_fit", fail)
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    assert execute(folder) == exit_codes.FAILED
    assert (folder.failure().cause, folder.failure().node) == ("killed", "node7")
    folder.clear_failure()
    monkeypatch.setattr(failures, "job_ran_out_of_memory", lambda: True)
    assert execute(folder) == exit_codes.FAILED
    assert folder.failure().cause == "out of memory"
    assert "signal 9" in folder.failure().message


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_known_by_the_exit_code_and_stops_the_tasks_that_wait(
    folder, monkeypatch, fake_slurm
):
    cancelled = fake_slurm("scancel")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setattr(run_training, "_fit", full_disk)
    monkeypatch.setattr(RunFolder, "write_failure", full_disk)
    task = RunTask(
        work=str(folder.path.parents[1]), runs=(Run(RUN, "mel-0"),), device="cpu", threads=1
    )
    path = task_file.write_task(task, folder.path.parents[1])
    assert entrypoint.run_in_slurm(path, lambda: None) == exit_codes.DISK_FULL
    assert cancelled.read_text().split() == ["--state=PENDING", "12"]


def test_another_disk_than_that_of_the_work_folder_stops_no_other_task(folder, monkeypatch):
    monkeypatch.setattr(run_training, "_fit", full_disk)  # without the path of a file
    assert execute(folder) == exit_codes.FAILED
    assert folder.failure().cause == "disk full"
