"""Reasons: why SLURM lets a job wait, or refuses it, in words. Pure.

In:   a reason as squeue gives it, a complaint of sbatch.   Out: a few words, with what a person
can do where there is something.   Not here: asking for it (scheduler.py, slurm.py).
"""

import re

REASON_TEXTS = {
    "Priority": "others come first",
    "Resources": "next, when there is room",
    "Dependency": "waits for earlier jobs",
    "DependencyNeverSatisfied": "never starts: make sweep again cancels it",
    "BeginTime": "held back after a requeue",
    "Cleaning": "its last start is being cleaned up",
    "JobArrayTaskLimit": "waits for others of its array",
    "JobHeldUser": "held: scontrol release lets it go",
    "JobHeldAdmin": "held by an administrator: ask why",
    "JobLaunchFailure": "could not be started: ask the administrators",
    "JobHoldMaxRequeue": "no node took it: make sweep again releases it",
    "launch failed requeued held": "no node took it: make sweep again releases it",
    "NodeDown": "its node is down",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is closed",
    "PartitionConfig": "never starts: no node of the partition has so many CPUs or GPUs",
    "PartitionNodeLimit": "never starts: asks for more than the partition has",
    "PartitionTimeLimit": "never starts: minutes is above the partition's limit",
    "MaxMemPerLimit": "never starts: memory_gb is above the partition's limit",
    "ReqNodeNotAvail": "the nodes are down or reserved: sinfo -R and scontrol show reservation say "
    "until when; a job of fewer minutes may fit in before",
    "Reservation": "waits for its reservation",
    "ReservationDeleted": "never starts: its reservation is gone",
    "InvalidAccount": "never starts: account must be one that sacctmgr show assoc lists",
    "AccountNotAllowed": "never starts: the partition does not take this account",
    "InvalidQOS": "never starts: qos must be one that sacctmgr show assoc lists",
    "QOSNotAllowed": "never starts: the partition does not take this qos",
    "BadConstraints": "never starts: constraint must be one that sinfo -o %f lists",
    "DeadLine": "never starts: its deadline has passed",
    "None": "",
}
# Limits have dozens of names, made of whose they are and of what.
LIMIT_OWNERS = {"Assoc": "your account", "QOS": "the qos", "Reached": "the site"}
# Of one job alone: no other job that ends makes room for it.
PER_JOB_PATTERN = r"PerJob|^QOSMin"
LIMITED_RESOURCES = (
    (r"Submit", "jobs submitted"),
    (r"MaxJobs|GrpJobs|MaxJobsPer", "jobs at once"),
    (r"(?i)wall|time|minutes|mins", "time"),  # also CPUs times minutes
    (r"(?i)gres|gpu", "GPUs"),
    (r"(?i)cpu", "CPUs"),
    (r"(?i)mem", "memory"),
    (r"(?i)node", "nodes"),
)

# What sbatch complains of -> the usual cause; the first that fits. A limit has a name of one word,
# made of whose it is and of what; the sentence below it is the same for all of them.
LIMIT_PATTERN = r"\b(?:Assoc|QOS)\w*"
POLICY_PATTERN = "accounting/qos policy"
USUAL_CAUSES = {
    LIMIT_PATTERN
    + "GrpSubmit": "all of the account or of the qos together have submitted what they may: "
    "make sweep again later, or lower max_submit in the profile",
    LIMIT_PATTERN + "Submit": "max_submit in the profile is above what the site allows",
    LIMIT_PATTERN + "Min(ute)?s": "minutes times cpus or gpus is above what the account has left",
    LIMIT_PATTERN
    + "(Wall|Time)": "minutes in the profile is above what the account or the qos allows",
    LIMIT_PATTERN + "(GRES|GPU)": "gpus in the profile is not what the account or the qos allows",
    LIMIT_PATTERN + "Mem": "memory_gb in the profile is not what the account or the qos allows",
    LIMIT_PATTERN + "Cpu": "cpus in the profile is not what the account or the qos allows",
    POLICY_PATTERN: "the job passes a limit of the account or the qos: sacctmgr show "
    "assoc and sacctmgr show qos list them",
    "account/partition combination": "account and partition in the profile must be a pair that "
    "sacctmgr show assoc lists; an account must be named where you have no default",
    "association": "account, partition and qos in the profile must be ones you may use together",
    "job array": "max_array_size in the profile is above what the site allows",
    "requested time limit": "minutes in the profile is above the partition's limit",
    "memory specification": "no node has so much memory: lower memory_gb in the profile",
    "node configuration|cpu count|more processors": "no node has so many CPUs, GPUs or so much "
    "memory: see the profile",
    "feature specification": "constraint in the profile must be one that sinfo -o %f lists",
    "generic resource": "gpu_type in the profile must be one that sinfo -o %G lists",
    "partition": "partition in the profile must be one that sinfo lists",
    "account": "account in the profile must be one that sacctmgr show assoc lists",
    "qos": "qos in the profile must be one that you may use",
    "wckey": "the site wants wckey in the profile",
    "contact": "the scheduler does not answer; try again later",
}

# A complaint of any command that may be gone a little later.
TRANSIENT_ERRORS = (
    "timed out",
    "unable to contact",
    "communication connection failure",
    "connection (refused|reset)",
    "zero bytes were transmitted",
    "standby mode",
    "temporarily (unable to accept|unavailable)",
    "rate limit",
)
RETRY_DELAYS_S = (1.0, 2.0, 4.0, 8.0)


def explain(reason: str) -> str:
    """SLURM's own word in brackets, so that it can be looked up; unknown ones as they are."""
    name = reason.strip("()").split(",")[0].strip()
    if name in REASON_TEXTS:
        return f"{REASON_TEXTS[name]} ({name})" if REASON_TEXTS[name] else ""
    whose = next((words for start, words in LIMIT_OWNERS.items() if name.startswith(start)), "")
    if whose and re.search(PER_JOB_PATTERN, name):
        return f"never starts: {_limit_cause(name)} ({name})"
    if whose and ("Limit" in name or "Max" in name or "Grp" in name):
        what = next(
            (words for pattern, words in LIMITED_RESOURCES if re.search(pattern, name)), "something"
        )
        return f"{whose} has its limit of {what} ({name})"
    return name


def _limit_cause(limit: str) -> str:
    """The usual cause of a limit; of one that is not known, where it stands."""
    known = {p: c for p, c in USUAL_CAUSES.items() if p.startswith(LIMIT_PATTERN)}
    causes = (cause for pattern, cause in known.items() if re.search(pattern, limit, re.IGNORECASE))
    return next(causes, USUAL_CAUSES[POLICY_PATTERN])


def never_starts(reason: str) -> bool:
    """Whether a job that waits for this waits in vain, until its request or the site changes."""
    return explain(reason).startswith("never starts")


def add_usual_cause(message: str) -> str:
    """A complaint of sbatch, and its usual cause where it is known."""
    causes = (
        cause
        for pattern, cause in USUAL_CAUSES.items()
        if re.search(pattern, message, re.IGNORECASE)
    )
    cause = next(causes, "")
    return f"{message} — {cause}" if cause else message


def is_transient(message: str) -> bool:
    """Whether the same words may be accepted a little later."""
    return any(re.search(pattern, message, re.IGNORECASE) for pattern in TRANSIENT_ERRORS)
