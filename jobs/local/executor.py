"""Executor: runs tasks as child processes on this machine, at most one per slot at a time.

In:   task files.   Out: the exit code of each.
Not here: what a task does (jobs/launch/entrypoint.py), the live display (jobs/display/live.py).
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
from typing import NamedTuple

from jobs.environment import task_environment
from jobs.local import fork_worker
from jobs.local.fork_worker import ForkedProcess
from jobs.local.processes import PARENT_PID_VARIABLE
from jobs.profile import LocalProfile
from jobs.profile_fields import Device
from pipeline.host import available_cpus

CHILD_POLL_INTERVAL_S = 0.2
POLL_SHARE_OF_ELAPSED = 0.02  # poll sooner at the beginning, for short tasks
MAX_UTTERANCES_TO_FORK = 20_000  # each fork holds 1.4 kB of each utterance
INTERRUPT_DEBOUNCE_S = 1.0  # make repeats the SIGINT that the terminal sent to the whole group
CHILD_STOP_TIMEOUT_S = 60  # a child saves at the next step boundary; one that hangs is killed


@dataclass
class RunningTask:
    """A task whose child process has not ended yet."""

    task: Path
    slot: int
    child: subprocess.Popen[bytes] | ForkedProcess


class ExitStatus(NamedTuple):
    """How the child process of a task ended."""

    task: Path
    code: int  # exit code; negative: the signal that killed the process


class Slots(NamedTuple):
    """How many tasks run at once, the threads of each, and the GPUs that they share."""

    number: int
    threads: int
    gpus: tuple[str, ...] = ()
    # A fork of this process calls this with the task file. None: each task starts a new Python.
    fork: Callable[[Path], int] | None = None

    def environment(self, slot: int, code: Path) -> dict[str, str]:
        variables = task_environment(code, self.threads)
        if self.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return variables


def slots_for_runs(profile: LocalProfile) -> Slots:
    """Return the slots of the profile; by default one per visible GPU, or one per CPU."""
    gpus = visible_gpus(profile.device)
    number = profile.slots or len(gpus) or available_cpus()
    return Slots(number, profile.threads or max(1, available_cpus() // number), gpus)


def slots_for_features(
    profile: LocalProfile, fork: Callable[[Path], int] | None = None, utterances: int = 0
) -> Slots:
    """Return one slot per CPU: feature tasks use one thread and no GPU.

    A fork holds the memory of this process, such as the list of `utterances`. With more than
    MAX_UTTERANCES_TO_FORK of them each task starts a new Python instead.
    """
    return Slots(
        profile.slots or available_cpus(),
        threads=1,
        fork=fork if utterances <= MAX_UTTERANCES_TO_FORK else None,
    )


def visible_gpus(device: Device) -> tuple[str, ...]:
    """Return the GPUs in CUDA_VISIBLE_DEVICES if it is set, otherwise those of nvidia-smi."""
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
    """Run the tasks as `run_tasks` does; Ctrl-C and SIGTERM stop them.

    The children save after their current step and end. Then KeyboardInterrupt is raised.
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
    """Run every task; call `on_poll` after each poll and `on_exit` after each task.

    Once `stop()` is true no task starts, and the running children are asked to save and end. Their
    exit codes are not passed to `on_exit`. Signals are left to the caller.
    """
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
    """Return the file of what the child process printed, such as a crash before its log."""
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
    """Send SIGTERM, wait, then kill. On Windows terminate() kills, and the console sent Ctrl-C."""
    if sys.platform != "win32":
        for process in running:
            process.child.terminate()
    stopped_at = time.monotonic()
    for process in running:
        while process.child.poll() is None:
            try:
                process.child.wait(max(0.0, stopped_at + CHILD_STOP_TIMEOUT_S - time.monotonic()))
            except KeyboardInterrupt:
                if time.monotonic() - stopped_at > INTERRUPT_DEBOUNCE_S:  # Ctrl-C again
                    process.child.kill()
            except subprocess.TimeoutExpired:
                process.child.kill()  # it hangs
                process.child.wait()


def _raise_keyboard_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
