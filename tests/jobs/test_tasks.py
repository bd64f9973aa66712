"""Tasks: a run that another process trains is left to it; one of a dead process is taken up."""

import os
import socket
import time
from pathlib import Path

import pytest

from jobs import claims, processes, runs, tasks
from jobs.plan import Run
from jobs.processes import StopRequest
from jobs.tasks import RunTask
from pipeline.files import write_json
from pipeline.training.run import Heartbeat, RunFolder

RUN = "0123456789ab"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "work" / "runs" / RUN)


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[Heartbeat | None]:
    """The heartbeat that others find while each run is trained."""
    found: list[Heartbeat | None] = []
    monkeypatch.setattr(runs, "_fit", lambda folder, *_: found.append(folder.heartbeat()))
    monkeypatch.setattr("jobs.claims.SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr("jobs.claims.SECONDS_BETWEEN_COUNTS", 0.05)
    monkeypatch.setattr("jobs.claims.SECONDS_UNTIL_STALE", 0.5)
    return found


def execute(folder: RunFolder) -> int:
    task = RunTask(
        work=str(folder.path.parents[1]), runs=(Run(RUN, "mel-0"),), device="cpu", threads=1
    )
    return tasks.execute(tasks.write(task, folder.path.parents[1]), StopRequest())


def test_a_run_that_another_process_trains_is_left_to_it(folder, fitted):
    with claims.holding(folder.path):
        folder.beat(Heartbeat(epoch=3))
        assert execute(folder) == processes.DONE
    assert fitted == []
    assert folder.heartbeat().epoch == 3
    assert folder.failure() is None
    assert f"left to process {os.getpid()}" in folder.log_file.read_text()


def test_a_run_is_claimed_before_the_seconds_that_importing_torch_takes(folder, fitted):
    folder.beat(Heartbeat(status="stopped", epoch=3, pid=1, host="elsewhere"))
    assert execute(folder) == processes.DONE
    (claim,) = fitted
    assert (claim.status, claim.pid, claim.host) == ("running", os.getpid(), socket.gethostname())
    assert claim.epoch == 3


def test_a_dead_node_keeps_a_requeued_job_for_a_while_only(folder, fitted):
    there = {"token": "0", "host": "node7", "pid": 1, "space": ""}
    write_json(folder.path / "claim" / "owner.json", there)
    folder.beat(Heartbeat(host="node7", pid=1, time=time.time() + 3600))  # its clock is fast
    began = time.monotonic()
    assert execute(folder) == processes.DONE
    assert len(fitted) == 1
    assert 0.5 <= time.monotonic() - began < 20


def test_a_failed_run_may_be_taken_up_while_its_process_goes_on_with_others(folder, monkeypatch):
    def fail(*_: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr(runs, "_fit", fail)
    assert execute(folder) == processes.FAILED
    assert folder.heartbeat().status == "stopped"
    assert folder.failure().message == "ValueError: no"
