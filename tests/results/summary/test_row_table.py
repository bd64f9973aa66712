"""Columns of several runs: the same values are in memory once, and other values are kept apart."""

import pyarrow as pa
import pytest

from pipeline.results.summary import row_table
from pipeline.results.summary.row_table import SharedColumns


def make_table(epochs: list[int | None], splits: list[str]) -> pa.Table:
    return pa.table({"epoch": pa.array(epochs, pa.int64()), "split": splits})


def test_a_column_with_the_values_of_an_earlier_one_is_that_one():
    shared = SharedColumns()
    one = shared.share(make_table([1, 2], ["dev", "test"]))
    other = shared.share(make_table([1, 3], ["dev", "test"]))
    addresses = [
        [column.chunk(0).buffers()[1].address for column in table.columns] for table in (one, other)
    ]
    assert [here == there for here, there in zip(*addresses, strict=True)] == [False, True]


@pytest.mark.parametrize(
    "other",
    [
        make_table([1, 3], ["dev", "test"]),
        make_table([1, None], ["dev", "test"]),
        make_table([1, 2], ["devt", "est"]),
        make_table([1], ["dev"]),
        make_table([], []),
    ],
)
def test_columns_whose_hash_is_the_same_by_chance_are_kept_apart(
    monkeypatch: pytest.MonkeyPatch, other: pa.Table
):
    monkeypatch.setattr(row_table, "hash", lambda content: 0, raising=False)
    shared, one = SharedColumns(), make_table([1, 2], ["dev", "test"])
    assert shared.share(one).equals(one)
    assert shared.share(other).equals(other)
