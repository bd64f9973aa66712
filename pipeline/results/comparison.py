"""What the runs show: the best one, which differences are chance, who left the blank, seeds.

In:   readings of a sweep.   Out: findings, which the page puts into sentences; health sentences.
Not here: the numbers of the table (table.py), the page (report.py).
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.results.formatting import decimal, percent, whole
from pipeline.results.run_summary import Reading
from pipeline.results.significance import Improvement, paired_bootstrap
from pipeline.results.table import counts
from pipeline.runs import plateau
from pipeline.runs.rows import Row

WAITING = 0.10  # share of the time spent waiting for data that is worth a word
OVERFITTED = 1.10  # rise of the dev loss over its lowest
SEED = "train.seed"


@dataclass(frozen=True)
class Difference:
    """A run against the best one, on the test utterances that both have heard."""

    reading: Reading
    cer: Improvement
    utterances: int

    @property
    def verdict(self) -> str:
        if self.cer.low > 0:
            return "worse"
        return "better" if self.cer.high < 0 else "not told apart"


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ in their seed only."""

    name: str  # what they share: their label without the seed
    settings: dict[str, Any]
    readings: tuple[Reading, ...]

    @property
    def rates(self) -> list[float]:
        return [row["cer"] for reading in self.readings if (row := reading.test)]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.rates)

    @property
    def deviation(self) -> float:
        return statistics.stdev(self.rates) if len(self.rates) > 1 else math.nan

    @property
    def escapes(self) -> list[int]:
        """Updates, the earliest first, of those that left the blank."""
        updates = (one.escape_updates for one in self.readings)
        return sorted(each for each in updates if each is not None)

    @property
    def median_escape(self) -> float | None:
        """Over all runs, those that stayed counted as later than any; None: never."""
        stayed = [math.inf] * (len(self.readings) - len(self.escapes))
        median = statistics.median([*self.escapes, *stayed])
        return float(median) if math.isfinite(median) else None


@dataclass(frozen=True)
class Findings:
    best: Reading | None  # by dev CER, for the test split must not choose
    lowest: Reading | None  # by test CER; not always the same
    differences: tuple[Difference, ...]  # from small to large
    left_the_blank: tuple[Reading, ...]  # the earliest first
    on_the_blank: tuple[Reading, ...]  # to the end of their updates
    seeds: tuple[SeedGroup, ...]
    one_seed: bool


def findings(readings: Sequence[Reading]) -> Findings:
    done = [one for one in readings if one.state == "finished" and one.test and one.chosen]
    best = min(done, key=dev_rank, default=None)
    left = [one for one in readings if one.escape_updates is not None]
    return Findings(
        best=best,
        lowest=min(done, key=_test_cer, default=None),
        differences=tuple(_differences(best, done)) if best else (),
        left_the_blank=tuple(sorted(left, key=lambda one: one.escape_updates or 0)),
        on_the_blank=tuple(one for one in done if one.escape_updates is None),
        seeds=tuple(_seed_groups(done)),
        one_seed=len({one.setting(SEED) for one in done}) == 1,
    )


def dev_rank(one: Reading) -> tuple[float, float]:
    """A run has the rank of the epoch that is chosen for it: one rule for both choices."""
    return plateau.rank(one.chosen) if one.chosen else (math.inf, math.inf)


def _test_cer(one: Reading) -> float:
    row = one.test
    return row["cer"] if row else math.inf


def _differences(best: Reading, done: Sequence[Reading]) -> list[Difference]:
    others = [_difference(best, one) for one in done if one is not best]
    return sorted((one for one in others if one), key=lambda one: one.cer.difference)


def _difference(best: Reading, other: Reading) -> Difference | None:
    """None where the two have no utterance in common, as of different corpora."""
    theirs = {one.utterance_id: one for one in other.heard("test")}
    mine = [one for one in best.heard("test") if one.utterance_id in theirs]
    if not mine:
        return None
    errors_a, totals = counts(mine, "cer")
    errors_b, _ = counts([theirs[one.utterance_id] for one in mine], "cer")
    return Difference(other, paired_bootstrap(errors_a, errors_b, totals), len(mine))


def _seed_groups(done: Sequence[Reading]) -> Iterator[SeedGroup]:
    """Only where the sweep varies the seed, and only where that has given two runs."""
    groups: dict[tuple[str, str], list[Reading]] = {}
    for one in done:
        if SEED in one.run.settings:
            groups.setdefault((_arm(one), repr(_but_seed(one))), []).append(one)
    for (arm, _), members in groups.items():
        if len(members) > 1:
            rest = _but_seed(members[0])
            named = ", ".join(
                f"{key} {'null' if value is None else value}" for key, value in rest.items()
            )
            yield SeedGroup(arm or named or "all", rest, tuple(members))


def _but_seed(one: Reading) -> dict[str, Any]:
    return {key: value for key, value in one.run.settings.items() if key != SEED}


def _arm(one: Reading) -> str:
    """The label without the seed that sweep.py puts at its end or within; empty if it has none."""
    parts = one.run.label.split(", ")
    seed = f"seed {one.run.settings[SEED]}"
    return ", ".join(part for part in parts if part != seed) if seed in parts else ""


def health(one: Reading) -> str:
    """What the rows say about how a run goes, in a few sentences."""
    dev = one.of("dev")
    if not dev:
        return {
            "missing": "Its folder is not there yet.",
            "waiting": "It has not begun.",
        }.get(one.state, "No epoch is complete.")
    where = plateau.sentence(one.rows, one.experiment, ended=one.state == "finished")
    return " ".join([f"{where[0].upper()}{where[1:]}.", *_learning(one, dev), *_hints(one)])


def _learning(one: Reading, dev: Sequence[Row]) -> Iterator[str]:
    chosen = one.chosen
    if one.escape_updates is None or chosen is None:
        return
    last, lowest = dev[-1], min(dev, key=lambda row: row["loss_per_character"])
    yield (
        f"Lowest dev CER {percent(chosen['cer'])} in epoch {chosen['epoch']} of {last['epoch']}."
        if one.state == "finished"
        else f"Lowest dev CER until now {percent(chosen['cer'])}, in epoch {chosen['epoch']}."
    )
    if last["loss_per_character"] > OVERFITTED * lowest["loss_per_character"]:
        yield (
            f"It overfits: the dev loss has risen from {decimal(lowest['loss_per_character'])} in "
            f"epoch {lowest['epoch']} to {decimal(last['loss_per_character'])}."
        )
    elif one.state == "finished" and chosen["epoch"] == last["epoch"]:
        yield "The last epoch is the best one: more epochs may pay."


def _hints(one: Reading) -> Iterator[str]:
    train = one.of("train")
    if not train:
        return
    last = train[-1]
    if last["infeasible"]:
        yield (
            f"{whole(last['infeasible'])} training utterances have more labels than frames "
            "and were left out."
        )
    seconds = sum(row["seconds"] for row in train)
    waited = sum(row["loader_wait"] * row["seconds"] for row in train)
    if seconds and waited / seconds > WAITING:
        yield f"{percent(waited / seconds)} of the training time waits for data."
