"""The process of one case: `python -m tests.benchmarks.child MODULE:MAKER SETTINGS`.

In:   a maker and its settings (JSON); the word `run` on stdin for each round.
Out:  a JSON line on stdout when it is ready, and for each round.
Not here: the order of the cases (measure.py).

A maker is called once, with a folder that exists as long as the process, and the settings. It
returns the job, which is called in each round with an empty folder and timed. A job may return
numbers of its own. The folder is removed after the time was taken.
"""

import importlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

BenchmarkJob = Callable[[Path], Mapping[str, float] | None]

PROC_FOLDER = Path("/proc")
PROC_STAT = PROC_FOLDER / "stat"


def machine_cpu_seconds() -> float:
    """Return the busy seconds of all CPUs of this machine; nan without /proc/stat."""
    if not PROC_STAT.exists():
        return float("nan")
    ticks = [int(word) for word in PROC_STAT.read_text().split("\n", 1)[0].split()[1:]]
    user_nice_system, irq_softirq_steal = ticks[:3], ticks[5:8]
    return (sum(user_nice_system) + sum(irq_softirq_steal)) / os.sysconf("SC_CLK_TCK")


def own_cpu_seconds() -> float:
    """Return the CPU seconds of this process and all its descendants, ended or running."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used) + descendant_cpu_seconds(os.getpid())


def descendant_cpu_seconds(parent: int) -> float:
    """Return the CPU seconds of the running descendants of `parent`."""
    below: dict[int, list[int]] = {}
    worked: dict[int, int] = {}
    for path in PROC_FOLDER.glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:  # the process has just ended
            continue
        below.setdefault(int(words[1]), []).append(int(path.parent.name))
        worked[int(path.parent.name)] = sum(map(int, words[11:15]))
    ticks, waiting = 0, below.get(parent, [])
    while waiting:
        process = waiting.pop()
        ticks += worked[process]
        waiting += below.get(process, [])
    return ticks / os.sysconf("SC_CLK_TCK")


def run_timed(job: BenchmarkJob) -> dict[str, float]:
    """Return the seconds of the job, the foreign use of CPUs, and the job's numbers."""
    with tempfile.TemporaryDirectory(prefix="blankslate-bench-") as folder:
        before, start = machine_cpu_seconds() - own_cpu_seconds(), time.perf_counter()
        numbers = job(Path(folder)) or {}
        seconds = time.perf_counter() - start
        foreign = (machine_cpu_seconds() - own_cpu_seconds() - before) / seconds
    return {"seconds": seconds, "foreign": foreign, **numbers}


def run_case(maker: str, settings: str) -> None:
    module, function = maker.split(":")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # stdout is for answers; whatever a library prints goes to stderr
    with tempfile.TemporaryDirectory(prefix="blankslate-bench-") as scratch:
        make = getattr(importlib.import_module(f"tests.benchmarks.{module}"), function)
        job = make(Path(scratch), **json.loads(settings))
        print(json.dumps("ready"), file=answers, flush=True)
        for _ in sys.stdin:
            print(json.dumps(run_timed(job)), file=answers, flush=True)


if __name__ == "__main__":
    run_case(*sys.argv[1:])
