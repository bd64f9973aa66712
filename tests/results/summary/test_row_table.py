"""Columns of several runs: the same values are in memory once, and other values are kept apart."""

import pyarrow as pa
import pytest

from pipeline.results.summary import row_table
from pipeline.results.summary.row_table import MOST_DIFFERENT, SharedColumns


def make_table(epochs: list[int | None], splits: list[str]) -> pa.Table:
    return pa.table({"epoch": pa.array(epochs, pa.int64()), "split": splits})


def addresses_of(table: pa.Table) -> list[int]:
    return [column.chunk(0).buffers()[1].address for column in table.columns]


def test_a_column_with_the_values_of_an_earlier_one_is_that_one():
    shared = SharedColumns()
    one = shared.share(make_table([1, 2], ["dev", "test"]))
    other = shared.share(make_table([1, 3], ["dev", "test"]))
    addresses = zip(addresses_of(one), addresses_of(other), strict=True)
    assert [here == there for here, there in addresses] == [False, True]


def test_a_column_in_several_chunks_is_shared_too():
    shared, whole = SharedColumns(), make_table([1, 2, 3], ["train", "dev", "test"])
    first = shared.share(whole)
    other = shared.share(pa.concat_tables([whole.slice(0, 2), whole.slice(2)]))
    assert other.equals(whole)
    assert addresses_of(other) == addresses_of(first)


def test_a_column_that_is_different_in_each_run_is_no_longer_compared():
    shared = SharedColumns()
    first = shared.share(make_table([0, 0], ["dev", "test"]))
    for run in range(1, MOST_DIFFERENT):
        shared.share(make_table([run, run], ["dev", "test"]))
    last = shared.share(make_table([0, 0], ["dev", "test"]))
    assert last.equals(first)
    addresses = zip(addresses_of(first), addresses_of(last), strict=True)
    assert [here == there for here, there in addresses] == [False, True]


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
