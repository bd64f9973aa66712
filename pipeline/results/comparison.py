"""What the runs show: the best one, which differences are chance, who left the blank, seeds.

In:   readings of a sweep.   Out: findings, which the page puts into sentences; health sentences.
Not here: the numbers of the table (table.py), the page (report.py).
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.results.formatting import format_decimal, format_integer, format_percent
from pipeline.results.run_summary import RunSummary
from pipeline.results.significance import Improvement, paired_bootstrap
from pipeline.results.table import error_counts
from pipeline.runs import plateau
from pipeline.runs.rows import Row

MAX_LOADER_WAIT_SHARE = 0.10  # share of the time spent waiting for data that is worth a word
OVERFITTING_LOSS_RATIO = 1.10  # rise of the dev loss over its lowest
SEED_KEY = "train.seed"


@dataclass(frozen=True)
class RunComparison:
    """A run against the best one, on the test utterances that both have heard."""

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
    """Runs that differ in their seed only."""

    name: str  # what they share: their label without the seed
    settings: dict[str, Any]
    readings: tuple[RunSummary, ...]

    @property
    def test_cers(self) -> list[float]:
        return [row["cer"] for reading in self.readings if (row := reading.test_row)]

    @property
    def mean_test_cer(self) -> float:
        return statistics.fmean(self.test_cers)

    @property
    def standard_deviation(self) -> float:
        return statistics.stdev(self.test_cers) if len(self.test_cers) > 1 else math.nan

    @property
    def escapes(self) -> list[int]:
        """Updates, the earliest first, of those that left the blank."""
        updates = (one.escape_updates for one in self.readings)
        return sorted(each for each in updates if each is not None)

    @property
    def median_escape_updates(self) -> float | None:
        """Over all runs, those that stayed counted as later than any; None: never."""
        stayed = [math.inf] * (len(self.readings) - len(self.escapes))
        median = statistics.median([*self.escapes, *stayed])
        return float(median) if math.isfinite(median) else None


@dataclass(frozen=True)
class SweepComparison:
    best: RunSummary | None  # by dev CER, for the test split must not choose
    lowest_test_cer: RunSummary | None  # by test CER; not always the same
    differences: tuple[RunComparison, ...]  # from small to large
    escaped: tuple[RunSummary, ...]  # the earliest first
    not_escaped: tuple[RunSummary, ...]  # to the end of their updates
    arms: tuple[Arm, ...]
    one_seed: bool


def compare_runs(run_summaries: Sequence[RunSummary]) -> SweepComparison:
    done = [
        one
        for one in run_summaries
        if one.state == "finished" and one.test_row and one.selected_dev_row
    ]
    best = min(done, key=dev_selection_key, default=None)
    left = [one for one in run_summaries if one.escape_updates is not None]
    return SweepComparison(
        best=best,
        lowest_test_cer=min(done, key=_test_cer, default=None),
        differences=tuple(_compare_others(best, done)) if best else (),
        escaped=tuple(sorted(left, key=lambda one: one.escape_updates or 0)),
        not_escaped=tuple(one for one in done if one.escape_updates is None),
        arms=tuple(_group_arms(done)),
        one_seed=len({one.setting(SEED_KEY) for one in done}) == 1,
    )


def dev_selection_key(run: RunSummary) -> tuple[float, float]:
    """A run has the rank of the epoch that is chosen for it: one rule for both choices."""
    return (
        plateau.selection_key(run.selected_dev_row)
        if run.selected_dev_row
        else (math.inf, math.inf)
    )


def _test_cer(run: RunSummary) -> float:
    row = run.test_row
    return row["cer"] if row else math.inf


def _compare_others(best: RunSummary, finished: Sequence[RunSummary]) -> list[RunComparison]:
    others = [_compare_to_best(best, one) for one in finished if one is not best]
    return sorted((one for one in others if one), key=lambda one: one.cer.difference)


def _compare_to_best(best: RunSummary, other: RunSummary) -> RunComparison | None:
    """None where the two have no utterance in common, as of different corpora."""
    theirs = {one.utterance_id: one for one in other.hypotheses_for("test")}
    mine = [one for one in best.hypotheses_for("test") if one.utterance_id in theirs]
    if not mine:
        return None
    errors_a, totals = error_counts(mine, "cer")
    errors_b, _ = error_counts([theirs[one.utterance_id] for one in mine], "cer")
    return RunComparison(other, paired_bootstrap(errors_a, errors_b, totals), len(mine))


def _group_arms(finished: Sequence[RunSummary]) -> Iterator[Arm]:
    """Only where the sweep varies the seed, and only where that has given two runs."""
    groups: dict[tuple[str, str], list[RunSummary]] = {}
    for one in finished:
        if SEED_KEY in one.run.settings:
            groups.setdefault((_arm_label(one), repr(_settings_without_seed(one))), []).append(one)
    for (arm, _), members in groups.items():
        if len(members) > 1:
            rest = _settings_without_seed(members[0])
            named = ", ".join(
                f"{key} {'null' if value is None else value}" for key, value in rest.items()
            )
            yield Arm(arm or named or "all", rest, tuple(members))


def _settings_without_seed(run: RunSummary) -> dict[str, Any]:
    return {key: value for key, value in run.run.settings.items() if key != SEED_KEY}


def _arm_label(run: RunSummary) -> str:
    """The label without the seed that sweep.py puts at its end or within; empty if it has none."""
    parts = run.run.label.split(", ")
    seed = f"seed {run.run.settings[SEED_KEY]}"
    return ", ".join(part for part in parts if part != seed) if seed in parts else ""


def describe_run(run: RunSummary) -> str:
    """What the rows say about how a run goes, in a few sentences."""
    dev = run.rows_for("dev")
    if not dev:
        return {
            "missing": "Its folder is not there yet.",
            "waiting": "It has not begun.",
        }.get(run.state, "No epoch is complete.")
    where = plateau.describe_status(run.rows, run.experiment, is_last_epoch=run.state == "finished")
    return " ".join(
        [f"{where[0].upper()}{where[1:]}.", *_describe_training(run, dev), *_describe_problems(run)]
    )


def _describe_training(run: RunSummary, dev: Sequence[Row]) -> Iterator[str]:
    chosen = run.selected_dev_row
    if run.escape_updates is None or chosen is None:
        return
    last, lowest = dev[-1], min(dev, key=lambda row: row["loss_per_character"])
    yield (
        f"Lowest dev CER {format_percent(chosen['cer'])} in epoch {chosen['epoch']} of {last['epoch']}."
        if run.state == "finished"
        else f"Lowest dev CER until now {format_percent(chosen['cer'])}, in epoch {chosen['epoch']}."
    )
    if last["loss_per_character"] > OVERFITTING_LOSS_RATIO * lowest["loss_per_character"]:
        yield (
            f"It overfits: the dev loss has risen from {format_decimal(lowest['loss_per_character'])} in "
            f"epoch {lowest['epoch']} to {format_decimal(last['loss_per_character'])}."
        )
    elif run.state == "finished" and chosen["epoch"] == last["epoch"]:
        yield "The last epoch is the best one: more epochs may pay."


def _describe_problems(run: RunSummary) -> Iterator[str]:
    train = run.rows_for("train")
    if not train:
        return
    last = train[-1]
    if last["infeasible"]:
        yield (
            f"{format_integer(last['infeasible'])} training utterances have more labels than frames "
            "and were left out."
        )
    seconds = sum(row["seconds"] for row in train)
    waited = sum(row["loader_wait"] * row["seconds"] for row in train)
    if seconds and waited / seconds > MAX_LOADER_WAIT_SHARE:
        yield f"{format_percent(waited / seconds)} of the training time waits for data."
