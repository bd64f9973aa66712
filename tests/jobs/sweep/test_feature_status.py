"""Feature status: shards by name, and why shards are missing, from the job first, then SLURM."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from jobs.node.task_file import ReportTask
from jobs.slurm.client import QueuedJob
from jobs.slurm.sacct import JobAttempt
from jobs.sweep import feature_status, job_queue
from jobs.sweep.feature_status import ShardFailure
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import PlannedFeatures, SweepRecord
from pipeline.runs.folder import Failure

RECORD = SweepRecord(
    name="spectrum",
    question="",
    path="spectrum.yaml",
    digest="",
    runs=(),
    features=(PlannedFeatures("mel-0", "m.jsonl", 3, 60.0),),
)


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    made = SweepFolder(tmp_path, "spectrum")
    entry = LedgerEntry(
        time=0.0,
        scheduler="slurm",
        job="12_0",
        kind="features",
        items=("mel-0/0", "mel-0/2"),
        task="features-1.json",
        code="c",
        memory_gb=4.0,
    )
    made.ledger.append([entry])
    return made


def failures(folder: SweepFolder, *attempts: JobAttempt, queue=()) -> dict[str, ShardFailure]:
    (found,) = feature_status.feature_statuses(RECORD, folder)
    jobs = {job: QueuedJob(job, "RUNNING", "") for job in queue}
    return feature_status.shard_failures(
        found.missing, folder, Queue(jobs, {"12_0": attempts} if attempts else {})
    )


def test_shards_are_counted(folder):
    target = folder.features("mel-0")
    target.mkdir(parents=True)
    (target / "shard-00001-of-00003.h5").touch()
    (target / ".shard-00002-of-00003.h5.7.partial").touch()
    (found,) = feature_status.feature_statuses(RECORD, folder)
    assert (found.done, found.slices, found.missing) == (1, 3, ("mel-0/0", "mel-0/2"))


@pytest.mark.parametrize("traceback", ["Traceback (most recent call last): …", ""])
def test_the_failure_that_the_job_recorded_comes_before_the_state_in_slurm(folder, traceback):
    folder.tasks.mkdir(parents=True)
    failure = Failure(cause="disk full", message="No space left on device", traceback=traceback)
    (folder.tasks / "features-1.failure").write_text(json.dumps(asdict(failure)))
    found = failures(folder, JobAttempt("OUT_OF_MEMORY"))
    expected = ShardFailure("disk full", "No space left on device", has_traceback=traceback != "")
    assert found == {"mel-0/0": expected, "mel-0/2": expected}
    lines = ["features failed: disk full: No space left on device"]
    assert feature_status.feature_failure_lines(list(found.values())) == lines


@pytest.mark.parametrize(
    ("attempt", "cause"),
    [
        (JobAttempt("OUT_OF_MEMORY"), "out of memory"),
        (JobAttempt("TIMEOUT"), "timeout"),
        (JobAttempt("NODE_FAIL", nodes="node2"), "node failure"),
        (JobAttempt("FAILED", code=1), "code error"),
    ],
)
def test_a_job_that_slurm_killed_has_its_cause(folder, attempt, cause):
    failure = failures(folder, attempt)["mel-0/2"]
    assert (failure.cause, failure.has_traceback) == (cause, False)
    assert failure.nodes == ({"node2"} if cause == "node failure" else set())
    assert ("12_0_0_log.out" in failure.message) == (cause == "code error")


def test_a_job_that_is_queued_or_was_cancelled_has_not_failed(folder):
    assert failures(folder, JobAttempt("OUT_OF_MEMORY"), queue=["12_0"]) == {}
    assert failures(folder, JobAttempt("CANCELLED by 0")) == {}
    (found,) = feature_status.feature_statuses(RECORD, folder)
    assert feature_status.shard_failures(found.missing, folder, Queue(None)) == {}


@pytest.fixture
def report_job(folder) -> LedgerEntry:
    """Return the entry of a report job, submitted after the last page was written."""
    folder.reports.mkdir(parents=True)
    folder.report_file.touch()
    entry = LedgerEntry(
        time=folder.report_file.stat().st_mtime + 5,
        scheduler="slurm",
        job="14",
        kind="report",
        items=ReportTask(work="w", sweep="spectrum", commands=()).items,
        task="report-1.json",
        code="c",
        memory_gb=4.0,
    )
    folder.ledger.append([entry])
    return entry


@pytest.mark.parametrize(
    ("state", "cause", "advice"),
    [
        ("OUT_OF_MEMORY", "out of memory", "; raise report_memory_gb in the profile"),
        ("TIMEOUT", "timeout", "; raise report_minutes in the profile"),
        ("FAILED", "code error", ""),
    ],
)
def test_a_failed_report_job_is_printed_with_the_command_to_type(
    folder, report_job, state, cause, advice
):
    assert report_job.items[0] in job_queue.unfinished_items(RECORD, folder)  # so sacct is queried
    queue = Queue({}, {report_job.job: [JobAttempt(state)]})
    (line,) = feature_status.report_failure_lines(folder, queue)
    assert line.startswith(f"report failed: {cause}: ")
    assert line.endswith(f"; make report SWEEP=spectrum writes it on this machine{advice}")


def test_a_report_job_that_runs_or_whose_page_exists_has_not_failed(folder, report_job):
    queued = Queue({report_job.job: QueuedJob(report_job.job, "RUNNING", "")})
    assert feature_status.report_failure_lines(folder, queued) == []
    done = Queue({}, {report_job.job: [JobAttempt("COMPLETED")]})
    assert feature_status.report_failure_lines(folder, done) == []
    os.utime(folder.report_file, (report_job.time + 1, report_job.time + 1))
    failed = Queue({}, {report_job.job: [JobAttempt("OUT_OF_MEMORY")]})
    assert feature_status.report_failure_lines(folder, failed) == []
    assert folder.unwritten_report() == []
