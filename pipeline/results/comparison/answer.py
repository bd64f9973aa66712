"""Answer: what may be said of the arms of a sweep, in sentences and as a table.

In:   a comparison.
Out:  sentences, which the terminal and the page show unchanged; the frame of arms.csv.
Not here: the comparison (arms.py), the model of chance (statistics/inference.py).
"""

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from pipeline.results.comparison.arms import SEED_KEY, Arm, SweepComparison
from pipeline.results.statistics.inference import MIN_SPEAKERS, ArmInference
from pipeline.results.summary.run_summary import swept_keys
from pipeline.results.summary.table import setting_columns

MAX_NAMED_ARMS = 5  # in one list of a sentence; arms.csv has all

ARM_COLUMNS = (
    *("seeds", "dev_cer_mean", "test_cer_mean", "test_cer_deviation"),
    *("difference", "difference_low", "difference_high", "p_adjusted", "shown"),
    *("test_cer_lowest", "test_cer_highest"),
    *("escaped", "escape_updates_median", "escape_updates_lowest", "escape_updates_highest"),
)


def sentences(comparison: SweepComparison) -> list[str]:
    """Return the answer, the most important sentence first."""
    best = comparison.best_arm
    progress = f"{comparison.finished_count} of {comparison.run_count} runs are finished"
    if best is None:
        if comparison.finished_count:
            return ["No answer: no finished run has a test result."]
        return [f"No answer yet: {progress}."]
    is_usable = best.mean_test_cer < 1
    found = [_describe_best(comparison, best) if is_usable else _describe_unusable(best)]
    if comparison.finished_count < comparison.run_count:
        found.append(f"Provisional: {progress}.")
    if is_usable and len(comparison.arms) > 1:
        found += _describe_evidence(comparison, best)
    return found


def arms_table(comparison: SweepComparison) -> pd.DataFrame:
    """Return one line per arm; an empty median means that the median run never escaped.

    Differences are to the best arm on dev, with simultaneous 95 % intervals and adjusted p-values.
    """
    runs = [run for arm in comparison.arms for run in arm.runs]
    keys = [key for key in swept_keys([run.run for run in runs]) if key != SEED_KEY]
    records = []
    for arm in comparison.arms:
        difference = comparison.difference(arm)
        known = difference if arm is not comparison.best_arm else None
        records.append(
            {
                "label": arm.name,
                **setting_columns(arm.runs[0], keys),
                "seeds": len(arm.runs),
                "dev_cer_mean": arm.mean_dev_cer,
                "test_cer_mean": arm.mean_test_cer,
                "test_cer_deviation": arm.standard_deviation,
                "difference": difference.difference if difference else math.nan,
                "difference_low": known.low if known else math.nan,
                "difference_high": known.high if known else math.nan,
                "p_adjusted": known.p if known else math.nan,
                "shown": bool(known and known.is_shown),
                "test_cer_lowest": min(arm.test_cers),
                "test_cer_highest": max(arm.test_cers),
                "escaped": len(arm.escapes),
                "escape_updates_median": arm.median_escape_updates,
                "escape_updates_lowest": min(arm.escapes, default=None),
                "escape_updates_highest": max(arm.escapes, default=None),
            }
        )
    return pd.DataFrame.from_records(records, columns=["label", *keys, *ARM_COLUMNS])


def _describe_unusable(best: Arm) -> str:
    return f"No usable arm: the best one on dev, {best.name}, has {_describe_rate(best)}."


def _describe_rate(arm: Arm) -> str:
    rate = f"test CER {_percent(arm.mean_test_cer)}"
    if len(arm.runs) > 1:
        return f"mean {rate} over {len(arm.runs)} seeds"
    return f"{rate} with one seed"


def _describe_best(comparison: SweepComparison, best: Arm) -> str:
    """Return which arm is best, which arms it is shown to beat, and which it is not."""
    what = "Best on dev" if len(comparison.arms) > 1 else "Only one arm"
    parts = [f"{what}: {best.name}, {_describe_rate(best)}"]
    if beaten := _list_differences(comparison, sign=1):
        parts.append(f"better than {beaten}")
    if comparison.inference and comparison.inference.can_decide and comparison.not_told_apart:
        names = [arm.name for arm in comparison.not_told_apart]
        parts.append(f"cannot be told apart from it: {_join_names(names)}")
    return "; ".join(parts) + "."


