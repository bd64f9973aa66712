"""HDF5: files whose datasets carry their checksums. The only home of h5py.

In:   a path; arrays and attributes by their names.   Out: a whole file, or none; what one holds.
Not here: which datasets make a shard (shards.py).

CRC-32 because it must find a flipped bit, not an attacker: SHA-256 takes ten times as long.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import h5py
import numpy as np
from h5py import h5a, h5d, h5p, h5s, h5t
from pydantic import ValidationError
from zlib_ng.zlib_ng import crc32

from pipeline.files import InputError, atomic_write

File: TypeAlias = h5py.File
Dataset: TypeAlias = h5py.Dataset
Group: TypeAlias = h5py.Group

SHARD_FORMAT_VERSION: Final = 1
ALIGNMENT_BYTES = 64  # bytes: a cache line
CHECKSUM_BLOCK_ROWS = 4096  # at a time, when they are checked
# A fixed range of formats, so that a newer library writes what an older one reads.
LIBVER_BOUNDS = ("v110", "v110")
FILE_OPTIONS: Mapping[str, Any] = {
    "libver": LIBVER_BOUNDS,
    "alignment_interval": ALIGNMENT_BYTES,
    "locking": False,
}
# Datasets and attributes are created as HDF5 itself does: h5py takes twice as long, and a shard has
# a dozen of each.
DATASET_PROPERTIES, LINK_PROPERTIES = h5p.create(h5p.DATASET_CREATE), h5p.create(h5p.LINK_CREATE)
DATASET_PROPERTIES.set_obj_track_times(False)
LINK_PROPERTIES.set_create_intermediate_group(True)
REBUILD_HINT = "run make features again, which writes it anew"


@contextmanager
def create_file(path: Path) -> Iterator[File]:
    with atomic_write(path, durable=False) as partial:  # half a file is found, and made again
        try:
            with File(partial, "x", **FILE_OPTIONS) as file:
                yield file
        except RuntimeError as error:
            # On a full disk closing may fail as well, and HDF5 then hides the reason behind it.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def mark_complete(file: File, **attributes: str | int) -> None:
    """The last to be written, so that a file without them is half a one."""
    for name, value in {**attributes, "version": SHARD_FORMAT_VERSION, "complete": True}.items():
        _write_attribute(file, name, np.bytes_(value, "utf-8") if isinstance(value, str) else value)


def write_dataset(file: File, name: str, value: np.ndarray) -> None:
    dataset = create_dataset(file, name, value.shape, value.dtype)
    dataset.id.write(h5s.ALL, h5s.ALL, np.asarray(value, order="C"))
    write_checksum(dataset, crc32(value.tobytes()))


def create_dataset(file: File, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Dataset:
    """A dataset for what comes in parts, and its checksum at the end."""
    stored, space = h5t.py_create(dtype, logical=True), h5s.create_simple(shape)
    return Dataset(
        h5d.create(file.id, name.encode(), stored, space, DATASET_PROPERTIES, LINK_PROPERTIES)
    )


def write_checksum(dataset: Dataset, checksum: int) -> None:
    _write_attribute(dataset, "crc32", np.uint32(checksum))


def _write_attribute(owner: File | Dataset, name: str, value: object) -> None:
    array = np.asarray(value)
    stored = h5t.py_create(array.dtype, logical=True)
    h5a.create(owner.id, name.encode(), stored, h5s.create(h5s.SCALAR)).write(array)


@contextmanager
def open_file(path: Path) -> Iterator[File]:
    """The open file, of a version we know and complete; what is wrong with it in one line."""
    try:
        with File(path, "r", locking=False) as file:
            if (version := file.attrs["version"]) != SHARD_FORMAT_VERSION:
                raise InputError(
                    f"{path}: version {version}; this program reads version {SHARD_FORMAT_VERSION}"
                )
            if not file.attrs["complete"]:
                raise InputError(f"{path}: was not completed; {REBUILD_HINT}")
            yield file
    except FileNotFoundError:
        raise InputError(f"{path}: no such shard; {REBUILD_HINT}") from None
    except (OSError, KeyError, RuntimeError, UnicodeError, ValidationError) as error:
        number = getattr(error, "errno", None)
        said = os.strerror(number) if number else "cut short or damaged"
        said = " ".join(str(error).split()) if isinstance(error, ValidationError) else said
        raise InputError(f"{path}: is not a whole shard ({said}); {REBUILD_HINT}") from None


def fixed_length_strings(values: Sequence[str]) -> np.ndarray:
    """Texts as UTF-8 of the longest one's length."""
    encoded = [value.encode() for value in values]
    return np.array(encoded, h5py.string_dtype("utf-8", max(map(len, [b"1", *encoded]))))


def read_string_datasets(group: Group, *names: str) -> list[list[str]]:
    return [[value.decode() for value in group[name][()].tolist()] for name in names]


def read_string_attribute(file: File, name: str) -> str:
    """Earlier files have it in HDF5's heap, whose damage no checksum tells and reading may hang."""
    said = file.attrs[name]
    return said.decode() if isinstance(said, bytes) else str(said)


class DatasetInfo(NamedTuple):
    name: str
    shape: tuple[int, ...]
    dtype: str
    intact: bool  # its bytes are those that were written


def check_datasets(path: Path) -> list[DatasetInfo]:
    """Every dataset, compared with its checksum."""
    with open_file(path) as file:
        names: list[str] = []
        file.visit(names.append)
        return [
            DatasetInfo(
                name, each.shape, str(each.dtype), _compute_crc32(each) == each.attrs["crc32"]
            )
            for name in names
            if isinstance(each := file[name], h5py.Dataset)
        ]


def verify_file(path: Path) -> int:
    """The bytes that were compared with their checksums, if none differs."""
    if wrong := ", ".join(stored.name for stored in check_datasets(path) if not stored.intact):
        raise InputError(f"{path}: the bytes of {wrong} are not those written; {REBUILD_HINT}")
    return path.stat().st_size


def _compute_crc32(dataset: Dataset) -> int:
    if not dataset.ndim:
        return crc32(dataset[()].tobytes())
    checksum = 0
    for start in range(0, len(dataset), CHECKSUM_BLOCK_ROWS):
        checksum = crc32(dataset[start : start + CHECKSUM_BLOCK_ROWS].tobytes(), checksum)
    return checksum
