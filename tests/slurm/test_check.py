"""cluster-check: one job proves the profile of the development SLURM, by its findings."""

import sys


def test_the_development_slurm_is_proven_by_one_job(bench):
    answer = bench.typed("cluster-check", bench.DEVELOPMENT)
    assert (answer.code, answer.errors) == (0, "")
    submitted, *findings, told = answer.out.splitlines()
    (job,) = bench.job_ids()
    assert submitted == f"submitted job {job}"
    assert all(line.startswith("ok ") for line in findings)
    for found in (
        "imports the pipeline",
        f"code comes from {bench.work}/sweeps/cluster-check/code/",
        f"the work folder {bench.work} is shared and can be written there",
        "its clock is within 1.0 s",
        "1 asked for",
        "GPUs: ",
        "modules: none",
        "signals arrive",
        "requeue works",
        "limits: any jobs that may be submitted now",
        "1001 tasks in an array",
    ):
        assert any(found in line for line in findings), found
    report = bench.sweep_folder("cluster-check").path / "report.md"
    assert told.endswith(str(report))
    text = report.read_text()
    assert text.count("- ok: ") == len(findings)
    assert "slurm" in text.splitlines()[2]
    assert "partition: main" in text
    assert list(report.parent.glob("answer-*")) == []


def test_a_container_before_python_is_used_by_arrays(bench, reference, tmp_path):
    # It stands in for apptainer: it notes that it was used, and executes the rest.
    container = tmp_path / "apptainer"
    container.write_text(f'#!/bin/sh\necho used >> {tmp_path}/used\nshift 2\nexec "$@"\n')
    container.chmod(0o755)
    profile = bench.profile(python=f"{container} exec image.sif {sys.executable}")
    bench.submits("two", profile=profile)
    bench.await_jobs()
    reference.demands_the_same_of(bench.runs("two"))
    assert (tmp_path / "used").read_text() == "used\n" * len(bench.ledger("two"))
    assert len(bench.ledger("two")) == 3
