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

from pipeline.files import atomic_write
from pipeline.results import efficiency, run_summary
from pipeline.results.run_summary import RunSummary, SweepRun
from pipeline.results.significance import bootstrap_interval
from pipeline.runs.folder import Hypothesis
from pipeline.runs.rows import ROW_COLUMNS, Row

__all__ = [
    "SweepRun",
    "collect_rows",
    "error_counts",
    "rows_table",
    "summarise_runs",
    "summary_table",
    "write_csv",
]

# Rate -> the columns of hypotheses.csv that hold its errors and its total; of `ser`, each sentence
# is one, wrong or right.
COUNT_COLUMNS = {
    "cer": ("char_errors", "chars"),
    "cer_no_spaces": ("char_errors_no_spaces", "chars_no_spaces"),
    "wer": ("word_errors", "words"),
    "ser": ("sentence_errors", "sentences"),
}
SUMMARY_RATES = (
    *(("dev", "cer"), ("dev", "wer")),
    *(("test", "cer"), ("test", "cer_no_spaces"), ("test", "wer"), ("test", "ser")),
)

# The columns of summary.csv, around the swept settings.
RUN_COLUMNS = ("run_id", "label", "state", "cause")
RESULT_COLUMNS = (
    "epoch",
    *(f"{split}_{rate}{end}" for split, rate in SUMMARY_RATES for end in ("", "_low", "_high")),
    *("escape_updates", "updates", "seconds", "frames_per_second", "loader_wait", "host"),
    *efficiency.EFFICIENCY_COLUMNS,
)
INTEGER_COLUMNS = ("epoch", "escape_updates", "updates")  # whole numbers, or nothing yet


def collect_rows(runs: Sequence[SweepRun]) -> pd.DataFrame:
    """All rows of all runs, in the order of the sweep."""
    return rows_table([run_summary.read_run(run) for run in runs])


def summarise_runs(runs: Sequence[SweepRun], now: float | None = None) -> pd.DataFrame:
    """One line per run, in the order of the sweep."""
    return summary_table([run_summary.read_run(run, now) for run in runs])


def rows_table(run_summaries: Sequence[RunSummary]) -> pd.DataFrame:
    keys = run_summary.swept_keys([one.run for one in run_summaries])
    records = [
        {"label": one.run.label, **_setting_columns(one, keys), **row}
        for one in run_summaries
        for row in one.rows
    ]
    return pd.DataFrame.from_records(records, columns=["label", *keys, *ROW_COLUMNS])


def summary_table(run_summaries: Sequence[RunSummary]) -> pd.DataFrame:
    keys = run_summary.swept_keys([one.run for one in run_summaries])
    records = [_summary_row(one, keys) for one in run_summaries]
    table = pd.DataFrame.from_records(records, columns=[*RUN_COLUMNS, *keys, *RESULT_COLUMNS])
    return table.astype(dict.fromkeys(INTEGER_COLUMNS, "Int64"))


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Floats in as many digits as give the same float again; nothing where there is no number."""
    with atomic_write(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n", encoding="utf-8")


def error_counts(hypotheses: Sequence[Hypothesis], rate: str) -> tuple[np.ndarray, np.ndarray]:
    """Errors and totals of each utterance."""
    if rate == "ser":
        wrong = [int(one.word_errors > 0) for one in hypotheses]
        return np.array(wrong, np.int64), np.ones(len(hypotheses), np.int64)
    errors, totals = COUNT_COLUMNS[rate]
    return (
        np.array([getattr(one, errors) for one in hypotheses], np.int64),
        np.array([getattr(one, totals) for one in hypotheses], np.int64),
    )


def _setting_columns(run: RunSummary, keys: Sequence[str]) -> dict[str, Any]:
    return {key: _setting_cell(run.setting(key)) for key in keys}


def _setting_cell(value: Any) -> Any:
    """An empty cell means: not known; a YAML null is a setting like another."""
    return "none" if value is None else value


def _summary_row(run: RunSummary, keys: Sequence[str]) -> dict[str, Any]:
    chosen = run.selected_dev_row
    return {
        "run_id": run.run_id,
        "label": run.run.label,
        "state": run.state,
        "cause": run.cause,
        **_setting_columns(run, keys),
        "epoch": chosen["epoch"] if chosen else None,
        **_rate_columns(run),
        "escape_updates": run.escape_updates,
        "updates": max((row["updates"] for row in run.rows), default=None),
        **_speed_columns(run),
        "host": run.heartbeat.host if run.heartbeat else "",
        **efficiency.summarise_usage(run.usages),
    }


def _rate_columns(run: RunSummary) -> dict[str, float]:
    """The rows' own rates; their intervals once there are hypotheses to draw from."""
    rows = {"dev": run.selected_dev_row, "test": run.test_row}
    rates: dict[str, float] = {}
    for split, rate in SUMMARY_RATES:
        row = rows[split]
        low, high = bootstrap_interval(*error_counts(run.hypotheses_for(split), rate))
        rates |= {
            f"{split}_{rate}": _row_rate(row, rate),
            f"{split}_{rate}_low": low,
            f"{split}_{rate}_high": high,
        }
    return rates


def _row_rate(row: Row | None, rate: str) -> float:
    values: dict[str, Any] = dict(row or {})
    return float(values.get(rate, math.nan))


def _speed_columns(run: RunSummary) -> dict[str, float]:
    """Time of all splits; speed and waiting of the training split: added, and divided once."""
    train = run.rows_for("train")
    frames, seconds = (sum(row[name] for row in train) for name in ("frames", "seconds"))
    waited = sum(row["loader_wait"] * row["seconds"] for row in train)
    return {
        "seconds": sum(row["seconds"] for row in run.rows) if run.rows else math.nan,
        "frames_per_second": frames / seconds if seconds else math.nan,
        "loader_wait": waited / seconds if seconds else math.nan,
    }
