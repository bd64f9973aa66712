"""A profile compared with its site: limits that leave no room, settings that are wrong."""

import pytest

from jobs.commands.checking import site_checks
from jobs.profile import SlurmProfile
from jobs.profile_fields import FeatureJobs

PROFILE = SlurmProfile(scheduler="slurm", features=FeatureJobs(partition="cpu"))


def test_limits_that_leave_no_room_or_are_exceeded_are_wrong(fake_slurm):
    fake_slurm("squeue")
    cpu = "PartitionName=cpu Default=NO MaxTime=UNLIMITED\n"
    fake_slurm("scontrol", f"PartitionName=main Default=YES MaxTime=00:30:00\n{cpu}")
    fake_slurm("sacctmgr")
    (found,) = site_checks.check_limits(PROFILE)
    assert not found.ok
    assert "minutes: 120 is above the 30 minutes that partition main" in found.text
    fake_slurm("sacctmgr", "lab|lab||normal|0||||\n")
    (found,) = site_checks.check_limits(PROFILE.model_copy(update={"minutes": 30}))
    assert (found.ok, found.text.split(",")[0]) == (
        False,
        "limits: 0 jobs that may be submitted now",
    )


def test_jobs_of_the_check_do_not_count_towards_the_limits(fake_slurm):
    fake_slurm("squeue", "12|RUNNING|None|main|lab|normal|N/A|\n")
    lone = PROFILE.model_copy(update={"max_submit": 1, "max_minutes": 120, "max_running": 1})
    lone = lone.model_copy(update={"max_array_size": 8})
    assert not site_checks.check_limits(lone)[0].ok
    assert site_checks.check_limits(lone, ["12"])[0].ok


@pytest.mark.parametrize(
    ("settings", "told", "good"),
    [
        (
            {"preemption": "requeue", "grace_s": 0, "user_signal_on_preempt": True},
            [
                "preemption is requeue here",
                "grace_s is 0 here",
                "user_signal_on_preempt is yes here",
            ],
            [True, True, True],
        ),
        (
            {"preemption": "none", "grace_s": 30, "user_signal_on_preempt": False},
            [
                "preemption is requeue here, not none as in the profile",
                "grace_s is 0 here, not 30 as in the profile",
                "user_signal_on_preempt is yes here, not no as in the profile",
            ],
            [False, False, False],
        ),
        (
            {},
            [
                "preemption is requeue here, which the profile leaves open",
                "grace_s is 0 here, which the profile leaves open",
                "user_signal_on_preempt is yes here, which the profile leaves open",
            ],
            [True, True, True],
        ),
    ],
)
def test_a_profile_that_is_wrong_about_preemption_is_reported(fake_slurm, settings, told, good):
    fake_slurm(
        "scontrol",
        "PreemptType = preempt/partition_prio\nSlurmctldParameters = preempt_send_user_signal\n"
        "PartitionName=main Default=YES GraceTime=0 PreemptMode=REQUEUE\n",
    )
    found = site_checks.check_preemption(SlurmProfile(scheduler="slurm", **settings))
    assert [finding.text for finding in found] == told
    assert [finding.ok for finding in found] == good


def test_a_site_that_hides_its_preemption_settings_is_not_wrong(fake_slurm):
    fake_slurm("scontrol", complains="denied", code=1)
    (found,) = site_checks.check_preemption(
        SlurmProfile(scheduler="slurm", preemption="none", grace_s=5)
    )
    assert (found.ok, found.text) == (True, "preemption: SLURM does not show its settings")
