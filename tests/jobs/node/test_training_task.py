"""Training tasks: runs beside each other, and the failure of a process that recorded none."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.exit_codes import DONE, FAILED, STOPPED
from jobs.local.executor import ExitStatus
from jobs.node import task_file, training_task, usage
from jobs.node.signals import StopRequest
from jobs.node.task_file import Run, RunTask
from pipeline.host import thread_count
from pipeline.runs.folder import Failure, Heartbeat, RunFolder, Usage


def run(task: RunTask, folder: Path, stop: StopRequest) -> int:
    return training_task.run_training_task(task, task_file.write_task(task, folder), stop)


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
def test_a_process_that_exits_by_itself_records_its_own_failure(tmp_path, file, code):
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


def test_a_killed_process_of_a_job_that_ran_out_of_memory_gets_that_cause(
    tmp_path, file, monkeypatch
):
    monkeypatch.setattr(training_task, "job_ran_out_of_memory", lambda: True)
    training_task.record_silent_failure(ExitStatus(file, -9), tmp_path)
    assert causes(tmp_path) == ["out of memory", ""]


def test_a_task_has_waited_since_its_submission_or_the_end_of_its_last_attempt(
    tmp_path, monkeypatch
):
    monkeypatch.delenv(usage.QUEUE_WAIT_VARIABLE, raising=False)
    waited = []

    def train_run(*words: Any, **_: Any) -> int:
        waited.append(words[3].waited)
        return DONE

    monkeypatch.setattr(training_task, "train_run", train_run)
    task = RunTask(work=str(tmp_path), runs=(Run("a1", "mel-0"),), device="cpu", threads=1)
    path = task_file.write_task(task, tmp_path)
    now = time.time()
    os.utime(path, (now - 1000, now - 1000))
    assert training_task.run_training_task(task, path, StopRequest()) == DONE
    earlier = Usage(began=now - 500, seconds=400.0, cpu_seconds=1.0)
    RunFolder(tmp_path / "runs" / "a1").write_usages([earlier])
    assert training_task.run_training_task(task, path, StopRequest()) == DONE
    assert waited == [pytest.approx(1000, abs=60), pytest.approx(100, abs=60)]


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
deadline = time.monotonic() + 60  # a waits until b has started
while run == "a" and not (folder.parent / "b" / "began").exists() and time.monotonic() < deadline:
    time.sleep(0.02)
(folder / "ended").write_text(str(time.time()))
"""


@pytest.fixture
def side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return `side_by_side(stop, *run_ids)`: train two at once; each process executes PROGRAM."""
    code = tmp_path / "code"
    (code / "jobs").mkdir(parents=True)
    (code / "jobs" / "__init__.py").touch()
    (code / "jobs" / "__main__.py").write_text(PROGRAM)
    monkeypatch.setattr(training_task, "REPOSITORY_ROOT", code)
    monkeypatch.setattr(training_task, "_import_before_fork", lambda: None)
    monkeypatch.setenv(usage.QUEUE_WAIT_VARIABLE, "0")  # and restored at the end
    monkeypatch.setattr("jobs.local.fork_worker.can_fork", lambda: False)

    def execute(stop: StopRequest, *names: str) -> int:
        made = tuple(Run(name, "mel-0") for name in names)
        task = RunTask(work=str(tmp_path), runs=made, device="cpu", threads=3, at_once=2)
        return run(task, tmp_path / "tasks", stop)

    return execute


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL to send")
def test_runs_share_a_job_side_by_side_and_one_that_dies_stops_no_other(tmp_path, side_by_side):
    RunFolder(tmp_path / "runs" / "done").finish([])
    assert side_by_side(StopRequest(), "a", "dies", "done", "b", "c") == FAILED
    assert not (tmp_path / "runs" / "done" / "began").exists()
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
    assert side_by_side(stop, "long-a", "long-b", "c") == STOPPED
    assert all((path.parent / "saved").exists() for path in began)
    assert not (tmp_path / "runs" / "c").exists()
    assert not list(tmp_path.glob("runs/*/failure.json"))


FORKS = """
import json, os, sys
from pathlib import Path
from jobs.node import run_training, task_file, training_task, usage
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
path = task_file.write_task(task, Path(work) / "tasks")
sys.exit(training_task.run_training_task(task, path, StopRequest()))
"""


@pytest.mark.skipif(thread_count() is None, reason="only Linux reports the number of threads")
def test_a_killed_run_does_not_stop_the_next_ones_and_torch_is_imported_once(tmp_path):
    """Starts a new Python, as SLURM does: the Python of the tests has threads."""
    ended = subprocess.run([sys.executable, "-c", FORKS, str(tmp_path)], check=False, timeout=120)
    assert ended.returncode == FAILED
    found = {
        name: json.loads((tmp_path / "runs" / name / "found").read_text())
        for name in ("a", "dies", "b")
    }
    assert len({each["pid"] for each in found.values()}) == 3
    assert all(each["ready"] for each in found.values())
    assert len({each["waited"] for each in found.values()}) == 1  # the queue wait of their job
    failures = {name: RunFolder(tmp_path / "runs" / name).failure() for name in found}
    assert failures["dies"].cause == "killed"
    assert (failures["a"], failures["b"]) == (None, None)
