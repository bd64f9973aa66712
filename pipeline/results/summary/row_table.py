"""Row table: the rows of a run as columns, read fast and held small.

In:   a run folder, or rows.
Out:  a sequence of rows whose values are looked up in columns; the columns themselves; a copy of
      them in the folder of a finished run, because lines of JSON take long to read.
Not here: what a row holds (runs/rows.py), the frame of results.csv (table.py).

A thousand runs have 300,000 rows of fifty values: as dictionaries they need two gigabytes.
"""

import hashlib
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from pipeline.files import write_bytes
from pipeline.runs.folder import RunFolder
from pipeline.runs.rows import ROW_COLUMNS, YOUNGER_COLUMNS, ColumnRows, Row

_TYPES = {float: pa.float64(), int: pa.int64(), str: pa.string()}
SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in Row.__annotations__.items()])
_NEVER_NULL = [index for index, kind in enumerate(SCHEMA.types) if kind != pa.float64()]
_MAY_LACK = {name for name in YOUNGER_COLUMNS if Row.__annotations__[name] is float}  # early rows
# One thread per file: the files of a sweep are read by several (run_summary.py).
_READ_OPTIONS = pa.json.ReadOptions(use_threads=False, block_size=1 << 20)
# Threads for the columns of one file take three times as long as none.
_STREAM_OPTIONS = pa.ipc.IpcReadOptions(use_threads=False)
_PARSE_OPTIONS = pa.json.ParseOptions(explicit_schema=SCHEMA, unexpected_field_behavior="error")

COLUMNS_FILE = "rows.arrow"
COPY_VERSION = b"1"  # another one where the same lines give other columns
DIGEST_BYTES = hashlib.sha256().digest_size

MOST_DIFFERENT = 64  # of the columns of runs, before they are no longer compared

# Without parameters at run time, as ColumnRows.
if TYPE_CHECKING:
    _Values = Mapping[str, Any]
else:
    _Values = Mapping


class RowTable(ColumnRows):
    """Rows of a run; `table` has a null where a row has NaN."""

    def __init__(
        self, table: pa.Table, indices: np.ndarray | None = None, only: str | None = None
    ) -> None:
        self.table = table
        self._only = only  # the split of all rows, if it is known
        self._indices = indices  # of the rows of `table`; None: all
        self._columns: dict[str, np.ndarray] = {}
        self._splits: dict[str, RowTable] = {}

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "RowTable":
        if isinstance(rows, RowTable):
            return rows
        known = [
            {
                name: None if isinstance(value, float) and math.isnan(value) else value
                for name, value in row.items()
            }
            for row in rows
        ]
        return cls(pa.Table.from_pylist(known, schema=SCHEMA))

    def column(self, name: str) -> np.ndarray:
        """Return (N,) int64, float64 (nan: not measured) or str objects; KeyError if unknown."""
        if name not in self._columns:
            column = self.table.column(name)
            if pa.types.is_string(column.type):  # few different ones
                whole = np.array([text and sys.intern(text) for text in column.to_pylist()], object)
            else:
                whole = column.to_numpy()
            self._columns[name] = whole if self._indices is None else whole[self._indices]
        return self._columns[name]

    def values(self, name: str) -> list[Any]:
        """Return the values of a column as Python objects."""
        return list(self.column(name).tolist())

    def split(self, name: str) -> "RowTable":
        """Return the rows of one split."""
        if name == self._only:
            return self
        if name not in self._splits:
            of_split = find_split(self.table, name, self._indices)
            self._splits[name] = RowTable(self.table, of_split, only=name)
        return self._splits[name]

    def __len__(self) -> int:
        return self.table.num_rows if self._indices is None else len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        return cast("Row", _RowView(self, range(len(self))[index]))

    def __iter__(self) -> Iterator[Row]:
        return (cast("Row", _RowView(self, index)) for index in range(len(self)))


def find_split(table: pa.Table, name: str, indices: np.ndarray | None) -> np.ndarray:
    """Return the indices, (N,) int64, of the lines of a split; `indices`: only among these."""
    of_split = np.flatnonzero(pc.equal(table.column("split"), name))
    return of_split if indices is None else np.intersect1d(indices, of_split)


