"""Tasks of a plan: failure files while a new attempt is submitted, and lines of the ledger."""

from pathlib import Path

import pytest

from jobs.launch.tasks import append_to_ledger, failures_cleared, make_run_tasks, write_tasks
from jobs.node import run_training
from jobs.node.run_training import RunResources
from jobs.node.signals import StopRequest
from jobs.node.task_file import Run, RunTask
from jobs.node.usage import Allocation
from jobs.profile import LocalProfile, SlurmProfile
from jobs.slurm.client import QueuedJob
from jobs.slurm.sacct import JobAttempt
from jobs.sweep import run_status
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.plan import JobArray
from jobs.sweep.record import PlannedRun, SweepRecord
from pipeline.files import InputError
from pipeline.runs.folder import Failure

FAILED, FRESH = "0123456789ab", "ba9876543210"


def test_failures_are_cleared_with_their_causes_and_written_again_if_nothing_is_submitted(tmp_path):
    folder = SweepFolder(tmp_path, "spectrum")
    run = folder.run(FAILED)
    failure = Failure(cause="out of memory", message="more")
    run.write_failure(failure)
    with pytest.raises(InputError), failures_cleared([FAILED, FRESH], folder):
        assert run.failure() is None
        raise InputError("sbatch: error")
    assert run.failure() == failure
    assert folder.run(FRESH).failure() is None
    with failures_cleared([FAILED, FRESH], folder) as causes:
        pass
    assert causes == {FAILED: "out of memory"}
    assert run.failure() is None


def test_a_status_during_the_submission_does_not_fail_the_new_job(tmp_path, monkeypatch):
    """Its queue is older than the clearing, and it writes the failure of the old job again."""
    folder = SweepFolder(tmp_path, "spectrum")
    record = SweepRecord("spectrum", "", "s.yaml", "", (PlannedRun("mel", {}, FAILED, "mel"),), ())
    entry = LedgerEntry(
        time=1.0, scheduler="slurm", job="12", kind="runs", items=(FAILED,), task="t", code="c"
    )
    folder.ledger.append([entry])
    queue = Queue({}, {"12": [JobAttempt("TIMEOUT")]})

    def show_status() -> str:
        (status,) = statuses = run_status.run_statuses(record, folder, queue)
        run_status.record_scheduler_failures(statuses, folder)
        return status.cause

    assert show_status() == "timeout"
    with failures_cleared([FAILED], folder) as causes:
        assert show_status() == "timeout"
        folder.ledger.append([entry._replace(time=2.0, job="13")])
    assert causes == {FAILED: "timeout"}
    assert folder.run(FAILED).failure().job == "12"
    pending = Queue({"13": QueuedJob("13", "PENDING", "Priority")})
    (status,) = run_status.run_statuses(record, folder, pending)
    assert status.state == "queued"
    trained = []
    monkeypatch.setattr(run_training, "_fit", lambda *_: trained.append(FAILED))
    run_training.train_run(
        folder.run(FAILED), tmp_path, RunResources("cpu", 1), Allocation(1), StopRequest()
    )
    assert trained == [FAILED]
    assert folder.run(FAILED).failure() is None


def test_each_task_gets_a_line_with_its_own_job_items_and_causes(tmp_path):
    folder = SweepFolder(tmp_path, "spectrum")
    array = JobArray(((Run("a", "mel"), Run("b", "mel")), (Run("c", "mel"),)))
    profile = LocalProfile(workers=3, resident_gb=1.5, device="cpu")
    tasks = make_run_tasks(array, folder, profile, threads=2, at_once=4)
    first = tasks[0]
    assert isinstance(first, RunTask)
    assert (first.threads, first.at_once, first.workers) == (2, 4, 3)
    assert (first.device, first.resident_gb) == ("cpu", 1.5)
    written = write_tasks(tasks, folder)
    append_to_ledger(
        folder,
        "slurm",
        ["12_0", "12_1"],
        written,
        Path("code/abc"),
        causes={"b": "killed"},
        memory_gb=8.0,
        exclude=("node7",),
    )
    lines = folder.ledger.entries()
    assert [(line.job, line.items, line.causes) for line in lines] == [
        ("12_0", ("a", "b"), ("", "killed")),
        ("12_1", ("c",), ("",)),
    ]
    assert {(line.kind, line.code, line.memory_gb, line.exclude) for line in lines} == {
        ("runs", "abc", 8.0, ("node7",))
    }
    assert [folder.tasks / line.task for line in lines] == list(written)


@pytest.mark.parametrize(
    ("settings", "device"),
    [
        ({"gpus": 1}, "cuda"),
        ({"gpus": 0}, "auto"),
        ({"gpus": 1, "device": "cpu"}, "cpu"),
    ],
)
def test_a_job_that_requests_a_gpu_does_not_train_on_the_cpu(tmp_path, settings, device):
    array = JobArray(((Run("a", "mel"),),))
    profile = SlurmProfile(scheduler="slurm", **settings)
    (task,) = make_run_tasks(array, SweepFolder(tmp_path, "s"), profile, 1)
    assert task.device == device
