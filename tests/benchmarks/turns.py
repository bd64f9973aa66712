"""Turns: jobs of one process that go on in turn, part by part, each with a clock of its own.

In:   jobs that call `turn()` between their parts.   Out: the seconds of each.
Not here: cases in processes of their own (measure.py), which go on in turn round by round.

For ratios near one. From a second to the next this machine's speed moves by more than is asked, and
so does that of two processes that do the same.
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
        except BaseException as error:  # is told by whoever waits for all
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
    """Let the others do a part of theirs; alone, nothing."""
    getattr(_current, "pass_on", lambda: None)()


def run_interleaved(jobs: Mapping[str, Callable[[], None]]) -> dict[str, float]:
    """Seconds of each job, without those that it waited for its turn."""
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
