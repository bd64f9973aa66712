"""Same runs: real runs that differ in their seed only, split into arms that cannot differ.

In:   the finished runs of configs/sweeps/equal-input.yaml.
Out:  the answer of the sweep; the share of splits in which some arm is said to differ.
Not here: simulated sweeps (chance.py).
"""

import itertools
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from jobs.sweep.folder import SweepFolder
from jobs.sweep.record import load_record
from pipeline.results.comparison.answer import sentences
from pipeline.results.comparison.arms import compare_runs
from pipeline.results.comparison.test_sets import find_common_test
from pipeline.results.summary.run_summary import RunSummary, SweepRun, read_run
from tests.benchmarks.measure import REPOSITORY

SWEEP = "configs/sweeps/equal-input.yaml"
SPLITS = ((2, 2, 2, 2), (3, 3), (4, 4))  # seeds of each arm


def measure_same_runs(console: Console) -> dict[str, object]:
    """Train the sweep in a temporary folder, and compare what cannot differ."""
    with tempfile.TemporaryDirectory(prefix="blankslate-same-") as folder:
        place = ["--cluster", "cluster/local.yaml", "--work", folder]
        command = [sys.executable, "-m", "jobs", "sweep", SWEEP, *place]
        subprocess.run(command, cwd=REPOSITORY, check=True)
        return compare_same_runs(console, Path(folder))


def compare_same_runs(console: Console, work: Path) -> dict[str, object]:
    """Return the answer and the shares of false claims, of the finished sweep in `work`."""
    sweep = SweepFolder(work, Path(SWEEP).stem)
    runs = [
        read_run(SweepRun(run.label, run.settings, sweep.run(run.run_id)))
        for run in load_record(sweep).runs
    ]
    comparison = compare_runs(runs)
    answer = sentences(comparison, f"make sweep SWEEP={SWEEP}")
    found: dict[str, object] = {"answer": answer}
    for line in answer:
        console.print(line, markup=False)
    for arm in comparison.arms:
        for sizes in SPLITS:
            claims = [_claims(split) for split in _splits(arm.runs, sizes)]
            name = f"{arm.name}, {len(arm.runs)} runs as arms of {' + '.join(map(str, sizes))}"
            found[name] = [sum(claims), len(claims)]
            console.print(f"{name}: a claim in {sum(claims)} of {len(claims)} splits")
    return found


def _splits(
    runs: Sequence[RunSummary], sizes: Sequence[int]
) -> Iterator[list[tuple[RunSummary, ...]]]:
    """Yield each way to share out the runs to arms of these sizes, in one order of the arms."""
    seen = set()
    for order in itertools.permutations(range(len(runs)), sum(sizes)):
        ends = [0, *itertools.accumulate(sizes)]
        parts = [tuple(sorted(order[a:b])) for a, b in itertools.pairwise(ends)]
        key = tuple(sorted(parts))
        if key not in seen:
            seen.add(key)
            yield [tuple(runs[place] for place in part) for part in key]


def _claims(split: Sequence[Sequence[RunSummary]]) -> bool:
    said = find_common_test(split).infer("cer")
    pairs = itertools.combinations(range(len(split)), 2)
    return any(said.difference(a, b).is_shown for a, b in pairs)
