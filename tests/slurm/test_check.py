"""cluster-check: one job proves the profile of the development SLURM, by its findings."""


def test_the_development_slurm_is_proven_by_one_job(bench):
    answer = bench.typed("cluster-check", bench.DEVELOPMENT)
    assert (answer.code, answer.errors) == (0, "")
    submitted, *findings = answer.out.splitlines()
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
    ):
        assert any(found in line for line in findings), found
