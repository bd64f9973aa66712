"""Questions to SLURM: one batched call each, its answer read with care."""

import pytest

from jobs import scheduler
from jobs.scheduler import QueuedJob, SchedulerError

SQUEUE = """\
welcome to the cluster
12_0|RUNNING|None|main|lab|normal|a comment|with a bar
12_1|PENDING|Resources|main|lab|normal|(null)
13|PENDING|DependencyNeverSatisfied|main|lab|normal|(null)
14|SUSPENDED|None|main|lab|normal|(null)
"""
SACCT = """\
12_0|COMPLETED
12_1|OUT_OF_MEMORY
12_[2-5]|PENDING
13|CANCELLED by 1000
130|FAILED
"""


def test_the_queue_is_read_task_by_task_and_chatter_is_ignored(fake_slurm):
    asked = fake_slurm("squeue", SQUEUE)
    queue = scheduler.queue()
    place = ("main", "lab", "normal")
    assert queue["12_0"] == QueuedJob("12_0", "RUNNING", "", *place, "a comment|with a bar")
    assert queue["12_1"] == QueuedJob("12_1", "PENDING", "Resources", *place, "(null)")
    assert [job.id for job in queue.values() if job.never_starts] == ["13"]
    assert [job.id for job in queue.values() if job.waits] == ["12_1", "13"]
    assert asked.read_text().count("\n") == 1
    assert "--array" in asked.read_text()


def test_ended_jobs_are_asked_for_by_id_in_one_call(fake_slurm):
    asked = fake_slurm("sacct", SACCT)
    found = scheduler.ended({"12_0", "12_1", "13"})
    assert found == {"12_0": "COMPLETED", "12_1": "OUT_OF_MEMORY", "13": "CANCELLED by 1000"}
    assert "--jobs=12,13" in asked.read_text()
    assert asked.read_text().count("\n") == 1


def test_tasks_that_were_cancelled_together_before_they_started_are_told_apart(fake_slurm):
    fake_slurm("sacct", "12_[0-1,4-8:2%3]|CANCELLED by 0\n12_3|FAILED\n13_[7]|CANCELLED\n")
    asked = {f"12_{index}" for index in range(10)} | {"13_7", "13_8"}
    found = scheduler.ended(asked)
    cancelled = {job for job, state in found.items() if state.startswith("CANCELLED")}
    assert cancelled == asked - {"12_3"}
    # Of array 12 accounting knows the others, so these are tasks cancelled on their own.
    assert found.keys() - cancelled == {"12_3"}


def test_a_task_that_was_cancelled_on_its_own_before_it_started_has_no_line_of_its_own(fake_slurm):
    fake_slurm("sacct", "12_[0,2]|PENDING\n")
    assert scheduler.ended({"12_1"}) == {"12_1": "CANCELLED"}
    fake_slurm("sacct", "")  # accounting lags: nothing is known of the array
    assert scheduler.ended({"12_1"}) == {}


def test_nothing_is_asked_about_no_jobs(fake_slurm):
    asked = fake_slurm("sacct", SACCT)
    assert scheduler.ended(set()) == {}
    assert not asked.exists()


def test_a_site_without_accounting_is_tolerated(fake_slurm):
    fake_slurm("sacct", complains="Slurm accounting storage is disabled", code=1)
    assert scheduler.ended({"12"}) == {}


def test_a_missing_command_says_where_to_type(fake_slurm):
    with pytest.raises(SchedulerError, match=r"squeue is not on PATH: type this on a login node"):
        scheduler.queue()


def test_an_unreachable_controller_is_quoted_in_one_line(fake_slurm):
    fake_slurm(
        "squeue",
        complains="slurm_load_jobs error: Unable to contact slurm controller\n(connect failure)",
        code=1,
    )
    with pytest.raises(SchedulerError) as refusal:
        scheduler.queue()
    assert "Unable to contact slurm controller (connect failure)" in str(refusal.value)
    assert "\n" not in str(refusal.value)
