"""Arms whose errors are shown: their test hypotheses, utterance by utterance.

In:   the comparison of a sweep.   Out: a few arms, all on the same test utterances.
Not here: which arm is better (comparison/), what the errors are (confusions.py, breakdown.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.results.comparison.arms import Arm, SweepComparison
from pipeline.results.comparison.test_sets import (
    Hypotheses,
    combine_folds,
    fold_of,
)
from pipeline.results.summary.hypothesis_table import UtteranceKey
from pipeline.results.summary.run_summary import RunSummary, dev_selection_key
from pipeline.runs.folder import Hypothesis
from pipeline.shapes import Float64, Int64

MAX_ARMS = 6  # the best on dev; the errors of more arms are not looked at


@dataclass(frozen=True, eq=False)
class TestedArm:
    """An arm with the hypotheses of its runs, all on the same utterances in the same order."""

    __test__ = False  # no test class, whatever its name

    name: str
    runs: tuple[RunSummary, ...]
    hypotheses: tuple[tuple[Hypothesis, ...], ...]  # by run; with folds, one run of each together
    guide_run: RunSummary  # the run that is best on dev; its posteriors are shown
    shown_run: int  # of `hypotheses`: those of the guide run, with folds the first

    @property
    def shown(self) -> tuple[Hypothesis, ...]:
        return self.hypotheses[self.shown_run]

    @property
    def has_words(self) -> bool:
        """Whether words are scored; they are not in a language without spaces."""
        return any(each.words for each in self.shown)

    @property
    def unit(self) -> Literal["character", "phoneme"]:
        return "phoneme" if self.guide_run.units == "phonemes" else "character"

    def counts(self, column: str) -> Int64[np.ndarray, "R U"]:
        """Return a column of hypotheses.csv, by run and utterance."""
        rows = [[getattr(each, column) for each in run] for run in self.hypotheses]
        return np.array(rows, np.int64)

    def mean_counts(self, column: str) -> Float64[np.ndarray, " U"]:
        """Return the mean over the runs."""
        means: np.ndarray = self.counts(column).mean(axis=0)
        return means

    def mean_losses_per_character(self) -> Float64[np.ndarray, " U"]:
        """Return nats; nan where no run has measured a loss."""
        losses = np.array([[each.loss for each in run] for run in self.hypotheses])
        means: np.ndarray = losses.mean(axis=0) / np.maximum(self.counts("chars")[0], 1)
        return means


def gather_arms(comparison: SweepComparison, most: int = MAX_ARMS) -> list[TestedArm]:
    """Return the best arms on dev, the best one first, on the utterances that all of them decoded.

    An arm without an utterance in common with the best one is left out.
    """
    if comparison.best_arm is None:
        return []
    others = [arm for arm in comparison.arms if arm is not comparison.best_arm]
    ranked = [comparison.best_arm, *sorted(others, key=lambda arm: arm.dev_selection_key)]
    shown: list[tuple[Arm, list[Hypotheses]]] = []
    common: list[UtteranceKey] = []
    for arm in ranked:
        if len(shown) == most:
            break
        by_run = combine_folds(arm.runs)
        candidates = common if shown else list(by_run[0])
        kept = [key for key in candidates if all(key in run for run in by_run)]
        if kept:
            shown.append((arm, by_run))
            common = kept
    return [_tested_arm(arm, by_run, common) for arm, by_run in shown]


def _tested_arm(arm: Arm, by_run: Sequence[Hypotheses], keys: Sequence[UtteranceKey]) -> TestedArm:
    order = [dev_selection_key(run) for run in arm.runs]
    best = order.index(min(order))
    with_folds = fold_of(arm.runs[best]) is not None
    return TestedArm(
        name=arm.name,
        runs=arm.runs,
        hypotheses=tuple(tuple(run[key] for key in keys) for run in by_run),
        guide_run=arm.runs[best],
        shown_run=0 if with_folds else best,
    )
