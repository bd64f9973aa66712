"""Shares: the utterances of a case, dealt to worker processes. Every case with workers uses it.

In:   a manifest's file.   Out: (utterance id, path) pairs; a function called once per worker.
Not here: what a worker does with its share.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tests.benchmarks import corpora

Element = TypeVar("Element")
WORKER_COUNT = 2  # the cores that the targets are stated for
CAN_FORK = "fork" in multiprocessing.get_all_start_methods()  # else workers import everything anew


def audio_paths(path: str) -> list[tuple[str, Path]]:
    listed = corpora.read_manifest(Path(path))
    return [(utterance.id, listed.root / utterance.audio) for utterance in listed.utterances]


def split_among_workers(items: Sequence[Element], workers: int) -> list[Sequence[Element]]:
    return [items[worker::workers] for worker in range(workers)]


def run_in_processes(
    work: Callable[..., int], arguments: Sequence[tuple[object, ...]]
) -> list[int]:
    """One process per tuple of arguments; starting them is part of the job."""
    if len(arguments) == 1:
        return [work(*arguments[0])]
    with multiprocessing.get_context("fork" if CAN_FORK else None).Pool(len(arguments)) as pool:
        return pool.starmap(work, arguments, chunksize=1)
