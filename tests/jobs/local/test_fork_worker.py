"""Tasks in forks of a process with one thread.

Each test starts a new Python, because the Python that runs the tests has more threads.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.node import task_file
from jobs.node.task_file import FeatureTask, Slice
from pipeline.host import thread_count

pytestmark = pytest.mark.skipif(
    thread_count() is None, reason="only Linux reports the number of threads"
)

IMPORTS = """
import json, os, signal, sys, threading, time
from pathlib import Path
from jobs.commands import sweep
from jobs.launch.entrypoint import run_child
from jobs.local import fork_worker
task = Path(sys.argv[1])
"""


def script(body: str, *words: Path) -> dict:
    """Return what a new Python prints; NumPy starts no threads there, as in a real command."""
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTS + body, *map(str, words)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return json.loads(ended.stdout)


def test_the_imports_of_the_sweep_command_start_no_thread(tmp_path):
    assert script("print(json.dumps(fork_worker.can_fork()))", tmp_path) is True


def test_a_process_with_a_second_thread_cannot_fork(tmp_path):
    body = """
ended = threading.Event()
threading.Thread(target=ended.wait).start()
print(json.dumps(fork_worker.can_fork()))
ended.set()
"""
    assert script(body, tmp_path) is False


def test_a_fork_runs_its_task_and_its_exit_code_and_output_are_kept(tmp_path):
    missing = Slice(str(tmp_path / "manifest.jsonl"), 0, ("mel-0",))
    task = task_file.write_task(FeatureTask(work=str(tmp_path), slices=(missing,)), tmp_path)
    body = """
environment = {"BLANKSLATE_DEBUG": ""}
child = fork_worker.ForkedProcess(run_child, task, task.with_suffix(".out"), environment)
print(json.dumps([child.wait(30), child.poll()]))
"""
    assert script(body, task) == [2, 2]
    printed = task.with_suffix(".out").read_text()
    assert printed.startswith("blankslate: ")
    assert str(tmp_path / "manifest.jsonl") in printed


def test_a_killed_fork_reports_the_signal(tmp_path):
    """Kill it while it reads its task from a named pipe that nothing writes to."""
    os.mkfifo(tmp_path / "task.json")
    body = """
child = fork_worker.ForkedProcess(run_child, task, task.with_suffix(".out"), {})
running = child.poll()
try:
    child.wait(0.1)
except fork_worker.subprocess.TimeoutExpired:
    child.kill()
print(json.dumps([running, child.wait(30)]))
"""
    assert script(body, tmp_path / "task.json") == [None, -signal.SIGKILL]


def test_a_fork_has_its_environment_and_both_output_streams_in_its_file(tmp_path):
    body = """
def run(task):
    os.write(1, os.environ["WORD"].encode())
    os.write(2, b" error")
    return 0
child = fork_worker.ForkedProcess(run, task, task.with_suffix(".out"), {"WORD": "given"})
print(json.dumps(child.wait(30)))
"""
    assert script(body, tmp_path / "task.json") == 0
    assert (tmp_path / "task.out").read_text() == "given error"


def test_a_fork_does_not_inherit_the_signal_handlers_of_its_parent(tmp_path):
    body = """
signal.signal(signal.SIGTERM, lambda number, frame: None)  # as a parent that stops later
def run(task):
    task.touch()
    time.sleep(60)
child = fork_worker.ForkedProcess(run, task, task.with_suffix(".out"), {})
while not task.exists():
    time.sleep(0.01)
child.terminate()
print(json.dumps(child.wait(30)))
"""
    assert script(body, tmp_path / "task.json") == -signal.SIGTERM
