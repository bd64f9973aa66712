"""Other sweeps: how far seeds have moved the test CER of the same corpus elsewhere.

In:   the reports of the work folder; a comparison with one seed per arm.
Out:  the pooled relative deviation; a sentence on how many seeds would give a verdict.
Not here: the deviation of a sweep that has several seeds (statistics/variance.py).
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.results.comparison.arms import SweepComparison
from pipeline.results.statistics.inference import MAX_SEEDS_SUGGESTED, assume_deviation
from pipeline.results.statistics.variance import PLATEAU_RATE

NEEDED_COLUMNS = ("sweep", "corpus", "seeds", "test_cer_mean", "test_cer_deviation")


@dataclass(frozen=True)
class SeedSpread:
    deviation: float  # relative
    freedom: int
    sweeps: int


def read_seed_spread(reports: Path, own: str, corpora: Collection[str]) -> SeedSpread | None:
    """Pool the arms of other reports of these corpora; None if none has two seeds.

    A report of several sweeps is left out: each of them has its own report, or is the own one.
    """
    squares, freedom, sweeps = 0.0, 0, 0
    for path in sorted(reports.glob("*/arms.parquet")):
        table = _read(path) if path.parent.name != own else None
        if table is None or table.sweep.nunique() > 1:
            continue
        known = table[
            table.corpus.isin(list(corpora))
            & (table.seeds > 1)
            & table.test_cer_mean.between(0, PLATEAU_RATE, inclusive="neither")
        ]
        relative = (known.test_cer_deviation / known.test_cer_mean) ** 2
        squares += float((relative * (known.seeds - 1)).sum())
        freedom += int((known.seeds - 1).sum())
        sweeps += bool(len(known))
    return SeedSpread(math.sqrt(squares / freedom), freedom, sweeps) if freedom else None


def suggest_seeds(comparison: SweepComparison, spread: SeedSpread | None) -> str:
    """Return how many seeds would show the smallest difference to the best arm; or nothing."""
    inference, best = comparison.inference, comparison.best_arm
    if spread is None or inference is None or best is None or len(comparison.arms) < 2:
        return ""
    assumed = assume_deviation(inference.variance, spread.deviation, spread.freedom)
    if assumed is None:
        return ""
    reference = comparison.arms.index(best)
    differences = {
        arm.name: (number, abs(float(inference.rates[number] - inference.rates[reference])))
        for number, arm in enumerate(comparison.arms)
        if arm is not best
    }
    name, (number, difference) = min(differences.items(), key=lambda each: each[1][1])
    seeds = assumed.seeds_to_show(difference, number, reference) if difference else None
    where = f"{spread.sweeps} other sweep{'s' if spread.sweeps > 1 else ''} of this corpus"
    found = f"In {where} a seed moved the test {comparison.rate_name} by "
    found += f"{100 * spread.deviation:.0f} % of it"
    size = f"a difference as large as that to {name}"
    if seeds is None:
        return f"{found}; if so here, {MAX_SEEDS_SUGGESTED} seeds per arm would not show {size}."
    return f"{found}; if so here, {max(seeds, 2)} seeds per arm would show {size}."


def _read(path: Path) -> pd.DataFrame | None:
    """Return None for a file of another version, or one that cannot be read."""
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError):
        return None
    return table if set(NEEDED_COLUMNS) <= set(table.columns) else None
