"""Tables: effects.csv, variance.csv and escape.csv. Rates are fractions.

In:   effects of settings, escapes.   Out: frames, one line per level, source, and step of a curve.
Not here: what they mean (settings.py, escape.py), writing files (results/report.py).
"""

from typing import Any

import pandas as pd

from pipeline.results.effects.escape import Escapes
from pipeline.results.effects.settings import SweepEffects, level_text

EFFECT_COLUMNS = (
    *("effect_of", "settings", "values", "first_values", "arm_count"),
    *("mean_cer", "mean_cer_low", "mean_cer_high"),
    *("effect", "effect_low", "effect_high", "effect_p"),
)
VARIANCE_COLUMNS = ("source", "source_deviation", "source_share")
ESCAPE_COLUMNS = ("label", "updates", "at_risk", "escaping", "censored", "share_on_plateau")


def effects_table(effects: SweepEffects) -> pd.DataFrame:
    """Return a line per level of each setting, then one per interaction of two levels.

    `effect` is to the first level; of an interaction, how much more the first setting changes
    the CER at this level of the second one than at its first level.
    """
    records: list[dict[str, Any]] = []
    for each in effects.levels:
        record = {
            "effect_of": "setting",
            "settings": each.factor.key,
            "values": level_text(each.level),
            "first_values": level_text(each.factor.levels[0]),
            "arm_count": each.arms,
            **dict(zip(EFFECT_COLUMNS[5:8], (each.mean.value, each.mean.low, each.mean.high),
                       strict=True)),
        }  # fmt: skip
        records.append(record | _difference_columns(each.difference))
    for found in effects.interactions:
        first = [factor.levels[0] for factor in found.factors]
        record = {
            "effect_of": "interaction",
            "settings": " × ".join(factor.key for factor in found.factors),
            "values": " × ".join(map(level_text, found.levels)),
            "first_values": " × ".join(map(level_text, first)),
        }
        records.append(record | _difference_columns(found.estimate))
    return pd.DataFrame.from_records(records, columns=list(EFFECT_COLUMNS))


def variance_table(effects: SweepEffects) -> pd.DataFrame:
    """Return how far each source moves the test CER of a run, and its share of all variance."""
    records = [(each.source, each.deviation, each.share) for each in effects.parts]
    return pd.DataFrame.from_records(records, columns=list(VARIANCE_COLUMNS))


def escape_table(escapes: Escapes) -> pd.DataFrame:
    """Return a line per step of each arm's curve."""
    records = [
        (arm.name, *step)
        for arm in escapes.arms
        for step in zip(
            *(arm.survival.updates, arm.survival.at_risk),
            *(arm.survival.escaped, arm.survival.censored, arm.survival.share),
            strict=True,
        )
    ]
    table = pd.DataFrame.from_records(records, columns=list(ESCAPE_COLUMNS))
    return table.astype(dict.fromkeys(ESCAPE_COLUMNS[1:5], "Int64"))


def _difference_columns(estimate: Any) -> dict[str, float]:
    if estimate is None:
        return {}
    values = (estimate.value, estimate.low, estimate.high, estimate.p)
    return dict(zip(EFFECT_COLUMNS[8:], values, strict=True))
