"""Forks of this process, which have already imported what a task needs.

In:   a task file.   Out: a child process with the methods of `subprocess.Popen`.
Not here: which task starts when (jobs/local/executor.py), the task (jobs/launch/tasks.py).

Starting Python and importing takes as long as the features of half an hour of speech.
"""

import gc
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.host import thread_count


def can_fork() -> bool:
    """Return whether this process has one thread, as far as the system reports it.

    A fork keeps only the thread that forked; a lock held by any other thread is never released.
    """
    return thread_count() == 1


class ForkedProcess:
    """A fork that runs one task; its exit code is what `run(task)` returns.

    Both output streams go to the file `output`. `environment` is added to that of this process.
    """

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
    # The parent's handlers would set a flag that nothing in this process reads.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    gc.freeze()  # else garbage collection writes to every page shared with the parent
    with output.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(environment)
    raise SystemExit(run(task))
