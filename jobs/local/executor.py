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
from jobs.local.fork_worker import ForkedProcess
from jobs.profile import Device, LocalProfile
from pipeline.host import available_cpus

# Environment variable of a child process: the pid of the process that started it.
PARENT_PID_VARIABLE = "BLANKSLATE_DEALER"


CHILD_POLL_INTERVAL_S = 0.2
POLL_SHARE_OF_ELAPSED = 0.02  # of the time so far: short tasks are noticed sooner
MAX_UTTERANCES_TO_FORK = (
    20_000  # utterances, of 1.4 kB each: starting anew takes as long as their features
)
INTERRUPT_DEBOUNCE_S = 1.0  # make passes on what the whole group has got already
CHILD_STOP_TIMEOUT_S = 60  # a child saves at the next step boundary; one that hangs is killed


@dataclass
class RunningTask:
    """One task under way."""

    task: Path
    slot: int
    child: subprocess.Popen[bytes] | ForkedProcess


@dataclass(frozen=True)
class ExitStatus:
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
        variables = code_snapshot.task_environment(code, self.threads)
        if self.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return variables


def slots_for_runs(profile: LocalProfile) -> Slots:
    gpus = visible_gpus(profile.device)
    number = profile.slots or len(gpus) or available_cpus()
    return Slots(number, profile.threads or max(1, available_cpus() // number), gpus)


def slots_for_features(
    profile: LocalProfile, fork: Callable[[Path], int] | None = None, utterances: int = 0
) -> Slots:
    """One process per CPU: decoding and the transform are single-threaded, and need no GPU.

    A fork holds the memory of this process, such as the `listed` utterances: with many of them
    each task gets a new Python instead.
    """
    return Slots(
        profile.slots or available_cpus(),
        threads=1,
        fork=fork if utterances <= MAX_UTTERANCES_TO_FORK else None,
    )


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


def run_tasks_interruptible(
    files: Sequence[Path],
    slots: Slots,
    code: Path,
    on_poll: Callable[[Sequence[RunningTask]], None],
    on_exit: Callable[[ExitStatus], None],
) -> None:
    """Run every task; `look` is called while they run, `ended` after each.

    Ctrl-C and SIGTERM stop the children at a step boundary, and travel on as KeyboardInterrupt.
    """
    previous_handler = signal.signal(signal.SIGTERM, _raise_keyboard_interrupt)
    try:
        run_tasks(files, slots, code, on_poll, on_exit)
    finally:
        signal.signal(signal.SIGTERM, previous_handler)


def run_tasks(
    files: Sequence[Path],
    slots: Slots,
    code: Path,
    on_poll: Callable[[Sequence[RunningTask]], None],
    on_exit: Callable[[ExitStatus], None],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Without an eye on signals: `stop` says when the children are to save and end."""
    waiting = deque(files)
    running: list[RunningTask] = []
    started_at = time.monotonic()
    try:
        while (waiting or running) and not stop():
            free = sorted(set(range(slots.number)) - {process.slot for process in running})
            for slot in free[: len(waiting)]:
                task = waiting.popleft()
                environment = slots.environment(slot, code) | {
                    PARENT_PID_VARIABLE: str(os.getpid())
                }
                running.append(RunningTask(task, slot, _start_child(task, slots.fork, environment)))
            waited = time.monotonic() - started_at
            time.sleep(min(CHILD_POLL_INTERVAL_S, max(0.005, POLL_SHARE_OF_ELAPSED * waited)))
            for process in list(running):
                if (status := process.child.poll()) is not None:
                    running.remove(process)
                    on_exit(ExitStatus(process.task, status))
            on_poll(running)
    finally:
        _stop_children(running)


def output_path(task: Path) -> Path:
    """What the process of a task printed; a crash before the run's own log is seen here."""
    return task.with_suffix(".out")


def _start_child(
    task: Path, fork: Callable[[Path], int] | None, environment: Mapping[str, str]
) -> subprocess.Popen[bytes] | ForkedProcess:
    output = output_path(task)
    if fork and fork_worker.can_fork():
        return ForkedProcess(fork, task, output, environment)
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "jobs", "task", str(task)],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def _stop_children(running: Sequence[RunningTask]) -> None:
    """Ask, wait, then kill. On Windows the console has asked already, and terminate() kills."""
    if sys.platform != "win32":
        for process in running:
            process.child.terminate()
    stopped_at = time.monotonic()
    for process in running:
        while process.child.poll() is None:
            try:
                process.child.wait(max(0.0, stopped_at + CHILD_STOP_TIMEOUT_S - time.monotonic()))
            except KeyboardInterrupt:
                if time.monotonic() - stopped_at > INTERRUPT_DEBOUNCE_S:  # a person's second Ctrl-C
                    process.child.kill()
            except subprocess.TimeoutExpired:
                process.child.kill()  # it hangs
                process.child.wait()


def _raise_keyboard_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
