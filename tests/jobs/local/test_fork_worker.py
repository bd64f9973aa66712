"""A task in a fork of a process with one thread, handled like any other child process.

Each test starts a new Python: the one of the tests has threads, so it cannot fork.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.local import fork_worker
from jobs.node import task_file
from jobs.node.task_file import FeatureTask, Slice
from pipeline.host import thread_count

pytestmark = pytest.mark.skipif(
    thread_count() is None, reason="only Linux reports the number of threads"
)

COPYING = """
import json, os, signal, sys, threading, time
from pathlib import Path
from jobs.commands import sweep
from jobs.launch.entrypoint import run_child
from jobs.local import fork_worker
task = Path(sys.argv[1])
"""


def script(body: str, *words: Path) -> dict:
    """Return what a new Python prints, started without NumPy's threads as a typed command is."""
    ended = subprocess.run(
        [sys.executable, "-c", COPYING + body, *map(str, words)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return json.loads(ended.stdout)


def test_what_a_process_that_plans_has_imported_starts_no_thread(tmp_path):
    assert script("print(json.dumps(fork_worker.can_fork()))", tmp_path) is True


def test_a_process_with_a_second_thread_is_not_copied(tmp_path):
    body = """
ended = threading.Event()
threading.Thread(target=ended.wait).start()
print(json.dumps(fork_worker.can_fork()))
ended.set()
"""
    assert script(body, tmp_path) is False


def test_a_copy_executes_its_task_and_its_code_and_last_words_are_told(tmp_path):
    missing = Slice(str(tmp_path / "manifest.jsonl"), 0, ("mel-0",))
    task = task_file.write_task(FeatureTask(work=str(tmp_path), slices=(missing,)), tmp_path)
    body = """
environment = {"BLANKSLATE_DEBUG": ""}
child = fork_worker.ForkedProcess(run_child, task, task.with_suffix(".out"), environment)
print(json.dumps([child.wait(30), child.poll()]))
"""
    assert script(body, task) == [2, 2]
    said = task.with_suffix(".out").read_text()
    assert said.startswith("blankslate: ")
    assert str(tmp_path / "manifest.jsonl") in said


def test_a_copy_that_was_killed_says_so(tmp_path):
    """Kill it while it reads its task from a named pipe that nobody writes."""
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
