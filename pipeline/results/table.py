"""Many run folders -> one table of all rows, and one of a line per run.

In:   the runs of a sweep, in any state.   Out: the frames behind results.csv and summary.csv.
Not here: reading a run folder (reading.py), words and figures (findings.py, figures.py).

Rates are fractions. Intervals are 95 % and come from drawing utterances again.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.files import replacing
from pipeline.results import efficiency, run_summary
from pipeline.results.run_summary import Reading, SweepRun
from pipeline.results.significance import bootstrap_interval
from pipeline.runs.folder import Hypothesis
from pipeline.runs.rows import COLUMNS as ROW_COLUMNS
from pipeline.runs.rows import Row

__all__ = ["SweepRun", "collect", "counts", "rows_table", "summarise", "summary_table", "write"]

# Rate -> the columns of hypotheses.csv that hold its errors and its total; of `ser`, each sentence
# is one, wrong or right.
COUNTS = {
    "cer": ("char_errors", "chars"),
    "cer_no_spaces": ("char_errors_no_spaces", "chars_no_spaces"),
    "wer": ("word_errors", "words"),
    "ser": ("sentence_errors", "sentences"),
}
RATES = (
    *(("dev", "cer"), ("dev", "wer")),
    *(("test", "cer"), ("test", "cer_no_spaces"), ("test", "wer"), ("test", "ser")),
)

# The columns of summary.csv, around the swept settings.
BEFORE = ("run_id", "label", "state", "cause")
AFTER = (
    "epoch",
    *(f"{split}_{rate}{end}" for split, rate in RATES for end in ("", "_low", "_high")),
    *("escape_updates", "updates", "seconds", "frames_per_second", "loader_wait", "host"),
    *efficiency.COLUMNS,
)
WHOLE = ("epoch", "escape_updates", "updates")  # whole numbers, or nothing yet


def collect(runs: Sequence[SweepRun]) -> pd.DataFrame:
    """All rows of all runs, in the order of the sweep."""
    return rows_table([run_summary.read(run) for run in runs])


def summarise(runs: Sequence[SweepRun], now: float | None = None) -> pd.DataFrame:
    """One line per run, in the order of the sweep."""
    return summary_table([run_summary.read(run, now) for run in runs])


def rows_table(readings: Sequence[Reading]) -> pd.DataFrame:
    keys = run_summary.swept_keys([one.run for one in readings])
    records = [
        {"label": one.run.label, **_settings(one, keys), **row}
        for one in readings
        for row in one.rows
    ]
    return pd.DataFrame.from_records(records, columns=["label", *keys, *ROW_COLUMNS])


def summary_table(readings: Sequence[Reading]) -> pd.DataFrame:
    keys = run_summary.swept_keys([one.run for one in readings])
    records = [_summary(one, keys) for one in readings]
    table = pd.DataFrame.from_records(records, columns=[*BEFORE, *keys, *AFTER])
    return table.astype(dict.fromkeys(WHOLE, "Int64"))


def write(table: pd.DataFrame, path: Path) -> None:
    """Floats in as many digits as give the same float again; nothing where there is no number."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n", encoding="utf-8")


def counts(hypotheses: Sequence[Hypothesis], rate: str) -> tuple[np.ndarray, np.ndarray]:
    """Errors and totals of each utterance."""
    if rate == "ser":
        wrong = [int(one.word_errors > 0) for one in hypotheses]
        return np.array(wrong, np.int64), np.ones(len(hypotheses), np.int64)
    errors, totals = COUNTS[rate]
    return (
        np.array([getattr(one, errors) for one in hypotheses], np.int64),
        np.array([getattr(one, totals) for one in hypotheses], np.int64),
    )


def _settings(one: Reading, keys: Sequence[str]) -> dict[str, Any]:
    return {key: _cell(one.setting(key)) for key in keys}


def _cell(value: Any) -> Any:
    """An empty cell means: not known; a YAML null is a setting like another."""
    return "none" if value is None else value


def _summary(one: Reading, keys: Sequence[str]) -> dict[str, Any]:
    chosen = one.chosen
    return {
        "run_id": one.run_id,
        "label": one.run.label,
        "state": one.state,
        "cause": one.cause,
        **_settings(one, keys),
        "epoch": chosen["epoch"] if chosen else None,
        **_rates(one),
        "escape_updates": one.escape_updates,
        "updates": max((row["updates"] for row in one.rows), default=None),
        **_speed(one),
        "host": one.heartbeat.host if one.heartbeat else "",
        **efficiency.figures(one.usages),
    }


def _rates(one: Reading) -> dict[str, float]:
    """The rows' own rates; their intervals once there are hypotheses to draw from."""
    rows = {"dev": one.chosen, "test": one.test}
    rates: dict[str, float] = {}
    for split, rate in RATES:
        row = rows[split]
        low, high = bootstrap_interval(*counts(one.heard(split), rate))
        rates |= {
            f"{split}_{rate}": _rate(row, rate),
            f"{split}_{rate}_low": low,
            f"{split}_{rate}_high": high,
        }
    return rates


def _rate(row: Row | None, rate: str) -> float:
    values: dict[str, Any] = dict(row or {})
    return float(values.get(rate, math.nan))


def _speed(one: Reading) -> dict[str, float]:
    """Time of all splits; speed and waiting of the training split: added, and divided once."""
    train = one.of("train")
    frames, seconds = (sum(row[name] for row in train) for name in ("frames", "seconds"))
    waited = sum(row["loader_wait"] * row["seconds"] for row in train)
    return {
        "seconds": sum(row["seconds"] for row in one.rows) if one.rows else math.nan,
        "frames_per_second": frames / seconds if seconds else math.nan,
        "loader_wait": waited / seconds if seconds else math.nan,
    }
