"""Phases: when each run passes the landmarks of a CTC training, and what it prints there.

In:   run summaries in any state.   Out: the frame of phases.csv, one line per run and landmark.
Not here: what an escape is (runs/plateau.py), survival curves (escape.py).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from pipeline.results.comparison.arms import group_arms
from pipeline.results.summary.run_summary import RunSummary
from pipeline.runs.plateau import NEAR_REFERENCE_MARGIN
from pipeline.runs.rows import Row

PHASE_COLUMNS = (
    *("label", "run_id", "landmark", "updates", "epoch"),
    *("loss_per_character", "reference_loss", "cer", "blank_argmax", "input_dependence"),
)
CER_LANDMARKS = {"dev CER 50 %": 0.5, "dev CER 20 %": 0.2}


def phases_table(run_summaries: Sequence[RunSummary]) -> pd.DataFrame:
    """Return a line for each landmark that a run has passed, with its dev row there."""
    records = [
        {
            "label": arm.name,
            "run_id": run.run_id,
            "landmark": landmark,
            **{name: row[name] for name in PHASE_COLUMNS[3:]},  # type: ignore[literal-required]
        }
        for arm in group_arms([run for run in run_summaries if run.rows_for("dev")])
        for run in arm.runs
        for landmark, row in _landmarks(run)
    ]
    return pd.DataFrame.from_records(records, columns=list(PHASE_COLUMNS))


def _landmarks(run: RunSummary) -> Iterator[tuple[str, Row]]:
    """Yield each landmark with the first dev row that passes it, in the order of a training."""
    dev, escape = run.rows_for("dev"), run.escape_updates
    cer = dev.column("cer")
    has_escaped = np.full(len(dev), False) if escape is None else dev.column("updates") >= escape
    limit = dev.column("reference_loss") + NEAR_REFERENCE_MARGIN
    passed = {"near the reference loss": dev.column("loss_per_character") < limit}
    passed["escape"] = has_escaped
    for landmark, most in CER_LANDMARKS.items():
        passed[landmark] = has_escaped & (cer <= most)
    yield from (
        (landmark, dev[int(rows.argmax())]) for landmark, rows in passed.items() if rows.any()
    )
    if run.selected_dev_row:
        yield "selected epoch", run.selected_dev_row
