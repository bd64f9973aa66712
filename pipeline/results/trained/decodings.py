"""Decodings of the runs of a report: greedy search beside lexicons and n-gram models, by arm.

In:   a comparison; the decodings/ of its runs.
Out:  the error rates of each arm under each decoding, compared with greedy search; two tables.
Not here: decoding (training/trained/decode_run.py), the page (page/trained_section.py).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.files import InputError
from pipeline.results.comparison.arms import Arm, SweepComparison
from pipeline.results.comparison.test_sets import (
    Hypotheses,
    by_utterance,
    fold_of,
    group_folds,
    join_hypotheses,
)
from pipeline.results.statistics.inference import compare_arms
from pipeline.results.statistics.paired import PairedDifference, compare_paired
from pipeline.results.summary.hypothesis_table import UtteranceKey
from pipeline.results.summary.run_summary import RunSummary
from pipeline.results.summary.table import error_counts
from pipeline.runs.decodings import DecodingFolder
from pipeline.runs.hypotheses import Hypothesis

GREEDY = "as trained"  # greedy search, or the beam search that the experiment states


@dataclass(frozen=True, eq=False)
class DecodedRun:
    run: RunSummary
    folder: DecodingFolder
    name: str
    hypotheses: Hypotheses  # of test
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rate:
    mean: float  # nan: the language has no words
    low: float
    high: float
    change: PairedDifference | None  # from greedy search; None: this is greedy search


@dataclass(frozen=True, eq=False)
class DecodedArm:
    """An arm under one decoding, or under greedy search, on the runs that have this decoding."""

    arm: Arm
    name: str
    runs: tuple[DecodedRun, ...]  # none: greedy search
    seeds: int  # runs; with cross-validation one of each fold
    wer: Rate
    cer: Rate

    @property
    def unknown_words(self) -> float:
        return _mean([float(each.result.get("unknown_words", math.nan)) for each in self.runs])

    @property
    def seconds(self) -> float:
        """Seconds per utterance of the search on test."""
        return _mean(
            [float(each.result.get("seconds_per_utterance", math.nan)) for each in self.runs]
        )


def read_decodings(comparison: SweepComparison) -> list[DecodedArm]:
    """Return each arm that has a decoding: first as trained, then under each of its decodings."""
    found: list[DecodedArm] = []
    by_arm = [(arm, _by_settings(arm)) for arm in comparison.arms]
    comparisons = sum(len(decoded) for _, decoded in by_arm)
    for arm, decoded in by_arm:
        compared = [each for runs in decoded for each in _compare(arm, runs, comparisons)]
        # Greedy search of all runs stands once; a decoding of fewer runs has its own line of it.
        seen: set[int] = set()
        for greedy, other in zip(compared[::2], compared[1::2], strict=True):
            if greedy.seeds not in seen:
                found.append(greedy)
                seen.add(greedy.seeds)
            found.append(other)
    return found


def _by_settings(arm: Arm) -> list[list[DecodedRun]]:
    """Return the decodings of an arm's runs; those with the same settings together."""
    groups: dict[str, list[DecodedRun]] = {}
    for run in arm.runs:
        for folder in DecodingFolder.list_finished(run.run.folder):
            try:
                hypotheses = [each for each in folder.hypotheses() if each.split == "test"]
                units = run.experiment.corpus.units if run.experiment else "characters"
                name, result = folder.settings().describe(units), folder.result()
            except (InputError, OSError):
                continue
            by_key = {(each.utterance_id, each.reference): each for each in hypotheses}
            decoded = DecodedRun(run, folder, name, by_key, result)
            groups.setdefault(folder.path.name, []).append(decoded)
    ordered = sorted(groups.values(), key=lambda runs: (-len(runs), runs[0].name))
    return [runs for runs in ordered if _common(_pair(runs))]


def _pair(runs: Sequence[DecodedRun]) -> list[tuple[Hypotheses, Hypotheses]]:
    """Return the test hypotheses of each run as trained and as decoded; those of folds together."""
    return [
        (
            join_hypotheses(by_utterance(each.run) for each in group),
            join_hypotheses(each.hypotheses for each in group),
        )
        for group in group_folds(runs, lambda each: fold_of(each.run))
    ]


