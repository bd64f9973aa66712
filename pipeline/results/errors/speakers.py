"""Speakers that stand apart: whose error rate, or loss, is far above those of the others.

In:   errors or losses, and characters, of each utterance, its speaker.
Out:  the speakers, with a p-value; sentences.
Not here: the errors of all speakers (breakdown.py). NumPy only.

The rule. The deviation of a speaker is 2 sqrt(e + 3/8) - 2 sqrt(m n): e errors in n characters, m
the median of the speakers' rates; the square root makes the chance of few and of many errors
alike. Divided by a robust scale of all deviations (1.4826 times their median absolute value, at
least 1, that of independent errors), it says how far the speaker is from the spread of the others.
The largest one of chance comes from random assignments of the utterances to the speakers, which
keep the number of each speaker's utterances. A speaker is named if at most 5 % of the assignments
have a speaker that is as far. So if all speakers are equally hard, at most 5 % of reports name
any. Speakers who differ by nature are named more often: with log-normal rates of a deviation of 40
%, in at most one report in four (tests/results/errors/test_speakers.py). A name is a reason to
listen, not a proof.

Losses: the same rule, with the logarithm of the loss per character as the deviation. Early in a
training, when most characters of all speakers are wrong, noise is seen in the losses alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import Hypothesis
from pipeline.shapes import Float64

LEVEL = 0.05
ASSIGNMENTS, MIN_ASSIGNMENTS = 999, 199  # the least where the test split is very large
_MAX_DRAWS = 20_000_000  # utterances in all assignments together
MIN_SPEAKERS = 4  # fewer have no spread that one could stand apart from
_MAX_DRAWN_INDICES = 2_000_000  # held in memory at once: 16 MB
MIN_LOSS_RATIO = 1.5  # to the others; speakers differ by nature
MIN_RATE_RATIO = 1.2  # to the others; where nearly all is wrong, a character more is no sign
MIN_RATE_GAP = 0.05  # to the others; below it a recording is worth no listening
MIN_LOSS_SPREAD = 0.1  # of the logarithm of the speakers' losses per character
_MIN_LOSS = 1e-3  # nats per character; its logarithm stands for all below

Measure = Literal["errors", "losses"]
_Score = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # as _score_errors


@dataclass(frozen=True, slots=True)
class ApartSpeaker:
    speaker: str
    value: float  # error rate, or loss per character
    value_of_others: float
    p: float  # share of the assignments with a speaker that is as far, this one counted


def find_apart_speakers(
    values: Float64[np.ndarray, " U"],
    chars: Float64[np.ndarray, " U"],
    speakers: Sequence[str],
    measure: Measure = "errors",
    *,
    seed: int = 0,
) -> list[ApartSpeaker]:
    """Return the speakers whose errors or losses per character stand apart, the highest first."""
    names, index = np.unique(np.array(speakers, object).astype(str), return_inverse=True)
    if len(names) < MIN_SPEAKERS or "" in names:
        return []
    order = np.argsort(index, kind="stable")
    starts = np.searchsorted(index[order], np.arange(len(names)))
    values, chars = values[order], chars[order]
    score = _score_errors if measure == "errors" else _score_losses
    scores = score(values[None], chars[None], starts)[0]
    largest = _largest_by_chance(values, chars, starts, score, seed)
    found = []
    sums, totals = np.add.reduceat(values, starts), np.add.reduceat(chars, starts)
    for number, name in enumerate(names):
        p = (1 + np.count_nonzero(largest >= scores[number])) / (1 + len(largest))
        value = sums[number] / totals[number] if totals[number] else 0.0
        rest = (values.sum() - sums[number]) / max(chars.sum() - totals[number], 1)
        if scores[number] > 0 and p <= LEVEL and value >= _least_apart(rest, measure):
            found.append(ApartSpeaker(str(name), value, rest, p))
    return sorted(found, key=lambda each: -each.value)


def _least_apart(value_of_others: float, measure: Measure) -> float:
    """Return the smallest value of a speaker who is named."""
    if measure == "losses":
        return MIN_LOSS_RATIO * value_of_others
    return max(MIN_RATE_RATIO * value_of_others, value_of_others + MIN_RATE_GAP)


def describe_apart(
    speakers: Sequence[ApartSpeaker], arm: str, split: str = "test", rate: str = "CER"
) -> str:
    """Return a sentence for the page and the terminal; empty if no speaker stands apart."""
    return _sentence(
        [
            f"{one.speaker}, {split} {rate} {100 * one.value:.1f} %, "
            f"the others {100 * one.value_of_others:.1f} %"
            for one in speakers
        ],
        arm,
    )


def describe_apart_in_run(
    run: RunFolder, training: Sequence[Hypothesis], rate: str = "CER"
) -> list[str]:
    """Return a sentence on dev, test and train, where speakers stand apart, by errors or by losses.

    `training`: the hypotheses of the training split. Empty for a run that has not finished.
    """
    hypotheses = run.hypotheses()
    splits = {"dev": [each for each in hypotheses if each.split == "dev"]}
    splits["test"] = [each for each in hypotheses if each.split == "test"]
    splits["training"] = list(training)
    sentences = []
    for split, found in splits.items():
        errors = np.array([each.char_errors for each in found], float)
        chars = np.array([each.chars for each in found], float)
        speakers = [each.speaker for each in found]
        apart = find_apart_speakers(errors, chars, speakers)
        losses = np.array([each.loss for each in found], float)
        sentences.append(
            describe_apart(apart, "this run", split, rate)
            or describe_apart_losses(losses, chars, speakers, "this run", split)
        )
    return [sentence for sentence in sentences if sentence]


def describe_apart_losses(
    losses: Float64[np.ndarray, " U"],
    chars: Float64[np.ndarray, " U"],
    speakers: Sequence[str],
    arm: str,
    split: str,
) -> str:
    """Return a sentence on speakers whose loss, in nats, stands apart; empty if none does.

    Utterances without a finite loss are left out.
    """
    known = np.flatnonzero(np.isfinite(losses))
    names = [speakers[utterance] for utterance in known.tolist()]
    return _sentence(
        [
            f"{one.speaker}, {split} loss {one.value:.2f} nats per character, the others "
            f"{one.value_of_others:.2f}"
            for one in find_apart_speakers(losses[known], chars[known], names, "losses")
        ],
        arm,
    )


def _sentence(listed: Sequence[str], arm: str) -> str:
    if not listed:
        return ""
    return (
        f"Speakers that stand apart in {arm}: {'; '.join(listed)}. Listen to a recording of each: "
        "the audio or the transcripts may be damaged."
    )


def _largest_by_chance(
    values: Float64[np.ndarray, " U"],
    chars: Float64[np.ndarray, " U"],
    starts: np.ndarray,
    score: _Score,
    seed: int,
) -> Float64[np.ndarray, " D"]:
    """Return the largest score of each random assignment of the utterances to the speakers."""
    draw = np.random.default_rng(seed)
    assignments = max(MIN_ASSIGNMENTS, min(ASSIGNMENTS, _MAX_DRAWS // len(values)))
    rows = max(1, _MAX_DRAWN_INDICES // len(values))
    largest = []
    for start in range(0, assignments, rows):
        shape = (min(rows, assignments - start), len(values))
        chosen = draw.permuted(np.broadcast_to(np.arange(len(values)), shape), axis=1)
        largest.append(score(values[chosen], chars[chosen], starts).max(axis=1))
    return np.concatenate(largest)


def _score_errors(
    errors: Float64[np.ndarray, "D U"], chars: Float64[np.ndarray, "D U"], starts: np.ndarray
) -> Float64[np.ndarray, "D G"]:
    """Return the scaled deviation of each speaker, whose utterances begin at `starts`."""
    sums = np.add.reduceat(errors, starts, axis=1)
    totals = np.maximum(np.add.reduceat(chars, starts, axis=1), 1)
    middle = np.median((sums + 0.375) / totals, axis=1, keepdims=True)
    deviations = 2 * np.sqrt(sums + 0.375) - 2 * np.sqrt(middle * totals)
    spread = 1.4826 * np.median(np.abs(deviations), axis=1, keepdims=True)
    scores: np.ndarray = deviations / np.maximum(spread, 1)
    return scores


def _score_losses(
    losses: Float64[np.ndarray, "D U"], chars: Float64[np.ndarray, "D U"], starts: np.ndarray
) -> Float64[np.ndarray, "D G"]:
    """Return the scaled deviation of each speaker's loss, as `_score_errors` of its errors."""
    sums = np.add.reduceat(losses, starts, axis=1)
    totals = np.maximum(np.add.reduceat(chars, starts, axis=1), 1)
    logs = np.log(np.maximum(sums / totals, _MIN_LOSS))
    deviations = logs - np.median(logs, axis=1, keepdims=True)
    spread = 1.4826 * np.median(np.abs(deviations), axis=1, keepdims=True)
    scores: np.ndarray = deviations / np.maximum(spread, MIN_LOSS_SPREAD)
    return scores
