"""Row table: the rows of a run as columns, read fast and held small.

In:   a run folder, or rows.
Out:  a sequence of rows whose values are looked up in columns; the columns themselves.
Not here: what a row holds (runs/rows.py), the frame of results.csv (table.py).

A thousand runs have 300,000 rows of fifty values: as dictionaries they need two gigabytes.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
import pyarrow as pa
import pyarrow.json

from pipeline.runs.folder import RunFolder
from pipeline.runs.rows import ROW_COLUMNS, Row

_TYPES = {float: pa.float64(), int: pa.int64(), str: pa.string()}
SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in Row.__annotations__.items()])
_READ_OPTIONS = pa.json.ReadOptions(block_size=1 << 24)
_PARSE_OPTIONS = pa.json.ParseOptions(explicit_schema=SCHEMA, unexpected_field_behavior="error")

# Without parameters at run time: a type checker that looks at an item of each `Sequence[Row]` would
# call `__getitem__`, whose own arguments it checks again.
if TYPE_CHECKING:
    _Rows = Sequence[Row]
    _Values = Mapping[str, Any]
else:
    _Rows, _Values = Sequence, Mapping


class RowTable(_Rows):
    """Rows of a run; `table` has a null where a row has NaN."""

    def __init__(self, table: pa.Table, indices: np.ndarray | None = None) -> None:
        self.table = table
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
            whole = self.table.column(name).to_numpy()
            self._columns[name] = whole if self._indices is None else whole[self._indices]
        return self._columns[name]

    def split(self, name: str) -> "RowTable":
        """Return the rows of one split."""
        if name not in self._splits:
            self._splits[name] = RowTable(self.table, np.flatnonzero(self.column("split") == name))
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


def read_row_table(folder: RunFolder) -> RowTable:
    """Return the rows; InputError where the file is damaged or has other columns.

    A file that pyarrow does not take as it stands, for example because a value is infinite, is
    read line by line.
    """
    if not folder.rows_file.exists():
        return RowTable.of([])
    try:
        table = pa.json.read_json(
            folder.rows_file, read_options=_READ_OPTIONS, parse_options=_PARSE_OPTIONS
        )
        with folder.rows_file.open(encoding="utf-8") as file:
            columns = json.loads(file.readline()).keys()
    except (pa.ArrowInvalid, ValueError, AttributeError):
        return RowTable.of(folder.rows())
    # pyarrow fills a column that the file lacks with nulls; in numbers of events there are none.
    lacks = any(table.column(name).null_count for name in ROW_COLUMNS if not _may_be_null(name))
    if lacks or columns != set(ROW_COLUMNS):
        return RowTable.of(folder.rows())
    return RowTable(table)


def _may_be_null(name: str) -> bool:
    return bool(SCHEMA.field(name).type == pa.float64())
