"""Judge: compare the rounds with the targets.

In:   rounds, targets.   Out: medians, ratios, met or not met.
Not here: taking the rounds (measure.py), printing (show.py).
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Round = Mapping[str, float]  # seconds, amount of work, foreign CPU use, numbers of the case
Rounds = Mapping[str, Sequence[Round]]

MAX_FOREIGN_CORES = 0.15  # a round during which other processes used more is disturbed

Verdict = Literal["met", "not met", "not measured"]


@dataclass(frozen=True)
class BenchmarkTarget:
    """A bound on the lowest of `case_names`, divided by the total of `baseline_names` if any."""

    case_names: Sequence[str]
    baseline_names: Sequence[str] = ()
    at_most: float = math.inf
    at_least: float = -math.inf
    quantity: str = "seconds"
    baseline_total: Literal["summed", "greatest"] = "summed"

    def __str__(self) -> str:
        between = " + " if self.baseline_total == "summed" else " or "
        named = " / ".join(
            filter(None, [" or ".join(self.case_names), between.join(self.baseline_names)])
        )
        return named if self.quantity == "seconds" else f"{self.quantity}: {named}"

    @property
    def bound(self) -> str:
        if self.at_most < math.inf:
            return f"at most {self.at_most:g}"
        return f"at least {self.at_least:g}"


def undisturbed_rounds(rounds: Sequence[Round]) -> list[Round]:
    """Return the rounds that had the machine alone, or all rounds if none had."""
    return [each for each in rounds if not each["foreign"] > MAX_FOREIGN_CORES] or list(rounds)


def median_of_rounds(rounds: Sequence[Round], of: str = "seconds") -> float:
    """Return the median; seconds are divided by the amount of work."""
    divided = of == "seconds"
    return statistics.median(
        r[of] / (r["amount"] if divided else 1) for r in undisturbed_rounds(rounds)
    )


def target_value(target: BenchmarkTarget, rounds: Rounds) -> float | None:
    """Return the value to judge; None if a case was not measured or lacks the quantity."""
    taken = [rounds.get(name, []) for name in (*target.case_names, *target.baseline_names)]
    if not all(each and all(target.quantity in one for one in each) for each in taken):
        return None
    least = min(median_of_rounds(rounds[name], target.quantity) for name in target.case_names)
    if not target.baseline_names:
        return least
    together = sum if target.baseline_total == "summed" else max
    return least / together(
        median_of_rounds(rounds[name], target.quantity) for name in target.baseline_names
    )


def judge_target(target: BenchmarkTarget, found: float | None) -> Verdict:
    if found is None:
        return "not measured"
    return "met" if target.at_least <= found <= target.at_most else "not met"
