"""Arms table: one line per arm, with what is known of its difference from the best arm.

In:   a comparison.   Out: the frame of arms.csv. Rates are fractions.
Not here: the sentences (answer.py), the comparison (arms.py), lines of single runs (summary/).
"""

import math
from typing import Any

import pandas as pd

from pipeline.config.arm_names import SEED
from pipeline.results.comparison.arms import Arm, SweepComparison
from pipeline.results.statistics.inference import ArmDifference
from pipeline.results.summary.run_summary import changed_keys
from pipeline.results.summary.table import setting_columns, sweep_columns

ARM_COLUMNS = (
    *("seeds", "dev_cer_mean"),
    *("test_cer_mean", "test_cer_mean_low", "test_cer_mean_high", "test_cer_deviation"),
    *("difference", "difference_low", "difference_high"),
    *("relative", "relative_low", "relative_high", "p_adjusted", "shown"),
    *("test_cer_lowest", "test_cer_highest"),
    *("test_wer_mean", "test_wer_mean_low", "test_wer_mean_high"),
    *("wer_difference", "wer_difference_low", "wer_difference_high", "wer_p_adjusted"),
    *("escaped", "escape_updates_median", "escape_updates_lowest", "escape_updates_highest"),
)


def arms_table(comparison: SweepComparison) -> pd.DataFrame:
    """Return one line per arm; an empty median means that the median run never escaped.

    Differences are to the best arm on dev, with simultaneous 95 % intervals and adjusted p-values.
    """
    runs = [run for arm in comparison.arms for run in arm.runs]
    keys = [key for key in changed_keys([run.run for run in runs]) if key != SEED]
    records = [
        {
            **sweep_columns(arm.runs[0]),
            "label": arm.name,
            **setting_columns(arm.runs[0], keys),
            "seeds": len(arm.runs),
            "dev_cer_mean": arm.mean_dev_cer,
            **_character_columns(comparison, arm),
            **_word_columns(comparison, arm),
            "escaped": len(arm.escapes),
            "escape_updates_median": arm.median_escape_updates,
            "escape_updates_lowest": min(arm.escapes, default=None),
            "escape_updates_highest": max(arm.escapes, default=None),
        }
        for arm in comparison.arms
    ]
    return pd.DataFrame.from_records(
        records, columns=["sweep", "corpus", "units", "label", *keys, *ARM_COLUMNS]
    )


def _character_columns(comparison: SweepComparison, arm: Arm) -> dict[str, Any]:
    low, high = comparison.rate_interval(arm)
    difference = comparison.difference(arm)
    known = difference if arm is not comparison.best_arm else None
    return {
        "test_cer_mean": arm.mean_test_cer,
        "test_cer_mean_low": low,
        "test_cer_mean_high": high,
        "test_cer_deviation": arm.standard_deviation,
        "difference": difference.difference if difference else math.nan,
        "difference_low": known.low if known else math.nan,
        "difference_high": known.high if known else math.nan,
        "relative": difference.relative if difference else math.nan,
        "relative_low": known.relative_low if known else math.nan,
        "relative_high": known.relative_high if known else math.nan,
        "p_adjusted": known.p if known else math.nan,
        "shown": bool(known and known.is_shown),
        "test_cer_lowest": min(arm.test_cers),
        "test_cer_highest": max(arm.test_cers),
    }


def _word_columns(comparison: SweepComparison, arm: Arm) -> dict[str, float]:
    low, high = comparison.word_rate_interval(arm)
    difference: ArmDifference | None = comparison.word_difference(arm)
    known = difference if arm is not comparison.best_arm else None
    return {
        "test_wer_mean": arm.mean_test_wer,
        "test_wer_mean_low": low,
        "test_wer_mean_high": high,
        "wer_difference": difference.difference if difference else math.nan,
        "wer_difference_low": known.low if known else math.nan,
        "wer_difference_high": known.high if known else math.nan,
        "wer_p_adjusted": known.p if known else math.nan,
    }
