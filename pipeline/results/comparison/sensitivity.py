"""Sensitivity: which differences a sweep can show, and what would show smaller ones.

In:   a comparison, its inference, the command that runs the sweep.   Out: sentences.
Not here: the differences that are shown (answer.py), the seeds of other sweeps (other_sweeps.py).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.results.comparison.arms import SweepComparison
from pipeline.results.comparison.wording import count_text, points
from pipeline.results.statistics.inference import ArmInference
from pipeline.results.statistics.variance import MIN_SPEAKERS, PLATEAU_RATE

MORE_SPEAKERS = "folds: in the corpus file tests all speakers of train and dev"


def explain_no_decision(
    comparison: SweepComparison, inference: ArmInference, command: str
) -> Iterator[str]:
    """Yield each reason why nothing is said about differences, and the command that helps."""
    variance = inference.variance
    if comparison.folds:
        yield (
            f"All arms have tested {count_text(comparison.folds, 'fold')}; at least "
            f"{MIN_SPEAKERS} are needed to tell whether a difference is chance."
        )
        return
    if variance.seeds.max() == 1:
        all_finished = comparison.finished_count == comparison.run_count
        advice = f" Run it with three: {with_seeds(command, 3)}" if all_finished else ""
        yield f"One seed per arm cannot tell whether a difference is chance.{advice}"
    elif not variance.freedom:
        several = variance.rates[variance.seeds > 1]
        learnt = "has left the blank plateau"
        if (several < PLATEAU_RATE).any():
            learnt = "that has left the blank plateau makes an error on test"
        yield (
            f"No arm with several seeds {learnt}, so nothing is known about chance between seeds."
        )
    if not comparison.speakers_known:
        yield (
            "Nothing is decided, because hypotheses.csv does not name the speakers: the runs were "
            "trained by an earlier version, or the corpus does not name them."
        )
    elif inference.speakers < MIN_SPEAKERS:
        yield (
            f"The test set has {count_text(inference.speakers, 'speaker')}; at least "
            f"{MIN_SPEAKERS} are needed to tell whether a difference is chance; {MORE_SPEAKERS}."
        )


class Sensitivity(NamedTuple):
    """The smallest difference that a sweep could have shown, and what would show half of it."""

    smallest: float
    seeds: int | None  # per arm; None: seeds alone would not
    speakers: int | None  # of the test set; None: speakers alone would not


def find_sensitivity(comparison: SweepComparison) -> Sensitivity | None:
    """Return it for the arm whose difference is the hardest to show.

    None where some difference is shown, or nothing can be decided.
    """
    inference, best = comparison.inference, comparison.best_arm
    others = [arm for arm in comparison.arms if arm is not best]
    if best is None or inference is None or not inference.can_decide:
        return None
    if not others or len(comparison.not_told_apart) < len(others):
        return None
    reference = comparison.arms.index(best)
    arms = [comparison.arms.index(arm) for arm in others]
    least = max(arms, key=lambda arm: inference.smallest_detectable(arm, reference))
    smallest = inference.smallest_detectable(least, reference)
    if smallest > 1 or comparison.folds:  # more folds do not add speakers: their help is not known
        return Sensitivity(smallest, None, None)
    return Sensitivity(
        smallest,
        inference.seeds_to_show(smallest / 2, least, reference),
        inference.speakers_to_show(smallest / 2, least, reference),
    )


def describe_sensitivity(comparison: SweepComparison) -> Iterator[str]:
    """Yield the smallest difference that would have been shown for any arm, and how to halve it."""
    found = find_sensitivity(comparison)
    if found is None:
        return
    if found.smallest > 1:
        yield "Chance is so large here that no difference could be shown: add seeds or speakers."
        return
    shown = (
        "The smallest difference that this sweep could have shown is "
        f"{points(found.smallest)} (with a power of 80 %)"
    )
    yield f"{shown}." if comparison.folds else f"{shown}; {_describe_half(found)}."


def _describe_half(found: Sensitivity) -> str:
    """Return how many seeds or test speakers would show half of the smallest difference."""
    if found.seeds and found.speakers:
        return (
            f"{found.seeds} seeds per arm or {found.speakers} test speakers would show half of it"
        )
    if found.seeds:
        return f"{found.seeds} seeds per arm would show half of it"
    if found.speakers:
        return f"{found.speakers} test speakers would show half of it, more seeds alone would not"
    return "four times as many seeds and test speakers would show half of it"


def next_comparison(comparison: SweepComparison, command: str) -> list[str]:
    """Return what to do where no arm is shown to be worse than the best one; else nothing."""
    found = find_sensitivity(comparison)
    if found is None:
        return []
    choose = "without that, choose by cost, because no arm is shown to be worse"
    if found.seeds and command.startswith("make sweep SWEEP="):
        more = with_seeds(command, found.seeds)
        return [f"Next: {more} would show differences half as large; {choose}."]
    if found.speakers:
        more = f"{found.speakers} test speakers would show differences half as large"
        return [f"Next: {more} ({MORE_SPEAKERS}); {choose}."]
    return ["Next: choose by cost, because no arm is shown to be worse."]


def with_seeds(command: str, seeds: int) -> str:
    return f"{re.sub(r' SEEDS=[0-9]+', '', command)} SEEDS={seeds}"
