"""sacct: each attempt of a job, with its nodes, its end and its largest step, in one call."""

import pytest

from jobs import environment
from jobs.slurm import sacct

# As SLURM 22.05 prints them: preempted and started again; out of memory without cgroups.
SACCT = """\
a message of the site
12_0|PREEMPTED|0:0|node1|150|
12_0.batch|CANCELLED|0:15|node1|150|4856K
12_0|COMPLETED|0:0|node2|1170|
12_0.batch|COMPLETED|0:0|node2|1170|4856K
12_0.0|COMPLETED|0:0|node2|1170|2.5G
13|FAILED|9:0|node1|111|
13.batch|FAILED|9:0|node1|111|4856K
13.0|CANCELLED by 0|0:9|node1|111|398243K
14|PENDING|0:0|None assigned|Unknown|
15|NODE_FAIL|1:0|node2|120|
"""


def test_the_attempts_of_jobs_are_queried_by_id_in_one_call(fake_slurm):
    calls = fake_slurm("sacct", SACCT)
    found = sacct.query_job_attempts({"12_0", "13", "14", "15"})
    first, second = found["12_0"]
    assert (first.state, first.nodes, first.ended) == ("PREEMPTED", "node1", 150.0)
    assert (second.state, second.signal, second.peak_bytes) == ("COMPLETED", 0, 2.5 * 2**30)
    (killed,) = found["13"]
    assert (killed.state, killed.code, killed.signal) == ("FAILED", 9, 9)
    assert killed.peak_bytes == 398243 * 1024
    (waits,) = found["14"]
    assert (waits.nodes, waits.ended) == ("", None)
    assert [attempt.failed_node for attempt in (*found["15"], killed)] == ["node2", ""]
    assert calls.read_text().count("\n") == 1
    assert "--jobs=12,13,14,15" in calls.read_text()
    assert "--duplicates" in calls.read_text()


def test_tasks_that_were_cancelled_together_before_they_started_are_separate_jobs(fake_slurm):
    rest = "0:0|None assigned|3|"
    fake_slurm(
        "sacct",
        f"12_[0-1,4-8:2%3]|CANCELLED by 0|{rest}\n12_3|FAILED|{rest}\n13_[7]|CANCELLED|{rest}\n",
    )
    found = sacct.query_job_attempts(
        {f"12_{index}" for index in (0, 1, 3, 4, 6, 8)} | {"13_7", "99"}
    )
    cancelled = {job for job, (attempt,) in found.items() if attempt.state.startswith("CANCELLED")}
    assert cancelled == {"12_0", "12_1", "12_4", "12_6", "12_8", "13_7"}
    assert found.keys() - cancelled == {"12_3"}


def test_sacct_is_not_called_for_no_jobs(fake_slurm):
    calls = fake_slurm("sacct", SACCT)
    assert sacct.query_job_attempts(set()) == {}
    assert not calls.exists()


@pytest.mark.parametrize("message", ["Slurm accounting storage is disabled", "Problem talking"])
def test_a_site_without_accounting_is_tolerated(fake_slurm, message):
    fake_slurm("sacct", complains=message, code=1)
    assert sacct.query_job_attempts({"12"}) == {}


def test_what_ended_before_the_submission_was_another_job_of_the_same_number(fake_slurm):
    fake_slurm("sacct", SACCT)
    found = sacct.query_job_attempts({"12_0", "13"}, {"12_0": 1000.0, "13": 500.0})
    assert [attempt.ended for attempt in found["12_0"]] == [1170.0]
    assert "13" not in found


def test_an_exit_code_that_is_none_is_read(fake_slurm):
    fake_slurm("sacct", "14|RUNNING|None|node1|Unknown|\n15|COMPLETED||node1|9|\n")
    assert {job: a[0].code for job, a in sacct.query_job_attempts({"14", "15"}).items()} == {
        "14": 0, "15": 0,
    }  # fmt: skip


def test_the_cluster_of_the_profile_is_asked(fake_slurm, monkeypatch):
    calls = fake_slurm("sacct", SACCT)
    environment.address_cluster("gpu")
    try:
        sacct.query_job_attempts({"13"})
        assert environment.slurm_environment({})["SLURM_CLUSTERS"] == "gpu"
    finally:
        environment.address_cluster("")
    assert "--clusters=gpu" in calls.read_text()
