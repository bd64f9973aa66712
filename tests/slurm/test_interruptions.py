"""Interruptions by SLURM or a person are reported, and runs continue from their last save."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest


def forks(pid: int) -> int:
    """Count the children that run the same program as their parent, such as data workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    program = Path(f"/proc/{pid}/cmdline").read_bytes()
    return sum(Path(f"/proc/{child}/cmdline").read_bytes() == program for child in children)


def test_a_preempted_run_has_the_same_rows_as_an_undisturbed_one(
    slurm_project, reference_runs, run_program
):
    # Each run has both GPUs of a node, so that the job of `priority` preempts one run only.
    slurm_project.submit_sweep("two", profile=slurm_project.write_profile(gpus=2))
    mel = slurm_project.run_folders("two")["mel"]
    job = slurm_project.run_states("two")["mel"]["job"]
    before = slurm_project.stop_in_training(mel)
    node = run_program("squeue", "--noheader", f"--jobs={job}", "--format=%N").out.strip()
    owner = slurm_project.sbatch(
        "--partition=priority", f"--nodelist={node}", "--gres=gpu:1", "--wrap=sleep 600"
    )
    slurm_project.wait_until(lambda: slurm_project.queued_jobs()[job].startswith("PENDING"))
    slurm_project.wait_until(lambda: slurm_project.queued_jobs()[owner].startswith("RUNNING"))
    assert slurm_project.run_states("two")["mel"]["state"] == "queued"
    assert run_program("scancel", owner).code == 0
    # SLURM holds a requeued job for a while.
    released = run_program("scontrol", "update", f"JobId={job}", "StartTime=now")
    assert released.code == 0, released
    slurm_project.await_jobs()

    sacct = ("sacct", "-X", "-n", "--duplicates", f"--jobs={job}", "--format=State%20")
    slurm_project.wait_until(lambda: run_program(*sacct).out.split() == ["PREEMPTED", "COMPLETED"])
    reference_runs.assert_same_results(slurm_project.run_folders("two"))
    # The run continued: rows from before were not computed again, or their times would differ.
    assert repr(mel.rows()[: len(before)]) == repr(before)
    assert len(slurm_project.ledger_entries("two")) == 3


@pytest.mark.parametrize("mode", ["REQUEUE", "CANCEL"])
def test_a_run_that_saves_in_its_grace_time_is_requeued_and_a_cancelled_one_is_not(
    set_grace_time, slurm_project, reference_runs, run_program, mode
):
    set_grace_time(mode)
    slurm_project.submit_sweep("two", profile=slurm_project.write_profile(gpus=2))
    mel, power = slurm_project.run_folders("two").values()
    jobs = {label: run["job"] for label, run in slurm_project.run_states("two").items()}
    before = slurm_project.stop_in_training(mel)
    slurm_project.stop_in_training(power)
    assert run_program("scancel", jobs["power"]).code == 0
    slurm_project.wait_until(lambda: jobs["power"] not in slurm_project.queued_jobs())
    assert power.heartbeat().status == "stopped", "the run was killed before it saved"
    node = run_program("squeue", "--noheader", f"--jobs={jobs['mel']}", "--format=%N").out.strip()
    owner = slurm_project.sbatch(
        "--partition=priority", f"--nodelist={node}", "--gres=gpu:1", "--wrap=sleep 1"
    )
    slurm_project.wait_until(
        lambda: (
            slurm_project.queued_jobs().get(jobs["mel"], "").startswith("PENDING") or mel.finished
        )
    )
    assert not mel.finished
    assert mel.heartbeat().status == "stopped"
    slurm_project.wait_until(lambda: owner not in slurm_project.queued_jobs())
    slurm_project.await_jobs()
    reference_runs.assert_same_results({"mel": mel})
    assert repr(mel.rows()[: len(before)]) == repr(before)
    assert not power.finished


def test_failures_have_causes_and_exactly_what_is_missing_is_submitted_again(
    slurm_project, reference_runs, run_program
):
    slurm_project.submit_sweep("three", profile=slurm_project.write_profile(gated=True))
    (manifest,) = slurm_project.work.glob("manifests/two-*.jsonl")
    manifest.write_text(manifest.read_text()[:-20])
    slurm_project.gate_file.touch()
    mel = slurm_project.run_folders("three")["mel"]
    before = slurm_project.stop_in_training(mel)
    assert run_program("scancel", slurm_project.run_states("three")["mel"]["job"]).code == 0
    slurm_project.await_jobs()

    # Accounting is late.
    slurm_project.wait_until(lambda: slurm_project.run_states("three")["mel"]["cause"])
    found = {
        label: (run["state"], run["cause"])
        for label, run in slurm_project.run_states("three").items()
    }
    assert found == {
        "mel": ("stopped", "cancelled"),
        "power": ("finished", ""),
        "others": ("failed", "missing features"),
    }
    shown = slurm_project.run_verb("status", "three", "--once").out
    assert "features failed: " in shown
    assert str(manifest) in shown

    first = slurm_project.ledger_entries("three")
    slurm_project.submit_sweep("three")
    again = slurm_project.ledger_entries("three")[len(first) :]
    planned = slurm_project.planned_runs("three")
    assert [(entry.kind, entry.items) for entry in again] == [
        ("features", (f"{planned['others'].feature_id}/0",)),
        ("runs", (planned["mel"].run_id,)),
        ("runs", (planned["others"].run_id,)),
    ]
    slurm_project.await_jobs()
    reference_runs.assert_same_results(slurm_project.run_folders("three"))
    assert repr(mel.rows()[: len(before)]) == repr(before)
    assert "features failed" not in slurm_project.run_verb("status", "three", "--once").out
    assert "nothing to do: 3 of 3 runs are finished" in slurm_project.submit_sweep("three")


