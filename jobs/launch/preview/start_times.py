"""Start times: when SLURM expects a job to start, as sbatch --test-only says without submitting.

In:   batch scripts by the kind of their jobs.   Out: lines.
Not here: when queued jobs start (slurm/client.py reads that from squeue).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from jobs.messages import clock_text, duration_text
from jobs.slurm import client, reasons
from jobs.slurm.client import SchedulerError

AT_ONCE_S = 60.0  # SLURM starts jobs in rounds that are up to a minute apart


class JobScript(NamedTuple):
    kind: str  # such as runs
    script: str
    variables: Mapping[str, str]  # of sbatch, which the submission keeps


def start_lines(jobs: Iterable[JobScript], now: float) -> Iterator[str]:
    """Yield when SLURM expects each kind of job to start if it were submitted alone now.

    Kinds about which SLURM says the same share a line.
    """
    kinds: dict[str, list[str]] = {}
    for job in jobs:
        kinds.setdefault(_start_text(job, now), []).append(job.kind)
    for text, same in kinds.items():
        yield f"start of {' and '.join(same)}: {text}"


def _start_text(job: JobScript, now: float) -> str:
    try:
        expected = client.expected_start(job.script, **job.variables)
    except SchedulerError as error:
        return f"not known (sbatch --test-only): {reasons.add_usual_cause(str(error))}"
    if expected - now < AT_ONCE_S:
        return "SLURM expects it at once"
    when = clock_text(expected)
    return f"SLURM expects it at {when}, in {duration_text(expected - now)}"
