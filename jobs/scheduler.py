"""Questions to SLURM, each in one batched call.

In:   squeue, sacct.   Out: the queue, states of ended jobs.
Not here: what a site allows (limits.py), submitting (slurm.py); what a state means (failures.py).
"""

import csv
import io
import os
import re
import subprocess
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import InputError, digest

SECONDS_TO_ANSWER = 60

QUEUE_FORMAT = "%i|%T|%r|%P|%a|%q|%k"

# Squeue's states in which a job still waits; every other one in the queue holds a node.
WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}


class SchedulerError(InputError):
    """The scheduler does not answer, or is not there."""


@dataclass(frozen=True)
class QueuedJob:
    id: str  # 12_3 in an array, else 12
    state: str
    reason: str  # why it waits, or nothing
    partition: str = ""
    account: str = ""
    qos: str = ""
    comment: str = ""

    @property
    def waits(self) -> bool:
        return self.state in WAITING

    @property
    def never_starts(self) -> bool:
        """What it depends on can no longer happen; SLURM would leave it there for ever."""
        return self.waits and self.reason == "DependencyNeverSatisfied"


def queue() -> dict[str, QueuedJob]:
    """Every queued or running job of this user, array tasks one by one."""
    text = ask(["squeue", "--me", "--noheader", "--array", f"--format={QUEUE_FORMAT}"])
    found = [line.split("|", 6) for line in text.splitlines()]  # a comment may hold anything
    return {
        row[0]: QueuedJob(row[0], row[1], "" if row[2] == "None" else row[2], *row[3:])
        for row in found
        if len(row) == 7
    }


def ended(jobs: Collection[str]) -> dict[str, str]:
    """Job -> its last state, as far as accounting knows; nothing where there is no accounting."""
    masters = sorted({job.split("_")[0] for job in jobs})
    if not masters:
        return {}
    command = ["sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State"]
    try:
        # Ids are given, so that sacct does not begin at midnight.
        text = ask([*command, f"--jobs={','.join(masters)}"])
    except SchedulerError:
        return {}
    found = {job: state for name, state in rows(text, 2) for job in _jobs(name)}
    # A task cancelled on its own before it started vanishes from its array's lines (22.05).
    known = {job.split("_")[0] for job in found}
    vanished = {job: "CANCELLED" for job in jobs if job.split("_")[0] in known}
    return {**vanished, **{job: state for job, state in found.items() if job in jobs}}


def cancel(jobs: Iterable[str]) -> None:
    ask(["scancel", *jobs])


def mark_of(folder: Path) -> str:
    """Begins the comment of every job of a sweep's folder: one that no ledger knows is found."""
    return f"blankslate-{digest(str(folder.resolve()))[:12]}-"


def withdraw(mark: str) -> None:
    """Cancel whatever carries this mark, where the scheduler answers."""
    with suppress(SchedulerError):
        jobs = {job.id.split("_")[0] for job in queue().values() if job.comment == mark}
        if jobs:
            cancel(sorted(jobs))


def _jobs(name: str) -> Iterator[str]:
    """`12_[0-1,4%2]`: tasks of an array that ended before they started share a line of sacct."""
    array, _, tasks = name.partition("_[")
    if not tasks:
        yield name
    for first, last, step in re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", tasks.split("%")[0]):
        for index in range(int(first), int(last or first) + 1, int(step or 1)):
            yield f"{array}_{index}"


def rows(text: str, columns: int) -> list[list[str]]:
    """Rows of the expected width; a site's wrapper may print other lines around them."""
    reader = csv.reader(io.StringIO(text), delimiter="|", quoting=csv.QUOTE_NONE)
    return [row for row in reader if len(row) == columns]


def ask(command: list[str]) -> str:
    """What a command of SLURM prints."""
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=SECONDS_TO_ANSWER,
            env={**os.environ, "SLURM_BITSTR_LEN": "0"},  # long lists of tasks are not cut short
        )
    except FileNotFoundError:
        raise SchedulerError(
            f"{command[0]} is not on PATH: type this on a login node of the cluster, "
            f"or run here with CLUSTER=cluster/local.yaml"
        ) from None
    except subprocess.TimeoutExpired:
        raise SchedulerError(
            f"{command[0]} did not answer within {SECONDS_TO_ANSWER} s; try again later"
        ) from None
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split()) or f"exit code {error.returncode}"
        raise SchedulerError(
            f"{command[0]}: {said}; is the scheduler up? Try again later"
        ) from None
    return answer.stdout
