"""The queue cache: one query for many status commands, and no old answer after a change."""

import json
import time

import pytest

from jobs.commands import status
from jobs.launch import submit
from jobs.slurm.client import QueuedJob
from jobs.slurm.sacct import JobAttempt
from jobs.sweep import queue_cache
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import SweepRecord

RUNS = [f"{number:012x}" for number in range(3)]
LINE = "{}|RUNNING|None|main|lab|normal|1700000000|x\n"


def entry(job: str, run: str) -> LedgerEntry:
    return LedgerEntry(
        time=1.0, scheduler="slurm", job=job, kind="runs", items=(run,), task="t", code="c"
    )


def get_queue(folder: SweepFolder, max_age_s: float = 30.0) -> Queue:
    return queue_cache.get_queue(folder, RUNS, max_age_s)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> SweepFolder:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    made = SweepFolder(tmp_path / "work", "spectrum")
    made.ledger.append([entry("12_0", RUNS[0]), entry("12_1", RUNS[1])])
    return made


@pytest.fixture
def squeue_calls(fake_slurm):
    """Return `squeue_calls()`: how often squeue was called."""
    squeue = fake_slurm("squeue", LINE.format("12_0"))
    fake_slurm("sacct", "12_1|TIMEOUT|3:15|node2|5|\n12_1.0|CANCELLED|0:15|node2|5|1M\n")
    return lambda: squeue.read_text().count("\n") if squeue.exists() else 0


def test_many_commands_share_one_query_and_get_its_whole_answer(folder, squeue_calls):
    queried, cached = get_queue(folder), get_queue(folder)
    assert squeue_calls() == 1
    for queue in (queried, cached):
        assert queue.jobs == {
            "12_0": QueuedJob(
                id="12_0",
                state="RUNNING",
                reason="",
                partition="main",
                account="lab",
                qos="normal",
                comment="x",
                starts=1_700_000_000.0,
            )
        }
        assert queue.attempts_by_job == {
            "12_1": [
                JobAttempt(
                    state="TIMEOUT",
                    code=3,
                    signal=15,
                    nodes="node2",
                    ended=5.0,
                    peak_bytes=2**20,
                )
            ]
        }
        assert queue.error_message == ""
    queue_cache.refresh_queue(folder, RUNS)
    assert squeue_calls() == 2


@pytest.mark.parametrize("seconds", [-100.0, 31.0])
def test_an_old_answer_and_one_from_the_future_are_replaced(folder, squeue_calls, seconds):
    get_queue(folder)
    file = folder.path / "answer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "time": time.time() - seconds}))
    get_queue(folder)
    assert squeue_calls() == 2


def test_an_answer_is_fresh_for_as_long_as_the_profile_says(
    folder, squeue_calls, tmp_path, monkeypatch
):
    monkeypatch.setattr(status, "load_record", lambda _: SweepRecord("a", "", "a.yaml", "", (), ()))
    monkeypatch.setattr(status.job_queue, "unfinished_items", lambda *_: RUNS)
    site = tmp_path / "site.yaml"
    place = {"sweep": "spectrum", "cluster": site, "work": folder.work}
    options = status.argparse.Namespace(**place, json=True, once=True, set=[])
    get_queue(folder)
    file = folder.path / "answer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "time": time.time() - 50}))
    site.write_text("scheduler: slurm\npoll_min_s: 100\n")
    for options.json in (True, False):
        status.status(options)
    assert squeue_calls() == 1
    site.write_text("scheduler: slurm\npoll_min_s: 40\n")
    status.status(options)
    assert squeue_calls() == 2


def test_a_job_that_was_submitted_since_then_is_queried(folder, squeue_calls):
    get_queue(folder)
    folder.ledger.append([entry("13", RUNS[2])])
    get_queue(folder)
    get_queue(folder)
    assert squeue_calls() == 2


@pytest.mark.parametrize("content", ["", "{}", '{"time": 1e18}', "[]"])
def test_a_file_that_cannot_be_read_is_ignored(folder, squeue_calls, content):
    (folder.path / "answer.json").write_text(content)
    get_queue(folder)
    assert squeue_calls() == 1


def test_the_answer_of_another_user_is_not_used_because_it_has_other_jobs(
    folder, squeue_calls, monkeypatch
):
    get_queue(folder)
    monkeypatch.setattr(queue_cache.getpass, "getuser", lambda: "another")
    get_queue(folder)
    assert squeue_calls() == 2


def test_a_submission_or_a_cancellation_deletes_the_kept_answer(folder, squeue_calls, fake_slurm):
    fake_slurm("scancel")
    get_queue(folder)
    with submit.submission_lock(folder):
        pass
    get_queue(folder)
    assert squeue_calls() == 2
    options = status.argparse.Namespace(
        sweep="spectrum", cluster=None, work=folder.work, set=[], removed=False
    )
    assert status.cancel(options) == 0
    assert squeue_calls() == 3
    get_queue(folder)
    assert squeue_calls() == 4


def test_an_error_is_kept_as_long_as_an_answer(folder, fake_slurm):
    squeue = fake_slurm("squeue", complains="Unable to contact slurm controller", code=1)
    for _ in range(2):
        queue = get_queue(folder)
        assert queue.jobs is None
        assert "Unable to contact" in queue.error_message
    assert squeue.read_text().count("\n") == 1


def test_nothing_is_queried_or_kept_if_no_job_matters(tmp_path, squeue_calls):
    folder = SweepFolder(tmp_path / "work", "local")
    get_queue(folder)
    assert squeue_calls() == 0
    assert not folder.path.exists()
