"""This machine: tasks as child processes, as many at once as there are slots.

In:   task files.   Out: how each ended.
Not here: what the processes do (tasks.py), what a person sees meanwhile (watching.py).
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from jobs import code_snapshot
from jobs.local import fork_worker
from jobs.local.fork_worker import Copy
from jobs.profile import Device, Local
from pipeline.host import cpus

# Environment variable of a child process: the pid of the process that started it.
DEALER = "BLANKSLATE_DEALER"


SECONDS_BETWEEN_LOOKS = 0.2
SHARE_OF_WAITING = 0.02  # of the time so far: short tasks are noticed sooner
MOST_COPIED = 20_000  # utterances, of 1.4 kB each: starting anew takes as long as their features
SECONDS_OF_ONE_INTERRUPT = 1.0  # make passes on what the whole group has got already
SECONDS_TO_STOP = 60  # a child saves at the next step boundary; one that hangs is killed


@dataclass
class Process:
    """One task under way."""

    task: Path
    slot: int
    child: subprocess.Popen[bytes] | Copy


@dataclass(frozen=True)
class Ended:
    task: Path
    code: int  # of the process; negative: the signal that killed it


@dataclass(frozen=True)
class Slots:
    """How many tasks at once, with how many threads, each on which GPU."""

    number: int
    threads: int
    gpus: tuple[str, ...] = ()
    # What a fork of this process calls with the task file; None: each task is a new Python.
    fork: Callable[[Path], int] | None = None

    def environment(self, slot: int, code: Path) -> dict[str, str]:
        variables = code_snapshot.environment(code, self.threads)
        if self.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return variables


def slots_for_runs(profile: Local) -> Slots:
    gpus = visible_gpus(profile.device)
    number = profile.slots or len(gpus) or cpus()
    return Slots(number, profile.threads or max(1, cpus() // number), gpus)


def slots_for_features(
    profile: Local, fork: Callable[[Path], int] | None = None, listed: int = 0
) -> Slots:
    """One process per CPU: decoding and the transform are single-threaded, and need no GPU.

    A fork holds the memory of this process, such as the `listed` utterances: with many of them
    each task gets a new Python instead.
    """
    return Slots(profile.slots or cpus(), threads=1, fork=fork if listed <= MOST_COPIED else None)


def visible_gpus(device: Device) -> tuple[str, ...]:
    if device == "cpu":
        return ()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(word.strip() for word in chosen.split(",") if word.strip())
    if not shutil.which("nvidia-smi"):
        return ()
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return tuple(answer.stdout.split())
    return ()


def run(
    files: Sequence[Path],
    slots: Slots,
    code: Path,
    look: Callable[[Sequence[Process]], None],
    ended: Callable[[Ended], None],
) -> None:
    """Run every task; `look` is called while they run, `ended` after each.

    Ctrl-C and SIGTERM stop the children at a step boundary, and travel on as KeyboardInterrupt.
    """
    former = signal.signal(signal.SIGTERM, _interrupt)
    try:
        deal(files, slots, code, look, ended)
    finally:
        signal.signal(signal.SIGTERM, former)


def deal(
    files: Sequence[Path],
    slots: Slots,
    code: Path,
    look: Callable[[Sequence[Process]], None],
    ended: Callable[[Ended], None],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Without an eye on signals: `stop` says when the children are to save and end."""
    waiting = deque(files)
    running: list[Process] = []
    began = time.monotonic()
    try:
        while (waiting or running) and not stop():
            free = sorted(set(range(slots.number)) - {process.slot for process in running})
            for slot in free[: len(waiting)]:
                task = waiting.popleft()
                environment = slots.environment(slot, code) | {DEALER: str(os.getpid())}
                running.append(Process(task, slot, _start(task, slots.fork, environment)))
            waited = time.monotonic() - began
            time.sleep(min(SECONDS_BETWEEN_LOOKS, max(0.005, SHARE_OF_WAITING * waited)))
            for process in list(running):
                if (status := process.child.poll()) is not None:
                    running.remove(process)
                    ended(Ended(process.task, status))
            look(running)
    finally:
        _stop(running)


def output_path(task: Path) -> Path:
    """What the process of a task printed; a crash before the run's own log is seen here."""
    return task.with_suffix(".out")


def _start(
    task: Path, fork: Callable[[Path], int] | None, environment: Mapping[str, str]
) -> subprocess.Popen[bytes] | Copy:
    output = output_path(task)
    if fork and fork_worker.possible():
        return Copy(fork, task, output, environment)
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "jobs", "task", str(task)],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def _stop(running: Sequence[Process]) -> None:
    """Ask, wait, then kill. On Windows the console has asked already, and terminate() kills."""
    if sys.platform != "win32":
        for process in running:
            process.child.terminate()
    asked = time.monotonic()
    for process in running:
        while process.child.poll() is None:
            try:
                process.child.wait(max(0.0, asked + SECONDS_TO_STOP - time.monotonic()))
            except KeyboardInterrupt:
                if time.monotonic() - asked > SECONDS_OF_ONE_INTERRUPT:  # a person's second Ctrl-C
                    process.child.kill()
            except subprocess.TimeoutExpired:
                process.child.kill()  # it hangs
                process.child.wait()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
