"""Execution of tasks: a run of a live process is left to it, one of a dead process continues."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jobs import exit_codes
from jobs.launch import entrypoint
from jobs.node import failures, folder_lock, run_training, task_file, training_task, usage
from jobs.node.signals import StopRequest
from jobs.node.task_file import Run, RunTask
from pipeline.files import write_json
from pipeline.host import thread_count
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


PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
task = Path(sys.argv[2])
run = json.loads(task.read_text())["runs"][0]["run_id"]
folder = Path(json.loads(task.read_text())["work"]) / "runs" / run
def stop(number, frame):
    (folder / "saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
folder.mkdir(parents=True)
(folder / "began").write_text(json.dumps([time.time(), os.environ["OMP_NUM_THREADS"]]))
if run == "dies":
    os.kill(os.getpid(), 9)
time.sleep(60 if run.startswith("long") else 0.4)
deadline = time.monotonic() + 60  # for b, whose turn comes while a runs
while run == "a" and not (folder.parent / "b" / "began").exists() and time.monotonic() < deadline:
    time.sleep(0.02)
(folder / "ended").write_text(str(time.time()))
"""


@pytest.fixture
def side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`side_by_side(stop, *run ids)`: two at once, in processes whose program is known here."""
    code = tmp_path / "code"
    (code / "jobs").mkdir(parents=True)
    (code / "jobs" / "__init__.py").touch()
    (code / "jobs" / "__main__.py").write_text(PROGRAM)
    monkeypatch.setattr(training_task, "REPOSITORY_ROOT", code)
    monkeypatch.setattr(training_task, "_import_before_fork", lambda: None)
    monkeypatch.setenv(usage.QUEUE_WAIT_VARIABLE, "0")  # is set, and so set back at the end
    monkeypatch.setattr("jobs.local.fork_worker.can_fork", lambda: False)

    def execute(stop: StopRequest, *names: str) -> int:
        made = tuple(Run(name, "mel-0") for name in names)
        task = RunTask(work=str(tmp_path), runs=made, device="cpu", threads=3, at_once=2)
        return entrypoint.execute_task(task_file.write_task(task, tmp_path / "tasks"), stop)

    return execute


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL to send")
def test_runs_share_a_job_side_by_side_and_one_that_dies_stops_no_other(tmp_path, side_by_side):
    assert side_by_side(StopRequest(), "a", "dies", "b", "c") == exit_codes.FAILED
    times = {}
    for name in ("a", "b", "c"):
        run = tmp_path / "runs" / name
        began, threads = json.loads((run / "began").read_text())
        assert threads == "3"
        times[name] = (began, float((run / "ended").read_text()))
    for moment, _ in times.values():
        assert sum(began <= moment < ended for began, ended in times.values()) <= 2
    assert times["b"][0] < times["a"][1], "they ran one after another"
    died = RunFolder(tmp_path / "runs" / "dies")
    assert died.failure().cause == "killed"
    assert RunFolder(tmp_path / "runs" / "a").failure() is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_a_signal_to_the_job_is_passed_on_to_the_runs_beside_each_other(tmp_path, side_by_side):
    stop = StopRequest()
    began = [tmp_path / "runs" / name / "began" for name in ("long-a", "long-b")]

    def warn() -> None:
        while not all(path.exists() for path in began):
            time.sleep(0.05)
        stop.handle_signal(signal.SIGUSR2)

    threading.Thread(target=warn).start()
    assert side_by_side(stop, "long-a", "long-b", "c") == exit_codes.STOPPED
    assert all((path.parent / "saved").exists() for path in began)
    assert not (tmp_path / "runs" / "c").exists()
    assert not list(tmp_path.glob("runs/*/failure.json"))


FORKS = """
import json, os, sys
from pathlib import Path
from jobs.launch import entrypoint
from jobs.node import run_training, task_file
from jobs.node import usage
from jobs.node.signals import StopRequest
from jobs.node.task_file import Run

def fit(folder, *_):
    ready = "pipeline.training.loop.trainer" in sys.modules
    found = {"pid": os.getpid(), "ready": ready, "waited": os.environ[usage.QUEUE_WAIT_VARIABLE]}
    (folder.path / "found").write_text(json.dumps(found))
    if folder.run_id == "dies":
        os.kill(os.getpid(), 9)

run_training._fit = fit
work = sys.argv[1]
made = tuple(Run(name, "mel-0") for name in ("a", "dies", "b"))
task = task_file.RunTask(work=work, runs=made, device="cpu", threads=2)
sys.exit(entrypoint.execute_task(task_file.write_task(task, Path(work) / "tasks"), StopRequest()))
"""


@pytest.mark.skipif(thread_count() is None, reason="only Linux reports the number of threads")
def test_a_killed_run_does_not_stop_the_next_ones_and_torch_is_imported_once(tmp_path):
    """In a new Python, as SLURM starts it: the Python of the tests has threads."""
    ended = subprocess.run([sys.executable, "-c", FORKS, str(tmp_path)], check=False, timeout=120)
    assert ended.returncode == exit_codes.FAILED
    found = {
        name: json.loads((tmp_path / "runs" / name / "found").read_text())
        for name in ("a", "dies", "b")
    }
    assert len({each["pid"] for each in found.values()}) == 3
    assert all(each["ready"] for each in found.values())
    assert len({each["waited"] for each in found.values()}) == 1  # as long as their job
    failures = {name: RunFolder(tmp_path / "runs" / name).failure() for name in found}
    assert failures["dies"].cause == "killed"
    assert (failures["a"], failures["b"]) == (None, None)
