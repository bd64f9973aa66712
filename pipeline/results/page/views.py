"""Views: the runs of a sweep as the page shows them, and the parts of the sweep's question.

In:   run summaries, the frame of summary.csv, the opening comment of a sweep file.
Out:  numbered and coloured runs; question, cost and expectation.
Not here: the templates, and filling them (render.py).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.results.comparison.arms import dev_selection_key
from pipeline.results.comparison.run_description import describe_run
from pipeline.results.figures.style import PALETTE
from pipeline.results.summary.run_summary import RunSummary

HEADER_KEY_PATTERN = re.compile(r"^(Question|Cost|Expect)(?:ed|ation)?:\s*", re.IGNORECASE)


@dataclass(frozen=True)
class RunView:
    """A run as the page shows it."""

    number: int  # in the sweep, from 1
    palette_index: int | None  # None: grey, in the background
    run_summary: RunSummary
    summary_row: Mapping[str, Any]  # the run's line of summary.csv
    description: str

    @property
    def label(self) -> str:
        return self.run_summary.run.label


def list_views(run_summaries: Sequence[RunSummary], summary: pd.DataFrame) -> list[RunView]:
    """Return a view of each run, in the order of the sweep; `summary` has a line per run."""
    colours = _assign_colours(run_summaries)
    rows = [
        {str(key): math.nan if value is None or value is pd.NA else value for key, value in pairs}
        for pairs in (row.items() for row in summary.to_dict("records"))
    ]
    return [
        RunView(index + 1, colours.get(index), run, row, describe_run(run))
        for index, (run, row) in enumerate(zip(run_summaries, rows, strict=True))
    ]


def _assign_colours(run_summaries: Sequence[RunSummary]) -> dict[int, int]:
    """Return run index -> palette index.

    With more runs than colours, the best runs by dev CER are coloured, and one run that has not
    escaped.
    """
    indices = list(range(len(run_summaries)))
    most = len(PALETTE)
    if len(indices) > most:
        ranked = [index for index in indices if run_summaries[index].selected_dev_row]
        ranked.sort(key=lambda index: dev_selection_key(run_summaries[index]))
        blank = [index for index in ranked[most - 1 :] if not run_summaries[index].escape_updates]
        indices = sorted([*ranked[: most - 1], *(blank[:1] or ranked[most - 1 : most])])
    return {index: colour for colour, index in enumerate(indices)}


def count_states(views: Sequence[RunView]) -> dict[str, int]:
    """Return how many runs are in each state; states without a run are left out."""
    order = ("finished", "stopped early", "running", "stopped", "failed", "waiting", "missing")
    states = [view.run_summary.state for view in views]
    return {state: states.count(state) for state in order if state in states}


def parse_header(question: str) -> dict[str, str]:
    """Return the parts of a sweep file's opening comment: question, cost, expect."""
    parts: dict[str, list[str]] = {}
    part = "question"
    for line in question.splitlines():
        start = HEADER_KEY_PATTERN.match(line)
        part = start[1].lower() if start else part
        parts.setdefault(part, []).append(line[start.end() if start else 0 :].strip())
    texts = {part: " ".join(lines).strip() for part, lines in parts.items()}
    empty = dict.fromkeys(("question", "expect", "cost"), "")
    return empty | {part: text[:1].upper() + text[1:] for part, text in texts.items()}
