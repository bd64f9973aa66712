"""Site configuration: partitions, slurm.conf and accounting, as scontrol and sacctmgr print them.

In:   scontrol, sacctmgr.   Out: settings by name, rows; empty if the site forbids the query.
Not here: the limits that follow (limits.py).
"""

import getpass
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from jobs.slurm.client import SchedulerError, parse_table, run_slurm_command

SACCTMGR_TIMEOUT_S = 10  # its database may be down, and then all its answers are late

DEFAULT_QOS = "normal"  # SLURM's name of the QOS of a job that names none

Partitions = Mapping[str, Mapping[str, str]]  # name -> its settings, as scontrol writes them


class Association(NamedTuple):
    """One association of this user with an account."""

    account: str
    partition: str  # empty: any
    qos: str  # default QOS
    limits: list[str]  # MaxSubmit, MaxJobs, MaxWall, GrpSubmit, GrpJobs; empty: none


class SlurmAccount(NamedTuple):
    name: str
    parent: str
    limits: list[str]  # GrpSubmit, GrpJobs


class QosLimits(NamedTuple):
    """The limits of one QOS, as texts; an empty text: no limit."""

    name: str
    limits: list[str]  # MaxSubmitPU, MaxJobsPU, MaxWall, GrpSubmit, GrpJobs


def show_partitions() -> Partitions:
    try:
        text = run_slurm_command(["scontrol", "show", "partition", "--oneliner"], retry=True)
    except SchedulerError:
        return {}
    found = _parse_oneliners(text)
    return {each["PartitionName"]: each for each in found if "PartitionName" in each}


def _parse_oneliners(text: str) -> list[dict[str, str]]:
    """Return the settings of each line that scontrol prints with --oneliner."""
    return [
        dict(word.split("=", 1) for word in line.split() if "=" in word)
        for line in text.splitlines()
    ]


def default_partition(partitions: Partitions) -> str:
    return next((name for name, each in partitions.items() if each.get("Default") == "YES"), "")


def nodes_up(partition: str | None) -> frozenset[str]:
    """Return the nodes of a partition (None: the default one) that run jobs; empty: not known."""
    place = [f"--partition={partition}"] if partition else []
    try:
        text = run_slurm_command(["sinfo", "--noheader", "--Node", "--format=%N|%T|%P", *place])
    except SchedulerError:
        return frozenset()
    return frozenset(
        node
        for node, state, name in parse_table(text, 3)
        if re.fullmatch(r"(idle|mixed|allocated|completing|planned)[^*]?", state)
        and (partition or name.endswith("*"))
    )


def show_config(*, required: bool = False, retry: bool = True) -> dict[str, str]:
    """Return the settings of slurm.conf; empty if SLURM does not answer, unless `required`."""
    try:
        lines = run_slurm_command(["scontrol", "show", "config"], retry=retry).splitlines()
    except SchedulerError:
        if required:
            raise
        return {}
    return {name.strip(): value.strip() for name, _, value in (e.partition("=") for e in lines)}


def cluster_name() -> str:
    """Return the name of the cluster that SLURM's commands address; "" if it is not known."""
    return show_config(retry=False).get("ClusterName", "")


def associations(account: str | None, partition: str, cluster: str) -> Iterator[Association]:
    """Yield the associations of jobs in this partition; `account` None: the default account."""
    fields = (
        "DefaultAccount,Account,Partition,DefaultQOS,MaxSubmit,MaxJobs,MaxWall,GrpSubmit,GrpJobs"
    )
    query = f"show user {getpass.getuser()} withassoc {_cluster_filter(cluster)} format={fields}"
    for row in query_sacctmgr(query, 9):
        default_account, name, row_partition, qos, *limits = row
        if name == (account or default_account) and row_partition in {"", *partition.split(",")}:
            yield Association(name, row_partition, qos, limits)


def job_qos(requested: str | None, own: Iterable[Association]) -> str:
    """Return the QOS of a job: the requested one, or else the default of its associations."""
    return requested or next((each.qos for each in own if each.qos), DEFAULT_QOS)


def accounts(cluster: str) -> list[SlurmAccount]:
    """Return all accounts, in one call: they are the associations without a user."""
    fields = "format=User,Account,ParentName,GrpSubmit,GrpJobs"
    rows = query_sacctmgr(f"show assoc where user= {_cluster_filter(cluster)} {fields}", 5)
    return [SlurmAccount(name, parent, limits) for user, name, parent, *limits in rows if not user]


def _cluster_filter(cluster: str) -> str:
    return f"cluster={cluster}" if cluster else ""  # one database may serve several clusters


def qos_limits(names: Collection[str]) -> list[QosLimits]:
    """Return the limits of these QOS, in one call of sacctmgr."""
    query = f"show qos where name={','.join(sorted(names))} "
    query += "format=Name,MaxSubmitPU,MaxJobsPU,MaxWall,GrpSubmit,GrpJobs"
    rows = query_sacctmgr(query, 6)
    return [QosLimits(name, limits) for name, *limits in rows if name in names]


