"""Drawing: splits for a corpus that has none, or lacks one; by whole speakers, by a seed.

In:   entries.   Out: entries, each with a split; in words, what was drawn.
Not here: AN4's own splits (layouts/an4.py).

Who a speaker is drawn with depends on names and seed alone, never on the order of a list.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from pipeline.corpus.layouts.parsing import CorpusEntry
from pipeline.corpus.manifest import Split

HELD_OUT_SHARE = 0.1  # of the utterances, to each split that is drawn
MAX_SHARE_FACTOR = 1.5  # of that share, for the sake of a speaker who does not fit


def draw_splits(entries: Sequence[CorpusEntry], seed: int) -> tuple[list[CorpusEntry], str]:
    """Entries without a split are the ones to draw from; those of train, if all have one."""
    lacking = [
        split for split in _HELD_OUT_SPLITS if all(entry.split != split for entry in entries)
    ]
    unsaid = any(entry.split is None for entry in entries)
    if not lacking or (not unsaid and all(entry.split != "train" for entry in entries)):
        return [replace(e, split=e.split or "train") for e in entries], ""
    pool = [entry for entry in entries if entry.split in (None, "train")]
    if len(pool) <= len(lacking):
        told = f"too few utterances ({len(pool)}) to draw {' and '.join(lacking)} from"
        told = f"{told}: at least {len(lacking) + 1} are needed"
        return [replace(e, split=e.split or "train") for e in entries], told
    by_speaker = len({_speaker_or_id(entry) for entry in pool}) > len(lacking)
    names = [_speaker_or_id(entry) if by_speaker else entry.id for entry in pool]
    chosen = _assign_splits(Counter(names), lacking, seed)
    drawn = {e.id: chosen.get(name, "train") for e, name in zip(pool, names, strict=True)}
    said = any(entry.speaker for entry in pool)
    how = "whole speakers" if by_speaker and said else "utterances, by their ids"
    why = "" if by_speaker and said else (" (too few speakers)" if said else " (no speakers said)")
    return (
        [replace(e, split=drawn.get(e.id, e.split)) for e in entries],
        f"{' and '.join(lacking)} drawn from train: {how}{why}, seed {seed}",
    )


_HELD_OUT_SPLITS: tuple[Split, ...] = ("dev", "test")


def _speaker_or_id(entry: CorpusEntry) -> str:
    return entry.speaker or entry.id


def _assign_splits(
    utterance_counts: Counter[str], missing_splits: Sequence[Split], seed: int
) -> dict[str, Split]:
    share = HELD_OUT_SHARE * utterance_counts.total()
    order = sorted(utterance_counts, key=lambda name: sha256(f"{seed}:{name}".encode()).digest())
    chosen: dict[str, Split] = {}
    for later, split in zip(range(len(missing_splits) - 1, -1, -1), missing_splits, strict=True):
        left = [name for name in order if name not in chosen]
        spare = len(left) - later - 1  # one for each later split, and one for train
        held = 0
        for name in left:
            if (
                spare > 0
                and held < share
                and held + utterance_counts[name] <= MAX_SHARE_FACTOR * share
            ):
                chosen[name] = split
                held, spare = held + utterance_counts[name], spare - 1
        if not held and spare > 0:  # every speaker has more than a share
            chosen[min(left, key=lambda name: utterance_counts[name])] = split
    return chosen
