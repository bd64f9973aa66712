"""The ledger: lines are only added, and half a line harms nothing."""

from pathlib import Path

from jobs.sweep.ledger import Ledger, LedgerEntry


def entry(job: str, *items: str) -> LedgerEntry:
    return LedgerEntry(
        time=1.0, scheduler="slurm", job=job, kind="runs", items=items, task="t.json", code="c"
    )


def test_what_is_appended_is_read_in_order(tmp_path: Path):
    ledger = Ledger(tmp_path / "sweep" / "ledger.jsonl")
    assert ledger.entries() == []
    ledger.append([entry("1_0", "a"), entry("1_1", "b")])
    ledger.append([entry("2", "c")])
    assert ledger.entries() == [entry("1_0", "a"), entry("1_1", "b"), entry("2", "c")]


def test_the_latest_task_of_an_item_counts(tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append([entry("1", "a", "b"), entry("2", "b")])
    assert {item: found.job for item, found in ledger.latest().items()} == {"a": "1", "b": "2"}


def test_half_a_line_is_ignored_and_does_not_swallow_the_next(tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append([entry("1", "a"), entry("2", "b")])
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole[:-7])  # killed while writing
    ledger.append([entry("3", "c")])
    assert [found.job for found in ledger.entries()] == ["1", "3"]


def test_two_ledgers_of_one_file_lose_nothing(tmp_path: Path):
    first, second = Ledger(tmp_path / "ledger.jsonl"), Ledger(tmp_path / "ledger.jsonl")
    first.append([entry("1", "a")])
    second.append([entry("2", "b")])
    first.append([entry("3", "c")])
    assert [found.job for found in second.entries()] == ["1", "2", "3"]
