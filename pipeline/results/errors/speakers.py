"""Speakers that stand apart: whose error rate is far above those of the others.

In:   errors and characters of each utterance, its speaker.   Out: the speakers, with a p-value.
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
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import read_train_hypotheses
from pipeline.shapes import Float64

LEVEL = 0.05
ASSIGNMENTS, MIN_ASSIGNMENTS = 999, 199  # the least where the test split is very large
_MAX_DRAWS = 20_000_000  # utterances in all assignments together
MIN_SPEAKERS = 4  # fewer have no spread that one could stand apart from
_MAX_DRAWN_INDICES = 2_000_000  # held in memory at once: 16 MB


@dataclass(frozen=True, slots=True)
class ApartSpeaker:
    speaker: str
    cer: float
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
    names, index = np.unique(np.array(speakers, object).astype(str), return_inverse=True)
    if len(names) < MIN_SPEAKERS or "" in names:
        return []
    order = np.argsort(index, kind="stable")
    starts = np.searchsorted(index[order], np.arange(len(names)))
    errors, chars = errors[order], chars[order]
    scores = _score_speakers(errors[None], chars[None], starts)[0]
    largest = _largest_by_chance(errors, chars, starts, seed)
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
    listed = "; ".join(
        f"{one.speaker}, {split} {rate} {100 * one.cer:.1f} %, "
        f"the others {100 * one.cer_of_others:.1f} %"
        for one in speakers
    )
    return (
        f"Speakers that stand apart in {arm}: {listed}. Listen to a recording of each: the audio "
        "or the transcripts may be damaged."
    )


def describe_apart_in_run(run: RunFolder, rate: str = "CER") -> list[str]:
    """Return a sentence on the test split and one on train, where speakers stand apart.

    Empty for a run that has not finished.
    """
    tested = [each for each in run.hypotheses() if each.split == "test"]
    sentences = []
    for split, found in (("test", tested), ("training", read_train_hypotheses(run.path))):
        errors = np.array([each.char_errors for each in found], float)
        chars = np.array([each.chars for each in found], float)
        apart = find_apart_speakers(errors, chars, [each.speaker for each in found])
        sentences.append(describe_apart(apart, "this run", split, rate))
    return [sentence for sentence in sentences if sentence]


def _largest_by_chance(
    errors: Float64[np.ndarray, " U"],
    chars: Float64[np.ndarray, " U"],
    starts: np.ndarray,
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
        largest.append(_score_speakers(errors[chosen], chars[chosen], starts).max(axis=1))
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
