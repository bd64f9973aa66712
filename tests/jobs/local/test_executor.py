"""Tasks on this machine: never more than slots; each exit is reported; Ctrl-C stops all.

The code snapshot here is a package `jobs` of a few lines, so the tests decide what a task does.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jobs.local import executor
from jobs.local.executor import ExitStatus, RunningTask, Slots
from jobs.profile import LocalProfile

PROGRAM = """
import json, os, signal, sys, time
task = json.load(open(sys.argv[2]))
def stop(number, frame):
    open(sys.argv[2] + ".stopped", "w").close()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
started = time.time()
open(sys.argv[2] + ".started", "w").close()
time.sleep(task["seconds"])
names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "BLANKSLATE_PARENT_PID")
variables = {name: os.environ.get(name) for name in names}
result = {"started": started, "ended": time.time(), **variables}
json.dump(result, open(sys.argv[2] + ".result", "w"))
print("printed at the end", flush=True)
print("and an error", file=sys.stderr)
sys.exit(task["code"])
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code" / "jobs").mkdir(parents=True)
    (tmp_path / "code" / "jobs" / "__init__.py").touch()
    (tmp_path / "code" / "jobs" / "__main__.py").write_text(PROGRAM)
    return tmp_path / "code"


def task(folder: Path, index: int, seconds: float = 0.0, code: int = 0) -> Path:
    path = folder / f"task-{index}.json"
    path.write_text(json.dumps({"seconds": seconds, "code": code}))
    return path


def result_of(file: Path) -> dict:
    return json.loads(file.with_name(file.name + ".result").read_text())


def run(files: list[Path], slots: Slots, code: Path) -> list[ExitStatus]:
    ended: list[ExitStatus] = []
    executor.run_tasks_interruptible(files, slots, code, lambda running: None, ended.append)
    return ended


def test_each_task_runs_once_and_its_exit_code_is_reported(tmp_path, code):
    files = [task(tmp_path, index, code=index) for index in range(3)]
    ended = run(files, Slots(2, 1), code)
    assert sorted(ended, key=lambda each: each.code) == [
        ExitStatus(file, index) for index, file in enumerate(files)
    ]
    assert executor.output_path(files[0]).read_text() == "printed at the end\nand an error\n"


def test_there_are_never_more_tasks_than_slots(tmp_path, code):
    files = [task(tmp_path, index, seconds=0.4) for index in range(5)]
    most = []
    executor.run_tasks_interruptible(
        files, Slots(2, 1), code, lambda r: most.append(len(r)), lambda e: None
    )
    assert max(most) == 2
    times = [result_of(file) for file in files]
    for moment in (each["started"] for each in times):
        assert sum(each["started"] <= moment < each["ended"] for each in times) <= 2


def test_each_slot_has_its_threads_and_its_gpu(tmp_path, code):
    files = [task(tmp_path, index, seconds=0.3) for index in range(2)]
    run(files, Slots(2, 3, ("0", "GPU-b")), code)
    assert {result_of(file)["CUDA_VISIBLE_DEVICES"] for file in files} == {"0", "GPU-b"}
    assert {result_of(file)["OMP_NUM_THREADS"] for file in files} == {"3"}
    assert {result_of(file)["BLANKSLATE_PARENT_PID"] for file in files} == {str(os.getpid())}


def test_more_slots_than_gpus_share_the_gpus(tmp_path):
    slots = Slots(3, 1, ("0", "1"))
    gpus = [slots.environment(slot, tmp_path)["CUDA_VISIBLE_DEVICES"] for slot in range(3)]
    assert gpus == ["0", "1", "0"]


def test_a_stop_starts_no_task(tmp_path, code):
    file = task(tmp_path, 0)
    nothing = lambda _: None  # noqa: E731
    executor.run_tasks([file], Slots(1, 1), code, nothing, nothing, stop=lambda: True)
    assert not executor.output_path(file).exists()


