"""Feature set: the folder with the shards of one manifest for one set of feature settings.

In:   the folder.   Out: its utterances, their frames, the statistics of the training split.
Not here: the content of a file (shards.py), computing the shards (precompute.py).

One engine computes all shards of a feature set (FORMAT.md, "Engine").
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
from pipeline.features.native.kernels import Engine
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
DAMAGED_SUFFIX = ".damaged"  # appended to the name of a damaged file
MAX_SHARDS_NAMED = 3  # shards in an error message
MAX_MAPPED_FILES = 64  # at a time: some systems let a process open 256 files


class OtherEngineError(InputError):
    """Another engine than that of its feature set computed this shard."""

    def __init__(self, shard: Shard, engine: Engine | None) -> None:
        names = {"native": "the native kernel", "numpy": "NumPy"}
        super().__init__(
            f"{shard.path}: {names[str(shard.engine)]} computed it, and {names[str(engine)]} the "
            f"feature set; their values differ in the last bits; {REBUILD_HINT}"
        )
        self.path = shard.path


class FeatureSetDescription(Settings):
    """The content of feature_set.yaml."""

    version: Literal[1]
    feature_id: str
    corpus: str
    manifest: str  # its digest
    shards: int
    settings: FeatureSettings
    engine: Engine | None = None  # None: an earlier version wrote it

    def without_engine(self) -> "FeatureSetDescription":
        return self.model_copy(update={"engine": None})


def read_description(folder: Path) -> FeatureSetDescription:
    path = folder / DESCRIPTION_FILE
    try:
        return validate_settings(FeatureSetDescription, read_yaml(path), path)
    except InputError as error:
        raise InputError(f"{error}; {REBUILD_HINT}") from None


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """A complete feature set. At most MAX_MAPPED_FILES shards stay mapped, the last ones read.

    A view keeps its file mapped too. A feature set can be pickled; each process maps the files
    itself.
    """

    folder: Path
    feature_id: str
    settings: FeatureSettings
    shards: tuple[Shard, ...]

    @classmethod
    def open(cls, folder: Path) -> "FeatureSet":
        """Open a feature set; an InputError names shards that are missing, damaged or mixed."""
        description = read_description(folder)
        identity, count = description.feature_id, description.shards
        shards = find_shards(folder, count, identity)
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
        usable = tuple(shard for shard in shards if isinstance(shard, Shard))
        return cls(folder, identity, description.settings, usable)

    def verify(self) -> None:
        """Compare every byte with its checksum (gigabytes per second).

        Every damaged shard is renamed; an InputError names the first one.
        """
        wrong = [error for shard in self.shards if (error := _verification_error(shard.path))]
        # Damaged statistics are no error: they are computed again from the shards.
        _verification_error(self.folder / STATISTICS_FILE)
        if wrong:
            raise wrong[0]

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        return tuple(refusal for shard in self.shards for refusal in shard.refusals)

    @property
    def engine(self) -> Engine | None:
        """What computed the rows; None if an earlier version wrote all shards."""
        return next((shard.engine for shard in self.shards if shard.engine), None)

    @property
    def bins(self) -> int:
        return self.settings.bins

    @cached_property
    def utterances(self) -> tuple[StoredUtterance, ...]:
        return tuple(utterance for shard in self.shards for utterance in shard.utterances)

    def frames(self, utterance: StoredUtterance) -> Float[np.ndarray, "T F"]:
        """Return a read-only view of the file, or decoded rows (storage uint8)."""
        return self._reader(utterance.shard)(utterance.start, utterance.stop)

    @cached_property
    def _reader(self) -> Callable[[int], RowReader]:
        shards = self.shards
        return lru_cache(MAX_MAPPED_FILES)(lambda index: shards[index].reader())

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of the training split: read, or added up from the shards and stored."""
        path = self.folder / STATISTICS_FILE
        with contextlib.suppress(InputError):  # missing or damaged
            return read_statistics(path, self.feature_id)
        total = sum((shard.statistics for shard in self.shards), Statistics.empty(self.bins))
        with contextlib.suppress(OSError):  # the folder may be read-only
            write_statistics(path, self.feature_id, total)
        return total

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_reader"}


def verify_or_set_aside(path: Path) -> int:
    """Return the size of the file in bytes, if its checksums match.

    A damaged file is renamed, so that it counts as missing and is computed again.
    """
    try:
        return verify_file(path)
    except InputError:
        with contextlib.suppress(OSError):  # the folder may be read-only
            path.replace(path.with_name(path.name + DAMAGED_SUFFIX))
        raise


def _verification_error(path: Path) -> InputError | None:
    try:
        verify_or_set_aside(path)
    except InputError as error:
        return error
    return None


def find_shards(
    folder: Path, slice_count: int, feature_id: str | None = None
) -> list[Shard | InputError]:
    """Return each shard, or what is wrong with it.

    It may be missing or damaged, or belong to another feature set (`feature_id`: by default the
    name of the folder), or another engine than that of its set computed it.
    """
    identity = feature_id or folder.name
    shards = [find_shard(folder, identity, index, slice_count) for index in range(slice_count)]
    engines = {shard.engine for shard in shards if isinstance(shard, Shard)}
    if not {"native", "numpy"} <= engines:
        return shards
    engine = engine_of_set(folder, slice_count)
    return [
        OtherEngineError(shard, engine)
        if isinstance(shard, Shard) and shard.engine not in (engine, None)
        else shard
        for shard in shards
    ]


def missing_shards(folder: Path, slice_count: int) -> list[int]:
    """Return the indices of shards that cannot be used."""
    shards = find_shards(folder, slice_count)
    return [index for index, shard in enumerate(shards) if isinstance(shard, InputError)]


def find_engine(folder: Path, slice_count: int) -> Engine | None:
    """Return the engine of the first shard that names one; None if no shard does."""
    for index in range(slice_count):
        shard = find_shard(folder, folder.name, index, slice_count)
        if isinstance(shard, Shard) and shard.engine:
            return shard.engine
    return None


def engine_of_set(folder: Path, slice_count: int) -> Engine | None:
    """Return the engine that the description names, or else the first shard that names one."""
    with contextlib.suppress(InputError):
        if engine := read_description(folder).engine:
            return engine
    return find_engine(folder, slice_count)


def find_shard(folder: Path, feature_id: str, index: int, count: int) -> Shard | InputError:
    """Return a shard that can be used, or what is wrong with it."""
    path = folder / shard_name(index, count)
    try:
        shard = Shard.open(path)
    except InputError as error:
        return error
    found, wanted = (shard.feature_id, shard.index, shard.count), (feature_id, index, count)
    if found != wanted:
        return InputError(f"{path}: is shard {found}, not {wanted}; {REBUILD_HINT}")
    return shard
