"""Utterances: the worst and typical ones, the highest losses, those that two arms differ in.

In:   the hypotheses of arms.   Out: utterances to show; the frame of errors_utterances.csv.
Not here: how a hypothesis is aligned (alignment.py), pictures (figures/posteriors.py).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import pandas as pd

from pipeline.results.errors.alignment import AlignedToken, Part, align_hypothesis, diff_characters
from pipeline.results.errors.arms import TestedArm
from pipeline.runs.folder import Hypothesis
from pipeline.shapes import Float64

WORST, TYPICAL = 3, 3  # utterances on the page
HIGH_LOSSES = 8
CHANGED = 3  # utterances for which the one arm is better, and as many for the other


@dataclass(frozen=True)
class ShownHypothesis:
    arm: str
    hypothesis: Hypothesis
    cer: float  # mean over the runs of the arm
    tokens: tuple[AlignedToken, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class ShownUtterance:
    utterance_id: str
    speaker: str
    reference: str
    kind: str  # worst | typical | changed
    hypotheses: tuple[ShownHypothesis, ...]  # by arm


@dataclass(frozen=True)
class HighLoss:
    utterance_id: str
    group: str  # its split; of a training utterance its speaker
    loss_per_character: float  # nats
    cer: float
    reference: str
    hypothesis: str


def mean_rates(arm: TestedArm) -> Float64[np.ndarray, " U"]:
    """Return the errors per character of each utterance, the mean over the runs."""
    rates: np.ndarray = arm.mean_counts("char_errors") / np.maximum(arm.counts("chars")[0], 1)
    return rates


def worst_first(arm: TestedArm) -> list[int]:
    """Return the utterances from the highest rate to the lowest; ties by id."""
    rates, shown = mean_rates(arm), arm.shown
    return sorted(range(len(shown)), key=lambda n: (-rates[n], shown[n].utterance_id))


def worst_and_typical(arms: Sequence[TestedArm]) -> list[ShownUtterance]:
    """Return the worst utterances of the best arm, then those nearest to its corpus CER."""
    best = arms[0]
    ranked = worst_first(best)
    worst = ranked[:WORST]
    rates = mean_rates(best)
    corpus = best.mean_counts("char_errors").sum() / max(best.counts("chars")[0].sum(), 1)
    rest = sorted(ranked[WORST:], key=lambda n: (abs(rates[n] - corpus), best.shown[n].chars))
    return [
        *(_show(arms, n, "worst") for n in worst),
        *(_show(arms, n, "typical") for n in rest[:TYPICAL]),
    ]


def changed_most(one: TestedArm, other: TestedArm) -> list[ShownUtterance]:
    """Return the utterances whose errors differ most: first where `one` has fewer."""
    difference = other.mean_counts("char_errors") - one.mean_counts("char_errors")
    order = sorted(range(len(difference)), key=lambda n: (-difference[n], n))
    chosen = [n for n in order[:CHANGED] if difference[n] > 0]
    chosen += [n for n in order[::-1][:CHANGED] if difference[n] < 0]
    return [_show((one, other), n, "changed") for n in chosen]


def highest_losses(arm: TestedArm) -> list[HighLoss]:
    """Return the utterances of dev and test with the highest loss per character in the guide run.

    Those that cannot be aligned have no finite loss and are left out.
    """
    known = [
        HighLoss(
            each.utterance_id,
            each.split,
            each.loss_per_character,
            each.char_errors / max(each.chars, 1),
            each.reference,
            each.hypothesis,
        )
        for each in arm.guide_run.hypotheses
        if math.isfinite(each.loss)
    ]
    ranked = sorted(known, key=lambda one: (-one.loss_per_character, one.utterance_id))
    return ranked[:HIGH_LOSSES]


def utterances_table(arms: Sequence[TestedArm]) -> pd.DataFrame:
    """Return a line per arm and utterance, the worst one of each arm first.

    Counts are means over the runs of the arm; the hypothesis is that of its best run on dev.
    """
    frames = []
    for arm in arms:
        frame = pd.DataFrame(
            {
                "arm": arm.name,
                "utterance_id": [each.utterance_id for each in arm.shown],
                "speaker": [each.speaker for each in arm.shown],
                "chars": arm.counts("chars")[0],
                "char_errors": arm.mean_counts("char_errors"),
                "cer": mean_rates(arm),
                "words": arm.counts("words")[0],
                "word_errors": arm.mean_counts("word_errors"),
                "loss_per_character": arm.mean_losses_per_character(),
                "reference": [each.reference for each in arm.shown],
                "hypothesis": [each.hypothesis for each in arm.shown],
            }
        )
        frames.append(frame.iloc[worst_first(arm)])
    return pd.concat(frames, ignore_index=True)


def _show(arms: Iterable[TestedArm], place: int, kind: str) -> ShownUtterance:
    shown = []
    for arm in arms:
        each = arm.shown[place]
        cer = fmean(run[place].char_errors for run in arm.hypotheses) / max(each.chars, 1)
        shown.append(
            ShownHypothesis(
                arm.name,
                each,
                cer,
                align_hypothesis(each, arm.unit),
                diff_characters(each, arm.unit),
            )
        )
    first = shown[0].hypothesis
    return ShownUtterance(first.utterance_id, first.speaker, first.reference, kind, tuple(shown))