def test_the_former_handler_of_sigterm_is_restored(tmp_path, code):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        run([task(tmp_path, 0)], Slots(1, 1), code)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("one_thread", [True, False])
def test_a_task_is_forked_if_this_process_has_one_thread(tmp_path, code, monkeypatch, one_thread):
    forked = []

    def fake_fork(run, file, *_):
        forked.append(file)
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(5)"])

    monkeypatch.setattr(executor, "ForkedProcess", fake_fork)
    monkeypatch.setattr(executor.fork_worker, "can_fork", lambda: one_thread)
    file = task(tmp_path, 0, code=4)
    assert run([file], Slots(1, 1, fork=hash), code) == [ExitStatus(file, 5 if one_thread else 4)]
    assert forked == ([file] if one_thread else [])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_children_gracefully_and_starts_no_more(tmp_path, code, number):
    files = [task(tmp_path, index, seconds=60) for index in range(3)]
    started = [file.with_name(file.name + ".started") for file in files]

    def interrupt() -> None:
        while not (started[0].exists() and started[1].exists()):
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run(files, Slots(2, 1), code)
    assert [f.with_name(f.name + ".stopped").exists() for f in files] == [True, True, False]
    assert not started[2].exists()


def test_slots_are_the_cpus_or_those_of_the_profile(monkeypatch):
    monkeypatch.setattr(executor, "available_cpus", lambda: 8)
    assert executor.slots_for_runs(LocalProfile(device="cpu")) == Slots(8, 1)
    assert executor.slots_for_runs(LocalProfile(device="cpu", slots=3)) == Slots(3, 2)
    assert executor.slots_for_runs(LocalProfile(device="cpu", slots=2, threads=1)) == Slots(2, 1)
    assert executor.slots_for_features(LocalProfile(), hash) == Slots(8, 1, fork=hash)
    assert executor.slots_for_features(LocalProfile(slots=3)) == Slots(3, 1)
    assert executor.slots_for_runs(LocalProfile(device="cpu", slots=9)) == Slots(9, 1)
    most = executor.MAX_UTTERANCES_TO_FORK
    assert executor.slots_for_features(LocalProfile(), hash, utterances=most).fork is hash
    many = most + 1
    assert executor.slots_for_features(LocalProfile(), hash, utterances=many) == Slots(
        8, 1, fork=None
    )


def test_each_visible_gpu_is_a_slot(monkeypatch):
    monkeypatch.setattr(executor, "available_cpus", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5,")
    assert executor.slots_for_runs(LocalProfile()) == Slots(2, 4, ("2", "5"))
    assert executor.slots_for_runs(LocalProfile(slots=4)) == Slots(4, 2, ("2", "5"))
    assert executor.slots_for_runs(LocalProfile(device="cpu")) == Slots(8, 1)


def test_gpus_are_those_of_nvidia_smi_if_no_variable_is_set(monkeypatch, fake_slurm):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert executor.visible_gpus("auto") == ()
    fake_slurm("nvidia-smi", "0\n1\n")
    assert executor.visible_gpus("auto") == ("0", "1")
    fake_slurm("nvidia-smi", "no driver", code=9)
    assert executor.visible_gpus("auto") == ()


SAVE_SLOWLY = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.6), sys.exit(3)))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_an_interrupt_that_make_repeats_kills_no_child():
    with subprocess.Popen([sys.executable, "-c", SAVE_SLOWLY], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        again = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        again.start()
        executor._stop_children([RunningTask(Path("a.json"), 0, child)])
        again.join()
    assert child.returncode == 3


IGNORE_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(30)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("limit_s", "interrupts"), [(0.2, 0), (60, 1)])
def test_a_child_that_does_not_stop_is_killed_at_the_limit_or_by_another_interrupt(
    monkeypatch, limit_s, interrupts
):
    monkeypatch.setattr(executor, "CHILD_STOP_TIMEOUT_S", limit_s)
    monkeypatch.setattr(executor, "INTERRUPT_DEBOUNCE_S", 0.1)
    with subprocess.Popen([sys.executable, "-c", IGNORE_SIGTERM], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        for _ in range(interrupts):
            threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
        executor._stop_children([RunningTask(Path("a.json"), 0, child)])
    assert child.returncode == -signal.SIGKILL
