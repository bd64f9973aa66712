"""What SLURM or a person takes away is named, and goes on from where it was."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest


def forks(pid: int) -> int:
    """Children that run their parent's program, as those that read for a run do."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    program = Path(f"/proc/{pid}/cmdline").read_bytes()
    return sum(Path(f"/proc/{child}/cmdline").read_bytes() == program for child in children)


def test_a_preempted_run_goes_on_to_the_rows_of_an_undisturbed_one(bench, reference, command):
    # Both GPUs of a node for each run, so that the owner's job takes one run's place alone.
    bench.submits("two", profile=bench.profile(gpus=2))
    mel = bench.runs("two")["mel"]
    job = bench.states("two")["mel"]["job"]
    before = bench.pause(mel)
    node = command("squeue", "--noheader", f"--jobs={job}", "--format=%N").out.strip()
    owner = bench.sbatch(
        "--partition=priority", f"--nodelist={node}", "--gres=gpu:1", "--wrap=sleep 600"
    )
    bench.until(lambda: bench.queued()[job].startswith("PENDING"))
    bench.until(lambda: bench.queued()[owner].startswith("RUNNING"))
    assert bench.states("two")["mel"]["state"] == "queued"
    assert command("scancel", owner).code == 0
    # SLURM holds a requeued job back for a while.
    released = command("scontrol", "update", f"JobId={job}", "StartTime=now")
    assert released.code == 0, released
    bench.await_jobs()

    lives = ("sacct", "-X", "-n", "--duplicates", f"--jobs={job}", "--format=State%20")
    bench.until(lambda: command(*lives).out.split() == ["PREEMPTED", "COMPLETED"])
    reference.demands_the_same_of(bench.runs("two"))
    # It went on: what stood before was not computed anew, or its times would differ.
    assert repr(mel.rows()[: len(before)]) == repr(before)
    assert len(bench.ledger("two")) == 3


@pytest.mark.parametrize("mode", ["REQUEUE", "CANCEL"])
def test_a_run_that_saves_in_its_grace_time_is_requeued_and_a_cancelled_one_is_not(
    grace, bench, reference, command, mode
):
    grace(mode)
    bench.submits("two", profile=bench.profile(gpus=2))
    mel, power = bench.runs("two").values()
    jobs = {label: run["job"] for label, run in bench.states("two").items()}
    before = bench.pause(mel)
    bench.pause(power)
    assert command("scancel", jobs["power"]).code == 0
    bench.until(lambda: jobs["power"] not in bench.queued())
    assert power.heartbeat().status == "stopped", "it was killed before it had saved"
    node = command("squeue", "--noheader", f"--jobs={jobs['mel']}", "--format=%N").out.strip()
    owner = bench.sbatch(
        "--partition=priority", f"--nodelist={node}", "--gres=gpu:1", "--wrap=sleep 1"
    )
    bench.until(lambda: bench.queued().get(jobs["mel"], "").startswith("PENDING") or mel.finished)
    assert not mel.finished
    assert mel.heartbeat().status == "stopped"
    bench.until(lambda: owner not in bench.queued())
    bench.await_jobs()
    reference.demands_the_same_of({"mel": mel})
    assert repr(mel.rows()[: len(before)]) == repr(before)
    assert not power.finished


def test_what_failed_is_named_and_exactly_what_is_missing_is_submitted_again(
    bench, reference, command
):
    bench.submits("three", profile=bench.profile(gated=True))
    (manifest,) = bench.work.glob("manifests/two-*.jsonl")
    manifest.write_text(manifest.read_text()[:-20])
    bench.gate.touch()
    mel = bench.runs("three")["mel"]
    before = bench.pause(mel)
    assert command("scancel", bench.states("three")["mel"]["job"]).code == 0
    bench.await_jobs()

    # Accounting lags.
    bench.until(lambda: bench.states("three")["mel"]["cause"])
    found = {label: (run["state"], run["cause"]) for label, run in bench.states("three").items()}
    assert found == {
        "mel": ("stopped", "cancelled"),
        "power": ("finished", ""),
        "others": ("failed", "missing features"),
    }
    shown = bench.typed("status", "three", "--once").out
    assert "features failed: " in shown
    assert str(manifest) in shown

    first = bench.ledger("three")
    bench.submits("three")
    again = bench.ledger("three")[len(first) :]
    wanted = bench.wanted("three")
    assert [(entry.kind, entry.items) for entry in again] == [
        ("features", (f"{wanted['others'].feature_id}/0",)),
        ("runs", (wanted["mel"].run_id,)),
        ("runs", (wanted["others"].run_id,)),
    ]
    bench.await_jobs()
    reference.demands_the_same_of(bench.runs("three"))
    assert repr(mel.rows()[: len(before)]) == repr(before)
    assert "features failed" not in bench.typed("status", "three", "--once").out
    assert "nothing to do: 3 of 3 runs are finished" in bench.submits("three")


