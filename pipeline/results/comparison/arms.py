"""Comparison: the arms of a sweep, what is known of their differences, the best, escapes.

In:   the run summaries of a sweep.
Out:  a `SweepComparison`, which answer.py puts into sentences; a description of each run.
Not here: the model of chance (inference.py), the numbers of the tables (table.py), the page.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.results.statistics.inference import ArmDifference, ArmInference, compare_arms
from pipeline.results.statistics.significance import Improvement, paired_bootstrap
from pipeline.results.summary.formatting import format_decimal, format_integer, format_percent
from pipeline.results.summary.run_summary import RunSummary
from pipeline.results.summary.table import error_counts, speed_columns
from pipeline.runs import plateau
from pipeline.runs.folder import Hypothesis
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


@dataclass(frozen=True)
class Arm:
    """Finished runs that differ in their seed only; often a single run."""

    name: str  # the runs' label without the seed
    settings: dict[str, Any]
    runs: tuple[RunSummary, ...]

    @property
    def test_cers(self) -> list[float]:
        return [row["cer"] for run in self.runs if (row := run.test_row)]

    @property
    def mean_dev_cer(self) -> float:
        return statistics.fmean(row["cer"] for run in self.runs if (row := run.selected_dev_row))

    @property
    def mean_test_cer(self) -> float:
        return statistics.fmean(self.test_cers)

    @property
    def standard_deviation(self) -> float:
        return statistics.stdev(self.test_cers) if len(self.test_cers) > 1 else math.nan

    @property
    def dev_selection_key(self) -> tuple[bool, float, float]:
        """Return the key of the arm; the arm with the lowest one is the best on dev.

        It is the mean over seeds of the rule that selects epochs. A run above the reference loss
        counts as all wrong, and an arm of such runs only comes last.
        """
        keys = [dev_selection_key(run) for run in self.runs]
        learnt = [math.isfinite(cer) for cer, _ in keys]
        cers = [cer if ok else 1.0 for (cer, _), ok in zip(keys, learnt, strict=True)]
        return not any(learnt), statistics.fmean(cers), statistics.fmean(loss for _, loss in keys)

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
    run_count: int  # of the sweep
    finished_count: int
    arms: tuple[Arm, ...]  # in the order of the sweep
    best_arm: Arm | None  # by dev; the test split must not select
    best: RunSummary | None  # the best run on dev of the best arm
    inference: ArmInference | None  # None: one arm, or no test utterance that all runs decoded
    common_utterances: int  # test utterances that all runs of all arms decoded
    speakers_known: bool  # of these utterances
    not_told_apart: tuple[Arm, ...]  # from the best arm, which is not among them
    differences: tuple[RunComparison, ...]  # of single runs to the best run, ascending
    escaped: tuple[RunSummary, ...]  # the earliest first
    not_escaped: tuple[RunSummary, ...]  # finished without an escape

    def difference(self, arm: Arm) -> ArmDifference | None:
        """Return the test CER of `arm` less that of the best arm, on the common utterances."""
        if self.inference is None or self.best_arm is None:
            return None
        return self.inference.difference(self.arms.index(arm), self.arms.index(self.best_arm))


def compare_runs(run_summaries: Sequence[RunSummary]) -> SweepComparison:
    """Compare all finished runs, arm by arm and run by run."""
    finished = [run for run in run_summaries if run.state == "finished"]
    tested = [run for run in finished if run.test_row and run.selected_dev_row]
    escaped = [run for run in run_summaries if run.escape_updates is not None]
    arms = _group_arms(tested)
    best_arm = min(arms, key=lambda arm: arm.dev_selection_key, default=None)
    best = min(best_arm.runs, key=dev_selection_key) if best_arm else None
    common = _find_common_utterances(arms)
    speakers_known = all(each.speaker for each in common)
    inference = _infer(arms, common, speakers_known) if len(arms) > 1 and common else None
    alike = inference.not_told_apart_from(arms.index(best_arm)) if inference and best_arm else []
    return SweepComparison(
        run_count=len(run_summaries),
        finished_count=len(finished),
        arms=tuple(arms),
        best_arm=best_arm,
        best=best,
        inference=inference,
        common_utterances=len(common),
        speakers_known=speakers_known,
        not_told_apart=tuple(arms[index] for index in alike if arms[index] is not best_arm),
        differences=tuple(_compare_others(best, tested)) if best else (),
        escaped=tuple(sorted(escaped, key=lambda run: run.escape_updates or 0)),
        not_escaped=tuple(run for run in tested if run.escape_updates is None),
    )


def dev_selection_key(run: RunSummary) -> tuple[float, float]:
    """Return the key of the run's selected epoch: one rule selects epochs and runs."""
    row = run.selected_dev_row
    return plateau.selection_key(row) if row else (math.inf, math.inf)


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


def _find_common_utterances(arms: Sequence[Arm]) -> list[Hypothesis]:
    """Return a hypothesis of each test utterance that all runs decoded, with its speaker if known.

    An utterance whose reference differs between runs is another utterance.
    """
    by_run = [_test_hypotheses(run) for arm in arms for run in arm.runs]
    found = []
    for key in by_run[0] if by_run else ():
        same = [each[key] for each in by_run if key in each]
        if len(same) == len(by_run) and same[0].chars:
            found.append(next((each for each in same if each.speaker), same[0]))
    return found


def _test_hypotheses(run: RunSummary) -> dict[tuple[str, str], Hypothesis]:
    return {(each.utterance_id, each.reference): each for each in run.hypotheses_for("test")}


def _infer(arms: Sequence[Arm], common: Sequence[Hypothesis], speakers_known: bool) -> ArmInference:
    """Compare the arms on common utterances; those of unknown speakers count as one speaker."""
    keys = [(each.utterance_id, each.reference) for each in common]

    def errors(run: RunSummary) -> np.ndarray:
        hypotheses = _test_hypotheses(run)
        return error_counts([hypotheses[key] for key in keys], "cer")[0]

    return compare_arms(
        [np.stack([errors(run) for run in arm.runs]) for arm in arms],
        error_counts(common, "cer")[1],
        [each.speaker if speakers_known else "" for each in common],
    )


def _group_arms(tested: Sequence[RunSummary]) -> list[Arm]:
    """Return the arms in the order of the sweep. A run that has two labels counts once."""
    groups: dict[tuple[str, ...], dict[str, RunSummary]] = {}
    for run in tested:
        groups.setdefault(_arm_key(run), {}).setdefault(str(run.run.folder.path), run)
    arms = []
    for runs in groups.values():
        first = next(iter(runs.values()))
        settings = _settings_without_seed(first.run.settings)
        listed = ", ".join(
            f"{key} {'null' if value is None else value}" for key, value in settings.items()
        )
        arms.append(Arm(_arm_label(first) or listed or "all", settings, tuple(runs.values())))
    return arms


def _arm_key(run: RunSummary) -> tuple[str, ...]:
    """Return what the runs of an arm have in common."""
    experiment = run.experiment.model_dump() if run.experiment else {"train": {}}
    experiment["train"].pop("seed", None)
    label = _arm_label(run) if SEED_KEY in run.run.settings else ""
    return label, repr(_settings_without_seed(run.run.settings)), repr(experiment)


def _settings_without_seed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != SEED_KEY}


def _arm_label(run: RunSummary) -> str:
    """Return the label without the seed; empty if the sweep sets a seed that it does not name."""
    if SEED_KEY not in run.run.settings:
        return run.run.label
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
