"""Claims: one process at a time trains a run, though sweeps and terminals share it.

In:   heartbeats.   Out: whether one beats; the heartbeat of another process; a claim of one's own.
Not here: what is done about it (tasks.py, status.py); who deals a sweep's tasks (processes.py).
"""

import os
import socket
import time
from dataclasses import replace
from typing import Literal

from jobs.processes import StopRequest, alive
from pipeline.training.run import Heartbeat, RunFolder

SECONDS_OF_SILENCE = 600  # a heartbeat comes each second, but a first batch may take long
SECONDS_OF_SILENCE_ELSEWHERE = 120  # on another host nobody can look at the process
SECONDS_BETWEEN_LOOKS = 1.0


def beats(beat: Heartbeat) -> bool:
    """Whether the process of this heartbeat still trains the run."""
    if beat.status != "running":
        return False
    age = time.time() - beat.time
    if beat.host == socket.gethostname():
        return age < SECONDS_OF_SILENCE and alive(beat.pid)
    return age < SECONDS_OF_SILENCE_ELSEWHERE


def other(folder: RunFolder, stop: StopRequest) -> Heartbeat | None:
    """The heartbeat of another living process that trains this run.

    A job that is requeued when its node died finds the last heartbeat of that node, where nobody
    can look: one from another host counts when it moves on.
    """
    seen = folder.heartbeat()
    here = socket.gethostname()
    if seen is None or not beats(seen) or (seen.host, seen.pid) == (here, os.getpid()):
        return None
    if seen.host == here:
        return seen
    while beats(seen) and not stop():
        time.sleep(SECONDS_BETWEEN_LOOKS)
        now = folder.heartbeat() or seen
        if now.time != seen.time:
            return None if now.status == "stopped" else now
    return None


def mark(folder: RunFolder, status: Literal["running", "stopped"]) -> None:
    """This process claims the run, or lets it go; how far it is stays as it was."""
    before, own = folder.heartbeat() or Heartbeat(), Heartbeat(status=status)
    folder.beat(replace(before, status=status, host=own.host, pid=own.pid, time=own.time))
