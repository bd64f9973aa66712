"""Verbs that look at a sweep or a run, and cancel: status, logs, cancel.

In:   typed options, the files of a work folder.   Out: what they say; an exit code.
Not here: how a state is found (status.py), refreshing the picture (watching.py).
"""

import argparse
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.display.live import watch
from jobs.local.processes import owner
from jobs.messages import count, say
from jobs.node.failures import REMEDIES
from jobs.profile import place
from jobs.slurm import client
from jobs.sweep import job_queue, queue_cache, run_status
from jobs.sweep.folder import SweepFolder, stem_of
from jobs.sweep.record import Wanted, content, recorded, unchanged
from pipeline.config.loader import parse_changes
from pipeline.config.sweep import load_sweep
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder

LISTED = 8  # ids of runs in a refusal


def status(options: argparse.Namespace) -> int:
    profile, _ = place(options)
    folder = sweep_folder(options)
    wanted = recorded(folder)
    if options.json:
        queue = queue_cache.recent(folder, job_queue.unfinished(wanted, folder), profile.poll_min_s)
        found = run_status.survey(wanted, folder, queue)
        run_status.keep(found, folder)
        lines = [json.dumps(run.record(), ensure_ascii=False) for run in found]
        print("[\n" + ",\n".join(lines) + "\n]")  # a run a line
        return 0
    _tell_if_changed(options, wanted)
    watch(wanted, folder, profile.poll_min_s, once=options.once)
    return 0


def logs(options: argparse.Namespace) -> int:
    _, work = place(options)
    run = _run(options.run, work)
    if not run.log_file.exists() and not run.failure():
        raise InputError(f"{run.path}: has no log yet: the run has not started")
    if run.log_file.exists():
        print(run.log_file.read_text(encoding="utf-8"), end="")
    if failure := run.failure():
        say(f"failed: {failure.cause}: {failure.message}")
        say(REMEDIES.get(failure.cause, ""))
    return 0


def cancel(options: argparse.Namespace) -> int:
    folder = sweep_folder(options)
    if not folder.path.exists():
        recorded(folder)  # refuses it, and names the sweeps that there are
    cancelled = _cancel_here(folder)
    entries = {entry.job for entry in folder.ledger.entries() if entry.scheduler == "slurm"}
    if entries or folder.jobs.is_dir():
        queued = client.queue(patient=True).values()
        mark = client.mark_of(folder.jobs)  # also what an interrupted submission left
        ours = (job.id for job in queued if job.id in entries or job.comment.startswith(mark))
        jobs = sorted({job.split("_")[0] for job in ours})
        if jobs:
            client.cancel(jobs)
            folder.keep_cancelled(jobs)
            queue_cache.forget(folder)
            say(f"cancelled {count(len(jobs), 'job')}: {', '.join(jobs)}")
            cancelled = True
    if not cancelled:
        say(f"nothing to cancel: no job of {folder.name} is queued or running")
    return 0


def sweep_folder(options: argparse.Namespace) -> SweepFolder:
    """SWEEP may be the file or the name."""
    _, work = place(options)
    return SweepFolder(work, stem_of(options.sweep))


def _cancel_here(folder: SweepFolder) -> bool:
    """Ask the process that deals the tasks on this machine; it stops its children in turn."""
    pid = owner(folder.owner)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    say(f"asked process {pid} to stop; it saves first")
    return True


def _run(name: str, work: Path) -> RunFolder:
    """An id, or its beginning; or a run folder."""
    if not name:
        raise InputError("say which run: make logs RUN=…; make status SWEEP=… lists the ids")
    runs = work / "runs"
    every = sorted(runs.iterdir()) if runs.is_dir() else []
    found = [path for path in every if path.name.startswith(name)]
    if len(found) == 1:
        return RunFolder(found[0])
    if not found and RunFolder(Path(name)).experiment_file.exists():
        return RunFolder(Path(name))
    if found:
        ids = ", ".join(path.name for path in found[:LISTED])
        raise InputError(
            f"RUN={name}: {len(found)} runs begin with it in {runs}: "
            f"{ids}{', …' if found[LISTED:] else ''}; name one"
        )
    raise InputError(
        f"RUN={name}: no run begins with it in {runs}; make status SWEEP=… lists the ids"
    )


def _tell_if_changed(options: argparse.Namespace, wanted: Wanted) -> None:
    path = Path(options.sweep)
    if not path.is_file():
        return
    changes = parse_changes(options.set)
    if changes != wanted.changes:
        had = f'SET="{_as_typed(wanted.changes)}"' if wanted.changes else "no SET"
        say(f"the last make sweep, which this shows, had {had}")
    if unchanged(wanted, path, wanted.changes):
        return
    try:
        now = content(load_sweep(path, wanted.changes))
    except InputError as error:
        say(f"{error}; this is the last make sweep")
        return
    if now != wanted.digest:
        say(f"{path} has changed since the last make sweep, which this shows")


def _as_typed(changes: Mapping[str, Any]) -> str:
    """Values are YAML, of which JSON is a part."""
    return " ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in changes.items()
    )
