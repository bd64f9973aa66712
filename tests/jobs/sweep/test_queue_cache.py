"""Answers: one question for many looks, and none that is old for who acts."""

import json
import time

import pytest

from jobs.commands import status
from jobs.launch import orphan_jobs
from jobs.slurm.client import QueuedJob
from jobs.slurm.sacct import JobAttempt
from jobs.sweep import queue_cache
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import SweepRecord

RUNS = [f"{number:012x}" for number in range(3)]
LINE = "{}|RUNNING|None|main|lab|normal|N/A|x\n"


def entry(job: str, run: str) -> LedgerEntry:
    return LedgerEntry(
        time=1.0, scheduler="slurm", job=job, kind="runs", items=(run,), task="t", code="c"
    )


def recent(folder: SweepFolder, seconds: float = 30.0) -> Queue:
    return queue_cache.get_queue(folder, RUNS, seconds)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> SweepFolder:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    made = SweepFolder(tmp_path / "work", "spectrum")
    made.ledger.append([entry("12_0", RUNS[0]), entry("12_1", RUNS[1])])
    return made


@pytest.fixture
def squeue_calls(fake_slurm):
    """How often SLURM was asked."""
    squeue = fake_slurm("squeue", LINE.format("12_0"))
    fake_slurm("sacct", "12_1|TIMEOUT|0:15|node2|3|\n")
    return lambda: squeue.read_text().count("\n") if squeue.exists() else 0


def test_many_looks_are_one_question_and_all_have_its_answer(folder, squeue_calls):
    first, second = recent(folder), recent(folder)
    assert squeue_calls() == 1
    for queue in (first, second):
        assert queue.jobs["12_0"] == QueuedJob(
            "12_0", "RUNNING", "", *["main", "lab", "normal", "x"]
        )
        assert [life.state for life in queue.attempts_by_job["12_1"]] == ["TIMEOUT"]
        assert queue.attempts_by_job["12_1"] == [
            JobAttempt(**vars(first.attempts_by_job["12_1"][0]))
        ]
    queue_cache.refresh_queue(folder, RUNS)
    assert squeue_calls() == 2


@pytest.mark.parametrize("seconds", [-100.0, 31.0])
def test_an_old_answer_and_one_of_a_clock_ahead_are_asked_for_anew(folder, squeue_calls, seconds):
    recent(folder)
    file = folder.path / "answer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "time": time.time() - seconds}))
    recent(folder)
    assert squeue_calls() == 2


def test_an_answer_is_fresh_for_as_long_as_the_profile_says(
    folder, squeue_calls, tmp_path, monkeypatch
):
    monkeypatch.setattr(status, "load_record", lambda _: SweepRecord("a", "", "a.yaml", "", (), ()))
    monkeypatch.setattr(status.job_queue, "unfinished_items", lambda *_: RUNS)
    site = tmp_path / "site.yaml"
    place = {"sweep": "spectrum", "cluster": site, "work": folder.work}
    look = status.argparse.Namespace(**place, json=True, once=True, set=[])
    recent(folder)
    file = folder.path / "answer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "time": time.time() - 50}))
    site.write_text("scheduler: slurm\npoll_min_s: 100\n")
    for look.json in (True, False):
        status.status(look)
    assert squeue_calls() == 1
    site.write_text("scheduler: slurm\npoll_min_s: 40\n")
    status.status(look)
    assert squeue_calls() == 2


def test_a_job_that_was_submitted_since_is_asked_for(folder, squeue_calls):
    recent(folder)
    folder.ledger.append([entry("13", RUNS[2])])
    recent(folder)
    recent(folder)
    assert squeue_calls() == 2


@pytest.mark.parametrize("content", ["", "{}", '{"time": 1e18}', "[]"])
def test_a_file_that_cannot_be_read_is_no_answer(folder, squeue_calls, content):
    (folder.path / "answer.json").write_text(content)
    recent(folder)
    assert squeue_calls() == 1


def test_anothers_answer_is_not_taken_for_it_holds_the_jobs_of_another(
    folder, squeue_calls, monkeypatch
):
    recent(folder)
    monkeypatch.setattr(queue_cache.getpass, "getuser", lambda: "another")
    recent(folder)
    assert squeue_calls() == 2


def test_who_submits_or_cancels_leaves_no_old_answer(folder, squeue_calls, fake_slurm):
    fake_slurm("scancel")
    recent(folder)
    with orphan_jobs.submission_lock(folder):
        pass
    recent(folder)
    assert squeue_calls() == 2
    options = status.argparse.Namespace(sweep="spectrum", cluster=None, work=folder.work)
    assert status.cancel(options) == 0
    assert squeue_calls() == 3
    recent(folder)
    assert squeue_calls() == 4


def test_a_scheduler_that_is_down_is_left_alone_for_as_long(folder, fake_slurm):
    squeue = fake_slurm("squeue", complains="Unable to contact slurm controller", code=1)
    for _ in range(2):
        queue = recent(folder)
        assert queue.jobs is None
        assert "Unable to contact" in queue.error_message
    assert squeue.read_text().count("\n") == 1


def test_nothing_is_asked_or_kept_where_no_job_matters(tmp_path, squeue_calls):
    folder = SweepFolder(tmp_path / "work", "local")
    recent(folder)
    assert squeue_calls() == 0
    assert not folder.path.exists()
