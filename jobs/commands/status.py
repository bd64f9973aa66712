"""The verbs status and cancel: follow a sweep, and stop it.

In:   typed options, the files of a work folder.   Out: a table, JSON; an exit code.
Not here: how a state is found (sweep/run_status.py), the live table (display/live.py), logs
(logs.py).
"""

import argparse
import json
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from jobs.display.changed_lines import changed_file_line, removed_run_lines
from jobs.display.live import watch
from jobs.local.processes import owner_pid
from jobs.messages import count_text, print_line
from jobs.slurm import client, site_config
from jobs.sweep import job_queue, queue_cache, run_status
from jobs.sweep.folder import SweepFolder, sweep_name
from jobs.sweep.record import (
    PlannedRun,
    SweepRecord,
    experiments_digest,
    is_unchanged,
    load_record,
    possible_run_ids,
    runs_of_file,
)
from jobs.work_folder import load_profile_and_workdir, make_command
from pipeline.config.loader import parse_changes
from pipeline.config.sweep import Sweep, load_sweep
from pipeline.files import InputError

STOP_POLL_INTERVAL_S = 0.1


def status(options: argparse.Namespace) -> int:
    profile, work = load_profile_and_workdir(options)
    folder = sweep_folder(options)
    record = load_record(folder)
    if options.json:
        queue = queue_cache.get_queue(
            folder, job_queue.unfinished_items(record, folder), profile.poll_min_s
        )
        statuses = run_status.run_statuses(record, folder, queue)
        run_status.record_scheduler_failures(statuses, folder)
        lines = [json.dumps(run.to_dict(), ensure_ascii=False) for run in statuses]
        print("[\n" + ",\n".join(lines) + "\n]")  # one run per line
        return 0
    again = make_command(record.command, profile, work)
    wanted = {run.run_id for run in _print_changes(options, record, again)}
    removed = make_command(f"make cancel {record.sweep_argument} REMOVED=1", profile, work)
    more_lines = partial(removed_run_lines, record, wanted, folder, cancel=removed)
    watch(record, folder, profile.poll_min_s, more_lines, once=options.once)
    return 0


def cancel(options: argparse.Namespace) -> int:
    folder = sweep_folder(options)
    if not folder.path.exists():
        load_record(folder)  # raises an error that names the known sweeps
    if options.removed:
        cancelled = _cancel_removed_runs(folder, options)
    else:
        cancelled = _stop_local_process(folder)
        cancelled |= _cancel_slurm_jobs(folder)
    if not cancelled:
        print_line(f"nothing to cancel: no job of {folder.name} is queued or running")
    return 0


def _cancel_slurm_jobs(folder: SweepFolder) -> bool:
    entries = [entry for entry in folder.ledger.entries() if entry.scheduler == "slurm"]
    if not entries and not folder.jobs.is_dir():
        return False
    queued, here = client.squeue(retry=True).values(), site_config.cluster_name()
    tag = client.sweep_tag(folder.jobs)  # finds also jobs that are in no ledger
    known = {entry.job for entry in entries if not here or entry.cluster in {"", here}}
    ours = (job.id for job in queued if job.id in known or job.comment.startswith(tag))
    jobs = sorted({client.array_job_id(job) for job in ours})
    for cluster in sorted({entry.cluster for entry in entries if here} - {"", here}):
        print_line(
            f"jobs on cluster {cluster} are not seen here: type this on a login node there too"
        )
    if jobs:
        client.cancel_jobs(jobs)
        folder.add_cancelled(jobs)
        queue_cache.invalidate_cache(folder)
        print_line(f"cancelled {count_text(len(jobs), 'job')}: {', '.join(jobs)}")
    return bool(jobs)


def _cancel_removed_runs(folder: SweepFolder, options: argparse.Namespace) -> bool:
    """Cancel the tasks all of whose runs were taken out of the sweep, or of its file since then."""
    runs = [item for entry in folder.ledger.entries() for item in entry.items]
    queue = job_queue.query_slurm(folder, runs)
    record = load_record(folder)
    changed = _changed_sweep(Path(options.sweep), record)
    wanted = {run.run_id for run in record.runs}
    if changed:
        wanted = possible_run_ids(changed, record)
    tasks = job_queue.tasks_of_removed_runs(wanted, folder, queue)
    jobs = [e.job for e, items in tasks.items() if len(items) == len(e.items) and queue.job(e)]
    if jobs:
        client.cancel_jobs(jobs)
        queue_cache.invalidate_cache(folder)
        print_line(f"cancelled {count_text(len(jobs), 'job')} of removed runs: {', '.join(jobs)}")
    return bool(jobs)


def sweep_folder(options: argparse.Namespace) -> SweepFolder:
    """Return the folder of SWEEP=…, a sweep's file or its name, under SET=…."""
    _, work = load_profile_and_workdir(options)
    return SweepFolder(work, sweep_name(options.sweep, parse_changes(options.set)))


def _stop_local_process(folder: SweepFolder) -> bool:
    """Send SIGTERM to the process that runs the tasks here, and wait until all are saved.

    The process stops its child processes. One that hangs is waited for until its mark is too old.
    """
    pid = owner_pid(folder.owner_file)
    if pid is None:
        return False
    print_line(f"stopping process {pid}; it saves first")
    os.kill(pid, signal.SIGTERM)
    while owner_pid(folder.owner_file) == pid:
        time.sleep(STOP_POLL_INTERVAL_S)
    print_line(f"process {pid} has stopped")
    return True


def _print_changes(
    options: argparse.Namespace, record: SweepRecord, again: str
) -> Sequence[PlannedRun]:
    """Print how the sweep file differs from the last make sweep; return the runs of the file.

    `again`: the command that continues the sweep.
    """
    path = Path(options.sweep)
    if path.is_file() and options.seeds != record.seeds:
        had = f"SEEDS={record.seeds}" if record.seeds else "no SEEDS"
        print_line(f"this shows the last make sweep, which had {had}")
    try:
        if (sweep := _changed_sweep(path, record)) is None:
            return record.runs
    except InputError as error:
        print_line(f"{error}; this shows the last make sweep")
        return record.runs
    planned = record.runs
    with suppress(InputError):  # a manifest is gone, which make sweep writes again
        planned = runs_of_file(sweep, record)
    print_line(changed_file_line(str(path), record, planned, again))
    return planned


def _changed_sweep(path: Path, record: SweepRecord) -> Sweep | None:
    """Return the sweep file if it wants other runs than the last make sweep; else None."""
    if not path.is_file() or is_unchanged(record, path, record.changes):
        return None
    sweep = load_sweep(path, record.changes, record.seeds)
    return sweep if experiments_digest(sweep) != record.digest else None
