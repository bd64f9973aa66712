"""Feature set: the folder that holds the shards of one manifest under one setting.

In:   the folder.   Out: its utterances, their frames, the statistics of the training split.
Not here: the inside of a file (shards.py), making the shards (precompute.py).
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.config.loader import Settings, read_yaml, validate_settings
from pipeline.corpus.manifest import Refusal
from pipeline.features.hdf5 import REBUILD_HINT, verify_file
from pipeline.features.shards import (
    RowReader,
    Shard,
    StoredUtterance,
    read_statistics,
    shard_name,
    write_statistics,
)
from pipeline.features.statistics import Statistics
from pipeline.files import InputError
from pipeline.shapes import Float

DESCRIPTION_FILE = "feature_set.yaml"
STATISTICS_FILE = "statistics.h5"
DAMAGED_SUFFIX = ".damaged"  # ending of a file that was set aside
MAX_SHARDS_NAMED = 3  # shards in an error message
MAX_MAPPED_FILES = 64  # files at once: some systems let a process open 256


class FeatureSetDescription(Settings):
    """What feature_set.yaml says."""

    version: Literal[1]
    feature_id: str
    corpus: str
    manifest: str  # its digest
    shards: int
    settings: FeatureSettings


def read_description(folder: Path) -> FeatureSetDescription:
    return validate_settings(
        FeatureSetDescription, read_yaml(folder / DESCRIPTION_FILE), folder / DESCRIPTION_FILE
    )


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """A complete feature set; the last MOST_MAPPED files of which rows were asked for stay mapped.

    A view keeps its file mapped too. It can be pickled: each process maps for itself.
    """

    folder: Path
    feature_id: str
    settings: FeatureSettings
    shards: tuple[Shard, ...]

    @classmethod
    def open(cls, folder: Path) -> "FeatureSet":
        """Refuse, by name, what is missing or damaged."""
        description = read_description(folder)
        identity, count = description.feature_id, description.shards
        shards = [find_shard(folder, identity, index, count) for index in range(count)]
        wrong = {n: shard for n, shard in enumerate(shards) if isinstance(shard, InputError)}
        if wrong:
            names = [shard_name(index, count) for index in wrong][:MAX_SHARDS_NAMED]
            more = (
                f" and {len(wrong) - MAX_SHARDS_NAMED} more"
                if len(wrong) > MAX_SHARDS_NAMED
                else ""
            )
            raise InputError(
                f"{folder}: {len(wrong)} of {count} shards cannot be used "
                f"({', '.join(names)}{more}); {next(iter(wrong.values()))}"
            )
        whole = tuple(shard for shard in shards if isinstance(shard, Shard))
        return cls(folder, identity, description.settings, whole)

    def verify(self) -> None:
        """Compare every byte with its checksum, gigabytes a second.

        All shards that differ are set aside; an InputError names the first.
        """
        wrong = [error for shard in self.shards if (error := _verification_error(shard.path))]
        _verification_error(
            self.folder / STATISTICS_FILE
        )  # if it is there: the parts are the truth
        if wrong:
            raise wrong[0]

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        return tuple(refusal for shard in self.shards for refusal in shard.refusals)

    @property
    def bins(self) -> int:
        return self.settings.bins

    @cached_property
    def utterances(self) -> tuple[StoredUtterance, ...]:
        return tuple(utterance for shard in self.shards for utterance in shard.utterances)

    def frames(self, utterance: StoredUtterance) -> Float[np.ndarray, "T F"]:
        """A read-only view of the file, or decoded rows."""
        return self._reader(utterance.shard)(utterance.start, utterance.stop)

    @cached_property
    def _reader(self) -> Callable[[int], RowReader]:
        shards = self.shards
        return lru_cache(MAX_MAPPED_FILES)(lambda index: shards[index].reader())

    @cached_property
    def statistics(self) -> Statistics:
        """Of the training split: read, or added up from the shards' parts and kept."""
        path = self.folder / STATISTICS_FILE
        with contextlib.suppress(InputError):  # not there yet, or damaged: the parts are the truth
            return read_statistics(path, self.feature_id)
        total = sum((shard.statistics for shard in self.shards), Statistics.empty(self.bins))
        with contextlib.suppress(OSError):  # a feature set may be another person's, read-only
            write_statistics(path, self.feature_id, total)
        return total

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_reader"}


def verify_or_set_aside(path: Path) -> int:
    """The bytes that were compared with their checksums, if none differs.

    A file of which any does is set aside, so that it is missing, and made again.
    """
    try:
        return verify_file(path)
    except InputError:
        with contextlib.suppress(OSError):  # it may be another person's
            path.replace(path.with_name(path.name + DAMAGED_SUFFIX))
        raise


def _verification_error(path: Path) -> InputError | None:
    try:
        verify_or_set_aside(path)
    except InputError as error:
        return error
    return None


def find_shards(folder: Path, slice_count: int) -> list[Shard | InputError]:
    """Each shard, or what is wrong with it: not there, damaged, or another feature set's."""
    return [find_shard(folder, folder.name, index, slice_count) for index in range(slice_count)]


def missing_shards(folder: Path, slice_count: int) -> list[int]:
    """The indices of shards that cannot be used."""
    shards = find_shards(folder, slice_count)
    return [index for index, shard in enumerate(shards) if isinstance(shard, InputError)]


def find_shard(folder: Path, feature_id: str, index: int, count: int) -> Shard | InputError:
    """A shard that can be used, or what is wrong with it."""
    path = folder / shard_name(index, count)
    try:
        shard = Shard.open(path)
    except InputError as error:
        return error
    found, wanted = (shard.feature_id, shard.index, shard.count), (feature_id, index, count)
    if found != wanted:
        return InputError(f"{path}: is shard {found}, not {wanted}; {REBUILD_HINT}")
    return shard
