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
from jobs.slurm.sacct import JobAttempt
from jobs.sweep import job_queue
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from pipeline.files import read_json, write_json


def get_queue(folder: SweepFolder, unfinished: Sequence[str], max_age_s: float) -> Queue:
    """The last answer, if it is younger and was asked for all these jobs; else a new one."""
    jobs = job_queue.latest_slurm_jobs(folder, unfinished)
    kept = _read_cache(folder, jobs, max_age_s) if jobs else None
    return kept or refresh_queue(folder, unfinished)


def refresh_queue(folder: SweepFolder, unfinished: Sequence[str]) -> Queue:
    jobs = job_queue.latest_slurm_jobs(folder, unfinished)
    if not jobs:
        return Queue()
    queue = job_queue.try_query_slurm(folder, unfinished)
    _write_cache(folder, jobs, queue)
    return queue


def invalidate_cache(folder: SweepFolder) -> None:
    """Somebody has changed the queue."""
    with suppress(OSError):
        _cache_path(folder).unlink(missing_ok=True)


def _cache_path(folder: SweepFolder) -> Path:
    return folder.path / "answer.json"


def _write_cache(folder: SweepFolder, jobs: Collection[str], queue: Queue) -> None:
    queued = queue.jobs
    content = {
        "time": time.time(),
        "user": getpass.getuser(),  # squeue told of this one's jobs alone
        "asked": sorted(jobs),
        "jobs": None if queued is None else {j: asdict(queued[j]) for j in jobs if j in queued},
        "ended": {
            job: [asdict(life) for life in queue.attempts_by_job.get(job, ())] for job in jobs
        },
        "complaint": queue.error_message,
    }
    with suppress(OSError):  # whoever only looks at another's work folder may not write there
        write_json(_cache_path(folder), content)


def _read_cache(folder: SweepFolder, jobs: set[str], max_age_s: float) -> Queue | None:
    try:
        content = read_json(_cache_path(folder))
        fresh = 0 <= time.time() - content["time"] < max_age_s
        if not fresh or content["user"] != getpass.getuser() or not jobs <= set(content["asked"]):
            return None
        return _parse_queue(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # none, half a one, or of another version


def _parse_queue(content: dict[str, Any]) -> Queue:
    queued = content["jobs"]
    return Queue(
        None if queued is None else {job: QueuedJob(**facts) for job, facts in queued.items()},
        {
            job: [JobAttempt(**life) for life in lives]
            for job, lives in content["ended"].items()
            if lives
        },
        content["complaint"],
    )
