"""Tables: all rows of a sweep, and one line per run.

In:   run summaries, in any state.   Out: the tables of results.csv and summary.csv.
Not here: reading a run folder (run_summary.py), comparing runs (comparison/), figures.

Rates are fractions. Intervals are 95 % bootstrap intervals over utterances.
"""

import json
import math
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel

from pipeline.config.corpus import Corpus
from pipeline.results.statistics.significance import bootstrap_intervals
from pipeline.results.summary import efficiency, provenance
from pipeline.results.summary.hypothesis_table import HypothesisTable
from pipeline.results.summary.row_table import SCHEMA
from pipeline.results.summary.run_summary import RunSummary, changed_keys
from pipeline.runs.folder import Hypothesis
from pipeline.runs.rows import Row

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
RUN_COLUMNS = ("sweep", "corpus", "units", "run_id", "label", "state", "cause")
RESULT_COLUMNS = (
    "epoch",
    *(f"{split}_{rate}{end}" for split, rate in SUMMARY_RATES for end in ("", "_low", "_high")),
    *("escape_updates", "updates", "seconds", "frames_per_second", "loader_wait", "host"),
    *efficiency.EFFICIENCY_COLUMNS,
    *provenance.PROVENANCE_COLUMNS,
)
INTEGER_COLUMNS = ("epoch", "escape_updates", "updates")  # may be missing


def rows_table(run_summaries: Sequence[RunSummary]) -> pa.Table:
    """Return all rows of all runs, in the order of the sweep."""
    keys = changed_keys([run.run for run in run_summaries])
    described = [
        {**sweep_columns(run), "label": run.run.label, **setting_columns(run, keys)}
        for run in run_summaries
    ]
    values = {
        name: _typed_array([each[name] for each in described])
        for name in ("sweep", "corpus", "units", "label", *keys)
    }
    # The setting train.learning_rate may be a column too; this is what an epoch ended with.
    names = [*values, *SCHEMA.names]
    names = ["current_learning_rate" if name == "learning_rate" else name for name in names]
    types = [*(array.type for array in values.values()), *SCHEMA.types]
    schema = pa.schema(list(zip(names, types, strict=True)))
    tables = [
        (index, run.row_table.table) for index, run in enumerate(run_summaries) if len(run.rows)
    ]
    if not tables:
        return schema.empty_table()
    repeated: dict[tuple[pa.Scalar, int], pa.Array] = {}  # a value of many runs is in memory once
    columns = []
    for array in values.values():
        cells = [(array[index], rows.num_rows) for index, rows in tables]
        columns.append(
            pa.chunked_array([repeated.setdefault(cell, pa.repeat(*cell)) for cell in cells])
        )
    measured = pa.concat_tables(rows for _, rows in tables)
    return pa.table([*columns, *measured.columns], schema=schema)


def _typed_array(values: Sequence[Any]) -> pa.Array:
    """Return numbers as numbers, and anything else as text; None is not known."""
    known = [value for value in values if value is not None]
    if known and all(type(value) in (int, float) for value in known):
        return pa.array(values, from_pandas=True)
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def summary_table(run_summaries: Sequence[RunSummary]) -> pd.DataFrame:
    """Return one line per run, in the order of the sweep."""
    keys = changed_keys([run.run for run in run_summaries])
    intervals = _rate_intervals(run_summaries)
    records = [
        _summary_row(run, keys, of) for run, of in zip(run_summaries, intervals, strict=True)
    ]
    columns = [*RUN_COLUMNS, *keys, *RESULT_COLUMNS]
    if records and records[0].keys() != set(columns):  # pandas would drop a column silently
        raise ValueError(f"RESULT_COLUMNS lacks or invents {set(records[0]) ^ set(columns)}")
    table = pd.DataFrame.from_records(records, columns=columns)
    return table.astype(dict.fromkeys(INTEGER_COLUMNS, "Int64"))


