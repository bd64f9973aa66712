"""Equal sound: utterances with the same samples, whatever files they are in.

In:   digests of decoded samples.   Out: a file of digests beside each shard; pairs of utterances.
Not here: copies of files, which are found without decoding (checks.py); who decodes
(features/precompute.py, survey.py).
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from pipeline.corpus.manifest import Manifest, Utterance
from pipeline.files import atomic_write
from pipeline.shapes import Int64

NO_DIGEST = 0  # of an utterance that is silent, or could not be decoded

UtterancePair = tuple[Utterance, Utterance]


def write_digests(folder: Path, index: int, count: int, digests: Sequence[int]) -> None:
    """Write the digests of all utterances of slice `index` of `count`, in the manifest's order."""
    with atomic_write(_digest_file(folder, index, count), durable=False) as partial:
        partial.write_bytes(np.array(digests, "<u4").tobytes())


def remove_digests(folder: Path, index: int, count: int) -> None:
    """Remove the digests of slice `index` of `count`, if there are any."""
    _digest_file(folder, index, count).unlink(missing_ok=True)


def read_equal_sound(manifest: Manifest, folder: Path) -> list[UtterancePair]:
    """Return the pairs with the same sound, each with the first of its group.

    Copies of a file, and the same range listed twice, are left out: checks.py finds them. A slice
    without digests, as in older feature sets, is skipped.
    """
    digests = np.concatenate(
        [
            _read_digests(_digest_file(folder, index, len(manifest.slices)), len(utterances))
            for index, utterances in enumerate(manifest.slices)
        ]
    )
    values, counts = np.unique(digests, return_counts=True)
    several = values[(counts > 1) & (values != NO_DIGEST)]
    groups: defaultdict[tuple[int, int, int], list[Utterance]] = defaultdict(list)
    for index in np.flatnonzero(np.isin(digests, several)):
        utterance = manifest.utterances[index]
        groups[int(digests[index]), utterance.samples, utterance.rate].append(utterance)
    return [
        (group[0], other)
        for group in groups.values()
        for other in group[1:]
        if not _is_copy(manifest, group[0], other)
    ]


def _is_copy(manifest: Manifest, first: Utterance, other: Utterance) -> bool:
    checksums = [manifest.prefix_checksums.get(each.audio) for each in (first, other)]
    same_file = first.audio == other.audio or checksums[0] == checksums[1]
    return same_file and (first.start, first.channel) == (other.start, other.channel)


def _digest_file(folder: Path, index: int, count: int) -> Path:
    return folder / f"digests-{index:05d}-of-{count:05d}.bin"


def _read_digests(path: Path, count: int) -> Int64[np.ndarray, " N"]:
    with suppress(OSError, ValueError):  # a note, without which all goes on
        digests = np.frombuffer(path.read_bytes(), "<u4").astype(np.int64)
        if len(digests) == count:
            return digests
    return np.full(count, NO_DIGEST, np.int64)
