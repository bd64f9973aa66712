"""Shards: frames on disk. The only home of HDF5.

In:   blocks of rows, the utterances they belong to.   Out: one file per slice; its rows.
Not here: computing rows (spectrum.py), what is kept of them (storage.py), padding (training/).

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
CRC-32 because it must find a flipped bit, not an attacker: SHA-256 takes ten times as long.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import h5py
import numpy as np
from pydantic import ValidationError
from zlib_ng.zlib_ng import crc32

from pipeline.config import FeatureSettings
from pipeline.corpus.manifest import Refusal
from pipeline.features import storage
from pipeline.features.statistics import Multiple, Part, Statistics
from pipeline.files import InputError, replacing
from pipeline.shapes import Float, Shaped

VERSION: Final = 1
ALIGNMENT = 64  # bytes: a cache line
ROWS_READ = 4096  # at a time, when they are checked
# A fixed range of formats, so that a newer library writes what an older one reads.
V110 = ("v110", "v110")
LAYOUT: Mapping[str, Any] = {"libver": V110, "alignment_interval": ALIGNMENT, "locking": False}
Reader = Callable[[int, int], Float[np.ndarray, "T F"]]
AGAIN = "run make features again, which writes it anew"


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
def writing_shard(
    path: Path,
    *,
    feature_id: str,
    settings: FeatureSettings,
    index: int,
    count: int,
    utterances: Sequence[StoredUtterance],
    refusals: Sequence[Refusal] = (),
    part: Part | Multiple | None = None,
) -> Iterator[Callable[[Float[np.ndarray, "T F"]], None]]:
    """Yield the function that appends rows; the file appears when all rows are there."""
    offsets = [0, *(utterance.stop for utterance in utterances)]
    with _creating(path) as file:
        _write(file, "offsets", np.array(offsets, "<i8"))
        _write(file, "utterance_ids", _fixed([utterance.id for utterance in utterances]))
        _write(file, "transcripts", _fixed([utterance.transcript for utterance in utterances]))
        _write(file, "speakers", _fixed([utterance.speaker for utterance in utterances]))
        _write(file, "splits", _fixed([utterance.split for utterance in utterances]))
        _write(file, "refusals/utterance_ids", _fixed([each.utterance for each in refusals]))
        _write(file, "refusals/reasons", _fixed([each.reason for each in refusals]))
        shape = (offsets[-1], settings.bins)
        dataset = file.create_dataset("frames", shape, np.dtype(settings.storage).newbyteorder("<"))
        training = [utterance.split == "train" for utterance in utterances]
        rows = storage.Rows(dataset, settings, offsets, training, part)
        yield rows.append
        dataset.attrs["crc32"] = np.uint32(rows.finish())
        for name, scale in rows.scales.items():
            _write(file, f"code/{name}", scale)
        _write_statistics(file, rows.statistics)
        file.attrs["settings"] = np.bytes_(settings.model_dump_json(), "utf-8")
        own = np.bytes_(feature_id, "utf-8")
        file.attrs.update(version=VERSION, feature_id=own, index=index, count=count, complete=True)


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
        with _reading(path) as file:
            settings = FeatureSettings.model_validate_json(_text(file, "settings"))
            index = int(file.attrs["index"])
            utterances = _read_utterances(path, file, index)
            frames = file["frames"]
            _require_mappable(path, frames, settings, utterances[-1].stop if utterances else 0)
            if settings.storage == "uint8":
                _read_code(path, file, utterances)
            return cls(
                path=path,
                feature_id=_text(file, "feature_id"),
                settings=settings,
                index=index,
                count=int(file.attrs["count"]),
                utterances=utterances,
                refusals=tuple(map(Refusal, *_texts(file["refusals"], "utterance_ids", "reasons"))),
                rows=len(frames),
                offset=frames.id.get_offset(),
            )

    def reader(self) -> Reader:
        """Rows by their numbers, from `start` to `stop`: views of the mapped file, or decoded."""
        frames = self.frames
        if self.settings.storage != "uint8":
            return lambda start, stop: frames[start:stop]
        with _reading(self.path) as file:
            code = _read_code(self.path, file, self.utterances)
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
        with _reading(self.path) as file:
            return _read_statistics(file)


class Stored(NamedTuple):
    name: str
    shape: tuple[int, ...]
    dtype: str
    whole: bool  # its bytes are those that were written


def contents(path: Path) -> list[Stored]:
    """Every dataset, compared with its checksum."""
    with _reading(path) as file:
        names: list[str] = []
        file.visit(names.append)
        return [
            Stored(name, each.shape, str(each.dtype), _crc32(each) == each.attrs["crc32"])
            for name in names
            if isinstance(each := file[name], h5py.Dataset)
        ]


def verify(path: Path) -> int:
    """The bytes that were compared with their checksums, if none differs."""
    if wrong := ", ".join(stored.name for stored in contents(path) if not stored.whole):
        raise InputError(f"{path}: the bytes of {wrong} are not those written; {AGAIN}")
    return path.stat().st_size


def write_statistics(path: Path, feature_id: str, statistics: Statistics) -> None:
    """A file of its own, for the sum over all shards."""
    with _creating(path) as file:
        _write_statistics(file, statistics)
        file.attrs.update(version=VERSION, feature_id=np.bytes_(feature_id, "utf-8"), complete=True)


def read_statistics(path: Path, feature_id: str) -> Statistics:
    with _reading(path) as file:
        if (found := _text(file, "feature_id")) != feature_id:
            raise InputError(f"{path}: belongs to {found}, not {feature_id}")
        return _read_statistics(file)


def _write_statistics(file: h5py.File, statistics: Statistics) -> None:
    _write(file, "statistics/count", np.array(statistics.count, "<i8"))
    _write(file, "statistics/mean", statistics.mean.astype("<f8"))
    _write(file, "statistics/comoment", statistics.comoment.astype("<f8"))


def _read_statistics(file: h5py.File) -> Statistics:
    group = file["statistics"]
    return Statistics(int(group["count"][()]), group["mean"][()], group["comoment"][()])


def _write(file: h5py.File, name: str, value: np.ndarray) -> None:
    dataset = file.create_dataset(name, data=value)
    dataset.attrs["crc32"] = np.uint32(crc32(value.tobytes()))


def _read_utterances(path: Path, file: h5py.File, shard: int) -> tuple[StoredUtterance, ...]:
    offsets = file["offsets"][()]
    columns = _texts(file, "utterance_ids", "transcripts", "speakers", "splits")
    even = all(len(column) == len(offsets) - 1 for column in columns)
    if not even or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise InputError(f"{path}: offsets and utterances disagree; {AGAIN}")
    rows = zip(*columns, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    return tuple(
        StoredUtterance(name, transcript, speaker, split, shard, start, stop)
        for name, transcript, speaker, split, start, stop in rows
    )


def _read_code(path: Path, file: h5py.File, rows: Sequence[StoredUtterance]) -> storage.Code:
    edges = storage.pieces([0, *(utterance.stop for utterance in rows)])
    low, step = (file["code"][name][()] for name in ("low", "step"))
    shape, kinds = (len(edges) - 1, file["frames"].shape[1]), {low.dtype.str, step.dtype.str}
    if (low.shape, step.shape, kinds) != (shape, shape, {"<f4"}):
        raise InputError(f"{path}: 8-bit codes and their scales disagree; {AGAIN}")
    return storage.Code(edges, low, step)


def _require_mappable(
    path: Path, frames: h5py.Dataset, settings: FeatureSettings, rows: int
) -> None:
    """HDF5 refuses to open a truncated file; what is left is that mapping gives what it says."""
    wanted = ((rows, settings.bins), np.dtype(settings.storage).newbyteorder("<"))
    if (frames.shape, frames.dtype) != wanted:
        raise InputError(f"{path}: frames are {frames.shape} {frames.dtype}, not {wanted}; {AGAIN}")
    offset = frames.id.get_offset()
    stored = offset is not None and offset % ALIGNMENT == 0
    end = (offset or 0) + frames.size * frames.dtype.itemsize
    if frames.size and (not stored or end > path.stat().st_size):
        raise InputError(f"{path}: frames are not contiguous, aligned and whole; {AGAIN}")


def _fixed(texts: Sequence[str]) -> np.ndarray:
    """Texts as UTF-8 of the longest one's length."""
    encoded = [text.encode() for text in texts]
    return np.array(encoded, h5py.string_dtype("utf-8", max(map(len, [b"1", *encoded]))))


