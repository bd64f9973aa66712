"""Jobs that SLURM warns are requeued, and continue under the same id from their last save."""

import os
import signal
import sys
import time
from pathlib import Path


def forks(pid: int) -> int:
    """Count the children that run the same program as their parent, such as data workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    program = Path(f"/proc/{pid}/cmdline").read_bytes()
    return sum(Path(f"/proc/{child}/cmdline").read_bytes() == program for child in children)


def test_a_warned_task_of_an_array_continues_under_the_same_job_id(
    slurm_project, reference_runs, run_program
):
    # With data workers, which get the signal too.
    slurm_project.submit_sweep("two", profile=slurm_project.write_profile(workers=2, resident_gb=0))
    mel = slurm_project.run_folders("two")["mel"]
    job = slurm_project.run_states("two")["mel"]["job"]
    assert "_" in job
    before = slurm_project.stop_in_training(mel)
    pid = mel.heartbeat().pid
    assert forks(pid) >= 2
    # SLURM does this before the time limit: it signals every process of the step.
    assert run_program("scancel", "--signal=USR2", job).code == 0
    os.kill(pid, signal.SIGCONT)
    slurm_project.wait_until(
        lambda: slurm_project.queued_jobs().get(job, "").startswith("PENDING") or mel.finished
    )
    assert not mel.finished, "the run finished before it could be stopped"
    assert mel.heartbeat().status == "stopped"
    # SLURM holds the job for a while; a job that starts at once has its credential revoked.
    slurm_project.await_jobs()
    reference_runs.assert_same_results(slurm_project.run_folders("two"))
    assert repr(mel.rows()[: len(before)]) == repr(before)
    assert len(slurm_project.ledger_entries("two")) == 3


def test_slurm_warns_a_job_before_its_time_limit_and_the_job_is_requeued(
    slurm_project, run_program
):
    slurm_project.submit_sweep("two", profile=slurm_project.write_profile(minutes=3))
    mel = slurm_project.run_folders("two")["mel"]
    job = slurm_project.run_states("two")["mel"]["job"]
    before = slurm_project.stop_in_training(mel)  # SLURM sends SIGCONT with the warning
    # The limit is moved to 45 s from now, so that the test does not wait for three minutes.
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 45))
    shortened = run_program("scontrol", "update", f"JobId={job}", f"EndTime={soon}")
    assert shortened.code == 0, shortened
    slurm_project.wait_until(
        lambda: slurm_project.queued_jobs().get(job, "").startswith("PENDING") or mel.finished
    )
    assert not mel.finished
    assert mel.heartbeat().status == "stopped"
    assert repr(mel.rows()[: len(before)]) == repr(before)
    assert slurm_project.run_states("two")["mel"]["state"] == "queued"


def test_runs_that_share_a_gpu_are_all_warned_and_all_continue(
    slurm_project, reference_runs, run_program
):
    together = slurm_project.write_profile(cpus=3, runs_per_gpu=3, runs_per_task=3)
    slurm_project.submit_sweep("three", profile=together)
    _, _, *entries = slurm_project.ledger_entries("three")
    (job,) = {entry.job for entry in entries}
    runs = slurm_project.run_folders("three")
    assert [entry.items for entry in entries] == [tuple(run.run_id for run in runs.values())]
    before = {label: slurm_project.stop_in_training(run) for label, run in runs.items()}
    pids = {run.heartbeat().pid for run in runs.values()}
    assert len(pids) == 3
    assert run_program("scancel", "--signal=USR2", job).code == 0
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    slurm_project.wait_until(lambda: slurm_project.queued_jobs().get(job, "").startswith("PENDING"))
    assert {run.heartbeat().status for run in runs.values()} == {"stopped"}
    slurm_project.await_jobs()
    reference_runs.assert_same_results(runs)
    for label, run in runs.items():
        assert repr(run.rows()[: len(before[label])]) == repr(before[label])
        log = run.log_file.read_text()
        assert log.count("stopped at a step boundary") == 1
        assert not any(other.run_id in log for other in runs.values() if other is not run)
    assert slurm_project.ledger_entries("three")[2:] == entries


def test_the_batch_script_requeues_a_job_whose_container_has_no_scontrol(
    slurm_project, reference_runs, run_program
):
    # A python that cannot find scontrol, as in a container.
    bare = f"env PATH={slurm_project.folder} {sys.executable}"
    slurm_project.submit_sweep(
        "two", profile=slurm_project.write_profile(python=bare, requeue_from="batch")
    )
    mel = slurm_project.run_folders("two")["mel"]
    job = slurm_project.run_states("two")["mel"]["job"]
    before = slurm_project.stop_in_training(mel)
    pid = mel.heartbeat().pid
    assert b"SLURM_JOB_ID" in Path(f"/proc/{pid}/environ").read_bytes()
    assert f"PATH={slurm_project.folder}".encode() in Path(
        f"/proc/{pid}/environ"
    ).read_bytes().split(b"\0")
    assert run_program("scancel", "--signal=USR2", job).code == 0
    os.kill(pid, signal.SIGCONT)
    slurm_project.wait_until(
        lambda: slurm_project.queued_jobs().get(job, "").startswith("PENDING") or mel.finished
    )
    assert not mel.finished, "the run finished before it could be stopped"
    slurm_project.await_jobs()
    reference_runs.assert_same_results(slurm_project.run_folders("two"))
    assert repr(mel.rows()[: len(before)]) == repr(before)
    assert len(slurm_project.ledger_entries("two")) == 3


def test_a_job_that_starts_three_times_without_progress_is_given_up(
    slurm_project, reference_runs, run_program
):
    slurm_project.submit_sweep("two", profile=slurm_project.write_profile())
    mel = slurm_project.run_folders("two")["mel"]
    job = slurm_project.run_states("two")["mel"]["job"]
    pids: set[int] = set()

    def started() -> bool:
        """Whether a new process has the run, and imports torch."""
        beat = mel.heartbeat()
        if not beat or beat.status != "running" or beat.pid in pids:
            return False
        pids.add(beat.pid)
        return True

    for attempt, words in enumerate([("scontrol", "requeue"), *[("scancel", "--signal=USR2")] * 2]):
        slurm_project.wait_until(started)
        assert run_program(*words, job).code == 0
        if attempt < 2:
            slurm_project.wait_until(
                lambda: slurm_project.queued_jobs().get(job, "").startswith("PENDING")
            )
            assert slurm_project.run_states("two")["mel"]["state"] == "queued"
    slurm_project.await_jobs()
    assert not mel.state_version
    found = slurm_project.run_states("two")["mel"]
    assert (found["state"], found["cause"]) == ("failed", "timeout")
    assert f"job {job} started 3 times without saving progress" in found["detail"]
    assert "raise minutes in the profile" in slurm_project.run_verb("status", "two", "--once").out

    assert "submitted runs: job" in slurm_project.submit_sweep("two")
    assert [entry.items for entry in slurm_project.ledger_entries("two")[3:]] == [(mel.run_id,)]
    slurm_project.await_jobs()
    reference_runs.assert_same_results(slurm_project.run_folders("two"))
