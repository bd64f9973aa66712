"""Progress of features in a line: the sum over the processes of this machine, or over jobs.

In:   the amount of work, the progress file that each process writes beside its task file.
Out:  lines.
Not here: showing them (live.py).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.messages import count_text, duration_text
from jobs.node.feature_task import TaskProgress, read_progress
from jobs.node.task_file import progress_path
from jobs.sweep.feature_status import FeatureStatus
from jobs.sweep.folder import SweepFolder
from jobs.sweep.record import SweepRecord

if TYPE_CHECKING:  # status must not import what starts processes
    from jobs.local.executor import RunningTask

PROGRESS_TIMEOUT_S = 60.0  # a task that computes writes its progress more often than this


@dataclass
class FeatureProgress:
    """The part of `total` that is done, and the time since this object was made."""

    total: TaskProgress
    completed: TaskProgress = field(default_factory=TaskProgress)  # of processes that have ended
    _began: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def format_line(self, running: "Sequence[RunningTask]") -> str:
        """Return `features: 512 of 1078 utterances, 21 min 07 s of 48 min 23 s of speech, …`."""
        done = sum((read_progress(process.task) for process in running), self.completed)
        total, took = self.total, self.elapsed_s
        if not done.seconds:
            return f"features: 0 of {total.utterances} utterances"
        left = took / done.seconds * max(0.0, total.seconds - done.seconds)
        return (
            f"features: {done.utterances} of {total.utterances} utterances, "
            f"{duration_text(done.seconds)} of {duration_text(total.seconds)} of speech, "
            f"{done.seconds / took:.0f} times real time, {duration_text(left)} left"
        )


def job_progress_lines(
    record: SweepRecord, folder: SweepFolder, sets: Sequence[FeatureStatus]
) -> list[str]:
    """Return how far the jobs of these feature sets are, and how many utterances they refused."""
    latest = folder.latest()
    items = (f"{each.feature_id}/{index}" for each in sets for index in range(each.slices))
    names = dict.fromkeys(latest[item].task for item in items if item in latest)
    progress_by_task = {
        path: read_progress(path) for path in (folder.tasks / name for name in names)
    }
    done = sum(progress_by_task.values(), TaskProgress())
    lines = []
    if done.seconds and any(each.done < each.slices for each in sets):
        running = [
            each for path, each in progress_by_task.items() if each.took and not _is_stalled(path)
        ]
        lines.append(
            f"features: {count_text(done.utterances, 'utterance')}, "
            f"{duration_text(done.seconds)} of speech done"
            f"{_speed_text(running, _seconds_left(record, sets))}"
        )
    if refused := len(set(done.refusals)):
        lines.append(
            f"features: {count_text(refused, 'utterance')} refused; make features names them"
        )
    return lines


def _seconds_left(record: SweepRecord, sets: Sequence[FeatureStatus]) -> float:
    """Return the speech that is left, in seconds, if all slices are equally long."""
    speech = sum({each.manifest: each.seconds for each in record.features}.values())
    missing = sum(each.slices - each.done for each in sets)
    return speech * missing / sum(each.slices for each in sets)


def _speed_text(running: Sequence[TaskProgress], seconds_left: float) -> str:
    rate = sum(each.seconds / each.took for each in running)
    if not rate:
        return ""
    return f", {rate:.0f} times real time, about {duration_text(seconds_left / rate)} left"


def _is_stalled(task: Path) -> bool:
    """Return whether a task has written no progress for a minute, so that it does not run."""
    try:
        return time.time() - progress_path(task).stat().st_mtime > PROGRESS_TIMEOUT_S
    except FileNotFoundError:
        return True
