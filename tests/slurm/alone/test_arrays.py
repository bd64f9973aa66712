"""A site with small arrays: more runs than one array holds finish in one submission."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def arrays_of_8(slurm_project, run_program, slurm_up) -> Iterator[None]:
    """The controller restarted with MaxArraySize=8; at the end with the default."""
    try:
        slurm_up(BLANKSLATE_SLURM_MAX_ARRAY_SIZE="8")
        yield
    finally:
        if ids := slurm_project.job_ids():
            run_program("scancel", *ids)
            slurm_project.await_jobs()
        slurm_up()


def test_17_runs_within_10_jobs_and_arrays_of_8_finish_in_one_submission(
    slurm_project, account, arrays_of_8
):
    lab = account(10)
    too_high = slurm_project.write_profile(account=lab, max_array_size=9)
    refused = slurm_project.run_sweep("seventeen", profile=too_high)
    assert refused.code == 2
    assert "Invalid job array specification" in refused.errors
    assert "max_array_size in the profile is above what the site allows" in refused.errors
    slurm_project.await_jobs()  # the features were accepted

    site = slurm_project.write_profile(account=lab, report=True)
    printed = slurm_project.submit_sweep("seventeen", profile=site)
    assert "no room" not in printed
    assert "trying again in" not in printed
    entries = slurm_project.ledger_entries("seventeen")
    assert [entry.kind for entry in (entries[0], entries[-1])] == ["features", "report"]
    done = [run for entry in entries if entry.kind == "runs" for run in entry.items]
    assert sorted(done) == sorted(
        run.run_id for run in slurm_project.planned_runs("seventeen").values()
    )
    arrays = [entry.job.split("_")[0] for entry in entries if entry.kind == "runs"]
    # With the report 10 jobs, each of two runs, or of one.
    assert sorted(map(arrays.count, set(arrays))) == [1, 8]

    # No process of ours runs, and no command is typed, until the last job ends.
    slurm_project.await_jobs()
    assert {run["state"] for run in slurm_project.run_states("seventeen").values()} == {"finished"}
    page = slurm_project.work / "reports" / "seventeen" / "report.html"
    written = page.stat().st_mtime
    assert written >= max(
        run.rows_file.stat().st_mtime for run in slurm_project.run_folders("seventeen").values()
    )
    assert "nothing to do: 17 of 17 runs are finished" in slurm_project.submit_sweep(
        "seventeen", profile=site
    )
    assert len(slurm_project.ledger_entries("seventeen")) == len(entries)
