"""SLURM's commands: one call of squeue, scancel, scontrol or sacct for many jobs.

In:   a command.   Out: its output; the jobs in the queue.
Not here: what a site allows (limits.py), submitting (sbatch.py), jobs that ended (sacct.py).
"""

import csv
import getpass
import io
import os
import re
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from jobs.environment import slurm_environment
from jobs.messages import print_line
from jobs.slurm import reasons
from pipeline.files import InputError, json_digest

SLURM_COMMAND_TIMEOUT_S = 30
TEST_TIMEOUT_S = 10  # of sbatch --test-only, which a plan can do without
MAX_SAID_CHARS = 200
RETRY_TIMEOUT_S = 15  # after this time an unreachable scheduler is not tried again

SQUEUE_FORMAT = "%i|%T|%r|%P|%a|%q|%S|%k"

# squeue's states of a job that waits; in every other state it has a node.
PENDING_STATES = {
    "PENDING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
}


class SchedulerError(InputError):
    """SLURM does not answer, or is not installed here."""


class QueuedJob(NamedTuple):
    id: str  # 12_3 in an array, else 12
    state: str
    reason: str  # why it waits; empty: no reason
    partition: str = ""
    account: str = ""
    qos: str = ""
    comment: str = ""
    starts: float | None = None  # unix time: its start, or SLURM's estimate of it

    @property
    def is_pending(self) -> bool:
        return self.state in PENDING_STATES

    @property
    def dependency_failed(self) -> bool:
        """Whether a job that it depends on can no longer end; SLURM leaves it in the queue."""
        return self.is_pending and self.reason == "DependencyNeverSatisfied"

    @property
    def launch_failed(self) -> bool:
        """Whether its node could not start it; SLURM then holds it until a person releases it."""
        return self.is_pending and self.reason in {
            "launch failed requeued held",
            "JobHoldMaxRequeue",
        }


def squeue(
    *,
    all_users: bool = False,
    users: Collection[str] = (),
    retry: bool = False,
) -> dict[str, QueuedJob]:
    """Return the queued and running jobs of this user, of `users`, or of all users; by id.

    Each task of an array is a job of its own. Raises SchedulerError.
    """
    # Not --me, which SLURM has since version 20.02 only.
    user_option = [] if all_users else [f"--user={','.join(sorted(users)) or _own_user()}"]
    command = ["squeue", *user_option, "--noheader", "--array", f"--format={SQUEUE_FORMAT}"]
    text = run_slurm_command(command, retry=retry, SLURM_TIME_FORMAT="%s")
    rows = [line.split("|", 7) for line in text.splitlines()]  # a comment may contain "|"
    return {row[0]: _parse_queued_job(*row) for row in rows if len(row) == 8}


def _parse_queued_job(job: str, state: str, reason: str, *more: str) -> QueuedJob:
    partition, account, qos, starts, comment = more
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


def _own_user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()


def array_job_id(job: str) -> str:
    """Return `12` for task `12_0` of an array; a single job has its own id."""
    return job.split("_", maxsplit=1)[0]


def cancel_jobs(jobs: Iterable[str]) -> None:
    run_slurm_command(["scancel", *jobs], retry=True)


def release_jobs(jobs: Iterable[str]) -> None:
    run_slurm_command(["scontrol", "release", ",".join(jobs)], retry=True)


def sweep_tag(folder: Path) -> str:
    """Return the prefix of the comment (sbatch --comment) of all jobs of a sweep's folder.

    With it a job is found that no ledger has, because its submission was interrupted.
    """
    return f"blankslate-{json_digest(str(folder.resolve()))[:12]}-"


def cancel_by_tag(tag: str) -> None:
    """Cancel the jobs whose comment is `tag`; do nothing if SLURM does not answer."""
    with suppress(SchedulerError):
        if jobs := find_by_tag(tag):
            cancel_jobs(jobs)


def find_by_tag(tag: str) -> list[str]:
    """Return the ids of the jobs, an array as one id, whose comment is `tag`."""
    queued = squeue().values()
    return sorted({array_job_id(job.id) for job in queued if job.comment == tag})


