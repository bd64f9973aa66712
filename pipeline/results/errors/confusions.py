"""Confusions: which characters, phonemes and words are taken for which, dropped or added.

In:   the hypotheses of an arm.
Out:  counted confusions, most frequent first; a small matrix; the frame of errors_confusions.csv.
Not here: the alignment (decoding/scoring.py).

The counts are sums over all runs of the arm. An alignment with the fewest edits is not unique; the
total of an utterance is, and the pairs may differ from those of another tool.
"""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.decoding.scoring import list_edits
from pipeline.results.errors.arms import TestedArm
from pipeline.shapes import Int64

MAX_LINES = 200  # of errors_confusions.csv, for each arm and unit
MATRIX_SIZE = 12  # characters of the matrix

Unit = Literal["character", "phoneme", "word"]
# (token of the reference, token of the hypothesis); "" if inserted or deleted
ConfusionCounts = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Confusion:
    reference: str  # "": inserted
    hypothesis: str  # "": deleted
    count: int
    reference_count: int  # of this character or word in the references of all runs; 0 if inserted

    @property
    def kind(self) -> str:
        if not self.reference:
            return "insertion"
        return "substitution" if self.hypothesis else "deletion"


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Counts of the most frequent confusions; "" ends both axes: inserted, deleted."""

    symbols: tuple[str, ...]
    counts: Int64[np.ndarray, "R H"]  # reference, hypothesis; right ones are not counted

    @property
    def levels(self) -> list[list[int]]:
        """How strongly each count is coloured: 0 for none, then 1 to 4 with equal factors."""
        largest = max(int(self.counts.max(initial=1)), 2)
        shares = np.log2(np.maximum(self.counts, 1)) / np.log2(largest)
        levels: list[list[int]] = np.where(
            self.counts > 0, 1 + np.floor(3 * shares).astype(int), 0
        ).tolist()
        return levels


def split_tokens(text: str, unit: Unit) -> Sequence[str]:
    return text if unit == "character" else text.split()


def count_confusions(arm: TestedArm, unit: Unit) -> ConfusionCounts:
    """Return how often all runs of the arm take a token for another one."""
    counts: ConfusionCounts = Counter()
    if unit == "word" and not arm.has_words:
        return counts
    for each in chain.from_iterable(arm.hypotheses):
        if each.char_errors:
            counts.update(
                list_edits(split_tokens(each.reference, unit), split_tokens(each.hypothesis, unit))
            )
    return counts


def rank_confusions(
    counts: ConfusionCounts, references: Mapping[str, int], most: int = MAX_LINES
) -> list[Confusion]:
    """Return the most frequent confusions; `references` has the count of each token there."""
    ranked = heapq.nsmallest(most, counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        Confusion(left, right, count, references.get(left, 0) if left else 0)
        for (left, right), count in ranked
    ]


def count_references(arm: TestedArm, unit: Unit) -> Counter[str]:
    """Return how often each character or word is in the references of all runs of the arm."""
    once: Counter[str] = Counter()
    for each in arm.shown:
        once.update(split_tokens(each.reference, unit))
    return Counter({token: count * len(arm.hypotheses) for token, count in once.items()})


def confusion_matrix(counts: ConfusionCounts, size: int = MATRIX_SIZE) -> ConfusionMatrix:
    """Return the matrix of the `size` tokens that take part in most errors."""
    part: Counter[str] = Counter()
    for (left, right), count in counts.items():
        part[left] += count
        part[right] += count
    del part[""]
    ranked = heapq.nsmallest(size, part.items(), key=lambda item: (-item[1], item[0]))
    symbols = (*sorted(token for token, _ in ranked), "")
    place = {token: number for number, token in enumerate(symbols)}
    matrix = np.zeros((len(symbols), len(symbols)), np.int64)
    for (left, right), count in counts.items():
        if left in place and right in place:
            matrix[place[left], place[right]] = count
    return ConfusionMatrix(symbols, matrix)


def confusions_table(
    arms: Sequence[TestedArm],
    symbols: Sequence[Sequence[Confusion]],
    words: Sequence[Sequence[Confusion]],
) -> pd.DataFrame:
    """Return the most frequent confusions of each arm and unit, a line each.

    `symbols`: of characters, or of phonemes.
    """
    columns = ["arm", "unit", "kind", "reference", "hypothesis", "count", "reference_count"]
    records = [
        (
            arm.name,
            unit or arm.unit,
            one.kind,
            one.reference,
            one.hypothesis,
            one.count,
            one.reference_count,
        )
        for unit, by_arm in (("", symbols), ("word", words))
        for arm, confusions in zip(arms, by_arm, strict=True)
        for one in confusions
    ]
    return pd.DataFrame.from_records(records, columns=columns)
