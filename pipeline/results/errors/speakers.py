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

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import Hypothesis, read_train_hypotheses
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

_Score = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # as _score_speakers


@dataclass(frozen=True, slots=True)
class ApartSpeaker:
    speaker: str
    cer: float  # or the loss per character
    cer_of_others: float
    p: float  # share of the assignments with a speaker that is as far, this one counted


def find_apart_speakers(
    errors: Float64[np.ndarray, " U"],
    chars: Float64[np.ndarray, " U"],
    speakers: Sequence[str],
    *,
    seed: int = 0,
) -> list[ApartSpeaker]:
    """Return the speakers whose error rate stands apart, the highest rate first."""
    found = _find(errors, chars, speakers, _score_speakers, seed)
    return [
        one
        for one in found
        if one.cer >= max(MIN_RATE_RATIO * one.cer_of_others, one.cer_of_others + MIN_RATE_GAP)
    ]


def find_apart_losses(
    losses: Float64[np.ndarray, " U"],
    chars: Float64[np.ndarray, " U"],
    speakers: Sequence[str],
    *,
    seed: int = 0,
) -> list[ApartSpeaker]:
    """Return the speakers whose loss per character stands apart, the highest first."""
    found = _find(losses, chars, speakers, _score_losses, seed)
    return [one for one in found if one.cer >= MIN_LOSS_RATIO * one.cer_of_others]


def _find(
    errors: Float64[np.ndarray, " U"],
    chars: Float64[np.ndarray, " U"],
    speakers: Sequence[str],
    score: _Score,
    seed: int,
) -> list[ApartSpeaker]:
    names, index = np.unique(np.array(speakers, object).astype(str), return_inverse=True)
    if len(names) < MIN_SPEAKERS or "" in names:
        return []
    order = np.argsort(index, kind="stable")
    starts = np.searchsorted(index[order], np.arange(len(names)))
    errors, chars = errors[order], chars[order]
    scores = score(errors[None], chars[None], starts)[0]
    largest = _largest_by_chance(errors, chars, starts, score, seed)
    found = []
    sums, totals = np.add.reduceat(errors, starts), np.add.reduceat(chars, starts)
    for number, name in enumerate(names):
        p = (1 + np.count_nonzero(largest >= scores[number])) / (1 + len(largest))
        if scores[number] > 0 and p <= LEVEL:
            rest = (errors.sum() - sums[number]) / max(chars.sum() - totals[number], 1)
            found.append(ApartSpeaker(str(name), sums[number] / totals[number], rest, p))
    return sorted(found, key=lambda each: -each.cer)


def describe_apart(
    speakers: Sequence[ApartSpeaker], arm: str, split: str = "test", rate: str = "CER"
) -> str:
    """Return a sentence for the page and the terminal; empty if no speaker stands apart."""
    if not speakers:
        return ""
    listed = (
        f"{one.speaker}, {split} {rate} {100 * one.cer:.1f} %, "
        f"the others {100 * one.cer_of_others:.1f} %"
        for one in speakers
    )
    return _sentence(listed, arm)


def describe_apart_in_run(run: RunFolder, rate: str = "CER") -> list[str]:
    """Return a sentence on dev, test and train, where speakers stand apart, by errors or by losses.

    Empty for a run that has not finished.
    """
    hypotheses = run.hypotheses()
    splits = {"dev": [each for each in hypotheses if each.split == "dev"]}
    splits["test"] = [each for each in hypotheses if each.split == "test"]
    splits["training"] = read_train_hypotheses(run.path)
    sentences = []
    for split, found in splits.items():
        errors = np.array([each.char_errors for each in found], float)
        chars = np.array([each.chars for each in found], float)
        apart = find_apart_speakers(errors, chars, [each.speaker for each in found])
        by_errors = describe_apart(apart, "this run", split, rate)
        sentences.append(by_errors or describe_apart_losses(found, "this run", split))
    return [sentence for sentence in sentences if sentence]


def describe_apart_losses(hypotheses: Sequence[Hypothesis], arm: str, split: str) -> str:
    """Return a sentence on speakers whose loss stands apart; empty if none does.

    Utterances without a finite loss are left out.
    """
    known = [each for each in hypotheses if math.isfinite(each.loss)]
    losses = np.array([each.loss for each in known], float)
    chars = np.array([each.chars for each in known], float)
    apart = find_apart_losses(losses, chars, [each.speaker for each in known])
    listed = (
        f"{one.speaker}, {split} loss {one.cer:.2f} nats per character, the others "
        f"{one.cer_of_others:.2f}"
        for one in apart
    )
    return _sentence(listed, arm) if apart else ""


def _sentence(listed: Iterator[str], arm: str) -> str:
    return (
        f"Speakers that stand apart in {arm}: {'; '.join(listed)}. Listen to a recording of each: "
        "the audio or the transcripts may be damaged."
    )


def _largest_by_chance(
    errors: Float64[np.ndarray, " U"],
    chars: Float64[np.ndarray, " U"],
    starts: np.ndarray,
    score: _Score,
    seed: int,
) -> Float64[np.ndarray, " D"]:
    """Return the largest score of each random assignment of the utterances to the speakers."""
    draw = np.random.default_rng(seed)
    assignments = max(MIN_ASSIGNMENTS, min(ASSIGNMENTS, _MAX_DRAWS // len(errors)))
    rows = max(1, _MAX_DRAWN_INDICES // len(errors))
    largest = []
    for start in range(0, assignments, rows):
        shape = (min(rows, assignments - start), len(errors))
        chosen = draw.permuted(np.broadcast_to(np.arange(len(errors)), shape), axis=1)
        largest.append(score(errors[chosen], chars[chosen], starts).max(axis=1))
    return np.concatenate(largest)


def _score_speakers(
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
    """Return the scaled deviation of each speaker's loss, as `_score_speakers` of its errors."""
    sums = np.add.reduceat(losses, starts, axis=1)
    totals = np.maximum(np.add.reduceat(chars, starts, axis=1), 1)
    logs = np.log(np.maximum(sums / totals, _MIN_LOSS))
    deviations = logs - np.median(logs, axis=1, keepdims=True)
    spread = 1.4826 * np.median(np.abs(deviations), axis=1, keepdims=True)
    scores: np.ndarray = deviations / np.maximum(spread, MIN_LOSS_SPREAD)
    return scores
