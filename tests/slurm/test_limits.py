"""Enforced limits: a sweep is divided into tasks that fit, and no job is rejected."""

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def accounts(slurm_project, run_program) -> Iterator[Callable[..., str]]:
    """`accounts("MaxWall=30", above="root")`: an account of this test, with that limit."""
    user, made = run_program("id", "-un").out.strip(), []

    def make(limit: str = "", *, above: str = "root") -> str:
        made.append(f"test-{secrets.token_hex(4)}")
        for words in (
            f"add account {made[-1]} parent={above} {limit}",
            f"add user {user} account={made[-1]}",
        ):
            assert run_program("sacctmgr", "-i", *words.split()).code == 0, words
        return made[-1]

    try:
        yield make
    finally:
        for name in made:
            run_program("scancel", f"--account={name}")
        slurm_project.await_jobs()
        deleted = [run_program("sacctmgr", "-i", "delete", "account", name) for name in made[::-1]]
    assert [answer for answer in deleted if answer.code] == []


@pytest.fixture
def account(accounts) -> Callable[[int], str]:
    """`account(3)`: an account of this test, in which root may submit 3 jobs."""
    return lambda limit: accounts(f"MaxSubmitJobs={limit}")


def test_runs_are_divided_into_the_jobs_that_a_user_may_submit(slurm_project, account, run_program):
    limit = 3
    lab = account(limit)
    too_high = slurm_project.write_profile(gated=True, account=lab, max_submit="unlimited")
    refused = slurm_project.run_sweep("six", profile=too_high)
    assert refused.code == 2
    assert "AssocMaxSubmitJobLimit" in refused.errors
    assert "max_submit in the profile is above what the site allows" in refused.errors
    assert [entry.kind for entry in slurm_project.ledger_entries("six")] == ["features"]

    # The limit of this account does not count a job in another account.
    slurm_project.sbatch("--account=lab", "--wrap=sleep 300")
    (own,) = slurm_project.queued_jobs().keys() & slurm_project.submitted
    printed = slurm_project.submit_sweep(
        "six", profile=slurm_project.write_profile(gated=True, account=lab)
    )
    assert "no room" not in printed
    features, *runs = slurm_project.ledger_entries("six")
    assert slurm_project.queued_jobs().keys() - {own} == {
        features.job,
        *(entry.job for entry in runs),
    }
    assert len(slurm_project.queued_jobs().keys() - {own}) == limit
    assert run_program("scancel", own).code == 0
    assert [len(entry.items) for entry in runs] == [3, 3]
    slurm_project.gate_file.touch()
    slurm_project.await_jobs()
    assert {run["state"] for run in slurm_project.run_states("six").values()} == {"finished"}
    assert "nothing to do: 6 of 6 runs are finished" in slurm_project.submit_sweep("six")


def test_the_limit_of_a_parent_account_counts_all_jobs_below_it(slurm_project, accounts):
    above = accounts("GrpSubmitJobs=4 MaxWall=00:45:00")
    lab, other = accounts(above=above), accounts(above=above)
    slurm_project.sbatch(f"--account={other}", "--time=30", "--wrap=sleep 300")
    too_long = slurm_project.run_sweep(
        "six", profile=slurm_project.write_profile(account=lab, minutes=60)
    )
    assert (too_long.code, "minutes: 60 is above the 45" in too_long.errors) == (2, True)

    settings = {"gated": True, "account": lab, "minutes": 30}
    refused = slurm_project.run_sweep(
        "six", profile=slurm_project.write_profile(**settings, max_submit="unlimited")
    )
    assert refused.code == 2
    assert "AssocGrpSubmitJobsLimit" in refused.errors
    assert "no room" not in slurm_project.submit_sweep(
        "six", profile=slurm_project.write_profile(**settings)
    )
    features, *runs = slurm_project.ledger_entries("six")
    assert [entry.kind for entry in (features, *runs)] == ["features", "runs", "runs"]
    assert [len(entry.items) for entry in runs] == [3, 3]


@pytest.fixture
def arrays_of_8(slurm_project, run_program) -> Iterator[None]:
    """The controller restarted with MaxArraySize=8; at the end with the default."""
    state = Path(os.environ.get("BLANKSLATE_SLURM_STATE", "/var/lib/blankslate-slurm"))
    if not os.access(state / "run" / "slurmctld.pid", os.W_OK):
        pytest.skip("this SLURM is not the development one, or not this user's to restart")
    up = slurm_project.REPOSITORY / "cluster" / "dev" / "slurm-up"

    def start(**settings: str) -> None:
        answer = run_program(up, stdin=subprocess.DEVNULL, env={**os.environ, **settings})
        assert answer.code == 0, answer

    try:
        start(BLANKSLATE_SLURM_MAX_ARRAY_SIZE="8")
        yield
    finally:
        if ids := slurm_project.job_ids():
            run_program("scancel", *ids)
            slurm_project.await_jobs()
        start()


def test_60_runs_within_10_jobs_and_arrays_of_8_finish_in_one_submission(
    slurm_project, account, arrays_of_8
):
    lab = account(10)
    too_high = slurm_project.write_profile(account=lab, max_array_size=9)
    refused = slurm_project.run_sweep("sixty", profile=too_high)
    assert refused.code == 2
    assert "Invalid job array specification" in refused.errors
    assert "max_array_size in the profile is above what the site allows" in refused.errors
    slurm_project.await_jobs()  # the features were accepted

    site = slurm_project.write_profile(account=lab, report=True)
    printed = slurm_project.submit_sweep("sixty", profile=site)
    assert "no room" not in printed
    assert "trying again in" not in printed
    entries = slurm_project.ledger_entries("sixty")
    assert [entry.kind for entry in (entries[0], entries[-1])] == ["features", "report"]
    done = [run for entry in entries if entry.kind == "runs" for run in entry.items]
    assert sorted(done) == sorted(
        run.run_id for run in slurm_project.planned_runs("sixty").values()
    )
    arrays = [entry.job.split("_")[0] for entry in entries if entry.kind == "runs"]
    assert sorted(map(arrays.count, set(arrays))) == [1, 8]  # with the report 10 jobs

    # No process of ours runs, and no command is typed, until the last job ends.
    slurm_project.await_jobs(900)  # sixty processes import torch
    assert {run["state"] for run in slurm_project.run_states("sixty").values()} == {"finished"}
    page = slurm_project.work / "reports" / "sixty" / "report.html"
    written = page.stat().st_mtime
    assert written >= max(
        run.rows_file.stat().st_mtime for run in slurm_project.run_folders("sixty").values()
    )
    assert "nothing to do: 60 of 60 runs are finished" in slurm_project.submit_sweep(
        "sixty", profile=site
    )
    assert len(slurm_project.ledger_entries("sixty")) == len(entries)
