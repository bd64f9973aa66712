"""Accounting: what SLURM knows of jobs that have left its queue, in one call of sacct.

In:   job ids.   Out: the lives of each job: it has a new one with every requeue.
Not here: what a state means (failures.py); jobs in the queue (scheduler.py).
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from jobs.slurm.client import SchedulerError, ask, rows

COLUMNS = "JobID,State,ExitCode,NodeList,End,MaxRSS"
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Life:
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


def lives(jobs: Collection[str]) -> dict[str, list[Life]]:
    """Job -> its lives, the last one last; nothing where there is no accounting."""
    masters = sorted({job.split("_")[0] for job in jobs})
    if not masters:
        return {}
    command = ["sacct", "--noheader", "--parsable2", "--duplicates", f"--format={COLUMNS}"]
    try:
        # Ids are given, so that sacct does not begin at midnight.
        text = ask([*command, f"--jobs={','.join(masters)}"], SLURM_TIME_FORMAT="%s")
    except SchedulerError:
        return {}
    found: dict[str, list[Life]] = {}
    for name, state, code, nodes, end, peak in rows(text, 6):
        if "." in name:  # a step, of the line above
            _add_step(found, name.split(".")[0], state, code, peak)
            continue
        life = Life(
            state=state,
            code=int(code.split(":")[0] or 0),
            signal=_signal(code),
            nodes="" if "assigned" in nodes else nodes,
            ended=_time(end),
        )
        for job in _jobs(name):
            found.setdefault(job, []).append(life)
    return {job: each for job, each in found.items() if job in jobs}


def _add_step(found: dict[str, list[Life]], job: str, state: str, code: str, peak: str) -> None:
    """The largest step's memory; and the signal, which is not always told of the job."""
    if job not in found:
        return
    life = found[job][-1]
    signal = life.signal or (_signal(code) if not state.startswith("COMPLETED") else 0)
    found[job][-1] = replace(life, peak_bytes=max(life.peak_bytes, _bytes(peak)), signal=signal)


def _signal(code: str) -> int:
    """Of `1:0`: how it exited, and which signal ended it."""
    number = code.partition(":")[2]
    return int(number) if number.isdigit() else 0


def _time(text: str) -> float | None:
    return float(text) if text.isdigit() else None


def _bytes(text: str) -> int:
    found = re.fullmatch(r"([\d.]+)([KMGT]?)", text)
    return round(float(found[1]) * UNITS[found[2]]) if found else 0


def _jobs(name: str) -> Iterator[str]:
    """`12_[0-1,4%2]`: tasks of an array that ended before they started share a line of sacct."""
    array, _, tasks = name.partition("_[")
    if not tasks:
        yield name
    for first, last, step in re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", tasks.split("%")[0]):
        for index in range(int(first), int(last or first) + 1, int(step or 1)):
            yield f"{array}_{index}"
