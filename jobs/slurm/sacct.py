"""Accounting: what SLURM knows of jobs that have left its queue, in one call of sacct.

In:   job ids.   Out: the lives of each job: it has a new one with every requeue.
Not here: what a state means (failures.py); jobs in the queue (scheduler.py).
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from jobs.slurm.client import SchedulerError, parse_table, run_slurm_command

SACCT_FIELDS = "JobID,State,ExitCode,NodeList,End,MaxRSS"
BYTES_PER_UNIT = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class JobAttempt:
    """One start of a job, until it ended or was requeued."""

    state: str
    code: int = 0  # of its exit
    signal: int = 0  # that ended it
    nodes: str = ""
    ended: float | None = None  # unix
    peak_bytes: int = 0  # of its largest step

    @property
    def failed_node(self) -> str:
        return self.nodes if self.state in {"NODE_FAIL", "BOOT_FAIL"} else ""


def query_job_attempts(jobs: Collection[str]) -> dict[str, list[JobAttempt]]:
    """Job -> its lives, the last one last; nothing where there is no accounting."""
    masters = sorted({job.split("_")[0] for job in jobs})
    if not masters:
        return {}
    command = ["sacct", "--noheader", "--parsable2", "--duplicates", f"--format={SACCT_FIELDS}"]
    try:
        # Ids are given, so that sacct does not begin at midnight.
        text = run_slurm_command([*command, f"--jobs={','.join(masters)}"], SLURM_TIME_FORMAT="%s")
    except SchedulerError:
        return {}
    found: dict[str, list[JobAttempt]] = {}
    for name, state, code, nodes, end, peak in parse_table(text, 6):
        if "." in name:  # a step, of the line above
            _add_step(found, name.split(".")[0], state, code, peak)
            continue
        life = JobAttempt(
            state=state,
            code=int(code.split(":")[0] or 0),
            signal=_parse_signal(code),
            nodes="" if "assigned" in nodes else nodes,
            ended=_parse_time(end),
        )
        for job in _expand_job_ids(name):
            found.setdefault(job, []).append(life)
    return {job: each for job, each in found.items() if job in jobs}


def _add_step(
    found: dict[str, list[JobAttempt]], job: str, state: str, exit_code: str, peak: str
) -> None:
    """The largest step's memory; and the signal, which is not always told of the job."""
    if job not in found:
        return
    life = found[job][-1]
    signal = life.signal or (_parse_signal(exit_code) if not state.startswith("COMPLETED") else 0)
    found[job][-1] = replace(
        life, peak_bytes=max(life.peak_bytes, _parse_memory(peak)), signal=signal
    )


def _parse_signal(exit_code: str) -> int:
    """Of `1:0`: how it exited, and which signal ended it."""
    number = exit_code.partition(":")[2]
    return int(number) if number.isdigit() else 0


def _parse_time(text: str) -> float | None:
    return float(text) if text.isdigit() else None


def _parse_memory(text: str) -> int:
    found = re.fullmatch(r"([\d.]+)([KMGT]?)", text)
    return round(float(found[1]) * BYTES_PER_UNIT[found[2]]) if found else 0


def _expand_job_ids(job_id: str) -> Iterator[str]:
    """`12_[0-1,4%2]`: tasks of an array that ended before they started share a line of sacct."""
    array, _, tasks = job_id.partition("_[")
    if not tasks:
        yield job_id
    for first, last, step in re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", tasks.split("%")[0]):
        for index in range(int(first), int(last or first) + 1, int(step or 1)):
            yield f"{array}_{index}"
