"""Submission: what is said of a features task that failed."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from jobs.launch import entrypoint, submit
from jobs.local import executor
from jobs.local.executor import ExitStatus
from jobs.node import task_file, training_task
from jobs.node.signals import StopRequest
from jobs.node.task_file import Run, RunTask
from jobs.node.training_task import RunResources
from jobs.profile import SlurmProfile
from jobs.slurm.client import QueuedJob
from jobs.slurm.resources import run_parameters
from jobs.slurm.sacct import JobAttempt
from jobs.slurm.sbatch import Submission
from jobs.sweep import run_status
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.plan import JobArray
from jobs.sweep.record import PlannedRun, SweepRecord
from pipeline.files import InputError, write_json
from pipeline.runs.folder import Failure


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [("code error", "see {output}"), ("disk full", "make sweep again when there is room")],
)
def test_a_features_task_that_failed_names_a_way_out_that_needs_no_run(
    tmp_path: Path, cause: str, remedy: str
):
    task = tmp_path / "features-1.json"
    write_json(task_file.failure_path(task), asdict(Failure(cause=cause, message="no")))
    line = submit._describe_feature_failure(ExitStatus(task, 1))
    assert line.startswith(
        f"features: {cause}: no; {remedy}".format(output=executor.output_path(task))
    )
    assert "RUN=" not in line


def test_causes_are_handed_to_the_ledger_and_kept_where_nothing_was_submitted(tmp_path):
    folder = SweepFolder(tmp_path, "spectrum")
    failed, fresh = folder.run("0123456789ab"), folder.run("ba9876543210")
    array = JobArray(((Run(failed.run_id, "mel"), Run(fresh.run_id, "mel")),))
    failure = Failure(cause="out of memory", message="more")
    failed.write_failure(failure)
    with pytest.raises(InputError), submit._failures_cleared(array, folder):
        assert failed.failure() is None
        raise InputError("sbatch: error")
    assert failed.failure() == failure
    with submit._failures_cleared(array, folder) as causes:
        pass
    assert causes == {failed.run_id: "out of memory"}
    assert failed.failure() is None


def test_a_look_during_the_submission_does_not_fail_the_new_job(tmp_path, monkeypatch):
    """Its picture of the queue is older than the clearing, and tells the former end once more."""
    folder, run_id = SweepFolder(tmp_path, "spectrum"), "0123456789ab"
    wanted = SweepRecord("spectrum", "", "s.yaml", "", (PlannedRun("mel", {}, run_id, "mel"),), ())
    entry = LedgerEntry(
        time=1.0, scheduler="slurm", job="12", kind="runs", items=(run_id,), task="t", code="c"
    )
    folder.ledger.append([entry])
    queue = Queue({}, {"12": [JobAttempt("TIMEOUT")]})

    def look() -> str:
        (found,) = seen = run_status.run_statuses(wanted, folder, queue)
        run_status.record_scheduler_failures(seen, folder)
        return found.cause

    assert look() == "timeout"
    with submit._failures_cleared(JobArray(((Run(run_id, "mel"),),)), folder) as causes:
        assert look() == "timeout"
        folder.ledger.append([replace(entry, time=2.0, job="13")])
    assert causes == {run_id: "timeout"}
    assert folder.run(run_id).failure().job == "12"
    (found,) = run_status.run_statuses(
        wanted, folder, Queue({"13": QueuedJob("13", "PENDING", "Priority")})
    )
    assert found.state == "queued"
    trained = []
    monkeypatch.setattr(training_task, "_fit", lambda *_: trained.append(run_id))
    training_task.train_runs(tmp_path, [Run(run_id, "mel")], RunResources("cpu", 1), StopRequest())
    assert trained == [run_id]
    assert folder.run(run_id).failure() is None


def test_an_interruption_between_arrays_finds_the_last_one_in_the_ledger(
    tmp_path, fake_slurm, monkeypatch
):
    for command, prints in {"srun": "", "sbatch": "Submitted batch job 42\n"}.items():
        fake_slurm(command, prints)
    folder, profile = SweepFolder(tmp_path, "spectrum"), SlurmProfile(scheduler="slurm")
    submission = Submission(
        profile=profile,
        name="s",
        folder=folder.jobs,
        code=tmp_path,
        execute=entrypoint.run_in_slurm,
    )
    sender = submit._ArraySubmitter(submission, folder, tmp_path, submit.SubmissionResult())

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    task = RunTask(work=str(tmp_path), runs=(Run("0123456789ab", "mel"),), device="cpu", threads=1)
    with pytest.raises(KeyboardInterrupt):
        sender.submit_array([task], "runs", run_parameters(profile), [])
    assert [entry.job for entry in folder.ledger.entries()] == ["42"]
