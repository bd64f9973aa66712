"""Breakdown: where errors are: by run, by speaker, by length, by how often training has a word.

In:   the hypotheses of arms; the words of the training text.
Out:  frames, a line for each arm and group; their rates side by side for the page.
Not here: single confusions (confusions.py), speakers that stand apart (speakers.py).

Counts of an arm are means over its runs, so that arms with other numbers of seeds can be compared.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.results.comparison.arms import Arm
from pipeline.results.errors.arms import TestedArm
from pipeline.results.errors.confusions import ConfusionCounts

OPERATIONS = ("substitutions", "deletions", "insertions")
COUNT_COLUMNS = (
    *("chars", "char_errors", *(f"char_{kind}" for kind in OPERATIONS)),
    *("words", "word_errors", *(f"word_{kind}" for kind in OPERATIONS)),
)
LENGTH_GROUPS = 4  # of about as many utterances each
# Occurrences of a word in the training text: the first count of each band.
FREQUENCY_BANDS = (0, 1, 2, 10, 100, 1000)


def operations_table(arms: Sequence[Arm]) -> pd.DataFrame:
    """Return the sums over all test utterances of each finished run, a line per run."""
    records = []
    for arm in arms:
        for run in arm.runs:
            tested = run.hypotheses_for("test")
            counts = {name: int(tested.column(name).sum()) for name in COUNT_COLUMNS}
            records.append(
                {"arm": arm.name, "label": run.run.label, "run_id": run.run_id, **counts}
            )
    return pd.DataFrame.from_records(records, columns=["arm", "label", "run_id", *COUNT_COLUMNS])


def sum_operations(arm: TestedArm) -> dict[str, int]:
    """Return the sums of COUNT_COLUMNS over the utterances and runs of the arm."""
    return {name: int(arm.counts(name).sum()) for name in COUNT_COLUMNS}


@dataclass(frozen=True)
class Group:
    """Some of the test utterances or words, with the error rate of each arm."""

    name: str
    size: int  # utterances, or words of the references
    rates: tuple[float, ...]  # by arm


def group_table(
    arms: Sequence[TestedArm], column: str, names: Sequence[str], order: Sequence[str]
) -> pd.DataFrame:
    """Return the rates of each arm in each group of utterances, a line per arm and group.

    `names` has the group of each utterance, `order` the groups.
    """
    places = {name: place for place, name in enumerate(order)}
    index = np.array([places[name] for name in names], np.int64)

    def sums(values: np.ndarray) -> np.ndarray:
        return np.bincount(index, values, len(order))

    frames = []
    for arm in arms:
        frame = pd.DataFrame({"arm": arm.name, column: list(order)})
        frame["utterances"] = np.bincount(index, minlength=len(order))
        for unit, total, rate in (("char", "chars", "cer"), ("word", "words", "wer")):
            frame[total] = sums(arm.counts(total)[0]).astype(np.int64)
            frame[f"{unit}_errors"] = sums(arm.mean_counts(f"{unit}_errors"))
            frame[rate] = frame[f"{unit}_errors"] / frame[total].where(frame[total] > 0)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def speaker_table(arms: Sequence[TestedArm]) -> pd.DataFrame:
    """Return a line per arm and speaker; the speaker with the highest CER of the best arm first.

    Without a line if no speaker is known.
    """
    names = [each.speaker for each in arms[0].shown]
    table = group_table(arms, "speaker", names, sorted(set(names)))
    if not any(names):
        return table.iloc[:0]
    best = table[table.arm == arms[0].name].sort_values(["cer", "speaker"], ascending=[False, True])
    rank = best.index.to_numpy()  # the lines of the best arm come first
    order = [start + rank for start in range(0, len(table), len(rank))]
    return table.iloc[np.concatenate(order)].reset_index(drop=True)


def length_table(arms: Sequence[TestedArm]) -> pd.DataFrame:
    """Return a line per arm and range of reference lengths, in characters, ascending."""
    chars = arms[0].counts("chars")[0]
    edges = np.unique(
        np.quantile(chars, np.linspace(0, 1, LENGTH_GROUPS + 1), method="higher").astype(int)
    )
    lows = edges[:-1] if len(edges) > 1 else edges
    place = np.searchsorted(lows, chars, side="right") - 1
    highs = [*(lows[1:] - 1), chars.max()]
    order = [
        f"{low} to {high}" if high > low else str(low)
        for low, high in zip(lows, highs, strict=True)
    ]
    return group_table(arms, "characters", [order[n] for n in place], order)


def frequency_table(
    arms: Sequence[tuple[TestedArm, ConfusionCounts]],
    references: Mapping[str, int],
    training: Mapping[str, int],
) -> pd.DataFrame:
    """Return the share of reference words that are wrong, by their count in the training text.

    `arms` come with their confusions of words, `references` has the count of each word in the test
    references. A word is wrong if it is substituted or deleted; insertions belong to no word.
    """
    columns = ["arm", "training_count", "words", "word_errors", "error_rate"]
    totals: Counter[int] = Counter()
    for word, count in references.items():
        totals[_band(training.get(word, 0))] += count
    records = []
    for arm, confusions in arms:
        wrong: Counter[int] = Counter()
        for (reference, _), count in confusions.items():
            if reference:
                wrong[_band(training.get(reference, 0))] += count
        for band in sorted(totals):
            errors = wrong[band] / len(arm.hypotheses)
            records.append(
                (arm.name, _band_name(band), totals[band], errors, errors / totals[band])
            )
    return pd.DataFrame.from_records(records, columns=columns)


def list_groups(table: pd.DataFrame, column: str, size: str, rate: str) -> tuple[Group, ...]:
    """Return the groups of a table in its order, with one rate per arm."""
    if table.empty:
        return ()
    rates = table.groupby(column, sort=False)[rate].apply(tuple)
    sizes = table.drop_duplicates(column).set_index(column)[size]
    return tuple(Group(str(name), int(sizes[name]), rates[name]) for name in rates.index)


def _band(count: int) -> int:
    return bisect_right(FREQUENCY_BANDS, count) - 1


def _band_name(band: int) -> str:
    low, *rest = FREQUENCY_BANDS[band : band + 2]
    if not rest:
        return f"{low} or more"
    return f"{low} to {rest[0] - 1}" if rest[0] - 1 > low else str(low)
