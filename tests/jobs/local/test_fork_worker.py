"""Copies: a task in a copy of a process of one thread, told like any other child.

Each in a Python of its own: the one of the tests has threads, and is never copied.
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

pytestmark = pytest.mark.skipif(
    not fork_worker.THREADS_FOLDER.exists(), reason="only Linux names threads"
)

COPYING = """
import json, os, signal, sys, threading, time
from pathlib import Path
from jobs.commands import sweep
from jobs.launch.entrypoint import run_child
from jobs.local import fork_worker as copies
task = Path(sys.argv[1])
"""


def script(body: str, *words: Path) -> dict:
    """What it says, in a process that plans as `jobs.cli` has it: without NumPy's threads."""
    ended = subprocess.run(
        [sys.executable, "-c", COPYING + body, *map(str, words)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return json.loads(ended.stdout)


def test_what_a_process_that_plans_has_imported_starts_no_thread(tmp_path):
    assert script("print(json.dumps(copies.possible()))", tmp_path) is True


def test_a_process_with_a_second_thread_is_not_copied(tmp_path):
    body = """
ended = threading.Event()
threading.Thread(target=ended.wait).start()
print(json.dumps(copies.possible()))
ended.set()
"""
    assert script(body, tmp_path) is False


def test_a_copy_executes_its_task_and_its_code_and_last_words_are_told(tmp_path):
    missing = Slice(str(tmp_path / "manifest.jsonl"), 0, ("mel-0",))
    task = task_file.write_task(FeatureTask(work=str(tmp_path), slices=(missing,)), tmp_path)
    body = """
copy = copies.Copy(run_child, task, task.with_suffix(".out"), {"BLANKSLATE_DEBUG": ""})
print(json.dumps([copy.wait(30), copy.poll()]))
"""
    assert script(body, task) == [2, 2]
    said = task.with_suffix(".out").read_text()
    assert said.startswith("blankslate: ")
    assert str(tmp_path / "manifest.jsonl") in said


def test_a_copy_that_was_killed_says_so(tmp_path):
    """At a task that is a named pipe, which nobody writes."""
    os.mkfifo(tmp_path / "task.json")
    body = """
copy = copies.Copy(run_child, task, task.with_suffix(".out"), {})
running = copy.poll()
try:
    copy.wait(0.1)
except copies.subprocess.TimeoutExpired:
    copy.kill()
print(json.dumps([running, copy.wait(30)]))
"""
    assert script(body, tmp_path / "task.json") == [None, -signal.SIGKILL]
