"""sacct: how jobs ended that have left the queue, in one call.

In:   job ids.   Out: the attempts of each job; every requeue begins a new attempt.
Not here: what a state means (node/failures.py), jobs in the queue (client.py).
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from jobs.environment import addressed_cluster
from jobs.slurm.client import SchedulerError, array_job_id, parse_table, run_slurm_command

SACCT_FIELDS = "JobID,State,ExitCode,NodeList,End,MaxRSS"
MAX_CLOCK_DIFFERENCE_S = 300.0  # between this host and SLURM's
BYTES_PER_UNIT = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class JobAttempt(NamedTuple):
    """One attempt of a job: from its start until it ended or was requeued."""

    state: str
    code: int = 0  # exit code
    signal: int = 0  # the signal that ended it; 0: none
    nodes: str = ""
    ended: float | None = None  # unix time
    peak_bytes: int = 0  # memory of its largest step (MaxRSS)

    @property
    def failed_node(self) -> str:
        return self.nodes if self.state in {"NODE_FAIL", "BOOT_FAIL"} else ""


def query_job_attempts(
    jobs: Collection[str], submitted: Mapping[str, float] | None = None
) -> dict[str, list[JobAttempt]]:
    """Return job -> its attempts in order; empty if SLURM has no accounting.

    `submitted`: job -> unix time of its submission; what ended well before is another job that had
    the same number.
    """
    masters = sorted({array_job_id(job) for job in jobs})
    if not masters:
        return {}
    # Another user of the work folder may have submitted a job.
    command = ["sacct", "--noheader", "--parsable2", "--duplicates", "--allusers"]
    command += [f"--format={SACCT_FIELDS}"]
    if cluster := addressed_cluster():  # unlike the others sacct does not read SLURM_CLUSTERS
        command += [f"--clusters={cluster}"]
    try:
        # Without ids sacct would list the jobs since midnight only.
        text = run_slurm_command([*command, f"--jobs={','.join(masters)}"], SLURM_TIME_FORMAT="%s")
    except SchedulerError:
        return {}
    found: dict[str, list[JobAttempt]] = {}
    for name, state, code, nodes, end, peak in parse_table(text, 6):
        if "." in name:  # a step of the job in the line above
            _add_step(found, name.split(".")[0], state, code, peak)
            continue
        attempt = JobAttempt(
            state=state,
            code=_parse_exit_code(code),
            signal=_parse_signal(code),
            nodes="" if "assigned" in nodes else nodes,
            ended=_parse_time(end),
        )
        for job in _expand_job_ids(name):
            found.setdefault(job, []).append(attempt)
    return {
        job: kept
        for job, attempts in found.items()
        if job in jobs and (kept := _attempts_since(attempts, (submitted or {}).get(job, 0.0)))
    }


def _attempts_since(attempts: Sequence[JobAttempt], submitted: float) -> list[JobAttempt]:
    earliest = submitted - MAX_CLOCK_DIFFERENCE_S
    return [each for each in attempts if each.ended is None or each.ended > earliest]


def _parse_exit_code(text: str) -> int:
    """Return the exit code of sacct's `1:0`; 0 for `None` or nothing."""
    number = text.partition(":")[0]
    return int(number) if number.isdigit() else 0


def _add_step(
    found: dict[str, list[JobAttempt]], job: str, state: str, exit_code: str, peak: str
) -> None:
    """Add a step's memory to its job; and its signal, which sacct may not report for the job."""
    if job not in found:
        return
    attempt = found[job][-1]
    step_signal = 0 if state.startswith("COMPLETED") else _parse_signal(exit_code)
    found[job][-1] = attempt._replace(
        peak_bytes=max(attempt.peak_bytes, _parse_memory(peak)),
        signal=attempt.signal or step_signal,
    )


def _parse_signal(exit_code: str) -> int:
    """Return the signal of sacct's `exit code:signal`, such as 9 of `0:9`."""
    number = exit_code.partition(":")[2]
    return int(number) if number.isdigit() else 0


def _parse_time(text: str) -> float | None:
    return float(text) if text.isdigit() else None


def _parse_memory(text: str) -> int:
    found = re.fullmatch(r"([\d.]+)([KMGT]?)", text)
    return round(float(found[1]) * BYTES_PER_UNIT[found[2]]) if found else 0


def _expand_job_ids(job_id: str) -> Iterator[str]:
    """Yield 12_0, 12_1, 12_4 of `12_[0-1,4%2]`.

    Array tasks that ended before they started share one line of sacct.
    """
    array, _, tasks = job_id.partition("_[")
    if not tasks:
        yield job_id
    for first, last, step in re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", tasks.split("%")[0]):
        for index in range(int(first), int(last or first) + 1, int(step or 1)):
            yield f"{array}_{index}"