def _list_differences(comparison: SweepComparison, sign: int) -> str:
    """Return the arms shown to have a higher (1) or a lower (-1) test CER, the closest first."""
    pairs = [(arm, comparison.difference(arm)) for arm in comparison.arms]
    shown = [
        (arm, sorted((sign * each.low, sign * each.high)), sign * each.difference)
        for arm, each in pairs
        if each and each.is_shown and sign * each.difference > 0
    ]
    shown.sort(key=lambda each: each[2])
    interval = "simultaneous 95 % interval "
    texts = []
    for arm, (low, high), difference in shown:
        texts.append(f"{arm.name} by {_points(difference)} ({interval}{_range(low, high)})")
        interval = ""
    return _join_names(texts)


def _describe_evidence(comparison: SweepComparison, best: Arm) -> Iterator[str]:
    inference = comparison.inference
    if inference is None:
        yield "No test utterance was decoded by all runs, so nothing is said about differences."
        return
    if not inference.can_decide:
        yield from _explain_no_decision(comparison, inference)
    if lower := _list_differences(comparison, sign=-1):
        yield f"On test it is beaten by {lower}, but the best arm is selected on dev."
    others = [arm for arm in comparison.arms if arm is not best]
    if inference.can_decide and len(comparison.not_told_apart) == len(others):
        yield from _describe_sensitivity(comparison, inference, best)
    runs = [run for arm in comparison.arms for run in arm.runs]
    most = max(len(run.hypotheses_for("test")) for run in runs)
    if comparison.common_utterances < most:
        yield (
            f"The arms are compared on the {comparison.common_utterances} of {most} test "
            "utterances that all runs decoded."
        )


def _explain_no_decision(comparison: SweepComparison, inference: ArmInference) -> Iterator[str]:
    """Yield each reason why nothing is said about differences, and the command that helps."""
    if inference.seeds.max() == 1:
        all_finished = comparison.finished_count == comparison.run_count
        advice = " Run it with SEEDS=3." if all_finished else ""
        yield f"One seed per arm cannot tell whether a difference is chance.{advice}"
    elif not inference.seed_freedom:
        yield (
            "No arm with several seeds has left the blank plateau, so nothing is known about "
            "chance between seeds."
        )
    if not comparison.speakers_known:
        yield (
            "Nothing is decided, because hypotheses.csv does not name the speakers: the runs were "
            "trained by an earlier version, or the corpus does not name them."
        )
    elif inference.speakers < MIN_SPEAKERS:
        yield (
            f"The test set has {_count(inference.speakers, 'speaker')}; at least {MIN_SPEAKERS} "
            "are needed to tell whether a difference is chance."
        )


def _describe_sensitivity(
    comparison: SweepComparison, inference: ArmInference, best: Arm
) -> Iterator[str]:
    """Yield the smallest difference that would have been shown for any arm, and how to halve it."""
    reference = comparison.arms.index(best)
    others = [index for index in range(len(comparison.arms)) if index != reference]
    least = max(others, key=lambda arm: inference.smallest_detectable(arm, reference))
    smallest = inference.smallest_detectable(least, reference)
    seeds = inference.seeds_to_show(smallest / 2, least, reference)
    more = (
        f"{seeds} seeds per arm would show half of it"
        if seeds
        else "to show half of it, more test speakers are needed, not more seeds"
    )
    yield (
        f"The smallest difference that this sweep could have shown is {_points(smallest)} (with a "
        f"power of 80 %); {more}."
    )


def _join_names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_NAMED_ARMS])
    more = len(names) - MAX_NAMED_ARMS
    return f"{shown} and {more} more" if more > 0 else shown


# Terminals may not have the narrow space and the minus sign of formatting.py.
def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(difference: float) -> str:
    return f"{100 * difference:.1f} points"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
