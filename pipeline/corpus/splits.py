"""Splits: draws missing ones by whole speakers; divides speakers into folds (cross-validation).

In:   entries.   Out: entries, each with a split; a note of what was drawn.
Not here: the splits of AN4 (layouts/an4.py).

The draw depends on names and seed alone, not on the order of the entries.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256

from pipeline.corpus.layouts.entries import CorpusEntry
from pipeline.corpus.manifest import Split
from pipeline.files import InputError

HELD_OUT_SHARE = 0.1  # share of the utterances for each split that is drawn
MAX_SHARE_FACTOR = 1.5  # a whole speaker may exceed the share up to this factor
_HELD_OUT_SPLITS: tuple[Split, ...] = ("dev", "test")


def draw_splits(entries: Sequence[CorpusEntry], seed: int) -> tuple[list[CorpusEntry], str]:
    """Draw dev and test from the train entries and those without a split, if a split is missing.

    Return the entries with their splits, and a note of what was drawn ("" if nothing was).
    """
    missing = [split for split in _HELD_OUT_SPLITS if all(e.split != split for e in entries)]
    pool = [entry for entry in entries if entry.split in (None, "train")]
    if not missing or not pool:
        return _default_to_train(entries), ""
    names = " and ".join(missing)
    if len(pool) <= len(missing):
        note = (
            f"too few utterances ({len(pool)}) to draw {names}: at least {len(missing) + 1} are "
            "needed"
        )
        return _default_to_train(entries), note
    by_speaker = len({_speaker_or_id(entry) for entry in pool}) > len(missing)
    groups = [_speaker_or_id(entry) if by_speaker else entry.id for entry in pool]
    assigned = _assign_splits(Counter(groups), missing, seed)
    splits = {e.id: assigned.get(group, "train") for e, group in zip(pool, groups, strict=True)}
    return (
        [_with_split(e, splits.get(e.id, e.split)) for e in entries],
        f"{names} drawn from train: {_describe_units(pool, by_speaker)}, seed {seed}",
    )


def deal_folds(
    entries: Sequence[CorpusEntry], folds: int, fold: int, seed: int
) -> tuple[list[CorpusEntry], str]:
    """Divide the speakers of train and dev into `folds`; the speakers of `fold` become test.

    Dev speakers are drawn from the others. Each speaker is in one fold only, and each fold has
    about the same number of utterances. The corpus's own test split is left out, so that what is
    chosen by cross-validation can be tested on it once.

    Return the entries with their splits, and a note of what was done.
    Raises InputError if there are fewer speakers than folds.
    """
    pool = [entry for entry in entries if entry.split != "test"]
    counts = Counter(entry.speaker for entry in pool if entry.speaker)
    if counts.total() < len(pool) or len(counts) <= folds:
        known = f"{len(counts)} speakers are known"
        raise InputError(
            f"folds: {folds} folds need more than {folds} speakers, and each utterance needs one; "
            f"{known}; lower folds, or name the speakers"
        )
    sizes, fold_of = [0] * folds, {}
    order = _draw_order(counts, seed)
    for name in sorted(order, key=lambda name: -counts[name]):  # stable: the draw breaks ties
        fold_of[name] = sizes.index(min(sizes))
        sizes[fold_of[name]] += counts[name]
    rest = Counter({name: n for name, n in counts.items() if fold_of[name] != fold})
    dev = _assign_splits(rest, ["dev"], seed)
    splits: dict[str, Split] = {
        name: "test" if fold_of[name] == fold else dev.get(name, "train") for name in counts
    }
    left_out = len(entries) - len(pool)
    note = f"test is fold {fold} (0 to {folds - 1}) of the speakers of train and dev, seed {seed}"
    if left_out:
        note += f"; the corpus's own test split ({left_out} utterances) is left out"
    return [_with_split(entry, splits[entry.speaker]) for entry in pool], note


def _draw_order(names: Iterable[str], seed: int) -> list[str]:
    """Return the names in the order of their hashes, which the order of a list does not change."""
    return sorted(names, key=lambda name: sha256(f"{seed}:{name}".encode()).digest())


def _default_to_train(entries: Sequence[CorpusEntry]) -> list[CorpusEntry]:
    return [_with_split(entry, entry.split or "train") for entry in entries]


def _with_split(entry: CorpusEntry, split: Split | None) -> CorpusEntry:
    return entry if entry.split == split else replace(entry, split=split)


def _describe_units(pool: Sequence[CorpusEntry], by_speaker: bool) -> str:
    has_speakers = any(entry.speaker for entry in pool)
    if by_speaker and has_speakers:
        return "whole speakers"
    why = "too few speakers" if has_speakers else "no speakers given"
    return f"utterances, by their ids ({why})"


def _speaker_or_id(entry: CorpusEntry) -> str:
    return entry.speaker or entry.id


def _assign_splits(
    utterance_counts: Counter[str], missing_splits: Sequence[Split], seed: int
) -> dict[str, Split]:
    """Return name -> split for the names (speakers or utterances) that leave train.

    Names are taken in the order of the draw until a split has its share. One name stays for each
    later split and one for train.
    """
    share = HELD_OUT_SHARE * utterance_counts.total()
    order = _draw_order(utterance_counts, seed)
    assigned: dict[str, Split] = {}
    for index, split in enumerate(missing_splits):
        left = [name for name in order if name not in assigned]
        later_splits = len(missing_splits) - 1 - index
        spare = len(left) - later_splits - 1
        held_out = 0
        for name in left:
            count = utterance_counts[name]
            fits = held_out < share and held_out + count <= MAX_SHARE_FACTOR * share
            if spare > 0 and fits:
                assigned[name] = split
                held_out, spare = held_out + count, spare - 1
        if not held_out and spare > 0:  # no speaker fits: take the smallest
            assigned[min(left, key=lambda name: utterance_counts[name])] = split
    return assigned