def qos_tres(names: Collection[str]) -> list[list[str]]:
    """Return name, MaxTRESPU, GrpTRES, MaxTRES, MaxTRESMins and GrpTRESMins of each QOS."""
    query = f"show qos where name={','.join(sorted(names))} "
    query += "format=Name,MaxTRESPU,GrpTRES,MaxTRES,MaxTRESMins,GrpTRESMins,MaxTRESPA"
    return [row[:6] for row in query_sacctmgr(query, 7) if row[0] in names]


def association_tres(account: str, partition: str, cluster: str) -> list[list[str]]:
    """Return account, MaxTRES, MaxTRESMins, GrpTRES and GrpTRESMins of the user in it."""
    fields = "User,Account,Partition,MaxTRES,MaxTRESMins,GrpTRES,GrpTRESMins,DefaultQOS"
    query = f"show user {getpass.getuser()} withassoc {_cluster_filter(cluster)} format={fields}"
    return [
        [name, *limits]
        for _, name, place, *limits, _ in query_sacctmgr(query, 8)
        if name == account and place in {"", *partition.split(",")}
    ]


def account_tres(cluster: str) -> list[list[str]]:
    """Return name, parent, MaxTRES, MaxTRESMins, GrpTRES and GrpTRESMins of each account."""
    fields = "User,Account,ParentName,MaxTRES,MaxTRESMins,GrpTRES,GrpTRESMins,DefaultQOS,Cluster,ID"
    query = f"show assoc where user= {_cluster_filter(cluster)} format={fields}"
    return [row[1:7] for row in query_sacctmgr(query, 10) if not row[0]]


class UsedBudget(NamedTuple):
    """What has been used of one limit GrpTRESMins. Running jobs may use more until they end."""

    account: str  # empty: of a QOS
    user: str  # empty: of a whole account, or of a QOS
    qos: str
    minutes: Mapping[str, float]  # TRES -> TRES-minutes


def used_budgets(accounts: Collection[str], qos: Collection[str]) -> list[UsedBudget]:
    """Return what these accounts, this user in them, and these QOS have used; empty if denied."""
    user = getpass.getuser()
    filters = (f"accounts={','.join(accounts)}", f"users={user}", f"qos={','.join(qos)}")
    try:
        text = run_slurm_command(
            ["scontrol", "show", "assoc_mgr", "--oneliner", "flags=assoc,qos", *filters]
        )
    except SchedulerError:
        return []
    return [
        UsedBudget(
            each.get("Account", ""),
            each.get("UserName", "").split("(")[0],
            each.get("QOS", "").split("(")[0],
            _sum_tres(each["GrpTRESMins"]),
        )
        for each in _parse_oneliners(text)
        if "GrpTRESMins" in each
    ]


def _sum_tres(text: str) -> dict[str, float]:
    """Return the sums of the numbers in brackets: `cpu=N(60),gres/gpu=1000(30)`."""
    sums: dict[str, float] = {}
    for name, number in re.findall(r"([^,=]+)=\w+\(([\d.]+)\)", text):
        sums[name] = sums.get(name, 0.0) + float(number)
    return sums


def whole_partition_reservations(
    partition: Mapping[str, str],
) -> Iterator[tuple[str, float, float]]:
    """Yield name, start and end (unix time) of each maintenance of all nodes of a partition."""
    try:
        text = run_slurm_command(
            ["scontrol", "show", "reservation", "--oneliner"], SLURM_TIME_FORMAT="%s"
        )
    except SchedulerError:
        return
    for each in _parse_oneliners(text):
        nodes = each.get("Nodes"), int(each.get("NodeCnt", "0"))
        covers = "ALL_NODES" in each.get("Flags", "") or (
            nodes == (partition.get("Nodes"), int(partition.get("TotalNodes", "0")))
        )
        times = each.get("StartTime", ""), each.get("EndTime", "")
        if "MAINT" in each.get("Flags", "") and covers and all(map(str.isdigit, times)):
            yield each.get("ReservationName", ""), float(times[0]), float(times[1])


def query_sacctmgr(words: str, columns: int) -> list[list[str]]:
    """Return the rows that have `columns` columns; raise SchedulerError if it is denied."""
    command = ["sacctmgr", "--noheader", "--parsable2", *words.split()]
    return parse_table(run_slurm_command(command, timeout_s=SACCTMGR_TIMEOUT_S), columns)


def parse_slurm_time(text: str) -> int | None:
    """Return the seconds of `1-00:00:00`, `02:30:00`, `30:00` or `30`; None for anything else."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)", text)
    if not match:
        return None
    days, hours, minutes, left = (int(part or 0) for part in match.groups())
    return 86_400 * days + 3600 * hours + 60 * minutes + left
