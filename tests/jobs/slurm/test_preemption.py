"""Preemption: what a run loses, in a sentence; what SLURM says about a partition or a QOS."""

import pytest

from jobs.profile import SlurmProfile
from jobs.slurm import preemption

PARTITIONS = (
    "PartitionName=main Default=YES GraceTime=0 MaxTime=UNLIMITED PreemptMode=REQUEUE\n"
    "PartitionName=kind Default=NO GraceTime=120 PreemptMode=GANG,CANCEL\n"
    "PartitionName=owner Default=NO GraceTime=0 PreemptMode=OFF\n"
)
QUALITIES = "normal|cluster|00:00:00\nscavenger|cancel|00:02:00\n"
BY_PARTITION = "PreemptMode = GANG,SUSPEND\nPreemptType = preempt/partition_prio\n"
BY_QOS = "PreemptMode = REQUEUE\nPreemptType = preempt/qos\n"
SIGNAL = "SlurmctldParameters = preempt_send_user_signal,idle_on_node_suspend\n"
OTHER_SIGNAL = "PreemptParameters = youngest_first,send_user_signal\n"


def fields(mode: str, grace: int, *, signal: bool = False) -> dict[str, set]:
    return {"preemption": {mode}, "grace_s": {grace}, "user_signal_on_preempt": {signal}}


def profile(**settings) -> SlurmProfile:
    return SlurmProfile(scheduler="slurm", **settings)


@pytest.fixture
def site_preemption(fake_slurm, tmp_path):
    def query(config: str, associations: str = "", **settings):
        fake_slurm("sacctmgr", associations + QUALITIES)
        fake_slurm("scontrol", config + PARTITIONS)
        return preemption.site_preemption_fields(profile(**settings))

    return query


@pytest.mark.parametrize(
    ("config", "settings", "found"),
    [
        (BY_PARTITION, {}, fields("requeue", 0)),
        (BY_PARTITION + SIGNAL, {}, fields("requeue", 0, signal=True)),
        (BY_PARTITION + OTHER_SIGNAL, {}, fields("requeue", 0, signal=True)),
        (BY_PARTITION, {"partition": "kind", "qos": "scavenger"}, fields("cancel", 120)),
        (BY_PARTITION, {"partition": "owner"}, {"preemption": {"none"}}),
        (BY_PARTITION, {"partition": "elsewhere"}, {}),
        (BY_QOS, {"partition": "kind"}, fields("requeue", 0)),
        (BY_QOS, {"qos": "scavenger"}, fields("cancel", 120)),
        ("PreemptMode = OFF\nPreemptType = preempt/none\n", {}, {"preemption": {"none"}}),
        ("", {}, {}),
    ],
)
def test_mode_and_grace_time_come_from_the_partition_or_the_qos(
    site_preemption, config, settings, found
):
    assert site_preemption(config, **settings) == found


def test_a_job_that_names_no_qos_has_that_of_its_association(site_preemption):
    found = site_preemption(BY_QOS, "lab|lab||scavenger|||||\n")
    assert found == fields("cancel", 120)


def test_a_run_of_two_partitions_may_be_preempted_in_either_way(site_preemption):
    found = site_preemption(BY_PARTITION, partition="main,kind")
    assert found["preemption"] == {"requeue", "cancel"}
    assert found["grace_s"] == {0, 120}


@pytest.mark.parametrize(
    ("settings", "signal", "time_left", "then"),
    [
        ({}, "SIGTERM or SIGUSR2", "at least SLURM's KillWait", "or make sweep again submits it"),
        ({"preemption": "requeue", "grace_s": 0}, "SIG", "has SLURM's KillWait (", "continues"),
        ({"preemption": "cancel", "grace_s": 9}, "SIG", "has 9 s to", "if it saves in time"),
        ({"user_signal_on_preempt": True}, "receives SIGUSR2 and", "", ""),
        ({"user_signal_on_preempt": False}, "receives SIGTERM and", "", ""),
    ],
)
def test_what_a_preempted_run_loses_is_one_sentence(settings, signal, time_left, then):
    sentence = preemption.describe_preemption(profile(**settings))
    assert all(words in sentence for words in (signal, time_left, then))
    assert "loses nothing, or at most a minute if that is too short" in sentence


def test_without_preemption_nothing_is_lost():
    assert preemption.describe_preemption(profile(preemption="none")) == "no run is preempted here"
