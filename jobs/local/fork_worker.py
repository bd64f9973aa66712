"""Copies of this process, which have imported already what a task needs.

In:   a task file.   Out: a process, spoken to like a `subprocess.Popen`.
Not here: who is given which task (local.py), the task itself (tasks.py).

Starting Python and importing takes as long as the features of half an hour of speech; with torch,
as a short run.
"""

import gc
import multiprocessing
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

THREADS_FOLDER = Path("/proc/self/task")  # Linux names them there


def can_fork() -> bool:
    """A copy has one thread: whoever waits for another of the original waits for ever."""
    return THREADS_FOLDER.exists() and len(list(THREADS_FOLDER.iterdir())) == 1


class ForkedProcess:
    def __init__(
        self,
        run: Callable[[Path], int],
        task: Path,
        output: Path,
        environment: Mapping[str, str],
    ) -> None:
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_run_in_fork, args=(run, task, output, environment))
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._process.name), timeout or 0.0)
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _run_in_fork(
    run: Callable[[Path], int], task: Path, output: Path, environment: Mapping[str, str]
) -> None:
    gc.freeze()  # or collecting would write to every page that is shared with the original
    with output.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(environment)
    raise SystemExit(run(task))