def _texts(group: h5py.Group, *names: str) -> list[list[str]]:
    return [[text.decode() for text in group[name][()].tolist()] for name in names]


def _text(file: h5py.File, name: str) -> str:
    """Earlier files have it in HDF5's heap, whose damage no checksum tells and reading may hang."""
    text = file.attrs[name]
    return text.decode() if isinstance(text, bytes) else str(text)


def _crc32(dataset: h5py.Dataset) -> int:
    if not dataset.ndim:
        return crc32(dataset[()].tobytes())
    checksum = 0
    for start in range(0, len(dataset), ROWS_READ):
        checksum = crc32(dataset[start : start + ROWS_READ].tobytes(), checksum)
    return checksum


@contextmanager
def _creating(path: Path) -> Iterator[h5py.File]:
    with replacing(path, durable=False) as partial:  # half a file is found, and made again
        try:
            with h5py.File(partial, "x", **LAYOUT) as file:
                yield file
        except RuntimeError as error:
            # On a full disk closing may fail as well, and HDF5 then hides the reason behind it.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


@contextmanager
def _reading(path: Path) -> Iterator[h5py.File]:
    """The open file, of a version we know and complete; what is wrong with it in one line."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if (version := file.attrs["version"]) != VERSION:
                raise InputError(f"{path}: version {version}; this program reads version {VERSION}")
            if not file.attrs["complete"]:
                raise InputError(f"{path}: was not completed; {AGAIN}")
            yield file
    except FileNotFoundError:
        raise InputError(f"{path}: no such shard; {AGAIN}") from None
    except (OSError, KeyError, RuntimeError, UnicodeError, ValidationError) as error:
        number = getattr(error, "errno", None)
        said = os.strerror(number) if number else "cut short or damaged"
        said = " ".join(str(error).split()) if isinstance(error, ValidationError) else said
        raise InputError(f"{path}: is not a whole shard ({said}); {AGAIN}") from None
