"""Questions to SLURM: one batched call each, its answer read with care."""

import pytest

from jobs import scheduler
from jobs.profile import Slurm
from jobs.scheduler import QueuedJob, SchedulerError

SQUEUE = """\
welcome to the cluster
12_0|RUNNING|None
12_1|PENDING|Resources
13|PENDING|Dependency
14|SUSPENDED|None
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
    assert queue["12_0"] == QueuedJob("12_0", "RUNNING", "")
    assert queue["12_1"] == QueuedJob("12_1", "PENDING", "Resources")
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
    assert cancelled == {"12_0", "12_1", "12_4", "12_6", "12_8", "13_7"}
    assert found.keys() - cancelled == {"12_3"}


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


CONFIG = "MaxArraySize            = 8\nMaxJobCount = 10000\n"
ASSOCIATIONS = "lab||10|\nlab|debug|2|1\nother||1|\n"


UNLIMITED = {
    "max_submit": "unlimited",
    "max_running": "unlimited",
    "max_array_size": "unlimited",
}


@pytest.mark.parametrize(
    ("settings", "live", "limits"),
    [
        ({}, 0, (10, None, 8)),
        ({}, 4, (6, None, 8)),
        ({}, 40, (0, None, 8)),
        ({"partition": "debug"}, 0, (2, 1, 8)),
        ({"max_submit": 300, "max_running": 50, "max_array_size": 20}, 1, (299, 50, 20)),
        (UNLIMITED, 5, (None, None, None)),
    ],
)
def test_limits_are_the_profiles_or_asked_for(fake_slurm, settings, live, limits):
    """Limits: tasks that may be submitted, tasks running at once, tasks in an array."""
    fake_slurm("scontrol", CONFIG)
    fake_slurm("sacctmgr", ASSOCIATIONS)
    found = scheduler.limits(Slurm(scheduler="slurm", account="lab", **settings), live)
    assert (found.tasks, found.running, found.array) == limits


def test_limits_that_a_site_hides_are_none(fake_slurm):
    fake_slurm("scontrol", "nothing of use")
    fake_slurm("sacctmgr", complains="permission denied", code=1)
    found = scheduler.limits(Slurm(scheduler="slurm"), live=3)
    assert (found.tasks, found.running, found.array) == (None, None, scheduler.LARGEST_ARRAY)
