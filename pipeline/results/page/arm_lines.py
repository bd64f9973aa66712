"""Arm lines: the arms of a sweep as the table of the page shows them, the best first.

In:   the views of all runs, in any state; the comparison of the finished arms.
Out:  a line per arm, with its runs; the swept settings, a column each.
Not here: comparing arms (comparison/), the template (table.html).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.results.comparison.arms import Arm, SweepComparison
from pipeline.results.page.views import RunView
from pipeline.results.statistics.inference import ArmDifference
from pipeline.results.summary import table

MAX_FOREST_LINES = 8  # arms in the first figure of the page; the table has all
MAX_DRAWN_LINES = 40  # in its file
MAX_SHOWN_RATE = 0.9  # an arm with more does not lengthen the axis


@dataclass(frozen=True)
class ArmLine:
    """An arm, finished or not, with the numbers of its finished runs."""

    number: int  # by result, from 1
    name: str
    settings: Mapping[str, Any]  # without the seed
    views: tuple[RunView, ...]
    arm: Arm | None  # None: no run of it is finished
    is_best: bool
    low: float  # 95 % interval of the mean test CER; of the run's, with one seed
    high: float
    difference: ArmDifference | None  # to the best arm

    @property
    def palette_index(self) -> int | None:
        return self.views[0].palette_index

    @property
    def test_cer(self) -> float:
        return self.arm.mean_test_cer if self.arm else math.nan

    @property
    def finished(self) -> int:
        """The number of runs that the test CER is of; without one, of the finished runs."""
        if self.arm:
            return len(self.arm.runs)
        return sum(view.run_summary.state == "finished" for view in self.views)

    @property
    def verdict(self) -> str:
        """Return what the sweep shows of the arm, in a few words; empty where it shows nothing."""
        if self.is_best:
            return "best on dev"
        if self.difference is None or math.isnan(self.difference.low):
            return ""
        if not self.difference.is_shown:
            return "cannot be told apart"
        return "worse" if self.difference.difference > 0 else "better on test"

    def mean(self, column: str) -> float:
        """Return the mean of a column of summary.csv over the runs that have it.

        Of an arm with finished runs over these: a run that has just begun is no result.
        """
        finished = set(map(id, self.arm.runs)) if self.arm else set()
        chosen = [view for view in self.views if id(view.run_summary) in finished] or self.views
        known = _known(chosen, column)
        return sum(known) / len(known) if known else math.nan

    def setting(self, key: str) -> str:
        """Return a setting as the tables have it, also where the sweep leaves it to the base."""
        value = table.setting_columns(self.views[0].run_summary, [key])[key]
        text = "" if value is None else str(value)
        return text.lower() if isinstance(value, bool) else text

    def total(self, column: str) -> float:
        """Return the sum of a column of summary.csv over all runs; nan where none has it."""
        known = _known(self.views, column)
        return sum(known) if known else math.nan

    @property
    def states(self) -> str:
        """Return the state that all runs have, or how many runs have each."""
        states = [view.state for view in self.views]
        counted = {state: states.count(state) for state in states}
        if len(counted) == 1:
            return states[0]
        return ", ".join(f"{count}\u00a0{state}" for state, count in counted.items())


def _known(views: Sequence[RunView], column: str) -> list[float]:
    values = [float(view.summary_row[column]) for view in views]
    return [value for value in values if not math.isnan(value)]


def list_arm_lines(views: Sequence[RunView], comparison: SweepComparison) -> list[ArmLine]:
    """Return a line per arm in the order of their numbers."""
    by_number: dict[int, list[RunView]] = {}
    for view in views:
        by_number.setdefault(view.number, []).append(view)
    finished = {run.run.folder.path: arm for arm in comparison.arms for run in arm.runs}
    return [
        _arm_line(number, tuple(of_arm), finished, comparison)
        for number, of_arm in sorted(by_number.items())
    ]


def _arm_line(
    number: int,
    views: tuple[RunView, ...],
    finished: Mapping[Any, Arm],
    comparison: SweepComparison,
) -> ArmLine:
    found = (finished.get(view.run_summary.run.folder.path) for view in views)
    arm = next((each for each in found if each), None)
    low, high = comparison.rate_interval(arm) if arm else (math.nan, math.nan)
    if math.isnan(low) and len(views) == 1:
        row = views[0].summary_row
        low, high = row["test_cer_low"], row["test_cer_high"]
    is_best = arm is not None and arm is comparison.best_arm
    return ArmLine(
        number=number,
        name=views[0].arm_name,
        settings=views[0].arm_settings,
        views=views,
        arm=arm,
        is_best=is_best,
        low=low,
        high=high,
        difference=comparison.difference(arm) if arm and not is_best else None,
    )


def setting_columns(lines: Sequence[ArmLine]) -> list[str]:
    """Return the swept settings, without the seed, in the order of the sweep."""
    return list(dict.fromkeys(key for line in lines for key in line.settings))


def axis_end(lines: Sequence[ArmLine]) -> float:
    """Return the CER at the right end of the axis of the intervals.

    Arms with nearly 100 % are left out, so that the others can be told apart. The axis goes beyond
    100 % for an arm that does.
    """
    known = [line for line in lines if line.arm]
    shown = [line for line in known if line.test_cer < MAX_SHOWN_RATE] or known
    ends = [line.test_cer if math.isnan(line.high) else line.high for line in shown]
    highest = max(ends, default=1.0)
    return min(1.08 * highest, max(1.0, highest)) or 1.0


def forest_lines(lines: Sequence[ArmLine], most: int = MAX_FOREST_LINES) -> list[ArmLine]:
    """Return the best arms that have a test result."""
    return [line for line in lines if line.arm][:most]
