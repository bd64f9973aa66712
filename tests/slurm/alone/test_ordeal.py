"""Twelve runs with every kind of failure at once: good runs have the results of undisturbed ones.

It restarts daemons, so it runs on the development SLURM only.
"""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.conftest import ReferenceRuns

AT_ONCE = 4  # GPUs of the development SLURM
BAD_CODE = """

_fit = fit


def fit(experiment, *words, **options):
    if experiment.train.seed == 11:
        raise ZeroDivisionError("seed 11")
    _fit(experiment, *words, **options)
"""


@pytest.fixture
def daemons(slurm_project, slurm_up):
    """`daemons()` starts the daemons that are down, and brings nodes back; so does its end."""
    yield slurm_up
    slurm_up()


@pytest.fixture
def undisturbed(slurm_project, tmp_path):
    """`undisturbed()` starts the same sweep on this machine; its result waits for the end."""
    children: list[subprocess.Popen[bytes]] = []
    other = type(slurm_project)(tmp_path / "alone", slurm_project.corpora)

    def wait() -> ReferenceRuns:
        _, errors = children[0].communicate()
        assert children[0].returncode == 0, errors
        return ReferenceRuns(other)

    def begin() -> Callable[[], ReferenceRuns]:
        local = tmp_path / "local.yaml"
        local.write_text("scheduler: local\ndevice: cpu\nslots: 1\nthreads: 1\n")
        words = ("sweep", other.folder / "configs/sweeps/twelve.yaml", "--cluster", local)
        children.append(
            subprocess.Popen(
                [sys.executable, "-m", "jobs", *map(str, words), "--work", str(other.work)],
                cwd=slurm_project.REPOSITORY,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        )
        return wait

    yield begin
    for child in children:
        with child:
            child.kill()


def test_twelve_runs_survive_what_a_cluster_does_to_them(
    slurm_project, run_program, daemons, undisturbed, tmp_path
):
    bad = copy_of(slurm_project.REPOSITORY, tmp_path / "copy")
    profile = slurm_project.write_profile(gated=True, memory_gb=1, retries=1)
    slurm_project.submit_sweep("twelve", profile=profile, source=bad)
    wait_for_reference = undisturbed()
    runs = slurm_project.run_folders("twelve")
    jobs = {label: state["job"] for label, state in slurm_project.run_states("twelve").items()}
    labels = list(runs)
    hungry, wrong = labels[10], labels[11]
    scontrol(run_program, "update", f"JobId={jobs[hungry]}", "MinMemoryNode=60")
    slurm_project.gate_file.touch()

    # The first four runs are stopped in the middle of their training, two on each node.
    caught = catch(slurm_project, runs, AT_ONCE)
    before = {label: runs[label].rows() for label in caught}
    nodes = {label: node_of(run_program, jobs[label]) for label in caught}
    first, second = sorted(set(nodes.values()))
    here = [label for label in caught if nodes[label] == first]
    there = [label for label in caught if nodes[label] == second]
    assert (len(here), len(there)) == (2, 2)

    assert run_program("sacctmgr", "-i", "shutdown").code == 0
    owner = slurm_project.sbatch(
        "--partition=priority", f"--nodelist={first}", "--gres=gpu:1", "--wrap=sleep 600"
    )
    slurm_project.wait_until(lambda: slurm_project.queued_jobs()[owner].startswith("RUNNING"))
    (taken,) = (
        label for label in here if slurm_project.queued_jobs()[jobs[label]].startswith("PENDING")
    )
    (late,) = set(here) - {taken}
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 1))
    scontrol(run_program, "update", f"JobId={jobs[late]}", f"EndTime={soon}")
    scontrol(run_program, "update", f"NodeName={second}", "State=DOWN", "Reason=ordeal")
    slurm_project.wait_until(
        lambda: all(slurm_project.queued_jobs()[jobs[each]].startswith("PENDING") for each in there)
    )
    assert {slurm_project.run_states("twelve")[each]["state"] for each in [taken, *there]} == {
        "queued"
    }

    scontrol(run_program, "shutdown", "slurmctld")
    slurm_project.wait_until(lambda: run_program("scontrol", "ping").code != 0)
    blind = slurm_project.run_states("twelve")  # from files only
    assert {blind[each]["state"] for each in there} == {"queued"}
    daemons()  # also brings the node back
    # Its new end time is a limit of one minute for its next attempts too, which may be too short on
    # a busy machine. The limit is raised only after the job has reached it.
    slurm_project.wait_until(
        lambda: slurm_project.queued_jobs().get(jobs[late], "").startswith("PENDING")
    )
    scontrol(run_program, "update", f"JobId={jobs[late]}", "TimeLimit=60")
    assert run_program("scancel", owner).code == 0
    # Not StartTime=now: a node that still cleans up after an attempt refuses the next one.
    slurm_project.wait_until(lambda: not tend_cluster(slurm_project, run_program, daemons))

    slurm_project.wait_until(
        lambda: all(state["cause"] for state in unfinished(slurm_project).values())
    )
    causes = {
        label: (run["state"], run["cause"]) for label, run in unfinished(slurm_project).items()
    }
    assert causes == {
        hungry: ("failed", "out of memory"),
        wrong: ("failed", "code error"),
    }
    good = {label: run for label, run in runs.items() if label not in causes}
    reference = wait_for_reference()
    reference.assert_same_results(good)
    # The runs continued: rows from before were not computed again, or their times would differ. So
    # did the run at its limit: its process got no signal, but its job requested the requeue.
    for label in {taken, late, *there}:
        assert repr(runs[label].rows()[: len(before[label])]) == repr(before[label])
    assert_report_has_causes(slurm_project, {label: cause for label, (_, cause) in causes.items()})

    again_exactly_what_is_missing(slurm_project, bad, profile, [hungry, wrong], labels)
    reference.assert_same_results(runs)
    assert "nothing to do: 12 of 12 runs are finished" in slurm_project.submit_sweep(
        "twelve", profile=profile
    )


