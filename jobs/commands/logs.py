"""The verb logs: what a run printed, or a job of features or of the report, and why it failed.

In:   typed options, the files of a work folder.   Out: text; an exit code.
Not here: the live table of a sweep (status.py), what a cause means (node/failures.py).
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from jobs.messages import print_line
from jobs.node import failures
from jobs.sweep.folder import SweepFolder, sweep_name
from jobs.sweep.record import SweepRecord, load_record
from jobs.work_folder import find_run, load_profile_and_workdir
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder

POLL_S = 1.0


def logs(options: argparse.Namespace) -> int:
    _, work = load_profile_and_workdir(options)
    folder = SweepFolder(work, sweep_name(options.sweep)) if options.sweep else None
    if options.job:
        if folder is None:
            raise InputError(f"--job {options.job}: add the sweep: SWEEP=…")
        _print_file(_job_output(folder, options.job), lambda: False, follow=options.follow)
        return 0
    run = _choose_run(folder) if folder and not options.run else find_run(options.run, work)
    if not run.log_file.exists() and not run.failure() and not options.follow:
        raise InputError(f"{run.path}: has no log yet: the run has not started")
    _print_file(run.log_file, lambda: _has_ended(run), follow=options.follow)
    if failure := run.failure():
        print_line(f"failed: {failure.cause}: {failure.message}")
        log = "the log above" if run.log_file.exists() else str(run.path)
        print_line(failures.remedy(failure.cause, failure.message, log))
    return 0


def _choose_run(folder: SweepFolder) -> RunFolder:
    """Return the run that failed last; if none failed, the one that wrote last."""
    record = load_record(folder)
    runs = [(planned.label, folder.run(planned.run_id)) for planned in record.runs]
    failed = [(label, run) for label, run in runs if run.failure_file.exists()]
    started = [(label, run) for label, run in runs if run.log_file.exists()]
    if not failed and not started:
        raise InputError(f"no run of {folder.name} has started yet; {_other_logs(record)}")
    label, run = max(
        failed or started,
        key=lambda each: _modified(each[1].failure_file if failed else each[1].log_file),
    )
    of_all = f"{len(failed)} of {len(runs)} runs failed" if failed else "no run has failed"
    print(f"{of_all}; this is {label}, RUN={run.run_id}", file=sys.stderr)
    return run


def _other_logs(record: SweepRecord) -> str:
    return f"make logs {record.sweep_argument} JOB=features shows the jobs before it"


def _job_output(folder: SweepFolder, kind: str) -> Path:
    """Return the output of the last SLURM job of this kind that has written any."""
    load_record(folder)  # raises an error that names the known sweeps
    entries = [entry for entry in folder.ledger.entries() if entry.kind == kind]
    on_slurm = [entry for entry in entries if entry.scheduler == "slurm"]
    if not on_slurm:
        where = "it ran in the terminal that started it" if entries else "none was submitted"
        raise InputError(f"{folder.name}: no SLURM job of {kind}: {where}")
    for entry in sorted(on_slurm, key=lambda entry: -entry.time):
        if (file := folder.output(entry.job)).exists():
            print(f"job {entry.job} of {kind}: {file}", file=sys.stderr)
            return file
    raise InputError(
        f"{folder.name}: no job of {kind} has started yet; make status shows why it waits"
    )


def _print_file(file: Path, ended: Callable[[], bool], *, follow: bool) -> None:
    """Print the file; `follow` also what is added, until it has ended or Ctrl-C."""
    printed = 0
    while True:
        last = ended()
        if file.exists():
            with file.open("rb") as opened:
                opened.seek(printed)
                text = opened.read()
            printed += len(text)
            sys.stdout.write(text.decode(errors="replace"))
            sys.stdout.flush()
        if not follow or last:
            return
        time.sleep(POLL_S)


def _has_ended(run: RunFolder) -> bool:
    heartbeat = run.heartbeat()
    return bool(run.failure() or (heartbeat and heartbeat.status == "finished"))


def _modified(file: Path) -> float:
    return file.stat().st_mtime