def cancel_waiting_tasks() -> None:
    """Cancel the tasks of this job's array that have not started, if SLURM answers."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    with suppress(SchedulerError):
        if array:
            run_slurm_command(["scancel", "--state=PENDING", array])


def current_job_id() -> str:
    """Return the id of the job that this process runs in, as squeue prints it; "" outside SLURM."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}", "") for name in ("JOB_ID", "TASK_ID"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


# Pattern of a word in the output of `scontrol show job` -> cause. A job that a person cancelled
# has neither word.
TERMINATION_REASONS = {"Reason=TimeLimit": "timeout", "PreemptTime=[0-9]": "preemption"}
TERMINATION_PATTERN = "|".join(TERMINATION_REASONS)  # also read by grep, in the batch script


def termination_reason() -> str:
    """Return why SLURM ends the job of this process: timeout, preemption, or "" if neither."""
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
    """Return the rows that have `columns` columns; a site's wrapper may print other lines too."""
    reader = csv.reader(io.StringIO(text), delimiter="|", quoting=csv.QUOTE_NONE)
    return [row for row in reader if len(row) == columns]


def run_slurm_command(
    command: list[str],
    *,
    retry: bool = False,
    timeout_s: float = SLURM_COMMAND_TIMEOUT_S,
    **environment: str,
) -> str:
    """Return what a command of SLURM prints; `environment`: variables to set for it.

    `retry`: try again while SLURM is busy, as a submission does; a status display does not wait.
    Raises SchedulerError.
    """
    began = time.monotonic()
    for seconds in reasons.RETRY_DELAYS_S if retry else ():
        try:
            return _run_once(command, environment, timeout_s)
        except SchedulerError as error:
            if not reasons.is_transient(str(error)) or time.monotonic() - began > RETRY_TIMEOUT_S:
                raise
            if seconds == reasons.RETRY_DELAYS_S[0]:
                print_line(
                    f"{command[0]}: SLURM does not answer; trying again for {RETRY_TIMEOUT_S} s"
                )
            time.sleep(seconds)
    return _run_once(command, environment, timeout_s)


def expected_start(script: str, **environment: str) -> float:
    """Return when SLURM expects a job of this batch script to start, in unix time.

    Nothing is submitted. Raises SchedulerError if SLURM refuses the job or gives no time.
    """
    command = ["sbatch", "--test-only"]
    variables = {**environment, "SLURM_TIME_FORMAT": "%s"}
    printed = _run_once(command, variables, TEST_TIMEOUT_S, script, with_errors=True)
    if found := re.search(r"\bto start at (\d{9,11})\b", printed):
        return float(found[1])
    said = " ".join(printed.split())[:MAX_SAID_CHARS] or "nothing"
    raise SchedulerError(f"no time is in what it printed: {said}")


def _run_once(
    command: list[str],
    environment: Mapping[str, str],
    timeout_s: float,
    script: str | None = None,
    *,
    with_errors: bool = False,
) -> str:
    """Return what the command prints; `script`: its input; `with_errors`: also from stderr."""
    try:
        answer = subprocess.run(
            command,
            input=script,
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=timeout_s,
            # 0: squeue and scontrol print long lists of array tasks in full.
            env={**slurm_environment(), "SLURM_BITSTR_LEN": "0", **environment},
        )
    except FileNotFoundError:
        raise SchedulerError(
            f"{command[0]} is not on PATH: type this on a login node of the cluster, "
            f"or use this machine with CLUSTER=cluster/local.yaml"
        ) from None
    except subprocess.TimeoutExpired:
        raise SchedulerError(
            f"{command[0]} did not answer within {timeout_s:.0f} s; try again later"
        ) from None
    except subprocess.CalledProcessError as error:
        message = " ".join(error.stderr.split()) or f"exit code {error.returncode}"
        advice = "; is the scheduler up? Try again later" if reasons.is_transient(message) else ""
        name = "" if message.startswith(f"{command[0]}:") else f"{command[0]}: "
        raise SchedulerError(f"{name}{message}{advice}") from None
    return answer.stdout + answer.stderr if with_errors else answer.stdout
