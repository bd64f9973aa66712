"""Comparison of runs: the best run, which differences may be chance, escapes, arms.

In:   the run summaries of a sweep.
Out:  a `SweepComparison`, which the page puts into sentences; a description of each run.
Not here: the numbers of the tables (table.py), the page (report.py).
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.results.formatting import format_decimal, format_integer, format_percent
from pipeline.results.run_summary import RunSummary
from pipeline.results.significance import Improvement, paired_bootstrap
from pipeline.results.table import error_counts, speed_columns
from pipeline.runs import plateau
from pipeline.runs.rows import Row

MAX_LOADER_WAIT_SHARE = 0.10  # a larger share of the training time spent waiting is reported
OVERFITTING_LOSS_RATIO = 1.10  # last dev loss over the lowest one; above it the run overfits
SEED_KEY = "train.seed"


@dataclass(frozen=True)
class RunComparison:
    """A run compared with the best run, on the test utterances that both have decoded."""

    run_summary: RunSummary
    cer: Improvement
    utterances: int

    @property
    def verdict(self) -> str:
        if self.cer.low > 0:
            return "worse"
        return "better" if self.cer.high < 0 else "not told apart"


@dataclass(frozen=True)
class Arm:
    """Finished runs that differ in their seed only."""

    name: str  # the runs' label without the seed
    settings: dict[str, Any]
    runs: tuple[RunSummary, ...]

    @property
    def test_cers(self) -> list[float]:
        return [row["cer"] for run in self.runs if (row := run.test_row)]

    @property
    def mean_test_cer(self) -> float:
        return statistics.fmean(self.test_cers)

    @property
    def standard_deviation(self) -> float:
        return statistics.stdev(self.test_cers) if len(self.test_cers) > 1 else math.nan

    @property
    def escapes(self) -> list[int]:
        """Updates until escape of the runs that escaped, ascending."""
        updates = (run.escape_updates for run in self.runs)
        return sorted(each for each in updates if each is not None)

    @property
    def median_escape_updates(self) -> float | None:
        """Median over all runs, where one that never escaped is the latest; None if infinite."""
        never = [math.inf] * (len(self.runs) - len(self.escapes))
        median = statistics.median([*self.escapes, *never])
        return float(median) if math.isfinite(median) else None


@dataclass(frozen=True)
class SweepComparison:
    best: RunSummary | None  # by dev CER; the test split must not select
    lowest_test_cer: RunSummary | None  # often the best run, but not always
    differences: tuple[RunComparison, ...]  # ascending by difference
    escaped: tuple[RunSummary, ...]  # the earliest first
    not_escaped: tuple[RunSummary, ...]  # finished without an escape
    arms: tuple[Arm, ...]
    one_seed: bool

    def with_verdict(self, verdict: str) -> list[RunSummary]:
        return [each.run_summary for each in self.differences if each.verdict == verdict]


def compare_runs(run_summaries: Sequence[RunSummary]) -> SweepComparison:
    finished = [
        run
        for run in run_summaries
        if run.state == "finished" and run.test_row and run.selected_dev_row
    ]
    best = min(finished, key=dev_selection_key, default=None)
    escaped = [run for run in run_summaries if run.escape_updates is not None]
    return SweepComparison(
        best=best,
        lowest_test_cer=min(finished, key=_test_cer, default=None),
        differences=tuple(_compare_others(best, finished)) if best else (),
        escaped=tuple(sorted(escaped, key=lambda run: run.escape_updates or 0)),
        not_escaped=tuple(run for run in finished if run.escape_updates is None),
        arms=tuple(_group_arms(finished)),
        one_seed=len({run.setting(SEED_KEY) for run in finished}) == 1,
    )


def dev_selection_key(run: RunSummary) -> tuple[float, float]:
    """Return the key of the run's selected epoch: one rule selects epochs and runs."""
    row = run.selected_dev_row
    return plateau.selection_key(row) if row else (math.inf, math.inf)


def _test_cer(run: RunSummary) -> float:
    row = run.test_row
    return row["cer"] if row else math.inf


