"""Comparison: the arms of a sweep, what is known of their differences, the best, escapes.

In:   the run summaries of a sweep.
Out:  a `SweepComparison`, which answer.py puts into sentences.
Not here: the model of chance (statistics/inference.py), the sentences (answer.py), the numbers of
the tables.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config.arm_names import SEED, arm_label, arm_name, settings_without_seed
from pipeline.results.comparison.test_sets import (
    find_common_test,
    fold_of,
)
from pipeline.results.statistics.inference import ArmDifference, ArmInference
from pipeline.results.statistics.significance import (
    Improvement,
    MatchedPairs,
    mapsswe,
    paired_bootstraps,
)
from pipeline.results.summary.hypothesis_table import HypothesisTable, UtteranceKey
from pipeline.results.summary.run_summary import RunSummary, dev_selection_key, join_rate_names
from pipeline.results.summary.table import COUNT_COLUMNS, error_counts


@dataclass(frozen=True)
class RunComparison:
    """A run compared with the best run, on the test utterances that both have decoded.

    It speaks of these two trained networks, not of their settings.
    """

    run_summary: RunSummary
    cer: Improvement
    words: MatchedPairs  # of the word errors
    utterances: int


@dataclass(frozen=True, eq=False)
class Arm:
    """Finished runs that differ in their seed only; often a single run."""

    name: str  # the runs' label without the seed
    settings: dict[str, Any]
    runs: tuple[RunSummary, ...]

    @property
    def stopped_early(self) -> list[RunSummary]:
        return [run for run in self.runs if run.state == "stopped early"]

    @property
    def test_cers(self) -> list[float]:
        return [row["cer"] for run in self.runs if (row := run.test_row)]

    @property
    def mean_dev_cer(self) -> float:
        return statistics.fmean(row["cer"] for run in self.runs if (row := run.selected_dev_row))

    @property
    def mean_test_cer(self) -> float:
        return self._mean_test_rate("cer")

    @property
    def mean_test_wer(self) -> float:
        return self._mean_test_rate("wer")

    def _mean_test_rate(self, rate: str) -> float:
        """Return the mean over runs; with folds, whose lengths differ, the rate of all errors."""
        rows: list[Mapping[str, Any]] = [row for run in self.runs if (row := run.test_row)]
        if not self.folds:
            return statistics.fmean(row[rate] for row in rows)
        errors, totals = COUNT_COLUMNS[rate]
        return float(sum(row[errors] for row in rows) / max(sum(row[totals] for row in rows), 1))

    @property
    def folds(self) -> int:
        """The number of folds that the runs test; 0 without cross-validation."""
        return len({fold for run in self.runs if (fold := fold_of(run)) is not None})

    @property
    def standard_deviation(self) -> float:
        return statistics.stdev(self.test_cers) if len(self.test_cers) > 1 else math.nan

    @property
    def dev_selection_key(self) -> tuple[bool, float, float]:
        """Return the key of the arm; the arm with the lowest one is the best on dev.

        It is the mean over seeds of the rule that selects epochs. A run above the reference loss
        counts as all wrong, and an arm of such runs only comes last.
        """
        keys = [dev_selection_key(run) for run in self.runs]
        learnt = [math.isfinite(cer) for cer, _ in keys]
        cers = [cer if ok else 1.0 for (cer, _), ok in zip(keys, learnt, strict=True)]
        return not any(learnt), statistics.fmean(cers), statistics.fmean(loss for _, loss in keys)

    @property
    def escapes(self) -> list[int]:
        """Updates until escape of the runs that escaped, ascending."""
        updates = (run.escape_updates for run in self.runs)
        return sorted(each for each in updates if each is not None)

    @property
    def median_escape_updates(self) -> float | None:
        """Median over all runs, where one that never escaped is the latest; None if infinite."""
        never = [math.inf] * (len(self.runs) - len(self.escapes))
        median = statistics.median([*self.escapes, *never])
        return float(median) if math.isfinite(median) else None


@dataclass(frozen=True)
class SweepComparison:
    run_count: int  # of the sweep
    finished_count: int
    arms: tuple[Arm, ...]  # in the order of the sweep
    best_arm: Arm | None  # by dev; the test split must not select
    best: RunSummary | None  # the best run on dev of the best arm
    inference: ArmInference | None  # of the test CER; None: no common test utterance
    word_inference: ArmInference | None  # of the test WER
    common_utterances: int  # test utterances that all runs of all arms decoded
    common_words: int  # of their references
    common_characters: int
    speakers_known: bool  # of these utterances
    differences: tuple[RunComparison, ...]  # of single runs to the best run, ascending
    escaped: tuple[RunSummary, ...]  # the earliest first
    not_escaped: tuple[RunSummary, ...]  # finished without an escape
    folds: int = 0  # of the common utterances; 0: the runs share one test set
    failed_count: int = 0
    stopped_early: tuple[Arm, ...] = ()  # arms with a run that a rule of the sweep stopped
    without_result: tuple[RunSummary, ...] = ()  # finished, but without a test CER

    @property
    def ended_count(self) -> int:
        """Runs that are finished or stopped early."""
        stopped = [run for arm in self.stopped_early for run in arm.stopped_early]
        return self.finished_count + len(stopped)

    @property
    def is_provisional(self) -> bool:
        """Whether there is an answer that runs which have not ended may change."""
        return self.best_arm is not None and self.ended_count < self.run_count

    @property
    def chance(self) -> str:
        """What the intervals of arms and of their differences are over."""
        return "folds" if self.folds else "seeds, test utterances and speakers"

    @property
    def rate_name(self) -> str:
        return join_rate_names([run for arm in self.arms for run in arm.runs])

    @property
    def not_told_apart(self) -> tuple[Arm, ...]:
        """The other arms whose difference from the best arm is not shown."""
        return tuple(
            arm
            for arm in self.arms
            if arm is not self.best_arm and (found := self.difference(arm)) and not found.is_shown
        )

    def difference(self, arm: Arm) -> ArmDifference | None:
        """Return the test CER of `arm` less that of the best arm, on the common utterances."""
        return self._compare(self.inference, arm)

    def word_difference(self, arm: Arm) -> ArmDifference | None:
        """Return the test WER of `arm` less that of the best arm, on the common utterances."""
        return self._compare(self.word_inference, arm)

    def reduction(self, arm: Arm) -> tuple[float, float, float]:
        """Return which share of the errors of `arm` the best arm avoids, with its interval."""
        if self.inference is None or self.best_arm is None:
            return math.nan, math.nan, math.nan
        found = self.inference.difference(self.arms.index(self.best_arm), self.arms.index(arm))
        return -found.relative, -found.relative_high, -found.relative_low

    def rate_interval(self, arm: Arm) -> tuple[float, float]:
        """Return the 95 % interval of the arm's mean test CER; nan where chance is not known."""
        return _rate_interval(self.inference, self.arms.index(arm))

    def word_rate_interval(self, arm: Arm) -> tuple[float, float]:
        """Return the 95 % interval of the arm's mean test WER; nan where chance is not known."""
        return _rate_interval(self.word_inference, self.arms.index(arm))

    def _compare(self, inference: ArmInference | None, arm: Arm) -> ArmDifference | None:
        if inference is None or self.best_arm is None or len(self.arms) < 2:
            return None
        return inference.difference(self.arms.index(arm), self.arms.index(self.best_arm))


