"""Stock: the feature sets of a sweep: how many of their shards are there, and why others are not.

In:   what a sweep wants, its ledger, an answer of the scheduler.   Out: counts; how jobs ended.
Not here: the runs (status.py), which shards can be used (lacking.py), what is done (remedies.py).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import Entry
from jobs.sweep.record import Wanted
from jobs.sweep.run_status import state_after
from pipeline.files import read_json
from pipeline.runs.folder import Failure


@dataclass(frozen=True)
class FeatureStatus:
    feature_id: str
    slices: int
    there: frozenset[int]  # indices of shards

    @property
    def done(self) -> int:
        return len(self.there)

    @property
    def missing(self) -> tuple[str, ...]:
        """As the ledger names them."""
        indices = (index for index in range(self.slices) if index not in self.there)
        return tuple(f"{self.feature_id}/{index}" for index in indices)


@dataclass(frozen=True)
class Ending:
    """Of the last job that was to make a shard."""

    cause: str
    message: str
    nodes: frozenset[str] = frozenset()  # that failed under it
    recorded: bool = False  # by the job itself, with a traceback


def survey(wanted: Wanted, folder: SweepFolder) -> list[FeatureStatus]:
    """Counted by name: a shard appears whole or not at all, and opening 512 of them takes long."""
    return [
        FeatureStatus(each.feature_id, each.slices, _there(folder.features(each.feature_id)))
        for each in wanted.features
    ]


def _there(features: Path) -> frozenset[int]:
    names = (re.match(r"shard-(\d+)", path.name) for path in features.glob("shard-*.h5"))
    return frozenset(int(name[1]) for name in names if name)


def endings(missing: Iterable[str], folder: SweepFolder, queue: Queue) -> dict[str, Ending]:
    """Missing shard -> how its last job failed; nothing of one that lives or was never there."""
    latest = folder.latest()
    tried = {item: latest[item] for item in missing if item in latest}
    jobs = dict.fromkeys(tried.values())
    found = {entry: _ending(entry, folder, queue) for entry in jobs if not queue.live(entry)}
    ended = {item: found.get(entry) for item, entry in tried.items()}
    return {item: ending for item, ending in ended.items() if ending}


def _ending(entry: Entry, folder: SweepFolder, queue: Queue) -> Ending | None:
    lives = queue.ended.get(entry.job, ())
    nodes = frozenset(life.failed_node for life in lives if life.failed_node)
    # The name of a task is that of its content: another sweep's would have another folder.
    for file in sorted(folder.path.parent.glob(f"*/tasks/{Path(entry.task).stem}.failure")):
        failure = Failure(**read_json(file))
        return Ending(failure.cause, failure.message, nodes, recorded=bool(failure.traceback))
    if entry.scheduler != "slurm":
        return None
    output = folder.output(entry.job)
    state, cause, message = state_after(None, entry, lives, output)
    if state != "failed":
        return None
    seen = f"; see {output}" if cause in {"code error", "killed"} else ""
    return Ending(cause, message + seen, nodes)


def lines(ended: Sequence[Ending]) -> list[str]:
    """Why features are not there, each cause once."""
    causes = dict.fromkeys((ending.cause, ending.message) for ending in ended)
    return [f"features failed: {cause}: {message}" for cause, message in causes]
