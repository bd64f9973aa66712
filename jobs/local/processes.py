"""Processes of this host: which one runs a sweep.

In:   the owner file of a sweep.   Out: the pid of the owner.
Not here: whether a pid is alive (pipeline/host.py), starting processes (jobs/local/executor.py).
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.files import InputError, read_json, write_json
from pipeline.host import is_alive

OWNER_TIMEOUT_S = 60
# Environment variable of a child process: the pid of the process that started it.
PARENT_PID_VARIABLE = "BLANKSLATE_PARENT_PID"


def owner_pid(file: Path) -> int | None:
    """Return the pid of the running process of this host that owns `file`, or None.

    The system reuses pids, so the owner also touches the file while it runs, and a file older than
    OWNER_TIMEOUT_S has no owner.
    """
    try:
        content, touched = read_json(file), file.stat().st_mtime
        host, pid = str(content["host"]), int(content["pid"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # no file, or a damaged one after a power cut
    here = host == socket.gethostname()
    fresh = time.time() - touched < OWNER_TIMEOUT_S
    return pid if here and fresh and is_alive(pid) else None


@contextmanager
def own_sweep(file: Path) -> Iterator[None]:
    """Own the sweep during the block; raise InputError if another process of this host runs it."""
    if pid := owner_pid(file):
        raise InputError(
            f"{file}: process {pid} is running this sweep already; "
            f"make status shows it, make cancel stops it"
        )
    write_json(file, {"host": socket.gethostname(), "pid": os.getpid()})
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
