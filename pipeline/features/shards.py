"""Shards: frames on disk. FORMAT.md specifies the file.

In:   blocks of rows, the utterances they belong to.   Out: one file per slice; its rows.
Not here: HDF5 (hdf5.py), computing rows (framing.py), their encoding (encoding.py), padding
(training/data).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.corpus.manifest import Refusal
from pipeline.features import encoding
from pipeline.features.hdf5 import (
    ALIGNMENT_BYTES,
    REBUILD_HINT,
    Dataset,
    File,
    create_dataset,
    create_file,
    fixed_length_strings,
    mark_complete,
    open_file,
    read_string_attribute,
    read_string_datasets,
    write_checksum,
    write_dataset,
)
from pipeline.features.native.kernels import ENGINES, Engine
from pipeline.features.statistics import RunningCovariance, ScaledCovariance, Statistics
from pipeline.files import InputError
from pipeline.shapes import Float, Shaped

RowReader = Callable[[int, int], Float[np.ndarray, "T F"]]


class StoredUtterance(NamedTuple):
    id: str
    transcript: str
    speaker: str
    split: str
    shard: int
    start: int  # row of the shard
    stop: int

    @property
    def frames(self) -> int:
        return self.stop - self.start


def shard_name(index: int, count: int) -> str:
    return f"shard-{index:05}-of-{count:05}.h5"


@contextmanager
def open_shard_writer(
    path: Path,
    *,
    feature_id: str,
    settings: FeatureSettings,
    engine: Engine,
    index: int,
    count: int,
    utterances: Sequence[StoredUtterance],
    refusals: Sequence[Refusal] = (),
    accumulator: RunningCovariance | ScaledCovariance | None = None,
) -> Iterator[Callable[[Float[np.ndarray, "T F"]], None]]:
    """Yield the function that appends rows; the file appears when all rows are written.

    `accumulator` gets the training rows; without one the shard makes its own.
    """
    offsets = [0, *(utterance.stop for utterance in utterances)]
    with create_file(path) as file:
        write_dataset(file, "offsets", np.array(offsets, "<i8"))
        texts = {
            "utterance_ids": [utterance.id for utterance in utterances],
            "transcripts": [utterance.transcript for utterance in utterances],
            "speakers": [utterance.speaker for utterance in utterances],
            "splits": [utterance.split for utterance in utterances],
            "refusals/utterance_ids": [refusal.utterance for refusal in refusals],
            "refusals/reasons": [refusal.reason for refusal in refusals],
        }
        for name, values in texts.items():
            write_dataset(file, name, fixed_length_strings(values))
        shape = (offsets[-1], settings.bins)
        dtype = np.dtype(settings.storage).newbyteorder("<")
        dataset = create_dataset(file, "frames", shape, dtype)
        training = [utterance.split == "train" for utterance in utterances]
        own = accumulator or RunningCovariance(settings.bins, engine)
        rows = encoding.RowWriter(dataset, settings, offsets, training, own)
        yield rows.append
        write_checksum(dataset, rows.finish())
        for name, scale in rows.scale_arrays.items():
            write_dataset(file, f"code/{name}", scale)
        _write_statistics_group(file, rows.statistics)
        mark_complete(
            file,
            settings=settings.model_dump_json(),
            feature_id=feature_id,
            engine=engine,
            index=index,
            count=count,
        )


@dataclass(frozen=True, eq=False)
class Shard:
    """One shard, checked when it was opened. It keeps no file open; `frames` maps the file."""

    path: Path
    feature_id: str
    settings: FeatureSettings
    index: int
    count: int
    engine: Engine | None  # what computed the rows; None: unknown, an earlier version wrote it
    utterances: tuple[StoredUtterance, ...]
    refusals: tuple[Refusal, ...]
    rows: int
    offset: int | None  # byte of the file at which the frames begin; None without frames

    @classmethod
    def open(cls, path: Path) -> "Shard":
        """Check everything except the checksums; an InputError says what is wrong."""
        with open_file(path) as file:
            settings = FeatureSettings.model_validate_json(read_string_attribute(file, "settings"))
            index = int(file.attrs["index"])
            utterances = _read_utterances(path, file, index)
            frames = file["frames"]
            _require_mappable(path, frames, settings, utterances[-1].stop if utterances else 0)
            if settings.storage == "uint8":
                _read_uint8_scales(path, file, utterances)
            return cls(
                path=path,
                feature_id=read_string_attribute(file, "feature_id"),
                settings=settings,
                index=index,
                count=int(file.attrs["count"]),
                engine=_read_engine(path, file),
                utterances=utterances,
                refusals=tuple(
                    map(
                        Refusal, *read_string_datasets(file["refusals"], "utterance_ids", "reasons")
                    )
                ),
                rows=len(frames),
                offset=frames.id.get_offset(),
            )

    def reader(self) -> RowReader:
        """Return a function of (start, stop) that gives these rows: a view, or decoded rows."""
        frames = self.frames
        if self.settings.storage != "uint8":
            return lambda start, stop: frames[start:stop]
        with open_file(self.path) as file:
            scales = _read_uint8_scales(self.path, file, self.utterances)
        return lambda start, stop: scales.decode(frames[start:stop], start)

    @property
    def frames(self) -> Shaped[np.ndarray, "N F"]:
        """All rows as they are stored, read-only. Each call maps the file again."""
        shape, dtype = (self.rows, self.settings.bins), np.dtype(self.settings.storage)
        if self.offset is None:
            return np.empty(shape, dtype)
        mapped = np.memmap(self.path, dtype.newbyteorder("<"), "r", self.offset, shape)
        return mapped.view(np.ndarray)

    @property
    def statistics(self) -> Statistics:
        """Statistics of the training rows."""
        with open_file(self.path) as file:
            return _read_statistics_group(file)


def write_statistics(path: Path, feature_id: str, statistics: Statistics) -> None:
    """Write the statistics of all shards together, a file of its own."""
    with create_file(path) as file:
        _write_statistics_group(file, statistics)
        mark_complete(file, feature_id=feature_id)


def read_statistics(path: Path, feature_id: str) -> Statistics:
    with open_file(path) as file:
        if (found := read_string_attribute(file, "feature_id")) != feature_id:
            raise InputError(f"{path}: belongs to {found}, not {feature_id}")
        return _read_statistics_group(file)


def _write_statistics_group(file: File, statistics: Statistics) -> None:
    write_dataset(file, "statistics/count", np.array(statistics.count, "<i8"))
    write_dataset(file, "statistics/mean", statistics.mean.astype("<f8"))
    write_dataset(file, "statistics/comoment", statistics.comoment.astype("<f8"))


def _read_statistics_group(file: File) -> Statistics:
    group = file["statistics"]
    return Statistics(int(group["count"][()]), group["mean"][()], group["comoment"][()])


def _read_engine(path: Path, file: File) -> Engine | None:
    if "engine" not in file.attrs:
        return None
    for engine in ENGINES:
        if engine == (name := read_string_attribute(file, "engine")):
            return engine
    raise InputError(f"{path}: engine {name!r}; this program knows {', '.join(ENGINES)}")


def _read_utterances(path: Path, file: File, shard: int) -> tuple[StoredUtterance, ...]:
    offsets = file["offsets"][()]
    columns = read_string_datasets(file, "utterance_ids", "transcripts", "speakers", "splits")
    same_length = all(len(column) == len(offsets) - 1 for column in columns)
    if not same_length or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise InputError(f"{path}: offsets and utterances do not fit together; {REBUILD_HINT}")
    rows = zip(*columns, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    return tuple(
        StoredUtterance(name, transcript, speaker, split, shard, start, stop)
        for name, transcript, speaker, split, start, stop in rows
    )


def _read_uint8_scales(
    path: Path, file: File, utterances: Sequence[StoredUtterance]
) -> encoding.UInt8Scales:
    edges = encoding.piece_edges([0, *(utterance.stop for utterance in utterances)])
    low, step = (file["code"][name][()] for name in ("low", "step"))
    shape, dtypes = (len(edges) - 1, file["frames"].shape[1]), {low.dtype.str, step.dtype.str}
    if (low.shape, step.shape, dtypes) != (shape, shape, {"<f4"}):
        raise InputError(f"{path}: codes and scales do not fit together; {REBUILD_HINT}")
    return encoding.UInt8Scales(edges, low, step)


def _require_mappable(
    path: Path, frames: Dataset, settings: FeatureSettings, row_count: int
) -> None:
    """Check shape, type and offset of `frames`, so that they can be mapped without HDF5.

    HDF5 itself refuses a dataset that goes beyond the end of the file.
    """
    wanted = ((row_count, settings.bins), np.dtype(settings.storage).newbyteorder("<"))
    if (frames.shape, frames.dtype) != wanted:
        raise InputError(
            f"{path}: frames are {frames.shape} {frames.dtype}, not {wanted}; {REBUILD_HINT}"
        )
    offset = frames.id.get_offset()  # None for chunks and filters
    if frames.size and (offset is None or offset % ALIGNMENT_BYTES):
        raise InputError(f"{path}: frames are not contiguous and aligned; {REBUILD_HINT}")
