"""Signals: a request to stop becomes a flag, which a task reads between two steps.

In:   SIGTERM, SIGINT, SIGUSR2, SIGBREAK; the death of the process that started this one.
Out:  a `StopRequest`.
Not here: saving and ending (training_task.py, pipeline/training/loop/trainer.py).
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from jobs.local.executor import PARENT_PID_VARIABLE
from pipeline.host import is_alive

# SIGUSR2 announces SLURM's time limit. Windows lacks it and has SIGBREAK.
STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR2", "SIGBREAK")


class StopRequest:
    def __init__(self, parent: int | None = None) -> None:
        self.signal: int | None = None
        self._parent, self._initial_ppid = parent, os.getppid()

    def __call__(self) -> bool:
        return self.signal is not None or self._parent_died()

    def handle_signal(self, number: int, frame: FrameType | None = None) -> None:
        self.signal = number

    def _parent_died(self) -> bool:
        """A killed dealer can deal no further tasks.

        Unix gives its children another parent, and may keep its number for a while. Windows goes
        on naming the dead one, and what started this process may be a launcher in between.
        """
        if self._parent is None:
            return False
        return os.getppid() != self._initial_ppid or not is_alive(self._parent)


def parent_pid() -> int:
    """The process that deals this one its task, as it said in the environment."""
    return int(os.environ.get(PARENT_PID_VARIABLE, os.getppid()))


@contextmanager
def catch_stop_signals(parent: int | None = None) -> Iterator[StopRequest]:
    """Within the block signals only set the flag; afterwards the former handlers stand again."""
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
