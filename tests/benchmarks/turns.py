"""Turns: jobs of one process that run in turn, part by part, each with its own clock.

In:   jobs that call `yield_turn()` between their parts.   Out: the seconds of each.
Not here: cases in separate processes, which take turns round by round (measure.py).

This is for ratios near 1. The speed of the machine changes from second to second, and two processes
that do the same work differ, by more than such a ratio should be known.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_current = threading.local()


@dataclass
class _TurnTaker:
    job: Callable[[], None]
    permit: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    seconds: float = 0.0
    resumed_at: float = 0.0
    error: BaseException | None = None


@dataclass
class _RoundRobin:
    waiting: list[_TurnTaker]  # the first one's turn is next

    def run(self, runner: _TurnTaker) -> None:
        _current.pass_on = lambda: self.pass_on(runner)
        runner.permit.acquire()
        runner.resumed_at = time.perf_counter()
        try:
            runner.job()
        except BaseException as error:  # raised again when all jobs have ended
            runner.error = error
        runner.seconds += time.perf_counter() - runner.resumed_at
        self.next()

    def pass_on(self, runner: _TurnTaker) -> None:
        runner.seconds += time.perf_counter() - runner.resumed_at
        self.waiting.append(runner)
        self.next()
        runner.permit.acquire()
        runner.resumed_at = time.perf_counter()

    def next(self) -> None:
        if self.waiting:
            self.waiting.pop(0).permit.release()


def yield_turn() -> None:
    """Let the other jobs do one part each; do nothing if this job runs alone."""
    getattr(_current, "pass_on", lambda: None)()


def run_interleaved(jobs: Mapping[str, Callable[[], None]]) -> dict[str, float]:
    """Return the seconds of each job, without the time it waited for its turn."""
    runners = [_TurnTaker(job) for job in jobs.values()]
    ring = _RoundRobin(list(runners))
    threads = [threading.Thread(target=ring.run, args=[runner]) for runner in runners]
    for thread in threads:
        thread.start()
    ring.next()
    for thread in threads:
        thread.join()
    for runner in runners:
        if runner.error is not None:
            raise runner.error
    return {name: runner.seconds for name, runner in zip(jobs, runners, strict=True)}
