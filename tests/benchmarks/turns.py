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

_mine = threading.local()


@dataclass
class _Runner:
    job: Callable[[], None]
    may: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    seconds: float = 0.0
    since: float = 0.0
    error: BaseException | None = None


@dataclass
class _Ring:
    waiting: list[_Runner]  # the first one's turn is next

    def run(self, runner: _Runner) -> None:
        _mine.pass_on = lambda: self.pass_on(runner)
        runner.may.acquire()
        runner.since = time.perf_counter()
        try:
            runner.job()
        except BaseException as error:  # is told by whoever waits for all
            runner.error = error
        runner.seconds += time.perf_counter() - runner.since
        self.next()

    def pass_on(self, runner: _Runner) -> None:
        runner.seconds += time.perf_counter() - runner.since
        self.waiting.append(runner)
        self.next()
        runner.may.acquire()
        runner.since = time.perf_counter()

    def next(self) -> None:
        if self.waiting:
            self.waiting.pop(0).may.release()


def turn() -> None:
    """Let the others do a part of theirs; alone, nothing."""
    getattr(_mine, "pass_on", lambda: None)()


def in_turn(jobs: Mapping[str, Callable[[], None]]) -> dict[str, float]:
    """Seconds of each job, without those that it waited for its turn."""
    runners = [_Runner(job) for job in jobs.values()]
    ring = _Ring(list(runners))
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