def _compare_others(best: RunSummary, finished: Sequence[RunSummary]) -> list[RunComparison]:
    others = [_compare_to_best(best, run) for run in finished if run is not best]
    return sorted((each for each in others if each), key=lambda each: each.cer.difference)


def _compare_to_best(best: RunSummary, other: RunSummary) -> RunComparison | None:
    """Return None if the two runs have no test utterance in common."""
    theirs = {each.utterance_id: each for each in other.hypotheses_for("test")}
    ours = [each for each in best.hypotheses_for("test") if each.utterance_id in theirs]
    if not ours:
        return None
    errors_a, totals = error_counts(ours, "cer")
    errors_b, _ = error_counts([theirs[each.utterance_id] for each in ours], "cer")
    return RunComparison(other, paired_bootstrap(errors_a, errors_b, totals), len(ours))


def _group_arms(finished: Sequence[RunSummary]) -> Iterator[Arm]:
    """Yield arms of at least two runs, if the sweep varies the seed."""
    groups: dict[tuple[str, str], list[RunSummary]] = {}
    for run in finished:
        if SEED_KEY in run.run.settings:
            key = (_label_without_seed(run), repr(_settings_without_seed(run)))
            groups.setdefault(key, []).append(run)
    for (label, _), runs in groups.items():
        if len(runs) > 1:
            settings = _settings_without_seed(runs[0])
            listed = ", ".join(
                f"{key} {'null' if value is None else value}" for key, value in settings.items()
            )
            yield Arm(label or listed or "all", settings, tuple(runs))


def _settings_without_seed(run: RunSummary) -> dict[str, Any]:
    return {key: value for key, value in run.run.settings.items() if key != SEED_KEY}


def _label_without_seed(run: RunSummary) -> str:
    """Return the label without the part that names the seed; empty if it names none."""
    parts = run.run.label.split(", ")
    seed = f"seed {run.run.settings[SEED_KEY]}"
    return ", ".join(part for part in parts if part != seed) if seed in parts else ""


def describe_run(run: RunSummary) -> str:
    """Return a few sentences about the state of a run, from its rows."""
    dev = run.rows_for("dev")
    if not dev:
        return {
            "missing": "Its folder does not exist yet.",
            "waiting": "It has not started.",
        }.get(run.state, "No epoch has ended yet.")
    status = plateau.describe_status(
        run.rows, run.experiment, is_last_epoch=run.state == "finished"
    )
    sentences = [f"{status[0].upper()}{status[1:]}."]
    return " ".join([*sentences, *_describe_training(run, dev), *_describe_problems(run)])


def _describe_training(run: RunSummary, dev: Sequence[Row]) -> Iterator[str]:
    selected = run.selected_dev_row
    if run.escape_updates is None or selected is None:
        return
    last, lowest = dev[-1], min(dev, key=lambda row: row["loss_per_character"])
    last_loss, lowest_loss = last["loss_per_character"], lowest["loss_per_character"]
    cer, epoch, finished = selected["cer"], selected["epoch"], run.state == "finished"
    so_far = f"in epoch {epoch} of {last['epoch']}" if finished else f"so far, in epoch {epoch}"
    yield f"Lowest dev CER {format_percent(cer)} {so_far}."
    if last_loss > OVERFITTING_LOSS_RATIO * lowest_loss:
        yield (
            f"It overfits: the dev loss rose from {format_decimal(lowest_loss)} in epoch "
            f"{lowest['epoch']} to {format_decimal(last_loss)}."
        )
    elif finished and epoch == last["epoch"]:
        yield "The last epoch is the best one, so more epochs may help."


def _describe_problems(run: RunSummary) -> Iterator[str]:
    train = run.rows_for("train")
    if not train:
        return
    if infeasible := train[-1]["infeasible"]:
        yield (
            f"{format_integer(infeasible)} training utterances have more labels than frames "
            "and were left out."
        )
    waited = speed_columns(run)["loader_wait"]
    if waited > MAX_LOADER_WAIT_SHARE:
        yield f"{format_percent(waited)} of the training time was spent waiting for data."
