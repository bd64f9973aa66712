"""Interruptions by SLURM or a person are reported, and runs continue from their last save."""

import os
import signal


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