def error_counts(hypotheses: Sequence[Hypothesis], rate: str) -> tuple[np.ndarray, np.ndarray]:
    """Return errors and totals, both (U,) int64, of each utterance."""
    if rate == "ser":
        wrong = _counts(hypotheses, "char_errors") > 0
        return wrong.astype(np.int64), np.ones(len(hypotheses), np.int64)
    errors, totals = (_counts(hypotheses, column) for column in COUNT_COLUMNS[rate])
    return errors, totals


def _counts(hypotheses: Sequence[Hypothesis], column: str) -> np.ndarray:
    if isinstance(hypotheses, HypothesisTable):
        return hypotheses.column(column)
    return np.fromiter(map(attrgetter(column), hypotheses), np.int64, len(hypotheses))


def sweep_columns(run: RunSummary) -> dict[str, str | None]:
    """Return the cells that tell tables of several sweeps apart."""
    return {"sweep": run.run.sweep, "corpus": run.corpus, "units": run.units}


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


def _summary_row(
    run: RunSummary, keys: Sequence[str], intervals: Mapping[str, tuple[float, float]]
) -> dict[str, Any]:
    selected = run.selected_dev_row
    rates: dict[str, float] = {}
    for split, rate in SUMMARY_RATES:
        name = f"{split}_{rate}"
        rates[name] = _row_rate(selected if split == "dev" else run.test_row, rate)
        rates[f"{name}_low"], rates[f"{name}_high"] = intervals[name]
    return {
        **sweep_columns(run),
        "run_id": run.run_id,
        "label": run.run.label,
        "state": run.state,
        "cause": run.cause,
        **setting_columns(run, keys),
        "epoch": selected["epoch"] if selected else None,
        **rates,
        "escape_updates": run.escape_updates,
        "updates": max(run.row_table.column("updates").tolist(), default=None),
        **speed_columns(run),
        "host": run.heartbeat.host if run.heartbeat else "",
        **efficiency.summarise_usage(run.usages),
        **provenance.provenance_columns(run),
    }


def _rate_intervals(
    run_summaries: Sequence[RunSummary],
) -> list[dict[str, tuple[float, float]]]:
    """Return the interval of each rate of each run; (nan, nan) where it has no hypotheses.

    Runs with as many utterances are resampled together, which is a hundred times faster.
    """
    found: list[dict[str, tuple[float, float]]] = [{} for _ in run_summaries]
    batches: dict[int, list[tuple[int, str, np.ndarray, np.ndarray]]] = {}
    for split, rate in SUMMARY_RATES:
        for index, run in enumerate(run_summaries):
            errors_U, totals_U = error_counts(run.hypotheses_for(split), rate)
            batch = batches.setdefault(len(errors_U), [])
            batch.append((index, f"{split}_{rate}", errors_U, totals_U))
    for batch in batches.values():
        indices, names, errors, totals = zip(*batch, strict=True)
        intervals = bootstrap_intervals(np.stack(errors, axis=1), np.stack(totals, axis=1))
        for index, name, interval in zip(indices, names, intervals, strict=True):
            found[index][name] = interval
    return found


def _row_rate(row: Row | None, name: str) -> float:
    values: Mapping[str, Any] = row or {}
    return float(values.get(name, math.nan))


def speed_columns(run: RunSummary) -> dict[str, float]:
    """Return the time of all splits, and the speed and the waiting of the training split.

    Frames, seconds and waiting are summed over the epochs and divided once.
    """
    train = run.rows_for("train")
    frames, seconds = train.column("frames").sum(), train.column("seconds").sum()
    waited = (train.column("loader_wait") * train.column("seconds")).sum()
    return {
        "seconds": float(run.row_table.column("seconds").sum()) if run.rows else math.nan,
        "frames_per_second": float(frames / seconds) if seconds else math.nan,
        "loader_wait": float(waited / seconds) if seconds else math.nan,
    }
