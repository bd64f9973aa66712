"""What SLURM says of its site: partitions, configuration, accounting; a site may forbid any of it.

In:   scontrol, sacctmgr.   Out: settings by name, rows; nothing of what is forbidden.
Not here: what that allows (limits.py).
"""

import getpass
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jobs.slurm.client import SchedulerError, parse_table, run_slurm_command

DEFAULT_QOS = "normal"  # SLURM's own name for what every job has

Partitions = Mapping[str, Mapping[str, str]]  # name -> its settings, as scontrol writes them


@dataclass(frozen=True)
class Association:
    """Of this user with an account."""

    account: str
    partition: str  # empty: any
    qos: str  # of jobs that name none
    limits: list[str]  # MaxSubmit, MaxJobs, MaxWall, with those of the accounts above; Grp's own


@dataclass(frozen=True)
class SlurmAccount:
    name: str
    parent: str
    limits: list[str]  # GrpSubmit, GrpJobs


def show_partitions() -> Partitions:
    try:
        text = run_slurm_command(["scontrol", "show", "partition", "--oneliner"], retry=True)
    except SchedulerError:
        return {}
    found = [
        dict(word.split("=", 1) for word in line.split() if "=" in word)
        for line in text.splitlines()
    ]
    return {each["PartitionName"]: each for each in found if "PartitionName" in each}


def default_partition(partitions: Partitions) -> str:
    return next((name for name, each in partitions.items() if each.get("Default") == "YES"), "")


def show_config(*, required: bool = False) -> dict[str, str]:
    try:
        lines = run_slurm_command(["scontrol", "show", "config"], retry=True).splitlines()
    except SchedulerError:
        if required:
            raise
        return {}
    return {name.strip(): value.strip() for name, _, value in (e.partition("=") for e in lines)}


def associations(account: str | None, partition: str, cluster: str) -> Iterator[Association]:
    """Those that jobs in this place have; `account` None: the user's default."""
    for row in query_sacctmgr(
        f"show user {getpass.getuser()} withassoc {_cluster_filter(cluster)} format=DefaultAccount,Account,"
        f"Partition,DefaultQOS,MaxSubmit,MaxJobs,MaxWall,GrpSubmit,GrpJobs",
        9,
    ):
        default_account, name, row_partition, qos, *limits = row
        if name == (account or default_account) and row_partition in {"", *partition.split(",")}:
            yield Association(name, row_partition, qos, limits)


def accounts(cluster: str) -> list[SlurmAccount]:
    """Every one, in one call: associations without a user."""
    asked = "format=User,Account,ParentName,GrpSubmit,GrpJobs"
    found = query_sacctmgr(f"show assoc where user= {_cluster_filter(cluster)} {asked}", 5)
    return [SlurmAccount(name, parent, limits) for user, name, parent, *limits in found if not user]


def _cluster_filter(cluster: str) -> str:
    return f"cluster={cluster}" if cluster else ""  # one database may serve many


def query_sacctmgr(words: str, columns: int) -> list[list[str]]:
    try:
        return parse_table(
            run_slurm_command(
                ["sacctmgr", "--noheader", "--parsable2", *words.split()], retry=True
            ),
            columns,
        )
    except SchedulerError:
        return []


def parse_slurm_time(text: str) -> int | None:
    """`1-00:00:00`, `02:30:00`, `30:00` or `30` of SLURM; None: `UNLIMITED`, or nothing."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)", text)
    if not match:
        return None
    days, hours, minutes, left = (int(part or 0) for part in match.groups())
    return 86_400 * days + 3600 * hours + 60 * minutes + left
