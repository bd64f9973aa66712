"""Reasons: why SLURM lets a job wait, or refuses it, in plain words. Pure.

In:   a reason as squeue prints it, an error of sbatch.
Out:  a few words, and what a person can do about it.
Not here: querying SLURM (client.py), submitting (sbatch.py).
"""

import re

REASON_TEXTS = {
    "Priority": "other jobs come first",
    "Resources": "starts when resources are free",
    "Dependency": "waits for earlier jobs",
    "DependencyNeverSatisfied": "never starts: make sweep again cancels it",
    "BeginTime": "held for a while after a requeue",
    "Cleaning": "SLURM cleans up after its last attempt",
    "JobArrayTaskLimit": "waits for other tasks of its array",
    "JobHeldUser": "held by a user: scontrol release lets it start",
    "JobHeldAdmin": "held by an administrator: ask why",
    "JobLaunchFailure": "could not be started: ask the administrators",
    "JobHoldMaxRequeue": "could not be started on a node, and held: make sweep again releases it",
    "launch failed requeued held": "could not be started on a node, and held: make sweep again "
    "releases it",
    "NodeDown": "its node is down",
    "Nodes required for job are DOWN": "its nodes are down, drained or kept for other partitions: "
    "sinfo -R says why",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is closed",
    "PartitionConfig": "never starts: no node of the partition has that many CPUs or GPUs",
    "PartitionNodeLimit": "never starts: it requests more than the partition has",
    "PartitionTimeLimit": "never starts: minutes is above the partition's limit",
    "MaxMemPerLimit": "never starts: memory_gb is above the partition's limit",
    "ReqNodeNotAvail": "the nodes are down or reserved: sinfo -R and scontrol show reservation say "
    "until when; a job with fewer minutes may start before that",
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
# The names of limits have an owner and a resource: QOS + MaxCpuPerUserLimit.
LIMIT_OWNERS = {"Assoc": "your account", "QOS": "the qos", "Reached": "the site"}
# A limit for one job: it stays in force when other jobs end.
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

# Pattern in an error of sbatch -> its usual cause; the first match counts. sbatch prints the name
# of a limit, and then one sentence that is the same for all limits.
LIMIT_PATTERN = r"\b(?:Assoc|QOS)\w*"
POLICY_PATTERN = "accounting/qos policy"
USUAL_CAUSES = {
    LIMIT_PATTERN
    + "GrpSubmit": "all users of the account or of the qos together have reached its limit: "
    "make sweep again later, or lower max_submit in the profile",
    LIMIT_PATTERN + "Submit": "max_submit in the profile is above what the site allows",
    LIMIT_PATTERN + "Min(ute)?s": "minutes times cpus or gpus is more than the account has left",
    LIMIT_PATTERN
    + "(Wall|Time)": "minutes in the profile is more than the account or the qos allows",
    LIMIT_PATTERN + "(GRES|GPU)": "gpus in the profile is not what the account or the qos allows",
    LIMIT_PATTERN + "Mem": "memory_gb in the profile is not what the account or the qos allows",
    LIMIT_PATTERN + "Cpu": "cpus in the profile is not what the account or the qos allows",
    POLICY_PATTERN: "the job exceeds a limit of the account or the qos: sacctmgr show "
    "assoc and sacctmgr show qos list the limits",
    "account/partition combination": "account and partition in the profile must be a pair that "
    "sacctmgr show assoc lists; name an account if you have no default one",
    "association": "you must be allowed to use account, partition and qos of the profile together",
    "job array": "max_array_size in the profile is above what the site allows",
    "requested time limit": "minutes in the profile is above the partition's limit",
    "memory specification": "no node has that much memory: lower memory_gb in the profile",
    "node configuration|cpu count|more processors": "no node has that many CPUs or GPUs, or "
    "that much memory: lower cpus, gpus or memory_gb in the profile",
    "feature specification": "constraint in the profile must be one that sinfo -o %f lists",
    "generic resource": "gpu_type in the profile must be one that sinfo -o %G lists",
    "partition": "partition in the profile must be one that sinfo lists",
    "account": "account in the profile must be one that sacctmgr show assoc lists",
    "qos": "qos in the profile must be one that you may use",
    "wckey": "the site wants wckey in the profile",
    "contact": "the scheduler does not answer; try again later",
}

# Errors of any command that may be gone a little later.
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
    """Return a reason of squeue in plain words, with SLURM's name in brackets.

    An unknown reason is returned as it is; "None" and an empty one as "".
    """
    name = reason.strip("()").split(",")[0].strip()
    if name in REASON_TEXTS:
        return f"{REASON_TEXTS[name]} ({name})" if REASON_TEXTS[name] else ""
    owner = next((words for start, words in LIMIT_OWNERS.items() if name.startswith(start)), "")
    if owner and re.search(PER_JOB_PATTERN, name):
        return f"never starts: {_limit_cause(name)} ({name})"
    if owner and ("Limit" in name or "Max" in name or "Grp" in name):
        resources = (words for pattern, words in LIMITED_RESOURCES if re.search(pattern, name))
        return f"{owner} is at its limit of {next(resources, 'something')} ({name})"
    return name


def _limit_cause(limit: str) -> str:
    """Return the usual cause of a limit, or for an unknown one where limits are listed."""
    known = {p: c for p, c in USUAL_CAUSES.items() if p.startswith(LIMIT_PATTERN)}
    causes = (cause for pattern, cause in known.items() if re.search(pattern, limit, re.IGNORECASE))
    return next(causes, USUAL_CAUSES[POLICY_PATTERN])


def never_starts(reason: str) -> bool:
    """Return whether a job with this reason never starts unless its request or the site changes."""
    return explain(reason).startswith("never starts")


def add_usual_cause(message: str) -> str:
    """Return an error of sbatch, followed by its usual cause if that is known."""
    causes = (
        cause
        for pattern, cause in USUAL_CAUSES.items()
        if re.search(pattern, message, re.IGNORECASE)
    )
    cause = next(causes, "")
    return f"{message} — {cause}" if cause else message


def lacks_nodes(message: str) -> bool:
    """Return whether sbatch refuses because no node of the partition can run the job."""
    return "node configuration is not available" in message


def is_transient(message: str) -> bool:
    """Return whether the same command may succeed a little later."""
    return any(re.search(pattern, message, re.IGNORECASE) for pattern in TRANSIENT_ERRORS)
