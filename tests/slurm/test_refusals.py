"""A refusal or an error of SLURM is one line; jobs that were accepted before are kept."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest


def refused(answer) -> str:
    """Return the error line of a refused command, which has exit code 2."""
    assert answer.code == 2, answer
    assert answer.errors.count("\n") == 1, answer
    assert answer.errors.startswith("blankslate: ")
    assert "Traceback" not in answer.out
    return answer.errors


@pytest.fixture
def empty_path(tmp_path: Path) -> dict[str, str]:
    """A PATH without SLURM."""
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin")}


def test_a_machine_without_slurm_is_refused_in_one_line_and_nothing_is_left(
    slurm_project, empty_path
):
    line = refused(slurm_project.run_sweep("two", environment=empty_path))
    assert "squeue is not on PATH" in line
    assert "CLUSTER=cluster/local.yaml" in line
    assert not slurm_project.sweep_folder("two").path.exists()
    check = slurm_project.run_verb(
        "cluster-check", slurm_project.write_profile(), environment=empty_path
    )
    assert "sbatch is not on PATH" in refused(check)


def test_a_controller_that_does_not_answer_is_quoted_in_one_line(
    slurm_project, unreachable_slurm_env
):
    profile = slurm_project.write_profile()
    with ThreadPoolExecutor() as both:  # each retries for twenty seconds
        check = both.submit(
            slurm_project.run_verb, "cluster-check", profile, environment=unreachable_slurm_env
        )
        line = refused(slurm_project.run_sweep("two", environment=unreachable_slurm_env))
    assert "Unable to contact slurm controller" in line
    assert not slurm_project.sweep_folder("two").path.exists()
    assert "Unable to contact slurm controller" in refused(check.result())


def test_a_refusal_of_sbatch_is_quoted_and_jobs_accepted_before_are_in_the_ledger(slurm_project):
    wrong = slurm_project.write_profile(gated=True, features={"qos": "normal"}, qos="nowhere")
    line = refused(slurm_project.run_sweep("two", profile=wrong))
    assert f"{wrong}: sbatch: error: " in line
    assert "Invalid qos specification" in line
    assert "qos in the profile must be one that you may use" in line
    (features,) = slurm_project.ledger_entries("two")
    assert features.kind == "features"
    assert slurm_project.queued_jobs().keys() == {features.job}
    state = {run["state"] for run in slurm_project.run_states("two").values()}
    assert state == {"waiting"}

    corrected = slurm_project.write_profile(gated=True)
    printed = slurm_project.submit_sweep("two", profile=corrected)
    assert "submitted runs: job" in printed
    assert "submitted features" not in printed
    assert [entry.kind for entry in slurm_project.ledger_entries("two")] == [
        "features",
        "runs",
        "runs",
    ]
    runs = {entry.job for entry in slurm_project.ledger_entries("two")} - {features.job}
    slurm_project.wait_until(
        lambda: {slurm_project.queued_jobs()[job] for job in runs} == {"PENDING Dependency"}
    )


def test_cluster_check_names_all_that_is_wrong_with_a_job_at_once(slurm_project):
    wrong = slurm_project.write_profile(
        account="nolab", qos="nowhere", constraint="absent", cpus=64, gpu_type="a100"
    )
    check = slurm_project.run_verb("cluster-check", wrong)
    assert (check.code, check.errors) == (1, "")
    named = [line.split() for line in check.out.splitlines() if line.startswith("WRONG")]
    whole, *fields = [words[1] for words in named if words[1] != "features:"]
    assert whole == f"{wrong}:"  # the refusal of the whole job
    assert fields == ["account:", "qos:", "constraint:", "cpus:", "gpus"]