def _rate_interval(inference: ArmInference | None, arm: int) -> tuple[float, float]:
    return inference.rate_interval(arm) if inference else (math.nan, math.nan)


def compare_runs(run_summaries: Sequence[RunSummary]) -> SweepComparison:
    """Compare all finished runs, arm by arm and run by run."""
    finished = [run for run in run_summaries if run.state == "finished"]
    stopped_keys = {arm_key(run) for run in run_summaries if run.state == "stopped early"}
    in_stopped = [run for run in run_summaries if arm_key(run) in stopped_keys]
    # A rule keeps the better seeds of an arm, so a mean over those alone would be too good.
    tested = [run for run in finished if _has_result(run) and arm_key(run) not in stopped_keys]
    escaped = [run for run in run_summaries if run.escape_updates is not None]
    arms = group_arms(tested)
    best_arm = min(arms, key=lambda arm: arm.dev_selection_key, default=None)
    best = min(best_arm.runs, key=dev_selection_key) if best_arm else None
    common = find_common_test([arm.runs for arm in arms])
    return SweepComparison(
        run_count=len(run_summaries),
        finished_count=len(finished),
        failed_count=sum(run.state == "failed" for run in run_summaries),
        arms=tuple(arms),
        best_arm=best_arm,
        best=best,
        inference=common.infer("cer") if common else None,
        word_inference=common.infer("wer") if common.has_words else None,
        common_utterances=len(common),
        common_words=common.count("words"),
        common_characters=common.count("chars"),
        speakers_known=all(common.speakers),
        folds=len(set(common.folds or ())),
        differences=tuple(_compare_others(best, tested)) if best else (),
        escaped=tuple(sorted(escaped, key=lambda run: run.escape_updates or 0)),
        not_escaped=tuple(run for run in tested if run.escape_updates is None),
        stopped_early=tuple(group_arms(in_stopped)),
        without_result=tuple(run for run in finished if not _has_result(run)),
    )


