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
from pipeline.files import InputError, json_digest

SLURM_COMMAND_TIMEOUT_S = 60

SQUEUE_FORMAT = "%i|%T|%r|%P|%a|%q|%S|%k"

# Squeue's states in which a job still waits; every other one in the queue holds a node.
PENDING_STATES = {
    "PENDING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
}


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
    def is_pending(self) -> bool:
        return self.state in PENDING_STATES

    @property
    def dependency_failed(self) -> bool:
        """What it depends on can no longer happen; SLURM would leave it there for ever."""
        return self.is_pending and self.reason == "DependencyNeverSatisfied"

    @property
    def launch_failed(self) -> bool:
        """Its node did not take it; SLURM requeues it, and then holds it until a person comes."""
        return self.is_pending and self.reason in {
            "launch failed requeued held",
            "JobHoldMaxRequeue",
        }


def squeue(*, all_users: bool = False, retry: bool = False) -> dict[str, QueuedJob]:
    """Every queued or running job of this user, array tasks one by one."""
    user_option = [] if all_users else ["--me"]
    command = ["squeue", *user_option, "--noheader", "--array", f"--format={SQUEUE_FORMAT}"]
    text = run_slurm_command(command, retry=retry, SLURM_TIME_FORMAT="%s")
    found = [line.split("|", 7) for line in text.splitlines()]  # a comment may hold anything
    return {row[0]: _parse_queued_job(*row) for row in found if len(row) == 8}


def _parse_queued_job(job: str, state: str, reason: str, *place: str) -> QueuedJob:
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


def cancel_jobs(jobs: Iterable[str]) -> None:
    run_slurm_command(["scancel", *jobs], retry=True)


def release_jobs(jobs: Iterable[str]) -> None:
    run_slurm_command(["scontrol", "release", ",".join(jobs)], retry=True)


def sweep_tag(folder: Path) -> str:
    """Begins the comment of every job of a sweep's folder: one that no ledger knows is found."""
    return f"blankslate-{json_digest(str(folder.resolve()))[:12]}-"


def cancel_by_tag(tag: str) -> None:
    """Cancel whatever carries this mark, where the scheduler answers."""
    with suppress(SchedulerError):
        jobs = {job.id.split("_")[0] for job in squeue().values() if job.comment == tag}
        if jobs:
            cancel_jobs(sorted(jobs))


def current_job_id() -> str:
    """The job that this process is in, as squeue names it; nothing outside of SLURM."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}", "") for name in ("JOB_ID", "TASK_ID"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


# Among the words of `scontrol show job` -> the cause. One that a person cancelled has neither.
TERMINATION_REASONS = {"Reason=TimeLimit": "timeout", "PreemptTime=[0-9]": "preemption"}
TERMINATION_PATTERN = "|".join(TERMINATION_REASONS)  # also read by grep, in the batch script


def termination_reason() -> str:
    """Why the job that this is in is ended: its limit, or another one; nothing of any other end."""
    command = ["scontrol", "show", "job", "--oneliner", os.environ.get("SLURM_JOB_ID", "")]
    try:
        text = run_slurm_command(command, retry=True)
    except SchedulerError:
        return ""
    words = text.split()
    causes = (
        reason
        for pattern, reason in TERMINATION_REASONS.items()
        if any(re.match(pattern, word) for word in words)
    )
    return next(causes, "")


def parse_table(text: str, columns: int) -> list[list[str]]:
    """Rows of the expected width; a site's wrapper may print other lines around them."""
    reader = csv.reader(io.StringIO(text), delimiter="|", quoting=csv.QUOTE_NONE)
    return [row for row in reader if len(row) == columns]


def run_slurm_command(command: list[str], *, retry: bool = False, **environment: str) -> str:
    """What a command of SLURM prints.

    Who only looks gets no answer at once; who submits is `patient` with a scheduler that is busy.
    """
    for seconds in reasons.RETRY_DELAYS_S if retry else ():
        try:
            return _run_once(command, environment)
        except SchedulerError as error:
            if not reasons.is_transient(str(error)):
                raise
            time.sleep(seconds)
    return _run_once(command, environment)


def _command_environment() -> dict[str, str]:
    """Without what a person has set to see less: SQUEUE_PARTITION would hide live jobs."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("SQUEUE_", "SACCT_"))}


def _run_once(command: list[str], environment: Mapping[str, str]) -> str:
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=SLURM_COMMAND_TIMEOUT_S,
            # Long lists of tasks are not cut short.
            env={**_command_environment(), "SLURM_BITSTR_LEN": "0", **environment},
        )
    except FileNotFoundError:
        raise SchedulerError(
            f"{command[0]} is not on PATH: type this on a login node of the cluster, "
            f"or run here with CLUSTER=cluster/local.yaml"
        ) from None
    except subprocess.TimeoutExpired:
        raise SchedulerError(
            f"{command[0]} did not answer within {SLURM_COMMAND_TIMEOUT_S} s; try again later"
        ) from None
    except subprocess.CalledProcessError as error:
        message = " ".join(error.stderr.split()) or f"exit code {error.returncode}"
        raise SchedulerError(
            f"{command[0]}: {message}; is the scheduler up? Try again later"
        ) from None
    return answer.stdout
