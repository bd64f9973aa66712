"""The queue cache: the last answer of SLURM, kept in a sweep's folder for commands that only show.

In:   a sweep's folder, the unfinished runs and shards.   Out: a `Queue` of a maximum age.
Not here: the query itself, which a submission uses directly because it needs the present state
(job_queue.py).
"""

import getpass
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.slurm.client import QueuedJob
from jobs.slurm.sacct import JobAttempt
from jobs.sweep import job_queue
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from pipeline.files import read_json, write_json


def get_queue(folder: SweepFolder, unfinished: Sequence[str], max_age_s: float) -> Queue:
    """Return the kept answer if it is young enough and has all these jobs; else query SLURM."""
    jobs = job_queue.latest_slurm_jobs(folder, unfinished)
    cached = _read_cache(folder, jobs, max_age_s) if jobs else None
    return cached or refresh_queue(folder, unfinished)


def refresh_queue(folder: SweepFolder, unfinished: Sequence[str]) -> Queue:
    """Query SLURM, and keep the answer."""
    jobs = job_queue.latest_slurm_jobs(folder, unfinished)
    if not jobs:
        return Queue()
    queue = job_queue.try_query_slurm(folder, unfinished)
    _write_cache(folder, jobs, queue)
    return queue


def invalidate_cache(folder: SweepFolder) -> None:
    """Delete the kept answer, because jobs were submitted or cancelled."""
    with suppress(OSError):
        _cache_path(folder).unlink(missing_ok=True)


def _cache_path(folder: SweepFolder) -> Path:
    return folder.path / "answer.json"


def _write_cache(folder: SweepFolder, jobs: Collection[str], queue: Queue) -> None:
    queued = queue.jobs
    content = {
        "time": time.time(),
        "user": getpass.getuser(),  # the answer has the jobs of this user only
        "asked": sorted(jobs),
        "jobs": None if queued is None else {j: queued[j]._asdict() for j in jobs if j in queued},
        "ended": {
            job: [each._asdict() for each in queue.attempts_by_job.get(job, ())] for job in jobs
        },
        "complaint": queue.error_message,
        "cluster": queue.cluster,
    }
    with suppress(OSError):  # another user's work folder may be read-only
        write_json(_cache_path(folder), content)


def _read_cache(folder: SweepFolder, jobs: set[str], max_age_s: float) -> Queue | None:
    try:
        content = read_json(_cache_path(folder))
        fresh = 0 <= time.time() - content["time"] < max_age_s
        if not fresh or content["user"] != getpass.getuser() or not jobs <= set(content["asked"]):
            return None
        return _parse_queue(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # no file, a damaged one, or one of another version


def _parse_queue(content: dict[str, Any]) -> Queue:
    queued = content["jobs"]
    return Queue(
        None if queued is None else {job: QueuedJob(**facts) for job, facts in queued.items()},
        {
            job: [JobAttempt(**attempt) for attempt in attempts]
            for job, attempts in content["ended"].items()
            if attempts
        },
        content["complaint"],
        cluster=content["cluster"],
    )