def test_a_sweep_cancelled_before_it_started_says_so_and_is_submitted_again(slurm_project):
    gated = slurm_project.write_profile(gated=True)
    slurm_project.submit_sweep("three", profile=gated)
    answer = slurm_project.run_verb("cancel", "three")
    assert (answer.code, answer.errors) == (0, "")
    assert f"cancelled 2 jobs: {', '.join(slurm_project.array_job_ids('three'))}" in answer.out
    slurm_project.await_jobs()
    slurm_project.wait_until(
        lambda: all(run["cause"] for run in slurm_project.run_states("three").values())
    )
    found = {(run["state"], run["cause"]) for run in slurm_project.run_states("three").values()}
    assert found == {("stopped", "cancelled")}
    assert "nothing to cancel" in slurm_project.run_verb("cancel", "three").out

    first = slurm_project.ledger_entries("three")
    slurm_project.submit_sweep("three", profile=gated)
    again = slurm_project.ledger_entries("three")[len(first) :]
    assert [(e.kind, e.items) for e in again] == [(e.kind, e.items) for e in first]


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


def test_a_run_that_is_killed_does_not_end_other_runs_of_its_job(slurm_project, reference_runs):
    slurm_project.submit_sweep("three", profile=slurm_project.write_profile(runs_per_task=3))
    (job,) = {entry.job for entry in slurm_project.ledger_entries("three") if entry.kind == "runs"}
    runs = slurm_project.run_folders("three")
    slurm_project.stop_in_training(runs["mel"])
    os.kill(runs["mel"].heartbeat().pid, signal.SIGKILL)
    slurm_project.await_jobs()
    found = {
        label: (run["state"], run["cause"])
        for label, run in slurm_project.run_states("three").items()
    }
    assert found.pop("mel") == ("failed", "killed")
    assert set(found.values()) == {("finished", "")}
    assert len({run.heartbeat().pid for run in runs.values()}) == len(runs)
    reference_runs.assert_same_results({label: runs[label] for label in found})
    assert {state["job"] for state in slurm_project.run_states("three").values()} == {job}


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


def test_a_task_cancelled_alone_before_it_starts_is_not_lost(slurm_project, run_program):
    slurm_project.submit_sweep("two", profile=slurm_project.write_profile(gated=True))
    job = slurm_project.run_states("two")["mel"]["job"]
    assert run_program("scancel", job).code == 0
    slurm_project.wait_until(lambda: job not in slurm_project.queued_jobs())
    found = {
        label: (run["state"], run["cause"])
        for label, run in slurm_project.run_states("two").items()
    }
    assert found == {"mel": ("stopped", "cancelled"), "power": ("queued", "")}


def test_a_job_whose_dependency_failed_is_cancelled_and_submitted_again(slurm_project, run_program):
    gated = slurm_project.write_profile(gated=True)
    slurm_project.submit_sweep("two", profile=gated)
    features, runs = slurm_project.array_job_ids("two")
    lost = slurm_project.sbatch("--wrap=false")
    slurm_project.wait_until(lambda: lost not in slurm_project.queued_jobs())
    updated = run_program("scontrol", "update", f"JobId={runs}", f"Dependency=afterok:{lost}")
    assert updated.code == 0, updated
    slurm_project.wait_until(
        lambda: "PENDING DependencyNeverSatisfied" in slurm_project.queued_jobs().values()
    )
    printed = slurm_project.submit_sweep("two", profile=gated)
    assert f"cancelled job {runs} (2 tasks): it waits for a job that can no longer" in printed
    assert [entry.kind for entry in slurm_project.ledger_entries("two")] == [
        "features",
        *["runs"] * 4,
    ]
    assert features in {job.split("_")[0] for job in slurm_project.queued_jobs()}


def test_a_job_that_an_interrupted_submission_left_is_found_and_cancelled(slurm_project):
    gated = slurm_project.write_profile(gated=True)
    slurm_project.submit_sweep("two", profile=gated)
    folder = slurm_project.sweep_folder("two")
    lines = folder.ledger.path.read_text().splitlines(keepends=True)
    folder.ledger.path.write_text(lines[0])  # killed before it could write the others
    orphans = slurm_project.array_job_ids("two")
    printed = slurm_project.submit_sweep("two", profile=gated)
    assert "it was left by a submission that was interrupted" in printed
    assert [entry.kind for entry in slurm_project.ledger_entries("two")] == [
        "features",
        "runs",
        "runs",
    ]
    queued = {job.split("_")[0] for job in slurm_project.queued_jobs()}
    assert queued == {*orphans, slurm_project.array_job_ids("two")[-1]}


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
