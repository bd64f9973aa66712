"""Reasons: SLURM's word in words, and still there to be looked up."""

import pytest

from jobs.reasons import WORDS, in_words


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
        ("QOSMaxWallDurationPerJobLimit", "the qos has its limit of time"),
        ("AssocGrpMemLimit", "your account has its limit of memory"),
        ("QOSMaxSubmitJobPerUserLimit", "the qos has its limit of jobs submitted"),
        ("SomethingNew", "SomethingNew"),
        ("None", ""),
        ("", ""),
    ],
)
def test_a_reason_is_told_in_words(reason: str, words: str):
    assert in_words(reason).startswith(words)
    assert bool(in_words(reason)) == bool(words)


def test_each_known_reason_keeps_the_name_by_which_it_is_looked_up():
    assert all(name in in_words(name) for name in WORDS if name != "None")
