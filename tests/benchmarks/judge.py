"""Judge: what the rounds say of the targets.

In:   rounds, targets.   Out: medians, ratios, met or not met.
Not here: taking the rounds (measure.py), printing (show.py).
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Round = Mapping[str, float]  # seconds, amount of work, foreign, what the case says of itself
Rounds = Mapping[str, Sequence[Round]]

MOST_FOREIGN = 0.15  # of a core: a round during which others used more is dirty

Verdict = Literal["met", "not met", "not measured"]


@dataclass(frozen=True)
class Target:
    """A bound on the least of `these` cases, alone or over `those` together."""

    these: Sequence[str]
    those: Sequence[str] = ()
    at_most: float = math.inf
    at_least: float = -math.inf
    of: str = "seconds"
    those_are: Literal["summed", "greatest"] = "summed"

    def __str__(self) -> str:
        between = " + " if self.those_are == "summed" else " or "
        named = " / ".join(filter(None, [" or ".join(self.these), between.join(self.those)]))
        return named if self.of == "seconds" else f"{self.of}: {named}"

    @property
    def bound(self) -> str:
        if self.at_most < math.inf:
            return f"at most {self.at_most:g}"
        return f"at least {self.at_least:g}"


def clean(rounds: Sequence[Round]) -> list[Round]:
    """The rounds that were alone on the machine; all where none was."""
    return [each for each in rounds if not each["foreign"] > MOST_FOREIGN] or list(rounds)


def median(rounds: Sequence[Round], of: str = "seconds") -> float:
    """Seconds count per unit of work."""
    divided = of == "seconds"
    return statistics.median(r[of] / (r["amount"] if divided else 1) for r in clean(rounds))


def value(target: Target, rounds: Rounds) -> float | None:
    """The ratio; None where one of its cases was not measured, or says nothing of this."""
    taken = [rounds.get(name, []) for name in (*target.these, *target.those)]
    if not all(each and all(target.of in one for one in each) for each in taken):
        return None
    least = min(median(rounds[name], target.of) for name in target.these)
    if not target.those:
        return least
    together = sum if target.those_are == "summed" else max
    return least / together(median(rounds[name], target.of) for name in target.those)


def verdict(target: Target, found: float | None) -> Verdict:
    if found is None:
        return "not measured"
    return "met" if target.at_least <= found <= target.at_most else "not met"