def test_a_sweep_cancelled_before_it_started_says_so_and_is_submitted_again(bench):
    gated = bench.profile(gated=True)
    bench.submits("three", profile=gated)
    answer = bench.typed("cancel", "three")
    assert (answer.code, answer.errors) == (0, "")
    assert f"cancelled 2 jobs: {', '.join(bench.masters('three'))}" in answer.out
    bench.await_jobs()
    bench.until(lambda: all(run["cause"] for run in bench.states("three").values()))
    found = {(run["state"], run["cause"]) for run in bench.states("three").values()}
    assert found == {("stopped", "cancelled")}
    assert "nothing to cancel" in bench.typed("cancel", "three").out

    first = bench.ledger("three")
    bench.submits("three", profile=gated)
    again = bench.ledger("three")[len(first) :]
    assert [(e.kind, e.items) for e in again] == [(e.kind, e.items) for e in first]


def test_a_task_of_an_array_that_is_warned_goes_on_under_its_own_number(bench, reference, command):
    # With processes that read for it, which the signal reaches too.
    bench.submits("two", profile=bench.profile(workers=2, resident_gb=0))
    mel = bench.runs("two")["mel"]
    job = bench.states("two")["mel"]["job"]
    assert "_" in job
    before = bench.pause(mel)
    pid = mel.heartbeat().pid
    assert forks(pid) >= 2
    # As SLURM does before the time limit: to every process of the step.
    assert command("scancel", "--signal=USR2", job).code == 0
    os.kill(pid, signal.SIGCONT)
    bench.until(lambda: bench.queued().get(job, "").startswith("PENDING") or mel.finished)
    assert not mel.finished, "it was too fast to be caught in the middle"
    assert mel.heartbeat().status == "stopped"
    bench.await_jobs()  # SLURM holds it for a while: started at once, its credential is revoked
    reference.demands_the_same_of(bench.runs("two"))
    assert repr(mel.rows()[: len(before)]) == repr(before)
    assert len(bench.ledger("two")) == 3


def test_a_job_that_nears_its_limit_is_warned_by_slurm_and_asks_for_another_turn(bench, command):
    bench.submits("two", profile=bench.profile(minutes=3))
    mel = bench.runs("two")["mel"]
    job = bench.states("two")["mel"]["job"]
    before = bench.pause(mel)  # SLURM lets it go on when it warns it
    # The warning comes within half a minute; waiting for all of the three would take long.
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 45))
    shortened = command("scontrol", "update", f"JobId={job}", f"EndTime={soon}")
    assert shortened.code == 0, shortened
    bench.until(lambda: bench.queued().get(job, "").startswith("PENDING") or mel.finished)
    assert not mel.finished
    assert mel.heartbeat().status == "stopped"
    assert repr(mel.rows()[: len(before)]) == repr(before)
    assert bench.states("two")["mel"]["state"] == "queued"


def test_a_run_that_is_killed_takes_no_other_of_its_job_with_it(bench, reference):
    bench.submits("three", profile=bench.profile(runs_per_task=3))
    (job,) = {entry.job for entry in bench.ledger("three") if entry.kind == "runs"}
    runs = bench.runs("three")
    bench.pause(runs["mel"])
    os.kill(runs["mel"].heartbeat().pid, signal.SIGKILL)
    bench.await_jobs()
    found = {label: (run["state"], run["cause"]) for label, run in bench.states("three").items()}
    assert found.pop("mel") == ("failed", "killed")
    assert set(found.values()) == {("finished", "")}
    assert len({run.heartbeat().pid for run in runs.values()}) == len(runs)
    reference.demands_the_same_of({label: runs[label] for label in found})
    assert {state["job"] for state in bench.states("three").values()} == {job}


def test_runs_side_by_side_in_one_job_are_all_warned_and_all_go_on(bench, reference, command):
    together = bench.profile(cpus=3, runs_per_gpu=3, runs_per_task=3)
    bench.submits("three", profile=together)
    _, _, *entries = bench.ledger("three")
    (job,) = {entry.job for entry in entries}
    runs = bench.runs("three")
    assert [entry.items for entry in entries] == [tuple(run.run_id for run in runs.values())]
    before = {label: bench.pause(run) for label, run in runs.items()}
    pids = {run.heartbeat().pid for run in runs.values()}
    assert len(pids) == 3
    assert command("scancel", "--signal=USR2", job).code == 0
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    bench.until(lambda: bench.queued().get(job, "").startswith("PENDING"))
    assert {run.heartbeat().status for run in runs.values()} == {"stopped"}
    bench.await_jobs()
    reference.demands_the_same_of(runs)
    for label, run in runs.items():
        assert repr(run.rows()[: len(before[label])]) == repr(before[label])
        log = run.log_file.read_text()
        assert log.count("stopped at a step boundary") == 1
        assert not any(other.run_id in log for other in runs.values() if other is not run)
    assert bench.ledger("three")[2:] == entries


