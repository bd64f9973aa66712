"""The ledger: lines are only added, and a line that was cut off harms no other."""

from pathlib import Path

from jobs.sweep.folder import SweepFolder
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


def test_the_latest_task_of_an_item_counts_whichever_sweep_submitted_it(tmp_path: Path):
    first, second = SweepFolder(tmp_path, "first"), SweepFolder(tmp_path, "second")
    second.ledger.append([entry("2", "b")._replace(time=2.0)])
    first.ledger.append([entry("1", "a", "b"), entry("3", "a")._replace(time=3.0)])
    for folder in (first, second):
        assert {item: found.job for item, found in folder.latest().items()} == {"a": "3", "b": "2"}
        assert [found.job for found in folder.entries_by_item()["b"]] == ["1", "2"]


def test_a_line_that_was_cut_off_is_ignored_and_the_next_one_is_read(tmp_path: Path):
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
