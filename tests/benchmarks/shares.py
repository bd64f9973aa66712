"""Shares: split the utterances of a case among worker processes. Every case with workers uses it.

In:   the path of a manifest.   Out: (utterance id, path) pairs; one call per worker.
Not here: the work.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tests.benchmarks import corpora

Element = TypeVar("Element")
WORKER_COUNT = 2  # the targets assume two cores
CAN_FORK = (
    "fork" in multiprocessing.get_all_start_methods()
)  # otherwise each worker imports everything again


def audio_paths(path: str) -> list[tuple[str, Path]]:
    listed = corpora.read_manifest(Path(path))
    return [(utterance.id, listed.root / utterance.audio) for utterance in listed.utterances]


def split_among_workers(items: Sequence[Element], workers: int) -> list[Sequence[Element]]:
    return [items[worker::workers] for worker in range(workers)]


def run_in_processes(
    work: Callable[..., int], arguments: Sequence[tuple[object, ...]]
) -> list[int]:
    """Call `work` in one process per tuple of arguments; their start is part of the time."""
    if len(arguments) == 1:
        return [work(*arguments[0])]
    with multiprocessing.get_context("fork" if CAN_FORK else None).Pool(len(arguments)) as pool:
        return pool.starmap(work, arguments, chunksize=1)
