"""cluster-check: its tiny jobs test the profile of the development SLURM."""

import sys

import pytest


def test_the_development_slurm_is_checked_by_a_job_in_each_partition(slurm_project):
    # Features have another partition, as at most sites.
    disk = slurm_project.folder / "disk of node"
    disk.mkdir()
    profile = slurm_project.write_profile(
        features={"partition": "priority", "minutes": 30},
        local_scratch_var="DISK",
        setup=[f"export DISK='{disk}'"],
    )
    answer = slurm_project.run_verb("cluster-check", profile)
    assert (answer.code, answer.errors) == (0, "")
    first, second, *others, last = answer.out.splitlines()
    assert {first, second} == {
        f"submitted job {job} to partition {place}"
        for job, place in zip(
            sorted(slurm_project.job_ids(), key=int), ("main", "priority"), strict=True
        )
    }
    findings = [line for line in others if not line.startswith("job ")]  # these say why a job waits
    assert [line for line in findings if not line.startswith("ok ")] == []
    for found in (
        "imports the pipeline",
        f"code comes from {slurm_project.work}/sweeps/cluster-check/code/",
        f"the work folder {slurm_project.work} is shared and can be written there",
        "its clock is within ",
        "1 requested",
        "GPUs: ",
        "modules: none",
        "features: python ",
        "features: 1 CPU",
        "signals arrive",
        "requeue works",
        "preemption is requeue here",
        "grace_s is 0 here",
        "user_signal_on_preempt is no here",
        f"DISK is {disk}: temporary files go to {disk}",
        f"features: DISK is {disk}: temporary",
        "limits: any jobs that may be submitted now",
        "1001 tasks in an array",
    ):
        assert any(found in line for line in findings), found
    report = slurm_project.sweep_folder("cluster-check").path / "report.md"
    assert last.endswith(str(report))
    text = report.read_text()
    assert text.count("- ok: ") == len(findings)
    assert "slurm" in text.splitlines()[2]
    assert "partition: main" in text
    assert list(report.parent.glob("answer-*")) == []


def test_arrays_use_the_container_command_of_the_profile(slurm_project, reference_runs, tmp_path):
    # A fake apptainer: it records that it was used, and executes the rest of the command.
    container = tmp_path / "apptainer"
    container.write_text(f'#!/bin/sh\necho used >> {tmp_path}/used\nshift 2\nexec "$@"\n')
    container.chmod(0o755)
    profile = slurm_project.write_profile(python=f"{container} exec image.sif {sys.executable}")
    slurm_project.submit_sweep("two", profile=profile)
    slurm_project.await_jobs()
    reference_runs.assert_same_results(slurm_project.run_folders("two"))
    assert (tmp_path / "used").read_text() == "used\n" * len(slurm_project.ledger_entries("two"))
    assert len(slurm_project.ledger_entries("two")) == 3


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"cpus": 99}, ["never starts: no node of the partition has that many CPUs or GPUs"]),
        ({"python": "/no/python"}, ["ended without an answer: "]),
        ({"partition": "nowhere"}, ["sbatch: error: invalid partition specified: nowhere"]),
        (
            {
                "features": {"partition": "nowhere"},
                "max_array_size": 5000,
                "setup": ["module load cuda"],
            },
            [
                "partition in the profile must be one that sinfo lists",
                "max_array_size is 5000, and SLURM allows 1001",
                "setup loads cuda",
            ],
        ),
    ],
)
def test_what_is_wrong_with_a_profile_is_in_the_report_too(slurm_project, wrong, expected):
    answer = slurm_project.run_verb("cluster-check", slurm_project.write_profile(**wrong))
    assert (answer.code, answer.errors) == (1, "")
    wrong_lines = [line for line in answer.out.splitlines() if line.startswith("WRONG ")]
    assert [each for each in expected if not any(each in line for line in wrong_lines)] == []
    report = slurm_project.sweep_folder("cluster-check").path / "report.md"
    assert report.read_text().count("- **wrong**: ") == len(wrong_lines)
