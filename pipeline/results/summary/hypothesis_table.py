"""Hypothesis table: the hypotheses of a run as columns, read fast; objects when they are needed.

In:   a run folder, or hypotheses.
Out:  a sequence of hypotheses, made when somebody asks for the first; the columns themselves.
Not here: what a hypothesis holds (runs/hypotheses.py), the rows of a run (row_table.py).

Python's csv holds Python's lock, so that threads that read several runs wait for each other.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, overload

import numpy as np
import pyarrow as pa
import pyarrow.csv

from pipeline.results.summary.row_table import SharedColumns, find_split
from pipeline.runs.folder import Hypothesis, RunFolder
from pipeline.runs.hypotheses import FIRST_COLUMNS

_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64()}
SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in Hypothesis.__annotations__.items()])
_COUNTS = [index for index, kind in enumerate(SCHEMA.types) if kind == pa.int64()]
_TEXTS = [index for index, kind in enumerate(SCHEMA.types) if kind == pa.string()]
_HEADERS = {  # of this version and of earlier ones
    ",".join(SCHEMA.names[:columns]).encode()
    for columns in range(FIRST_COLUMNS, len(SCHEMA.names) + 1)
}
# pyarrow reads a carriage return as another line end than Python, 0x10 as 16, nan(1) as NaN.
_READ_DIFFERENTLY = (b"\r", b"0x", b"0X", b"(")
# One thread per file: the files of a sweep are read by several (run_summary.py).
_READ_OPTIONS = pa.csv.ReadOptions(use_threads=False)
_PARSE_OPTIONS = pa.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
_CONVERT_OPTIONS = pa.csv.ConvertOptions(
    column_types=SCHEMA,
    null_values=[""],
    check_utf8=False,  # the whole file is decoded: its fields may be UTF-8 where it is not
    include_columns=SCHEMA.names,
    include_missing_columns=True,
)


UtteranceKey = tuple[str, str]  # id, reference: another reference is another utterance


# Without a parameter at run time: beartype, in the tests, would look at one of them.
if TYPE_CHECKING:
    Hypotheses = Sequence[Hypothesis]
else:
    Hypotheses = Sequence


class HypothesisTable(Hypotheses):
    """Hypotheses of a run; `table` has a null where the file has no speakers or no loss.

    Given a function instead of a table, it is called when the number of hypotheses or their content
    is first needed.
    """

    def __init__(
        self, table: pa.Table | Callable[[], pa.Table], indices: np.ndarray | None = None
    ) -> None:
        self._table = table
        self._indices = indices  # of the lines of `table`; None: all
        self._splits: dict[str, HypothesisTable] = {}

    @property
    def table(self) -> pa.Table:
        table = self._table  # once: another thread may replace the function by its result
        if callable(table):
            table = self._table = table()
        return table

    @classmethod
    def of(cls, hypotheses: Sequence[Hypothesis]) -> "HypothesisTable":
        if isinstance(hypotheses, HypothesisTable):
            return hypotheses
        columns = zip(*hypotheses, strict=True) if hypotheses else ((),) * len(SCHEMA.names)
        arrays = [pa.array(each, kind) for each, kind in zip(columns, SCHEMA.types, strict=True)]
        return cls(pa.table(arrays, schema=SCHEMA))

    def column(self, name: str) -> np.ndarray:
        """Return (U,) int64, float64 (nan: not measured) or str objects; KeyError if unknown."""
        whole: np.ndarray = self.table.column(name).to_numpy()
        return whole if self._indices is None else whole[self._indices]

    def texts(self, name: str) -> list[str]:
        """Return a column of texts, empty ones if the file has no such column."""
        return [text or "" for text in self.column(name).tolist()]

    def split(self, name: str) -> "HypothesisTable":
        """Return the hypotheses of one split."""
        if name not in self._splits:
            of_split = find_split(self.table, name, self._indices)
            self._splits[name] = HypothesisTable(self.table, of_split)
        return self._splits[name]

    def places(self) -> dict[UtteranceKey, int]:
        """Return where each utterance is; of equal ones the last."""
        keys = zip(self.texts("utterance_id"), self.texts("reference"), strict=True)
        return {key: place for place, key in enumerate(keys)}

    def take(self, places: Sequence[int]) -> "HypothesisTable":
        """Return the hypotheses at these places, in this order."""
        indices = np.array(places, np.int64)
        return HypothesisTable(
            self.table, indices if self._indices is None else self._indices[indices]
        )

    @classmethod
    def join(cls, parts: Sequence["HypothesisTable"]) -> "HypothesisTable":
        """Return the hypotheses of all parts, one part after another."""
        if len(parts) == 1:
            return parts[0]
        tables = [
            each.table if each._indices is None else each.table.take(each._indices)
            for each in parts
        ]
        return cls(pa.concat_tables(tables))

    @cached_property
    def _hypotheses(self) -> list[Hypothesis]:
        columns = [self.column(name).tolist() for name in SCHEMA.names]
        for index in _TEXTS:
            # The runs of a sweep decode the same utterances, many of them alike: interned, a text
            # is in memory once.
            columns[index] = [sys.intern(text or "") for text in columns[index]]
        *rest, losses = columns
        known = (math.nan if math.isnan(loss) else loss for loss in losses)  # one NaN for all
        return list(map(Hypothesis._make, zip(*rest, known, strict=True)))

    def __len__(self) -> int:
        return self.table.num_rows if self._indices is None else len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Hypothesis: ...
    @overload
    def __getitem__(self, index: slice) -> list[Hypothesis]: ...
    def __getitem__(self, index: int | slice) -> Hypothesis | list[Hypothesis]:
        return self._hypotheses[index]

    def __iter__(self) -> Iterator[Hypothesis]:
        return iter(self._hypotheses)


def read_hypothesis_table(
    folder: RunFolder, shared: SharedColumns | None = None
) -> HypothesisTable:
    """Return the hypotheses; ValueError where the file is damaged or has other columns.

    A file that pyarrow does not take as it stands is read by Python. `shared`: the columns of runs
    that were read before.
    """
    if not folder.hypotheses_file.exists():
        return HypothesisTable.of([])
    table = _parse(folder.hypotheses_file.read_bytes())
    if table is None:
        return HypothesisTable.of(folder.hypotheses())
    return HypothesisTable(shared.share(table) if shared else table)


def defer_hypothesis_table(
    folder: RunFolder, shared: SharedColumns | None = None
) -> HypothesisTable:
    """Return the hypotheses, whose file is read when they are first needed.

    Then an error of `read_hypothesis_table` is raised.
    """
    return HypothesisTable(lambda: read_hypothesis_table(folder, shared).table)


def _parse(content: bytes) -> pa.Table | None:
    """Return the table; None where Python might read something else or refuse the file."""
    header, _, _ = content.partition(b"\n")
    if header not in _HEADERS or any(each in content for each in _READ_DIFFERENTLY):
        return None
    try:
        content.decode()
        table = pa.csv.read_csv(
            pa.BufferReader(content), _READ_OPTIONS, _PARSE_OPTIONS, _CONVERT_OPTIONS
        )
    except (UnicodeDecodeError, pa.ArrowInvalid):
        return None
    return None if any(table.column(index).null_count for index in _COUNTS) else table