def assert_report_has_causes(bench, causes: dict[str, str]) -> None:
    report = bench.run_verb("report", "twelve")
    assert (report.code, report.errors) == (0, "")
    summary = bench.work / "reports" / "twelve" / "summary.csv"
    with summary.open(encoding="utf-8", newline="") as file:
        causes_in_report = {row["label"]: row["cause"] for row in csv.DictReader(file)}
    assert {label: cause for label, cause in causes_in_report.items() if cause} == causes


def again_exactly_what_is_missing(bench, bad: Path, profile: Path, missing, labels) -> None:
    hungry, wrong = missing
    ids = {label: run.run_id for label, run in bench.planned_runs("twelve").items()}
    done = bench.ledger_entries("twelve")
    submitted = [item for entry in done if entry.kind == "runs" for item in entry.items]
    assert sorted(submitted) == sorted(ids[label] for label in labels)  # each once
    planned = bench.run_verb(
        "sweep", bench.folder / "configs/sweeps/twelve.yaml", "--dry-run", profile=profile,
        source=bad,
    )  # fmt: skip
    assert f"{hungry}: out of memory: submitted again with 2 GB" in planned.out
    assert f"{wrong}: left out: code error, and the code has not changed" in planned.out
    assert "2 GB each" in planned.out
    bench.submit_sweep("twelve", profile=profile)  # with the correct code
    again = bench.ledger_entries("twelve")[len(done) :]
    assert {entry.items: (entry.causes, entry.memory_gb) for entry in again} == {
        (ids[hungry],): (("out of memory",), 2.0),
        (ids[wrong],): (("code error",), 1.0),
    }
    bench.await_jobs()


def copy_of(repository: Path, folder: Path) -> Path:
    """Copy the code, changed so that one run fails."""
    for package in ("pipeline", "jobs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / package, folder / package, ignore=ignored)
    with (folder / "pipeline/training/loop/fit.py").open("a") as module:
        module.write(BAD_CODE)
    return folder


def catch(bench, runs, number: int) -> list[str]:
    """Stop `number` runs in the middle of their training; return their labels."""
    caught: list[str] = []

    def stopped() -> bool:
        for label, run in runs.items():
            beat = run.heartbeat()
            if label not in caught and beat and run.rows() and len(caught) < number:
                os.kill(beat.pid, signal.SIGSTOP)
                assert not run.finished, "the run finished before it could be stopped"
                caught.append(label)
        return len(caught) == number

    bench.wait_until(stopped)
    time.sleep(0.2)  # a signal takes a moment to stop all threads
    return caught


def unfinished(bench):
    return {
        label: run
        for label, run in bench.run_states("twelve").items()
        if run["state"] != "finished"
    }


def tend_cluster(bench, command, daemons) -> dict[str, str]:
    """Do what an administrator does: bring nodes back, release held jobs. Return the queue."""
    queued = bench.queued_jobs()
    held = [job for job, state in queued.items() if "held" in state]
    if held or any("DOWN, DRAINED" in state for state in queued.values()):
        daemons()
    if held:
        command("scontrol", "release", ",".join(held))
    time.sleep(1)
    return queued


def node_of(command, job: str) -> str:
    return command("squeue", "--noheader", f"--jobs={job}", "--format=%N").out.strip()


def scontrol(command, *words: str) -> None:
    answer = command("scontrol", *words)
    assert answer.code == 0, answer
