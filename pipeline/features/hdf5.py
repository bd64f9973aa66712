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

from pipeline.files import InputError, replacing

File: TypeAlias = h5py.File
Dataset: TypeAlias = h5py.Dataset
Group: TypeAlias = h5py.Group

VERSION: Final = 1
ALIGNMENT = 64  # bytes: a cache line
ROWS_READ = 4096  # at a time, when they are checked
# A fixed range of formats, so that a newer library writes what an older one reads.
V110 = ("v110", "v110")
LAYOUT: Mapping[str, Any] = {"libver": V110, "alignment_interval": ALIGNMENT, "locking": False}
# Datasets and attributes are created as HDF5 itself does: h5py takes twice as long, and a shard has
# a dozen of each.
TIMELESS, GROUPS = h5p.create(h5p.DATASET_CREATE), h5p.create(h5p.LINK_CREATE)
TIMELESS.set_obj_track_times(False)
GROUPS.set_create_intermediate_group(True)
AGAIN = "run make features again, which writes it anew"


@contextmanager
def creating(path: Path) -> Iterator[File]:
    with replacing(path, durable=False) as partial:  # half a file is found, and made again
        try:
            with File(partial, "x", **LAYOUT) as file:
                yield file
        except RuntimeError as error:
            # On a full disk closing may fail as well, and HDF5 then hides the reason behind it.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def complete(file: File, **attributes: str | int) -> None:
    """The last to be written, so that a file without them is half a one."""
    for name, value in {**attributes, "version": VERSION, "complete": True}.items():
        _note(file, name, np.bytes_(value, "utf-8") if isinstance(value, str) else value)


def write(file: File, name: str, value: np.ndarray) -> None:
    dataset = reserve(file, name, value.shape, value.dtype)
    dataset.id.write(h5s.ALL, h5s.ALL, np.asarray(value, order="C"))
    note_checksum(dataset, crc32(value.tobytes()))


def reserve(file: File, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Dataset:
    """A dataset for what comes in parts, and its checksum at the end."""
    stored, space = h5t.py_create(dtype, logical=True), h5s.create_simple(shape)
    return Dataset(h5d.create(file.id, name.encode(), stored, space, TIMELESS, GROUPS))


def note_checksum(dataset: Dataset, checksum: int) -> None:
    _note(dataset, "crc32", np.uint32(checksum))


def _note(of: File | Dataset, name: str, value: object) -> None:
    array = np.asarray(value)
    stored = h5t.py_create(array.dtype, logical=True)
    h5a.create(of.id, name.encode(), stored, h5s.create(h5s.SCALAR)).write(array)


@contextmanager
def reading(path: Path) -> Iterator[File]:
    """The open file, of a version we know and complete; what is wrong with it in one line."""
    try:
        with File(path, "r", locking=False) as file:
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


def fixed(values: Sequence[str]) -> np.ndarray:
    """Texts as UTF-8 of the longest one's length."""
    encoded = [value.encode() for value in values]
    return np.array(encoded, h5py.string_dtype("utf-8", max(map(len, [b"1", *encoded]))))


def texts(group: Group, *names: str) -> list[list[str]]:
    return [[value.decode() for value in group[name][()].tolist()] for name in names]


def text(file: File, name: str) -> str:
    """Earlier files have it in HDF5's heap, whose damage no checksum tells and reading may hang."""
    said = file.attrs[name]
    return said.decode() if isinstance(said, bytes) else str(said)


class Stored(NamedTuple):
    name: str
    shape: tuple[int, ...]
    dtype: str
    whole: bool  # its bytes are those that were written


def contents(path: Path) -> list[Stored]:
    """Every dataset, compared with its checksum."""
    with reading(path) as file:
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


def _crc32(dataset: Dataset) -> int:
    if not dataset.ndim:
        return crc32(dataset[()].tobytes())
    checksum = 0
    for start in range(0, len(dataset), ROWS_READ):
        checksum = crc32(dataset[start : start + ROWS_READ].tobytes(), checksum)
    return checksum
