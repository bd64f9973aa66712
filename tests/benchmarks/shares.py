"""Shares: the utterances of a case, dealt to worker processes. Every case with workers uses it.

In:   a manifest's file.   Out: (utterance id, path) pairs; a function called once per worker.
Not here: what a worker does with its share.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tests.benchmarks import corpora

Item = TypeVar("Item")
WORKERS = 2  # the cores that the targets are stated for
FORK = "fork" in multiprocessing.get_all_start_methods()  # else workers import everything anew


def sounds(path: str) -> list[tuple[str, Path]]:
    listed = corpora.read(Path(path))
    return [(utterance.id, listed.root / utterance.audio) for utterance in listed.utterances]


def dealt(items: Sequence[Item], workers: int) -> list[Sequence[Item]]:
    return [items[worker::workers] for worker in range(workers)]


def in_processes(work: Callable[..., int], arguments: Sequence[tuple[object, ...]]) -> list[int]:
    """One process per tuple of arguments; starting them is part of the job."""
    if len(arguments) == 1:
        return [work(*arguments[0])]
    with multiprocessing.get_context("fork" if FORK else None).Pool(len(arguments)) as pool:
        return pool.starmap(work, arguments, chunksize=1)
