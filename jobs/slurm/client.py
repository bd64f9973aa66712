"""Questions to SLURM, each in one batched call.

In:   squeue.   Out: the queue.
Not here: what a site allows (limits.py), submitting (slurm.py); jobs that ended (accounting.py).
"""

import csv
import io
import os
import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.slurm import reasons
from pipeline.files import InputError, digest

SECONDS_TO_ANSWER = 60

QUEUE_FORMAT = "%i|%T|%r|%P|%a|%q|%S|%k"

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
    starts: float | None = None  # unix, where SLURM estimates it; or when it did

    @property
    def waits(self) -> bool:
        return self.state in WAITING

    @property
    def never_starts(self) -> bool:
        """What it depends on can no longer happen; SLURM would leave it there for ever."""
        return self.waits and self.reason == "DependencyNeverSatisfied"

    @property
    def could_not_start(self) -> bool:
        """Its node did not take it; SLURM requeues it, and then holds it until a person comes."""
        return self.waits and self.reason in {"launch failed requeued held", "JobHoldMaxRequeue"}


def queue(*, everyone: bool = False, patient: bool = False) -> dict[str, QueuedJob]:
    """Every queued or running job of this user, array tasks one by one."""
    whose = [] if everyone else ["--me"]
    command = ["squeue", *whose, "--noheader", "--array", f"--format={QUEUE_FORMAT}"]
    text = ask(command, patient=patient, SLURM_TIME_FORMAT="%s")
    found = [line.split("|", 7) for line in text.splitlines()]  # a comment may hold anything
    return {row[0]: _queued(*row) for row in found if len(row) == 8}


def _queued(job: str, state: str, reason: str, *place: str) -> QueuedJob:
    partition, account, qos, starts, comment = place
    return QueuedJob(
        id=job,
        state=state,
        reason="" if reason == "None" else reason,
        partition=partition,
        account=account,
        qos=qos,
        comment=comment,
        starts=float(starts) if starts.isdigit() else None,
    )


def cancel(jobs: Iterable[str]) -> None:
    ask(["scancel", *jobs], patient=True)


def release(jobs: Iterable[str]) -> None:
    ask(["scontrol", "release", ",".join(jobs)], patient=True)


def mark_of(folder: Path) -> str:
    """Begins the comment of every job of a sweep's folder: one that no ledger knows is found."""
    return f"blankslate-{digest(str(folder.resolve()))[:12]}-"


def withdraw(mark: str) -> None:
    """Cancel whatever carries this mark, where the scheduler answers."""
    with suppress(SchedulerError):
        jobs = {job.id.split("_")[0] for job in queue().values() if job.comment == mark}
        if jobs:
            cancel(sorted(jobs))


def this_job() -> str:
    """The job that this process is in, as squeue names it; nothing outside of SLURM."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}", "") for name in ("JOB_ID", "TASK_ID"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


# Among the words of `scontrol show job` -> the cause. One that a person cancelled has neither.
LEAVING = {"Reason=TimeLimit": "timeout", "PreemptTime=[0-9]": "preemption"}
MUST_LEAVE = "|".join(LEAVING)  # also read by grep, in the batch script


def must_leave() -> str:
    """Why the job that this is in is ended: its limit, or another one; nothing of any other end."""
    command = ["scontrol", "show", "job", "--oneliner", os.environ.get("SLURM_JOB_ID", "")]
    try:
        text = ask(command, patient=True)
    except SchedulerError:
        return ""
    words = text.split()
    causes = (why for said, why in LEAVING.items() if any(re.match(said, word) for word in words))
    return next(causes, "")


def rows(text: str, columns: int) -> list[list[str]]:
    """Rows of the expected width; a site's wrapper may print other lines around them."""
    reader = csv.reader(io.StringIO(text), delimiter="|", quoting=csv.QUOTE_NONE)
    return [row for row in reader if len(row) == columns]


def ask(command: list[str], *, patient: bool = False, **environment: str) -> str:
    """What a command of SLURM prints.

    Who only looks gets no answer at once; who submits is `patient` with a scheduler that is busy.
    """
    for seconds in reasons.SECONDS_UNTIL_AGAIN if patient else ():
        try:
            return _ask(command, environment)
        except SchedulerError as error:
            if not reasons.passes(str(error)):
                raise
            time.sleep(seconds)
    return _ask(command, environment)


def _environment() -> dict[str, str]:
    """Without what a person has set to see less: SQUEUE_PARTITION would hide live jobs."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("SQUEUE_", "SACCT_"))}


def _ask(command: list[str], environment: Mapping[str, str]) -> str:
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=SECONDS_TO_ANSWER,
            # Long lists of tasks are not cut short.
            env={**_environment(), "SLURM_BITSTR_LEN": "0", **environment},
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
