"""Questions to SLURM, each in one batched call.

In:   squeue, sacct, scontrol, sacctmgr.   Out: the queue, states of ended jobs, limits.
Not here: submitting (slurm.py); what a state means (failures.py).
"""

import csv
import getpass
import io
import os
import re
import subprocess
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from jobs.plan import Limits
from jobs.profile import Limit, Slurm
from pipeline.files import InputError

SECONDS_TO_ANSWER = 60
LARGEST_ARRAY = 1001  # SLURM's own default of MaxArraySize

# Squeue's states in which a job still waits; every other one in the queue holds a node.
WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}


class SchedulerError(InputError):
    """The scheduler does not answer, or is not there."""


@dataclass(frozen=True)
class QueuedJob:
    id: str  # 12_3 in an array, else 12
    state: str
    reason: str  # why it waits, or nothing

    @property
    def waits(self) -> bool:
        return self.state in WAITING


def queue() -> dict[str, QueuedJob]:
    """Every queued or running job of this user, array tasks one by one."""
    text = _ask(["squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r"])
    return {
        job: QueuedJob(job, state, "" if reason == "None" else reason)
        for job, state, reason in _rows(text, 3)
    }


def ended(jobs: Collection[str]) -> dict[str, str]:
    """Job -> its last state, as far as accounting knows; nothing where there is no accounting."""
    masters = sorted({job.split("_")[0] for job in jobs})
    if not masters:
        return {}
    command = ["sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State"]
    try:
        # Ids are given, so that sacct does not begin at midnight.
        text = _ask([*command, f"--jobs={','.join(masters)}"])
    except SchedulerError:
        return {}
    return {job: state for name, state in _rows(text, 2) for job in _jobs(name) if job in jobs}


def cancel(jobs: Iterable[str]) -> None:
    _ask(["scancel", *jobs])


def limits(profile: Slurm, live: int) -> Limits:
    """The profile's limits with `auto` looked up, less the `live` jobs that count already."""
    submit, running, array = profile.max_submit, profile.max_running, profile.max_array_size
    found = _association(profile) if "auto" in {submit, running} else {}
    most = _limit(submit, found.get("submit"))
    return Limits(
        tasks=None if most is None else max(0, most - live),
        running=_limit(running, found.get("running")),
        array=_limit(array, _max_array_size() if array == "auto" else None),
        feature_tasks=profile.features.tasks,
    )


def _limit(limit: Limit, found: int | None) -> int | None:
    if limit == "auto":
        return found
    return None if limit == "unlimited" else limit


def _max_array_size() -> int:
    for line in _ask(["scontrol", "show", "config"]).splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize":
            return int(value)
    return LARGEST_ARRAY


def _association(profile: Slurm) -> dict[str, int]:
    """The smallest limits of the user's associations and QOS; a site may forbid the question."""
    answers = [
        f"show assoc where user={getpass.getuser()} format=Account,Partition,MaxSubmit,MaxJobs"
    ]
    if profile.qos:
        answers.append(f"show qos where name={profile.qos} format=Name,Name,MaxSubmitPU,MaxJobsPU")
    rows: list[list[str]] = []
    for words in answers:
        try:
            rows += _rows(_ask(["sacctmgr", "--noheader", "--parsable2", *words.split()]), 4)
        except SchedulerError:
            continue
    ours = [
        row
        for row in rows
        if row[0] in {profile.account or row[0], profile.qos}
        and row[1] in {"", profile.partition, profile.qos}
    ]
    columns = {"submit": 2, "running": 3}
    return {
        name: min(int(row[column]) for row in ours if row[column])
        for name, column in columns.items()
        if any(row[column] for row in ours)
    }


def _jobs(name: str) -> Iterator[str]:
    """`12_[0-1,4%2]`: tasks of an array that ended before they started share a line of sacct."""
    array, _, tasks = name.partition("_[")
    if not tasks:
        yield name
    for first, last, step in re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", tasks.split("%")[0]):
        for index in range(int(first), int(last or first) + 1, int(step or 1)):
            yield f"{array}_{index}"


def _rows(text: str, columns: int) -> list[list[str]]:
    """Rows of the expected width; a site's wrapper may print other lines around them."""
    reader = csv.reader(io.StringIO(text), delimiter="|", quoting=csv.QUOTE_NONE)
    return [row for row in reader if len(row) == columns]


def _ask(command: list[str]) -> str:
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