def _has_result(run: RunSummary) -> bool:
    """Whether the run has a test CER; it is nan where no reference has a letter."""
    test = run.test_row
    return test is not None and math.isfinite(test["cer"]) and run.selected_dev_row is not None


def _compare_others(best: RunSummary, finished: Sequence[RunSummary]) -> list[RunComparison]:
    """Compare runs with the best one; those that have no test utterance in common are left out.

    Runs with the same utterances are compared together, which is a hundred times faster.
    """
    ours = best.hypotheses_for("test")
    our_places = ours.places()
    batches: dict[tuple[UtteranceKey, ...], list[tuple[RunSummary, HypothesisTable]]] = {}
    for run in finished:
        theirs = run.hypotheses_for("test")
        places = theirs.places()
        common = tuple(key for key in our_places if key in places)
        if run is not best and common:
            same = theirs.take([places[key] for key in common])
            batches.setdefault(common, []).append((run, same))
    found = []
    for common, batch in batches.items():
        mine = ours.take([our_places[key] for key in common])
        (errors_a, totals), (words_a, _) = error_counts(mine, "cer"), error_counts(mine, "wer")
        errors_b_UR = np.stack([error_counts(each, "cer")[0] for _, each in batch], axis=1)
        improvements = paired_bootstraps(errors_a, errors_b_UR, totals)
        for (run, same), improvement in zip(batch, improvements, strict=True):
            words = mapsswe(words_a, error_counts(same, "wer")[0])
            found.append(RunComparison(run, improvement, words, len(common)))
    return sorted(found, key=lambda each: each.cer.difference)


def group_arms(tested: Sequence[RunSummary]) -> list[Arm]:
    """Return the arms in the order of the sweep. A run that has two labels counts once."""
    groups: dict[tuple[str, ...], dict[str, RunSummary]] = {}
    for run in tested:
        groups.setdefault(arm_key(run), {}).setdefault(str(run.run.folder.path), run)
    arms = []
    for runs in groups.values():
        first = next(iter(runs.values())).run
        settings = settings_without_seed(first.settings)
        arms.append(Arm(arm_name(first.label, first.settings), settings, tuple(runs.values())))
    return arms


def arm_key(run: RunSummary) -> tuple[str, ...]:
    """Return what the runs of an arm have in common."""
    settings = run.run.settings
    label = arm_label(run.run.label, settings) if SEED in settings else ""
    return label, repr(settings_without_seed(settings)), run.settings_without_seed
