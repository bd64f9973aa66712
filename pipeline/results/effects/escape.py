"""Escape: how long the runs of each arm stay on the blank plateau.

In:   run summaries in any state.
Out:  for each arm a survival curve; a log-rank test of all arms.
Not here: what an escape is (runs/plateau.py), the estimate (statistics/survival.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.results.comparison.arms import group_arms
from pipeline.results.statistics.survival import LogRank, Survival, kaplan_meier, log_rank
from pipeline.results.summary.run_summary import RunSummary

SHOWN_P = 0.05


@dataclass(frozen=True)
class ArmEscape:
    name: str
    runs: int
    escaped: int
    survival: Survival


@dataclass(frozen=True)
class Escapes:
    arms: tuple[ArmEscape, ...]  # in the order of the sweep
    test: LogRank

    @property
    def sentence(self) -> str:
        """What the test says."""
        if not self.test.freedom:
            return self._nothing_to_compare()
        p = "p below 0.001" if self.test.p < 0.001 else f"p = {self.test.p:.3f}"
        if self.test.p < SHOWN_P:
            return f"The arms do not all escape equally fast (log-rank test, {p})."
        return f"No difference in the time until escape is shown (log-rank test, {p})."

    def _nothing_to_compare(self) -> str:
        if len(self.arms) == 1:
            return "Only one arm was evaluated: there is no other to compare it with."
        if not any(arm.escaped for arm in self.arms):
            return "No run has escaped."
        if all(arm.escaped == arm.runs for arm in self.arms):
            return "All runs escaped at the same evaluation, so no arm is faster than another."
        return "When a run escaped, no other arm was watched that long: nothing can be compared."


def measure_escapes(run_summaries: Sequence[RunSummary]) -> Escapes | None:
    """Return the escapes of all runs that were evaluated; None if there is no such run.

    A run without an escape counts as watched until its last evaluation, also if it still runs.
    """
    arms = group_arms([run for run in run_summaries if run.rows_for("dev")])
    found, times, escaped, names = [], [], [], []
    for number, arm in enumerate(arms):
        updates = np.array([_watched_updates(run) for run in arm.runs])
        events = np.array([run.escape_updates is not None for run in arm.runs])
        survival = kaplan_meier(updates, events)
        found.append(ArmEscape(arm.name, len(events), int(events.sum()), survival))
        times.append(updates)
        escaped.append(events)
        names += [str(number)] * len(events)
    if not found:
        return None
    test = log_rank(np.concatenate(times), np.concatenate(escaped), names)
    return Escapes(tuple(found), test)


def _watched_updates(run: RunSummary) -> float:
    escape = run.escape_updates
    return float(run.rows_for("dev")[-1]["updates"] if escape is None else escape)