def test_a_container_without_scontrol_gets_another_turn_from_its_batch_script(
    bench, reference, command
):
    # A python that cannot find scontrol, as in a container.
    bare = f"env PATH={bench.folder} {sys.executable}"
    bench.submits("two", profile=bench.profile(python=bare, requeue_from="batch"))
    mel = bench.runs("two")["mel"]
    job = bench.states("two")["mel"]["job"]
    before = bench.pause(mel)
    pid = mel.heartbeat().pid
    assert b"SLURM_JOB_ID" in Path(f"/proc/{pid}/environ").read_bytes()
    assert f"PATH={bench.folder}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert command("scancel", "--signal=USR2", job).code == 0
    os.kill(pid, signal.SIGCONT)
    bench.until(lambda: bench.queued().get(job, "").startswith("PENDING") or mel.finished)
    assert not mel.finished, "it was too fast to be caught in the middle"
    bench.await_jobs()
    reference.demands_the_same_of(bench.runs("two"))
    assert repr(mel.rows()[: len(before)]) == repr(before)
    assert len(bench.ledger("two")) == 3


def test_a_task_cancelled_alone_before_it_starts_is_not_lost(bench, command):
    bench.submits("two", profile=bench.profile(gated=True))
    job = bench.states("two")["mel"]["job"]
    assert command("scancel", job).code == 0
    bench.until(lambda: job not in bench.queued())
    found = {label: (run["state"], run["cause"]) for label, run in bench.states("two").items()}
    assert found == {"mel": ("stopped", "cancelled"), "power": ("queued", "")}


def test_what_waits_for_what_cannot_happen_is_cancelled_and_submitted_again(bench, command):
    gated = bench.profile(gated=True)
    bench.submits("two", profile=gated)
    features, runs = bench.masters("two")
    lost = bench.sbatch("--wrap=false")
    bench.until(lambda: lost not in bench.queued())
    behind = command("scontrol", "update", f"JobId={runs}", f"Dependency=afterok:{lost}")
    assert behind.code == 0, behind
    bench.until(lambda: "PENDING DependencyNeverSatisfied" in bench.queued().values())
    printed = bench.submits("two", profile=gated)
    assert f"cancelled job {runs} (2 tasks): it waits for a job that can no longer" in printed
    assert [entry.kind for entry in bench.ledger("two")] == ["features", *["runs"] * 4]
    assert features in {job.split("_")[0] for job in bench.queued()}


def test_a_job_that_an_interrupted_submission_left_is_found_and_cancelled(bench):
    gated = bench.profile(gated=True)
    bench.submits("two", profile=gated)
    folder = bench.sweep_folder("two")
    lines = folder.ledger.path.read_text().splitlines(keepends=True)
    folder.ledger.path.write_text(lines[0])  # killed before it could write the others
    orphans = bench.masters("two")
    printed = bench.submits("two", profile=gated)
    assert "it was left by a submission that was interrupted" in printed
    assert [entry.kind for entry in bench.ledger("two")] == ["features", "runs", "runs"]
    queued = {job.split("_")[0] for job in bench.queued()}
    assert queued == {*orphans, bench.masters("two")[-1]}


def test_a_job_that_comes_back_three_times_for_nothing_is_given_up(bench, reference, command):
    bench.submits("two", profile=bench.profile())
    mel = bench.runs("two")["mel"]
    job = bench.states("two")["mel"]["job"]
    pids: set[int] = set()

    def begins() -> bool:
        """One more process has the run, and imports torch."""
        beat = mel.heartbeat()
        if not beat or beat.status != "running" or beat.pid in pids:
            return False
        pids.add(beat.pid)
        return True

    for turn, words in enumerate([("scontrol", "requeue"), *[("scancel", "--signal=USR2")] * 2]):
        bench.until(begins)
        assert command(*words, job).code == 0
        if turn < 2:
            bench.until(lambda: bench.queued().get(job, "").startswith("PENDING"))
            assert bench.states("two")["mel"]["state"] == "queued"
    bench.await_jobs()
    assert not mel.saved
    found = bench.states("two")["mel"]
    assert (found["state"], found["cause"]) == ("failed", "timeout")
    assert f"3 lives of job {job} in a row brought nothing new to save" in found["detail"]
    assert "raise minutes in the profile" in bench.typed("status", "two", "--once").out

    assert "submitted runs: job" in bench.submits("two")
    assert [entry.items for entry in bench.ledger("two")[3:]] == [(mel.run_id,)]
    bench.await_jobs()
    reference.demands_the_same_of(bench.runs("two"))
