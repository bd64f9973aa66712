"""Reasons: in plain words, with SLURM's name so that it can be looked up."""

import pytest

from jobs.slurm.reasons import REASON_TEXTS, add_usual_cause, explain, never_starts


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Priority", "other jobs come first (Priority)"),
        ("(Resources)", "starts when resources are free (Resources)"),
        ("ReqNodeNotAvail, UnavailableNodes:node[1-2]", "the nodes are down or reserved"),
        ("AssocMaxJobsLimit", "your account is at its limit of jobs at once (AssocMaxJobsLimit)"),
        ("AssocGrpGRES", "your account is at its limit of GPUs (AssocGrpGRES)"),
        ("QOSMaxGRESPerUser", "the qos is at its limit of GPUs (QOSMaxGRESPerUser)"),
        ("QOSMaxCpuPerUserLimit", "the qos is at its limit of CPUs (QOSMaxCpuPerUserLimit)"),
        ("QOSGrpWallLimit", "the qos is at its limit of time"),
        ("AssocGrpCPUMinutesLimit", "your account is at its limit of time"),
        ("AssocGrpMemLimit", "your account is at its limit of memory"),
        ("QOSMaxSubmitJobPerUserLimit", "the qos is at its limit of jobs submitted"),
        ("SomethingNew", "SomethingNew"),
        ("None", ""),
        ("", ""),
    ],
)
def test_a_reason_is_explained_in_words(reason: str, words: str):
    assert explain(reason).startswith(words)
    assert bool(explain(reason)) == bool(words)


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("BadConstraints", "constraint must be one that sinfo -o %f lists"),
        ("PartitionTimeLimit", "minutes is above"),
        ("MaxMemPerLimit", "memory_gb is above"),
        ("AccountNotAllowed", "does not take this account"),
        ("InvalidAccount", "account must be one that sacctmgr"),
        ("InvalidQOS", "qos must be one that sacctmgr"),
        ("QOSNotAllowed", "does not take this qos"),
        ("QOSMaxWallDurationPerJobLimit", "minutes in the profile is more than"),
        ("AssocMaxWallDurationPerJobLimit", "minutes in the profile is more than"),
        ("AssocMaxCpuMinutesPerJobLimit", "minutes times cpus"),
        ("QOSMaxCpuPerJobLimit", "cpus in the profile"),
        ("QOSMaxMemoryPerJob", "memory_gb in the profile"),
        ("QOSMaxGRESPerJob", "gpus in the profile"),
        ("QOSMinGRES", "gpus in the profile"),
        ("QOSMaxNodePerJobLimit", "sacctmgr show qos list the limits"),
    ],
)
def test_a_job_that_never_starts_is_explained_with_what_to_change(reason: str, remedy: str):
    text = explain(reason)
    assert never_starts(reason)
    assert text.startswith("never starts: ")
    assert remedy in text
    assert text.endswith(f"({reason})")


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
def test_a_reason_that_may_pass_is_not_called_never_starting(reason: str):
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
        ("AssocGrpSubmitJobsLimit", "all users of the account or of the qos together"),
        ("QOSGrpSubmitJobsLimit", "all users of the account or of the qos together"),
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
        ("AssocMaxNodePerJobLimit", "the job exceeds a limit of the account or the qos"),
        ("", "the job exceeds a limit of the account or the qos"),
    ],
)
def test_a_limit_that_sbatch_names_has_its_own_cause(limit: str, cause: str):
    message = f"sbatch: error: {limit}; {POLICY}" if limit else POLICY
    assert add_usual_cause(message).startswith(f"{message} — {cause}")


def test_an_unknown_error_is_quoted_alone():
    assert add_usual_cause("sbatch: error: Unspecified error") == "sbatch: error: Unspecified error"