class _RowView(_Values):
    """A row whose values are looked up when they are needed."""

    __slots__ = ("_index", "_rows")

    def __init__(self, rows: RowTable, index: int) -> None:
        self._rows, self._index = rows, index

    def __getitem__(self, name: str) -> Any:
        return self._rows.column(name).item(self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(ROW_COLUMNS)

    def __len__(self) -> int:
        return len(ROW_COLUMNS)


class SharedColumns:
    """Columns of several runs: those with the same values are in memory once.

    Runs of a sweep have the same epochs, reference lengths and unused columns. A column that was
    different in MOST_DIFFERENT runs one after another is a measurement, and no longer compared.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int], pa.Array] = {}
        self._different: defaultdict[int, int] = defaultdict(int)  # column -> runs in a row

    def share(self, table: pa.Table) -> pa.Table:
        """Return the table with each column that is known already replaced by the known one."""
        if not table.num_rows:
            return table
        (batch,) = table.combine_chunks().to_batches()
        columns = list(map(self._share, range(batch.num_columns), batch.columns))
        return pa.Table.from_arrays(columns, schema=table.schema)

    def _share(self, index: int, column: pa.Array) -> pa.Array:
        if self._different[index] >= MOST_DIFFERENT:
            return column
        # Python's hash, because hashlib would give up Python's lock for each column.
        content = hash(b"".join(map(memoryview, filter(None, column.buffers()))))
        known = self._known.setdefault((index, len(column), content), column)
        self._different[index] = self._different[index] + 1 if known is column else 0
        return known if known is column or known.equals(column) else column


def write_columns(folder: RunFolder) -> None:
    """Write the rows of a finished run once more, as an Arrow stream and a checksum.

    `read_row_table` uses this copy only with exactly the lines that it was made from.
    """
    lines_checksum = folder.rows_checksum  # before the lines are read: they may change meanwhile
    table, sink = read_row_table(folder).table, pa.BufferOutputStream()
    # Compressed, each column has memory of its own, and can be released or shared.
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, SCHEMA, options=options) as stream:
        stream.write_table(table.combine_chunks())
    columns = sink.getvalue().to_pybytes()
    write_bytes(folder.path / COLUMNS_FILE, columns + _columns_digest(lines_checksum, columns))


def _read_columns(folder: RunFolder) -> pa.Table | None:
    """Return what `write_columns` wrote; None if it is missing, damaged or of other lines."""
    try:
        content = (folder.path / COLUMNS_FILE).read_bytes()
        columns, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
        if digest != _columns_digest(folder.rows_checksum, columns):
            return None
        table = pa.ipc.open_stream(columns, options=_STREAM_OPTIONS).read_all()
    except (OSError, pa.ArrowException):  # the lines are read instead
        return None
    return table if table.schema.equals(SCHEMA) else None  # else of another version


def _columns_digest(lines_checksum: str, columns: bytes) -> bytes:
    return hashlib.sha256(COPY_VERSION + lines_checksum.encode() + columns).digest()


def read_row_table(folder: RunFolder, shared: SharedColumns | None = None) -> RowTable:
    """Return the rows; InputError where the file is damaged or has other columns.

    A file that pyarrow does not take as it stands, for example because a value is infinite, is
    read line by line. `shared`: the columns of runs that were read before.
    """
    if not folder.rows_file.exists():
        return RowTable.of([])
    if (copied := _read_columns(folder)) is not None:
        return RowTable(shared.share(copied) if shared else copied)
    content = folder.rows_file.read_bytes()
    try:
        table = pa.json.read_json(
            pa.BufferReader(content), read_options=_READ_OPTIONS, parse_options=_PARSE_OPTIONS
        )
        columns = json.loads(content[: content.find(b"\n")]).keys()
    except (pa.ArrowInvalid, ValueError, AttributeError):
        return RowTable.of(folder.rows())
    # pyarrow fills a column that the file lacks with nulls; in numbers of events there are none.
    lacks = any(table.column(index).null_count for index in _NEVER_NULL)
    if lacks or columns | _MAY_LACK != set(ROW_COLUMNS):
        return RowTable.of(folder.rows())
    return RowTable(shared.share(table) if shared else table)
