"""Answers: what SLURM said last, kept in a sweep's folder for who only looks at it.

In:   a sweep's folder, what is unfinished.   Out: a `Queue`, asked for no oftener than is wished.
Not here: asking for those who act on it (status.py): an old answer must not mislead them.
"""

import getpass
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.slurm.client import QueuedJob
from jobs.slurm.sacct import Life
from jobs.sweep import job_queue
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from pipeline.files import read_json, write_json


def recent(folder: SweepFolder, unfinished: Sequence[str], seconds: float) -> Queue:
    """The last answer, if it is younger and was asked for all these jobs; else a new one."""
    jobs = job_queue.jobs_of(folder, unfinished)
    kept = _kept(folder, jobs, seconds) if jobs else None
    return kept or ask(folder, unfinished)


def ask(folder: SweepFolder, unfinished: Sequence[str]) -> Queue:
    jobs = job_queue.jobs_of(folder, unfinished)
    if not jobs:
        return Queue()
    queue = job_queue.ask(folder, unfinished)
    _keep(folder, jobs, queue)
    return queue


def forget(folder: SweepFolder) -> None:
    """Somebody has changed the queue."""
    with suppress(OSError):
        _file(folder).unlink(missing_ok=True)


def _file(folder: SweepFolder) -> Path:
    return folder.path / "answer.json"


def _keep(folder: SweepFolder, jobs: Collection[str], queue: Queue) -> None:
    queued = queue.jobs
    said = {
        "time": time.time(),
        "user": getpass.getuser(),  # squeue told of this one's jobs alone
        "asked": sorted(jobs),
        "jobs": None if queued is None else {j: asdict(queued[j]) for j in jobs if j in queued},
        "ended": {job: [asdict(life) for life in queue.ended.get(job, ())] for job in jobs},
        "complaint": queue.complaint,
    }
    with suppress(OSError):  # whoever only looks at another's work folder may not write there
        write_json(_file(folder), said)


def _kept(folder: SweepFolder, jobs: set[str], seconds: float) -> Queue | None:
    try:
        said = read_json(_file(folder))
        fresh = 0 <= time.time() - said["time"] < seconds
        if not fresh or said["user"] != getpass.getuser() or not jobs <= set(said["asked"]):
            return None
        return _queue(said)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # none, half a one, or of another version


def _queue(said: dict[str, Any]) -> Queue:
    queued = said["jobs"]
    return Queue(
        None if queued is None else {job: QueuedJob(**facts) for job, facts in queued.items()},
        {job: [Life(**life) for life in lives] for job, lives in said["ended"].items() if lives},
        said["complaint"],
    )
