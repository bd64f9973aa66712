"""`make bench`: side by side in one run, rounds interleaved, medians; a table and bench.json.

Single numbers move with the machine; the ratio of two rows of one run is what holds.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core on either side of each ratio

from rich.console import Console
from rich.table import Table

from tests.benchmarks import features, training

ROUNDS = 3
REPOSITORY = Path(__file__).resolve().parents[2]


def measure(cases: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Seconds of each case, one warm-up and then `ROUNDS` rounds, the cases in turn."""
    for case in cases.values():
        case()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def table(title: str, seconds: dict[str, list[float]]) -> Table:
    """The first case is the measure of the others."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    unit = next(iter(medians.values()))
    made = Table(title=title)
    for heading in ("case", "median s", "min", "max", "x first"):
        made.add_column(heading, justify="left" if heading == "case" else "right")
    for name, values in seconds.items():
        row = (medians[name], min(values), max(values), medians[name] / unit)
        made.add_row(name, *(f"{value:.2f}" for value in row))
    return made


def main() -> int:
    an4 = Path(os.environ.get("AN4", REPOSITORY / "../shared/an4"))
    if not (an4 / "etc").is_dir():
        print(f"bench: AN4 is not at {an4}; set AN4 to its folder", file=sys.stderr)
        return 2
    console = Console()
    found = {"machine": platform.platform(), "cpus": os.cpu_count(), "rounds": ROUNDS}
    for room in (features, training):
        for title, cases in room.cases(an4).items():
            seconds = measure(cases)
            console.print(table(title, seconds))
            found[title] = seconds
    (REPOSITORY / "bench.json").write_text(json.dumps(found, indent=1) + "\n")
    console.print("bench.json")
    return 0


sys.exit(main())