def _common(pairs: Sequence[tuple[Hypotheses, Hypotheses]]) -> list[UtteranceKey]:
    """Return the utterances that all runs decoded both ways."""
    both = [hypotheses for pair in pairs for hypotheses in pair]
    return [key for key in both[0] if all(key in each for each in both) and both[0][key].chars]


def _name_clusters(arm: Arm, runs: Sequence[DecodedRun], keys: Sequence[UtteranceKey]) -> list[str]:
    """Return the speaker of each utterance, with folds its fold; one name if they are unknown."""
    if arm.folds:
        folds = {key: f"fold {fold_of(each.run)}" for each in runs for key in each.hypotheses}
        return [folds[key] for key in keys]
    names = [runs[0].hypotheses[key].speaker for key in keys]
    return names if all(names) else [""] * len(names)


def _compare(arm: Arm, runs: Sequence[DecodedRun], comparisons: int) -> Iterator[DecodedArm]:
    """Yield the arm as trained and as decoded, on the same runs and utterances."""
    pairs = _pair(runs)
    keys = _common(pairs)
    greedy = [[one[key] for key in keys] for one, _ in pairs]
    decoded = [[other[key] for key in keys] for _, other in pairs]
    clusters = _name_clusters(arm, runs, keys)

    def rate(kind: str, chosen: list[list[Hypothesis]]) -> Rate:
        errors = np.stack([error_counts(each, kind)[0] for each in chosen])
        before = np.stack([error_counts(each, kind)[0] for each in greedy])
        totals = error_counts(greedy[0], kind)[1]
        if not totals.sum():
            return Rate(math.nan, math.nan, math.nan, None)
        inference = compare_arms([errors], totals, clusters, folds=arm.folds > 0)
        change = compare_paired(before, errors, totals, clusters, comparisons)
        low, high = inference.rate_interval(0)
        mean = float(errors.sum() / totals.sum() / len(pairs))
        return Rate(mean, low, high, None if chosen is greedy else change)

    yield DecodedArm(arm, GREEDY, (), len(runs), rate("wer", greedy), rate("cer", greedy))
    wer, cer = rate("wer", decoded), rate("cer", decoded)
    yield DecodedArm(arm, runs[0].name, tuple(runs), len(runs), wer, cer)


def decodings_table(decoded: Sequence[DecodedArm]) -> pd.DataFrame:
    """Return a line per arm and decoding; rates are fractions."""
    return pd.DataFrame.from_records(
        [
            {
                "arm": each.arm.name,
                "decoding": each.name,
                "seeds": each.seeds,
                **_rate_columns("wer", each.wer),
                **_rate_columns("cer", each.cer),
                "unknown_words": each.unknown_words,
                "seconds_per_utterance": each.seconds,
            }
            for each in decoded
        ]
    )


def _rate_columns(kind: str, rate: Rate) -> dict[str, float]:
    change = rate.change or PairedDifference(math.nan, math.nan, math.nan)
    return {
        f"test_{kind}_mean": rate.mean,
        f"test_{kind}_mean_low": rate.low,
        f"test_{kind}_mean_high": rate.high,
        f"{kind}_change": change.difference,
        f"{kind}_change_low": change.low,
        f"{kind}_change_high": change.high,
    }


def decoded_runs_table(decoded: Sequence[DecodedArm]) -> pd.DataFrame:
    """Return a line per run and decoding, with the weights that were chosen on dev."""
    return pd.DataFrame.from_records(
        [
            {
                "label": each.run.run.label,
                "run_id": each.run.run_id,
                "arm": arm.arm.name,
                "decoding": each.name,
                "decoding_id": each.folder.path.name,
                **{
                    name: each.result.get(name, math.nan)
                    for name in ("dev_wer", "dev_cer", "test_wer", "test_cer")
                },
                **{
                    column: dict(each.result.get("weights", {})).get(name, math.nan)
                    for column, name in (
                        ("ngram_weight", "model"),
                        ("word_reward", "word"),
                        ("unknown_penalty", "unknown"),
                    )
                },
                "trials": each.result.get("trials", math.nan),
                "unknown_words": each.result.get("unknown_words", math.nan),
                "seconds_per_utterance": each.result.get("seconds_per_utterance", math.nan),
            }
            for arm in decoded
            for each in arm.runs
        ]
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
