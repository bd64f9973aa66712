"""Test sets: the test utterances on which arms are compared, and the chance that they carry.

In:   runs with hypotheses.
Out:  the hypotheses of each arm on the utterances that all arms decoded; the inference from them.
Not here: the model of chance (statistics/), the arms (arms.py).

With cross-validation the runs of an arm have different test sets. One run of each fold, together,
decodes all utterances once, and counts as one run. Networks and speakers both change from fold to
fold, so the folds are the units of chance.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal, TypeVar

import numpy as np

from pipeline.results.statistics.inference import ArmInference, compare_arms
from pipeline.results.summary.hypothesis_table import HypothesisTable, UtteranceKey
from pipeline.results.summary.run_summary import RunSummary
from pipeline.results.summary.table import error_counts
from pipeline.runs.folder import Hypothesis

FEW_SPEAKERS = 6  # with fewer, intervals cover less than 95 % (tests/benchmarks/README.md)

Hypotheses = dict[UtteranceKey, Hypothesis]
AnyRun = TypeVar("AnyRun")


@dataclass(frozen=True)
class CommonTest:
    """Test utterances that all runs of all arms decoded."""

    arms: tuple[tuple[HypothesisTable, ...], ...]  # of each arm, of each run
    folds: tuple[str, ...] | None  # of each utterance; None: the runs share one test set

    def __len__(self) -> int:
        return len(self.arms[0][0]) if self.arms else 0

    def count(self, column: Literal["chars", "words"]) -> int:
        return int(self.arms[0][0].column(column).sum()) if self.arms else 0

    @property
    def has_words(self) -> bool:
        return self.count("words") > 0

    @cached_property
    def speakers(self) -> list[str]:
        """The speaker of each utterance, from any run that names it; else empty."""
        named = [run.texts("speaker") for arm in self.arms for run in arm]
        return [next(filter(None, same), "") for same in zip(*named, strict=True)]

    def infer(self, rate: str) -> ArmInference:
        """Compare the arms by `rate`, cer or wer; unknown speakers count as one speaker."""
        counts = [[error_counts(run, rate) for run in arm] for arm in self.arms]
        errors = [np.stack([errors for errors, _ in arm]) for arm in counts]
        totals = counts[0][0][1]
        if self.folds is not None:
            return compare_arms(errors, totals, self.folds, folds=True)
        names = self.speakers
        return compare_arms(errors, totals, names if all(names) else [""] * len(names))


def describe_few_speakers(inference: ArmInference, folds: int) -> list[str]:
    """Return what few test speakers mean for the intervals; nothing where they are enough."""
    if not inference.can_decide or folds or inference.speakers >= FEW_SPEAKERS:
        return []
    found = (
        f"The test set has only {inference.speakers} speakers, so the intervals are less certain: "
        "in simulations with 4 speakers and 10 seeds per arm, the 95 % intervals held the true "
        "differences in 88 to 98 % of the sweeps."
    )
    return [found]


def by_utterance(run: RunSummary) -> Hypotheses:
    """Return the test hypotheses."""
    return {(each.utterance_id, each.reference): each for each in run.hypotheses_for("test")}


def combine_folds(runs: Sequence[RunSummary]) -> list[Hypotheses]:
    """Return the test hypotheses of each run; with folds, of one run of each fold together."""
    return [join_hypotheses(map(by_utterance, group)) for group in group_folds(runs, fold_of)]


def join_hypotheses(parts: Iterable[Hypotheses]) -> Hypotheses:
    return {key: each for part in parts for key, each in part.items()}


def group_folds(runs: Sequence[AnyRun], fold: Callable[[AnyRun], int | None]) -> list[list[AnyRun]]:
    """Return groups of runs that together test each fold once; without folds each run alone.

    A second run of a fold counts when each fold has a second run. `fold`: that tests a run.
    """
    by_fold: dict[int | None, list[AnyRun]] = {}
    for run in runs:
        by_fold.setdefault(fold(run), []).append(run)
    if None in by_fold:
        return [[run] for group in by_fold.values() for run in group]
    ordered = [by_fold[number] for number in sorted(by_fold, key=lambda fold: fold or 0)]
    return [list(group) for group in zip(*ordered, strict=False)]


def fold_of(run: RunSummary) -> int | None:
    """Return the number of the run's fold; None without cross-validation."""
    corpus = run.experiment.corpus if run.experiment else None
    return corpus.fold if corpus and corpus.folds else None


def find_common_test(arms: Sequence[Sequence[RunSummary]]) -> CommonTest:
    """Return the common test utterances; one whose reference differs between runs is another."""
    by_arm = [_join_folds(runs) for runs in arms]
    keys, on_keys = _take_common([run for runs in by_arm for run in runs])
    if not keys:
        return CommonTest((), None)
    remaining = iter(on_keys)
    by_arm = [list(islice(remaining, len(runs))) for runs in by_arm]
    folds = [_folds_by_utterance(runs) for runs in arms]
    by_arm_names = [[each.get(key, "") for key in keys] for each in folds]
    names = by_arm_names[0]
    shared = all(names) and all(each == names for each in by_arm_names)
    return CommonTest(tuple(map(tuple, by_arm)), tuple(names) if shared else None)


def _join_folds(runs: Sequence[RunSummary]) -> list[HypothesisTable]:
    """Return the test hypotheses of each run; with folds, of one run of each fold together."""
    groups = group_folds(runs, fold_of)
    return [HypothesisTable.join([run.hypotheses_for("test") for run in each]) for each in groups]


def _take_common(
    tables: Sequence[HypothesisTable],
) -> tuple[list[UtteranceKey], list[HypothesisTable]]:
    """Return the utterances with characters that all decoded, and each table on these alone."""
    if not tables:
        return [], []
    places = [table.places() for table in tables]
    chars = tables[0].column("chars")
    keys = [key for key, place in places[0].items() if chars[place]]
    keys = [key for key in keys if all(key in each for each in places)]
    chosen = [
        table.take([each[key] for key in keys]) for table, each in zip(tables, places, strict=True)
    ]
    return keys, chosen


def _folds_by_utterance(runs: Sequence[RunSummary]) -> dict[UtteranceKey, str]:
    return {
        key: f"fold {fold}"
        for run in runs
        if (fold := fold_of(run)) is not None
        for key in run.hypotheses_for("test").places()
    }
