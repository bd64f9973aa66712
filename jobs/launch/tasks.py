"""Tasks: the arrays of a plan as task files, with a line in the ledger for each.

In:   arrays of a plan, a profile.   Out: task files; lines of the ledger.
Not here: the format of a task file (node/task_file.py), where tasks run (submit.py,
local_run.py).
"""

import getpass
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

from jobs.node import task_file
from jobs.node.task_file import FeatureTask, Run, RunTask, Slice, Task
from jobs.profile import Profile, SlurmProfile
from jobs.profile_fields import Device
from jobs.sweep.folder import SweepFolder
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.plan import JobArray
from pipeline.files import write_many
from pipeline.runs.state import clear_early_stop, read_early_stop, write_early_stop

NO_CAUSES: Mapping[str, str] = {}


def make_feature_tasks(
    array: JobArray[Slice], folder: SweepFolder, *, verify: bool = False
) -> list[Task]:
    """`verify`: the task that completes a feature set also compares its bytes with checksums."""
    work = str(folder.work)
    return [FeatureTask(work=work, slices=slices, verify=verify) for slices in array.tasks]


def make_run_tasks(
    array: JobArray[Run], folder: SweepFolder, profile: Profile, threads: int, at_once: int = 1
) -> list[Task]:
    """`threads`: CPU threads of each run. `at_once`: runs of a task that train side by side."""
    return [
        RunTask(
            work=str(folder.work),
            runs=runs,
            device=_device(profile),
            threads=threads,
            at_once=at_once,
            workers=profile.workers,
            resident_gb=profile.resident_gb,
            early_stop_file=str(folder.early_stop_file),
        )
        for runs in array.tasks
    ]


def _device(profile: Profile) -> Device:
    """Return the device of a run: a job that requests a GPU never trains on the CPU in silence."""
    wants_gpu = isinstance(profile, SlurmProfile) and profile.gpus > 0
    return "cuda" if profile.device == "auto" and wants_gpu else profile.device


def write_tasks(tasks: Sequence[Task], folder: SweepFolder) -> dict[Path, Task]:
    """Write a file for each task; return the tasks by path."""
    paths = write_many(partial(task_file.write_task, folder=folder.tasks), tasks)
    return dict(zip(paths, tasks, strict=True))


@contextmanager
def failures_cleared(run_ids: Iterable[str], folder: SweepFolder) -> Iterator[dict[str, str]]:
    """Delete the records of failures and early stops of these runs; yield run id -> cause.

    If the block raises, the files are written again: no new attempt has replaced the old one.
    """
    runs = [folder.run(run_id) for run_id in run_ids]
    failures = {run.run_id: failure for run in runs if (failure := run.failure())}
    stops = {run.run_id: stop for run in runs if (stop := read_early_stop(run))}
    for run in runs:
        run.clear_failure()
        clear_early_stop(run)
    try:
        yield {run_id: failure.cause for run_id, failure in failures.items()}
    except BaseException:
        for run_id, failure in failures.items():
            folder.run(run_id).write_failure(failure)
        for run_id, stop in stops.items():
            write_early_stop(folder.run(run_id), stop)
        raise


def append_to_ledger(
    folder: SweepFolder,
    scheduler: Literal["local", "slurm"],
    jobs: Sequence[str],
    written: Mapping[Path, Task],
    code: Path,
    *,
    causes: Mapping[str, str] = NO_CAUSES,
    memory_gb: float | None = None,
    exclude: tuple[str, ...] = (),
    cluster: str = "",
) -> None:
    """Add a line for each task. `causes`: item -> why its last attempt failed."""
    folder.ledger.append(
        LedgerEntry(
            time=time.time(),
            scheduler=scheduler,
            job=job,
            kind=task_file.TASK_KINDS[type(task)],
            items=task.items,
            task=path.name,
            code=code.name,
            causes=tuple(causes.get(item, "") for item in task.items),
            states=_state_versions(task, folder),
            memory_gb=memory_gb,
            exclude=exclude,
            cluster=cluster,
            user=getpass.getuser(),
        )
        for job, (path, task) in zip(jobs, written.items(), strict=True)
    )


def _state_versions(task: Task, folder: SweepFolder) -> tuple[str, ...]:
    if not isinstance(task, RunTask):
        return ("",) * len(task.items)
    return tuple(folder.run(run_id).state_version for run_id in task.items)
