"""Processes: whether one lives, how one is asked to stop, which one owns a sweep here.

In:   a pid; SIGTERM, SIGINT, SIGUSR2, or the death of the process that started this one.
Out:  `alive`, `owner`; a `StopRequest`, which training looks at between steps.
Not here: starting them (local.py).
"""

import ctypes
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.files import InputError, read_json, write_json

OWNER_TIMEOUT_S = 60

# os.kill(pid, 0) asks on Unix and kills on Windows, so Windows is asked in its own way.
STILL_ACTIVE = 259  # Windows
QUERY_LIMITED_INFORMATION = 0x1000

if sys.platform == "win32":

    def is_alive(pid: int) -> bool:
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(QUERY_LIMITED_INFORMATION, False, pid)
        if not handle:
            return False
        code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return code.value == STILL_ACTIVE

else:

    def _is_zombie(pid: int) -> bool:
        """Killed, but not yet waited for by whoever started it; Linux tells."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] == "Z"

    def is_alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True  # somebody else's
        return not _is_zombie(pid)


def is_abandoned(partial: Path) -> bool:
    """Whether `files.replacing` began this file in a process of this host that is gone."""
    found = re.search(r"\.(?P<host>[^/]+)-(?P<pid>\d+)-[0-9a-f]{8}\.partial$", partial.name)
    if not found or not found["host"].endswith(socket.gethostname()):
        return False
    return not is_alive(int(found["pid"]))


def owner_pid(file: Path) -> int | None:
    """The living process that owns what `file` stands for.

    A pid is soon another process's, so the owner also touches the file while it lives.
    """
    try:
        content, touched = read_json(file), file.stat().st_mtime
        host, pid = str(content["host"]), int(content["pid"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # nobody, or half a file from a power cut
    here = host == socket.gethostname()
    fresh = time.time() - touched < OWNER_TIMEOUT_S
    return pid if here and fresh and is_alive(pid) else None


@contextmanager
def own_sweep(file: Path) -> Iterator[None]:
    """One process at a time deals the tasks of a sweep on this machine."""
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
