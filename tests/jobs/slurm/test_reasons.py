"""Reasons: SLURM's word in words, and still there to be looked up."""

import pytest

from jobs.slurm.reasons import REASON_TEXTS, add_usual_cause, explain, never_starts


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Priority", "others come first (Priority)"),
        ("(Resources)", "next, when there is room (Resources)"),
        ("ReqNodeNotAvail, UnavailableNodes:node[1-2]", "the nodes are down or reserved"),
        ("AssocMaxJobsLimit", "your account has its limit of jobs at once (AssocMaxJobsLimit)"),
        ("AssocGrpGRES", "your account has its limit of GPUs (AssocGrpGRES)"),
        ("QOSMaxGRESPerUser", "the qos has its limit of GPUs (QOSMaxGRESPerUser)"),
        ("QOSMaxCpuPerUserLimit", "the qos has its limit of CPUs (QOSMaxCpuPerUserLimit)"),
        ("QOSGrpWallLimit", "the qos has its limit of time"),
        ("AssocGrpCPUMinutesLimit", "your account has its limit of time"),
        ("AssocGrpMemLimit", "your account has its limit of memory"),
        ("QOSMaxSubmitJobPerUserLimit", "the qos has its limit of jobs submitted"),
        ("SomethingNew", "SomethingNew"),
        ("None", ""),
        ("", ""),
    ],
)
def test_a_reason_is_told_in_words(reason: str, words: str):
    assert explain(reason).startswith(words)
    assert bool(explain(reason)) == bool(words)


@pytest.mark.parametrize(
    ("reason", "way_out"),
    [
        ("BadConstraints", "constraint must be one that sinfo -o %f lists"),
        ("PartitionTimeLimit", "minutes is above"),
        ("MaxMemPerLimit", "memory_gb is above"),
        ("AccountNotAllowed", "does not take this account"),
        ("InvalidAccount", "account must be one that sacctmgr"),
        ("InvalidQOS", "qos must be one that sacctmgr"),
        ("QOSNotAllowed", "does not take this qos"),
        ("QOSMaxWallDurationPerJobLimit", "minutes in the profile is above"),
        ("AssocMaxWallDurationPerJobLimit", "minutes in the profile is above"),
        ("AssocMaxCpuMinutesPerJobLimit", "minutes times cpus"),
        ("QOSMaxCpuPerJobLimit", "cpus in the profile"),
        ("QOSMaxMemoryPerJob", "memory_gb in the profile"),
        ("QOSMaxGRESPerJob", "gpus in the profile"),
        ("QOSMinGRES", "gpus in the profile"),
        ("QOSMaxNodePerJobLimit", "sacctmgr show qos list them"),
    ],
)
def test_what_no_waiting_mends_is_told_so_with_its_way_out(reason: str, way_out: str):
    told = explain(reason)
    assert never_starts(reason)
    assert told.startswith("never starts: ")
    assert way_out in told
    assert told.endswith(f"({reason})")


@pytest.mark.parametrize(
    "reason",
    [
        "Priority",
        "ReqNodeNotAvail, Reserved for maintenance",
        "AssocGrpGRES",
        "QOSMaxJobsPerUserLimit",
        "QOSMaxCpuPerUserLimit",
        "AssocMaxSubmitJobLimit",
        "SomethingNew",
    ],
)
def test_what_may_pass_is_not_called_hopeless(reason: str):
    assert not never_starts(reason)


def test_each_known_reason_keeps_the_name_by_which_it_is_looked_up():
    assert all(name in explain(name) for name in REASON_TEXTS if name != "None")


POLICY = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
    "(job submit limit, user's size and/or time limits)"
)


@pytest.mark.parametrize(
    ("limit", "cause"),
    [
        ("AssocMaxSubmitJobLimit", "max_submit in the profile is above"),
        ("QOSMaxSubmitJobPerUserLimit", "max_submit in the profile is above"),
        ("AssocGrpSubmitJobsLimit", "all of the account or of the qos together"),
        ("QOSGrpSubmitJobsLimit", "all of the account or of the qos together"),
        ("QOSMaxMemoryPerJob", "memory_gb in the profile"),
        ("AssocMaxMemPerJob", "memory_gb in the profile"),
        ("QOSMaxGRESPerJob", "gpus in the profile"),
        ("QOSMinGRES", "gpus in the profile"),
        ("AssocMaxCpuPerJobLimit", "cpus in the profile"),
        ("QOSMinCpuNotSatisfied", "cpus in the profile"),
        ("QOSMaxWallDurationPerJobLimit", "minutes in the profile"),
        ("AssocMaxWallDurationPerJobLimit", "minutes in the profile"),
        ("QOSTimeLimit", "minutes in the profile"),
        ("AssocMaxCpuMinutesPerJobLimit", "minutes times cpus"),
        ("AssocMaxNodePerJobLimit", "the job passes a limit of the account or the qos"),
        ("", "the job passes a limit of the account or the qos"),
    ],
)
def test_a_limit_that_sbatch_names_has_its_own_cause(limit: str, cause: str):
    said = f"sbatch: error: {limit}; {POLICY}" if limit else POLICY
    assert add_usual_cause(said).startswith(f"{said} — {cause}")


def test_a_complaint_that_nobody_knows_is_quoted_alone():
    assert add_usual_cause("sbatch: error: Unspecified error") == "sbatch: error: Unspecified error"
