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

from pipeline.results.comparison.arms import Arm, arm_key, group_arms
from pipeline.results.comparison.progress import WORDS
from pipeline.results.comparison.run_description import describe_run
from pipeline.results.figures.style import PALETTE
from pipeline.results.summary.formatting import NARROW_SPACE
from pipeline.results.summary.run_summary import RunSummary

HEADER_KEY_PATTERN = re.compile(
    r"^(Question|Cost|Expect|Answer)(?:ed|ation)?(?: \([^)]*\))?:\s*", re.IGNORECASE
)


@dataclass(frozen=True)
class RunView:
    """A run as the page shows it. Runs of one arm share a number and a colour."""

    number: int  # of its arm by result, from 1
    palette_index: int | None  # None: grey, in the background
    arm_name: str
    arm_settings: Mapping[str, Any]  # the swept settings without the seed
    run_summary: RunSummary
    summary_row: Mapping[str, Any]  # the run's line of summary.csv
    description: str

    @property
    def state(self) -> str:
        """The state of the run in the words of the answer."""
        return WORDS.get(self.run_summary.state, self.run_summary.state)

    @property
    def label(self) -> str:
        return self.run_summary.run.label


def list_views(run_summaries: Sequence[RunSummary], summary: pd.DataFrame) -> list[RunView]:
    """Return a view of each run, in the order of the sweep; `summary` has a line per run."""
    keys = _arm_keys(run_summaries)
    arms: dict[tuple[str, ...], list[RunSummary]] = {}
    for run, key in zip(run_summaries, keys, strict=True):
        arms.setdefault(key, []).append(run)
    ranked = sorted(arms, key=lambda key: _rank(arms[key]))
    numbers = {key: number for number, key in enumerate(ranked, start=1)}
    colours = _assign_colours([arms[key] for key in ranked])
    first = {key: group_arms(runs[:1])[0] for key, runs in arms.items()}
    rows = [
        {str(key): math.nan if value is None or value is pd.NA else value for key, value in pairs}
        for pairs in (row.items() for row in summary.to_dict("records"))
    ]
    views = []
    for run, key, row in zip(run_summaries, keys, rows, strict=True):
        number, arm = numbers[key], first[key]
        description = describe_run(run).replace(" %", f"{NARROW_SPACE}%")
        views.append(
            RunView(number, colours.get(number), arm.name, arm.settings, run, row, description)
        )
    return views


def _arm_keys(run_summaries: Sequence[RunSummary]) -> list[tuple[str, ...]]:
    """Return the arm of each run; one whose settings are not on disk yet is of the arm so named."""
    keys = [arm_key(run) for run in run_summaries]
    pairs = zip(run_summaries, keys, strict=True)
    written = {key[:-1]: key for run, key in pairs if run.experiment}
    return [written.get(key[:-1], key) if not key[-1] else key for key in keys]


def _rank(runs: Sequence[RunSummary]) -> tuple[bool, bool, float, float]:
    """Return the key by which arms are ordered: as the answer chooses the best, then the others.

    An arm without a test result comes after those that have one.
    """
    tested = [run for run in runs if run.state == "finished" and run.test_row]
    known = tested or [run for run in runs if run.selected_dev_row]
    if not known:
        return True, True, math.inf, math.inf
    return not tested, *Arm("", {}, tuple(known)).dev_selection_key


def _assign_colours(ranked: Sequence[Sequence[RunSummary]]) -> dict[int, int]:
    """Return the number of an arm -> palette index.

    With more arms than colours, the best are coloured, and the best of those that never escaped.
    """
    most = len(PALETTE)
    numbers = list(range(1, len(ranked) + 1))
    if len(numbers) > most:
        blank = [
            number
            for number in numbers[most - 1 :]
            if (runs := ranked[number - 1])[0].selected_dev_row
            and not any(run.escape_updates for run in runs)
        ]
        numbers = [*numbers[: most - 1], *(blank[:1] or numbers[most - 1 : most])]
    return {number: colour for colour, number in enumerate(numbers)}


def count_states(views: Sequence[RunView]) -> dict[str, int]:
    """Return how many runs are in each state; states without a run are left out."""
    order = ("finished", "stopped early", *WORDS.values())
    states = [view.state for view in views]
    return {state: states.count(state) for state in order if state in states}


def parse_header(question: str) -> dict[str, str]:
    """Return the parts of a sweep file's opening comment: question, cost, expect, answer."""
    parts: dict[str, list[str]] = {}
    part = "question"
    for line in question.splitlines():
        start = HEADER_KEY_PATTERN.match(line)
        part = start[1].lower() if start else part
        parts.setdefault(part, []).append(line[start.end() if start else 0 :].strip())
    texts = {part: " ".join(lines).strip() for part, lines in parts.items()}
    empty = dict.fromkeys(("question", "expect", "cost", "answer"), "")
    return empty | {part: text[:1].upper() + text[1:] for part, text in texts.items()}
