"""Enforced limits: a sweep is divided into tasks that fit, and no job is rejected."""


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
