"""Reasons: why SLURM lets a job wait, in words. Pure.

In:   a reason as squeue gives it.   Out: a few words, with what a person can do where there is
something.   Not here: asking for it (scheduler.py).
"""

import re

WORDS = {
    "Priority": "others come first",
    "Resources": "next, when there is room",
    "Dependency": "waits for earlier jobs",
    "DependencyNeverSatisfied": "never starts: make sweep again cancels it",
    "BeginTime": "held back after a requeue",
    "Cleaning": "its last start is being cleaned up",
    "JobArrayTaskLimit": "waits for others of its array",
    "JobHeldUser": "held: scontrol release lets it go",
    "JobHeldAdmin": "held by an administrator",
    "JobLaunchFailure": "could not be started: ask the administrators",
    "JobHoldMaxRequeue": "no node took it: make sweep again releases it",
    "launch failed requeued held": "no node took it: make sweep again releases it",
    "NodeDown": "its node is down",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is closed",
    "PartitionNodeLimit": "never starts: asks for more than the partition has",
    "PartitionTimeLimit": "never starts: minutes is above the partition's limit",
    "ReqNodeNotAvail": "the nodes are down or reserved",
    "Reservation": "waits for its reservation",
    "InvalidAccount": "never starts: the account is not valid",
    "InvalidQOS": "never starts: the qos is not valid",
    "BadConstraints": "never starts: no node is as it asks for",
    "None": "",
}
# Limits have dozens of names, made of whose they are and of what.
WHOSE = {"Assoc": "your account", "QOS": "the qos", "Reached": "the site"}
WHAT = (
    (r"Submit", "jobs submitted"),
    (r"MaxJobs|GrpJobs|MaxJobsPer", "jobs at once"),
    (r"(?i)gres|gpu", "GPUs"),
    (r"(?i)cpu", "CPUs"),
    (r"(?i)mem", "memory"),
    (r"(?i)node", "nodes"),
    (r"(?i)wall|time|minutes|mins", "time"),
)


def in_words(reason: str) -> str:
    """SLURM's own word in brackets, so that it can be looked up; unknown ones as they are."""
    name = reason.strip("()").split(",")[0].strip()
    if name in WORDS:
        return f"{WORDS[name]} ({name})" if WORDS[name] else ""
    whose = next((words for start, words in WHOSE.items() if name.startswith(start)), "")
    if whose and ("Limit" in name or "Max" in name or "Grp" in name):
        what = next((words for pattern, words in WHAT if re.search(pattern, name)), "something")
        return f"{whose} has its limit of {what} ({name})"
    return name
