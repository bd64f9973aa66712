"""Shards: frames on disk.

In:   blocks of rows, the utterances they belong to.   Out: one file per slice; its rows.
Not here: HDF5 itself (hdf5.py), computing rows (spectrum.py), what is kept of them (storage.py),
padding (training/).

Shard format, version 1. One HDF5 file, little-endian; N rows, F bins, U utterances, R refusals.

    frames (N, F)        float16, float32 or uint8, which is a code of 8 bits
    code/low, code/step (P, F)  float32, beside uint8 only: in piece p a value is low + step * code;
                         the pieces: of each utterance 128 rows each, and what is left over
    offsets (U+1,)       int64: utterance u is rows offsets[u]:offsets[u+1]; 0 first, N last
    utterance_ids, transcripts, speakers, splits (U,)    UTF-8 of fixed length, padded with NUL
    statistics/count ()  int64: rows of the training split, which alone are counted
    statistics/mean (F,), statistics/comoment (F, F)     float64; comoment: sum (x-mean)(x-mean)';
                         of the float32 rows, before they were stored
    refusals/utterance_ids, refusals/reasons (R,)        UTF-8 of fixed length
    attributes of /      version = 1, feature_id, settings (JSON), index, count (of the shards),
                         complete = true; texts are of fixed length: HDF5's heap has no checksum
    attribute of each dataset: crc32, of its bytes

MUST: frames contiguous, at an offset divisible by 64 (readers map the file there and need neither
HDF5's lock nor an open handle). MUST: the same input gives the same bytes (no times are stored).
Forbidden: chunks, filters, external or virtual storage. Other names are ignored. Checked at opening
is all but the checksums, which `verify` checks. Not checked: that the values are finite.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
from pipeline.features.statistics import RunningCovariance, ScaledCovariance, Statistics
from pipeline.files import InputError
from pipeline.shapes import Float, Shaped

RowReader = Callable[[int, int], Float[np.ndarray, "T F"]]


@dataclass(frozen=True, slots=True)
class StoredUtterance:
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
    index: int,
    count: int,
    utterances: Sequence[StoredUtterance],
    refusals: Sequence[Refusal] = (),
    accumulator: RunningCovariance | ScaledCovariance | None = None,
) -> Iterator[Callable[[Float[np.ndarray, "T F"]], None]]:
    """Yield the function that appends rows; the file appears when all rows are there."""
    offsets = [0, *(utterance.stop for utterance in utterances)]
    with create_file(path) as file:
        write_dataset(file, "offsets", np.array(offsets, "<i8"))
        write_dataset(
            file, "utterance_ids", fixed_length_strings([utterance.id for utterance in utterances])
        )
        write_dataset(
            file,
            "transcripts",
            fixed_length_strings([utterance.transcript for utterance in utterances]),
        )
        write_dataset(
            file, "speakers", fixed_length_strings([utterance.speaker for utterance in utterances])
        )
        write_dataset(
            file, "splits", fixed_length_strings([utterance.split for utterance in utterances])
        )
        write_dataset(
            file,
            "refusals/utterance_ids",
            fixed_length_strings([each.utterance for each in refusals]),
        )
        write_dataset(
            file, "refusals/reasons", fixed_length_strings([each.reason for each in refusals])
        )
        shape = (offsets[-1], settings.bins)
        dtype = np.dtype(settings.storage).newbyteorder("<")
        dataset = create_dataset(file, "frames", shape, dtype)
        training = [utterance.split == "train" for utterance in utterances]
        rows = encoding.RowWriter(dataset, settings, offsets, training, accumulator)
        yield rows.append
        write_checksum(dataset, rows.finish())
        for name, scale in rows.scale_arrays.items():
            write_dataset(file, f"code/{name}", scale)
        _write_statistics_group(file, rows.statistics)
        said = settings.model_dump_json()
        mark_complete(file, settings=said, feature_id=feature_id, index=index, count=count)


@dataclass(frozen=True, eq=False)
class Shard:
    """One shard, checked; no file stays open but for the rows that somebody holds."""

    path: Path
    feature_id: str
    settings: FeatureSettings
    index: int
    count: int
    utterances: tuple[StoredUtterance, ...]
    refusals: tuple[Refusal, ...]
    rows: int
    offset: int | None  # of the frames in the file, bytes; None where there are none

    @classmethod
    def open(cls, path: Path) -> "Shard":
        """Check everything but the checksums; an InputError says what is wrong."""
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
        """Rows by their numbers, from `start` to `stop`: views of the mapped file, or decoded."""
        frames = self.frames
        if self.settings.storage != "uint8":
            return lambda start, stop: frames[start:stop]
        with open_file(self.path) as file:
            code = _read_uint8_scales(self.path, file, self.utterances)
        return lambda start, stop: code.decode(frames[start:stop], start)

    @property
    def frames(self) -> Shaped[np.ndarray, "N F"]:
        """All rows as they are stored, read-only: the file's own pages, mapped anew each time."""
        shape, dtype = (self.rows, self.settings.bins), np.dtype(self.settings.storage)
        if self.offset is None:
            return np.empty(shape, dtype)
        mapped = np.memmap(self.path, dtype.newbyteorder("<"), "r", self.offset, shape)
        return mapped.view(np.ndarray)

    @property
    def statistics(self) -> Statistics:
        """Of the rows of the training split."""
        with open_file(self.path) as file:
            return _read_statistics_group(file)


def write_statistics(path: Path, feature_id: str, statistics: Statistics) -> None:
    """A file of its own, for the sum over all shards."""
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


def _read_utterances(path: Path, file: File, shard: int) -> tuple[StoredUtterance, ...]:
    offsets = file["offsets"][()]
    columns = read_string_datasets(file, "utterance_ids", "transcripts", "speakers", "splits")
    even = all(len(column) == len(offsets) - 1 for column in columns)
    if not even or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise InputError(f"{path}: offsets and utterances disagree; {REBUILD_HINT}")
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
    shape, kinds = (len(edges) - 1, file["frames"].shape[1]), {low.dtype.str, step.dtype.str}
    if (low.shape, step.shape, kinds) != (shape, shape, {"<f4"}):
        raise InputError(f"{path}: 8-bit codes and their scales disagree; {REBUILD_HINT}")
    return encoding.UInt8Scales(edges, low, step)


def _require_mappable(
    path: Path, frames: Dataset, settings: FeatureSettings, row_count: int
) -> None:
    """HDF5 refuses to open a truncated file; what is left is that mapping gives what it says."""
    wanted = ((row_count, settings.bins), np.dtype(settings.storage).newbyteorder("<"))
    if (frames.shape, frames.dtype) != wanted:
        raise InputError(
            f"{path}: frames are {frames.shape} {frames.dtype}, not {wanted}; {REBUILD_HINT}"
        )
    offset = frames.id.get_offset()
    stored = offset is not None and offset % ALIGNMENT_BYTES == 0
    end = (offset or 0) + frames.size * frames.dtype.itemsize
    if frames.size and (not stored or end > path.stat().st_size):
        raise InputError(f"{path}: frames are not contiguous, aligned and whole; {REBUILD_HINT}")
