"""HDF5: files whose datasets carry their checksums. The only module that imports h5py.

In:   a path; arrays and attributes by their names.
Out:  a whole file or none; the content of a file, checked.
Not here: which datasets make a shard (shards.py).

The checksum is CRC-32: it must find a flipped bit, not an attack, and SHA-256 takes ten times as
long.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import h5py
import numpy as np
from pydantic import ValidationError
from zlib_ng.zlib_ng import crc32

from pipeline.files import InputError, atomic_write

File: TypeAlias = h5py.File
Dataset: TypeAlias = h5py.Dataset
Group: TypeAlias = h5py.Group

SHARD_FORMAT_VERSION: Final = 1
ALIGNMENT_BYTES = 64  # a cache line
CHECKSUM_BLOCK_ROWS = 4096  # rows read at a time to compute a checksum
# The range of HDF5 formats is fixed, so that older libraries can read what newer ones write.
FILE_OPTIONS: Mapping[str, Any] = {
    "libver": ("v110", "v110"),
    "alignment_interval": ALIGNMENT_BYTES,
    "locking": False,
}
REBUILD_HINT = "run make features again to rebuild it"


@contextmanager
def create_file(path: Path) -> Iterator[File]:
    """Yield an open file; it appears at `path` when the block ends without an error."""
    with atomic_write(path, durable=False) as partial:
        try:
            with File(partial, "x", **FILE_OPTIONS) as file:
                yield file
        except RuntimeError as error:
            # On a full disk closing may fail too, and its error then hides the first one.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def mark_complete(file: File, **attributes: str | int) -> None:
    """Write the root attributes. They come last: a file without them is incomplete."""
    for name, value in {**attributes, "version": SHARD_FORMAT_VERSION, "complete": True}.items():
        # A string of fixed length, because HDF5's heap has no checksum (see FORMAT.md).
        file.attrs[name] = np.bytes_(value, "utf-8") if isinstance(value, str) else value


def write_dataset(file: File, name: str, value: np.ndarray) -> None:
    dataset = file.create_dataset(name, data=value, track_times=False)
    write_checksum(dataset, crc32(value.tobytes()))


def create_dataset(file: File, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Dataset:
    """Create an empty dataset; its rows and its checksum are written later.

    No times are stored, so that the same content gives the same bytes.
    """
    return file.create_dataset(name, shape, dtype, track_times=False)


def write_checksum(dataset: Dataset, checksum: int) -> None:
    """Store the checksum of a dataset that is written, and flush the dataset.

    HDF5 buffers small writes until a dataset is closed, and a failure there, as on a full disk, is
    not reported: a shard with zeros at its end would count as whole.
    """
    dataset.attrs["crc32"] = np.uint32(checksum)
    dataset.flush()


# What h5py, pydantic and Python raise for files whose parts are missing or of another type.
DAMAGE_ERRORS = (
    OSError,
    KeyError,
    IndexError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
)


@contextmanager
def open_file(path: Path) -> Iterator[File]:
    """Yield the file, open for reading. An InputError names what is wrong with it in one line."""
    try:
        with File(path, "r", locking=False) as file:
            if (version := file.attrs["version"]) != SHARD_FORMAT_VERSION:
                raise InputError(
                    f"{path}: version {version}; this program reads version {SHARD_FORMAT_VERSION}"
                )
            if not file.attrs["complete"]:
                raise InputError(f"{path}: is incomplete; {REBUILD_HINT}")
            yield file
    except FileNotFoundError:
        raise InputError(f"{path}: no such shard; {REBUILD_HINT}") from None
    except InputError:
        raise
    except DAMAGE_ERRORS as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number else "truncated or damaged"
        reason = " ".join(str(error).split()) if isinstance(error, ValidationError) else reason
        raise InputError(f"{path}: is not a whole shard ({reason}); {REBUILD_HINT}") from None


def fixed_length_strings(values: Sequence[str]) -> np.ndarray:
    """Encode texts as UTF-8, padded with NUL to the length of the longest one."""
    encoded = [value.encode() for value in values]
    return np.array(encoded, h5py.string_dtype("utf-8", max(map(len, [b"1", *encoded]))))


def read_string_datasets(group: Group, *names: str) -> list[list[str]]:
    return [[value.decode() for value in group[name][()].tolist()] for name in names]


def read_string_attribute(file: File, name: str) -> str:
    """Return a text attribute; shards written before fixed lengths have it as a `str`."""
    value = file.attrs[name]
    return value.decode() if isinstance(value, bytes) else str(value)


class DatasetInfo(NamedTuple):
    name: str
    shape: tuple[int, ...]
    dtype: str
    intact: bool  # the bytes match their checksum


def check_datasets(path: Path) -> list[DatasetInfo]:
    """Compare every dataset with its checksum."""
    with open_file(path) as file:
        names: list[str] = []
        file.visit(names.append)
        return [
            DatasetInfo(
                name,
                each.shape,
                str(each.dtype),
                _compute_crc32(each) == int(each.attrs["crc32"]),
            )
            for name in names
            if isinstance(each := file[name], h5py.Dataset)
        ]


def verify_file(path: Path) -> int:
    """Return the size of the file in bytes; raise an InputError if a checksum does not match."""
    if wrong := ", ".join(stored.name for stored in check_datasets(path) if not stored.intact):
        raise InputError(
            f"{path}: the bytes of {wrong} do not match their checksum; {REBUILD_HINT}"
        )
    return path.stat().st_size


def _compute_crc32(dataset: Dataset) -> int:
    if not dataset.ndim:
        return crc32(dataset[()].tobytes())
    checksum = 0
    for start in range(0, len(dataset), CHECKSUM_BLOCK_ROWS):
        checksum = crc32(dataset[start : start + CHECKSUM_BLOCK_ROWS].tobytes(), checksum)
    return checksum
