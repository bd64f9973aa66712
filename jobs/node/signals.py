"""Signals: a stop signal sets a flag, which a task reads between two steps.

In:   SIGTERM, SIGINT, SIGUSR2 or SIGBREAK, or the exit of the parent process.
Out:  a `StopRequest`.
Not here: saving the state and ending (training_task.py, pipeline/training/loop/trainer.py).
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from jobs.local.processes import PARENT_PID_VARIABLE
from pipeline.host import is_alive

# SLURM sends SIGUSR2 before the time limit. Windows has SIGBREAK instead.
STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR2", "SIGBREAK")


class StopRequest:
    """A flag: calling it returns whether this process should save its state and end."""

    def __init__(self, parent: int | None = None) -> None:
        self.signal: int | None = None
        self._parent, self._initial_ppid = parent, os.getppid()

    def __call__(self) -> bool:
        return self.signal is not None or self._parent_died()

    def handle_signal(self, number: int, frame: FrameType | None = None) -> None:
        self.signal = number

    def _parent_died(self) -> bool:
        """Return whether the parent process has exited, so that nobody waits for this one.

        On Unix a process gets another parent then, while the old pid may exist for some time. On
        Windows getppid stays the same, and may be the pid of a launcher between the two.
        """
        if self._parent is None:
            return False
        return os.getppid() != self._initial_ppid or not is_alive(self._parent)


def parent_pid() -> int:
    """Return the pid of the process that started this task, as its environment names it."""
    return int(os.environ.get(PARENT_PID_VARIABLE, os.getppid()))


@contextmanager
def catch_stop_signals(parent: int | None = None) -> Iterator[StopRequest]:
    """Set a flag on stop signals for the length of the block; then restore the former handlers."""
    stop = StopRequest(parent)
    numbers = [
        number for name in STOP_SIGNALS if (number := getattr(signal, name, None)) is not None
    ]
    former = {number: signal.signal(number, stop.handle_signal) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
