"""Progress of features on this machine: what its processes have done together, in a line.

In:   how much there is to do, what each process writes beside its task.   Out: a sentence.
Not here: who shows it, and how often (watching.py).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.console import duration
from jobs.local import Process
from jobs.slices import Progress, read_progress


@dataclass
class Tally:
    """What is done of `total`, since this was made."""

    total: Progress
    ended: Progress = field(default_factory=Progress)  # by processes that have ended
    _began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def line(self, running: Sequence[Process]) -> str:
        """`features: 512 of 1078 utterances, 21 min 07 s of 48 min 23 s of speech, …`."""
        done = sum((read_progress(process.task) for process in running), self.ended)
        total, took = self.total, self.seconds
        if not done.seconds:
            return f"features: 0 of {total.utterances} utterances"
        left = took / done.seconds * max(0.0, total.seconds - done.seconds)
        return (
            f"features: {done.utterances} of {total.utterances} utterances, "
            f"{duration(done.seconds)} of {duration(total.seconds)} of speech, "
            f"{done.seconds / took:.0f} times real time, {duration(left)} left"
        )
