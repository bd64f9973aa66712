"""Tables: all rows of a sweep, and one line per run.

In:   run summaries, in any state.   Out: the frames of results.csv and summary.csv.
Not here: reading a run folder (run_summary.py), comparing runs (comparison/), figures.

Rates are fractions. Intervals are 95 % bootstrap intervals over utterances.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from pipeline.config.corpus import Corpus
from pipeline.results.statistics.significance import bootstrap_interval
from pipeline.results.summary import efficiency, provenance
from pipeline.results.summary.run_summary import RunSummary, changed_keys
from pipeline.runs.folder import Hypothesis
from pipeline.runs.rows import ROW_COLUMNS, Row

# Rate -> the columns of hypotheses.csv with its errors and its total. `ser` has no columns there:
# each utterance is one sentence.
COUNT_COLUMNS = {
    "cer": ("char_errors", "chars"),
    "cer_no_spaces": ("char_errors_no_spaces", "chars_no_spaces"),
    "wer": ("word_errors", "words"),
}
SUMMARY_RATES = (
    *(("dev", "cer"), ("dev", "wer")),
    *(("test", "cer"), ("test", "cer_no_spaces"), ("test", "wer"), ("test", "ser")),
)

# The columns of summary.csv before and after the changed settings.
RUN_COLUMNS = ("sweep", "corpus", "run_id", "label", "state", "cause")
RESULT_COLUMNS = (
    "epoch",
    *(f"{split}_{rate}{end}" for split, rate in SUMMARY_RATES for end in ("", "_low", "_high")),
    *("escape_updates", "updates", "seconds", "frames_per_second", "loader_wait", "host"),
    *efficiency.EFFICIENCY_COLUMNS,
    *provenance.PROVENANCE_COLUMNS,
)
INTEGER_COLUMNS = ("epoch", "escape_updates", "updates")  # may be missing


def rows_table(run_summaries: Sequence[RunSummary]) -> pd.DataFrame:
    """Return all rows of all runs, in the order of the sweep."""
    keys = changed_keys([run.run for run in run_summaries])
    records = [
        {**identity, **row}
        for run in run_summaries
        for identity in [
            {**sweep_columns(run), "label": run.run.label, **setting_columns(run, keys)}
        ]
        for row in run.rows
    ]
    columns = ["sweep", "corpus", "label", *keys, *ROW_COLUMNS]
    table = pd.DataFrame.from_records(records, columns=columns)
    # The setting train.learning_rate may be a column too; this is what an epoch ended with.
    return table.rename(columns={"learning_rate": "current_learning_rate"})


def summary_table(run_summaries: Sequence[RunSummary]) -> pd.DataFrame:
    """Return one line per run, in the order of the sweep."""
    keys = changed_keys([run.run for run in run_summaries])
    records = [_summary_row(run, keys) for run in run_summaries]
    columns = [*RUN_COLUMNS, *keys, *RESULT_COLUMNS]
    if records and records[0].keys() != set(columns):  # pandas would drop a column silently
        raise ValueError(f"RESULT_COLUMNS lacks or invents {set(records[0]) ^ set(columns)}")
    table = pd.DataFrame.from_records(records, columns=columns)
    return table.astype(dict.fromkeys(INTEGER_COLUMNS, "Int64"))


def error_counts(hypotheses: Sequence[Hypothesis], rate: str) -> tuple[np.ndarray, np.ndarray]:
    """Return errors and totals, both (U,) int64, of each utterance."""
    if rate == "ser":
        wrong = [each.char_errors > 0 for each in hypotheses]
        return np.array(wrong, np.int64), np.ones(len(hypotheses), np.int64)
    errors, totals = (
        np.array([getattr(each, column) for each in hypotheses], np.int64)
        for column in COUNT_COLUMNS[rate]
    )
    return errors, totals


def sweep_columns(run: RunSummary) -> dict[str, str | None]:
    """Return the cells that tell tables of several sweeps apart."""
    return {"sweep": run.run.sweep, "corpus": run.corpus}


def setting_columns(run: RunSummary, keys: Sequence[str]) -> dict[str, Any]:
    """Return the cells of the changed settings; None where a setting is not known."""
    return {
        key: None
        if run.experiment is None and key not in run.run.settings
        else _setting_cell(run.setting(key))
        for key in keys
    }


def _setting_cell(value: Any) -> Any:
    """Return a number, or a text: `none` for a YAML null, JSON for lists and mappings.

    An empty cell means that the value is not known.
    """
    if value is None:
        return "none"
    if isinstance(value, Corpus):
        return value.name
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False)
    return value


def _summary_row(run: RunSummary, keys: Sequence[str]) -> dict[str, Any]:
    selected = run.selected_dev_row
    return {
        **sweep_columns(run),
        "run_id": run.run_id,
        "label": run.run.label,
        "state": run.state,
        "cause": run.cause,
        **setting_columns(run, keys),
        "epoch": selected["epoch"] if selected else None,
        **_rate_columns(run),
        "escape_updates": run.escape_updates,
        "updates": max((row["updates"] for row in run.rows), default=None),
        **speed_columns(run),
        "host": run.heartbeat.host if run.heartbeat else "",
        **efficiency.summarise_usage(run.usages),
        **provenance.provenance_columns(run),
    }


def _rate_columns(run: RunSummary) -> dict[str, float]:
    """Return the rates of the rows, with intervals if the run has hypotheses."""
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


def speed_columns(run: RunSummary) -> dict[str, float]:
    """Return the time of all splits, and the speed and the waiting of the training split.

    Frames, seconds and waiting are summed over the epochs and divided once.
    """
    train = run.rows_for("train")
    frames, seconds = (sum(row[name] for row in train) for name in ("frames", "seconds"))
    waited = sum(row["loader_wait"] * row["seconds"] for row in train)
    return {
        "seconds": sum(row["seconds"] for row in run.rows) if run.rows else math.nan,
        "frames_per_second": frames / seconds if seconds else math.nan,
        "loader_wait": waited / seconds if seconds else math.nan,
    }
