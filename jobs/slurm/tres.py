"""Limits on GPUs, CPUs and memory (TRES) of the account and the QOS, and what follows from them.

In:   a profile, SLURM's accounting.
Out:  jobs at once, minutes of a job, lines for a person, why a job would never start.
Not here: limits on the number of jobs and their time (limits.py).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from jobs.profile import SlurmProfile
from jobs.profile_fields import MIN_JOB_MINUTES
from jobs.slurm import site_config

# user, group: at once; job: in one job; job minutes: times its minutes; budget: of a whole group.
Scope = Literal["user", "group", "job", "job minutes", "budget"]
SCOPE_NAMES: Mapping[Scope, str] = {
    "user": "MaxTRESPerUser",
    "group": "GrpTRES",
    "job": "MaxTRESPerJob",
    "job minutes": "MaxTRESMinsPerJob",
    "budget": "GrpTRESMins",
}
# TRES -> the field of a profile that requests it, and its unit in messages
FIELDS = {"gres/gpu": ("gpus", "GPU"), "cpu": ("cpus", "CPU"), "mem": ("memory_gb", "MB of memory")}
MEGABYTES = {"": 1, "M": 1, "G": 1024, "T": 1024**2}


class TresLimit(NamedTuple):
    owner: str  # such as "qos normal"
    scope: Scope
    resource: str  # gres/gpu, cpu, mem in MB
    amount: int
    left: int | None = None  # of a budget; None: not known

    def __str__(self) -> str:
        return f"{self.owner} ({SCOPE_NAMES[self.scope]}: {self.resource}={self.amount})"


class Budget(NamedTuple):
    """What is left of a limit GrpTRESMins for jobs that each request an amount of its resource."""

    limit: TresLimit
    left: int  # TRES-minutes
    request: int
    unit: str

    def __str__(self) -> str:
        return f"{self.limit}: {self.left} {self.unit}-minutes are left"


class TresBounds(NamedTuple):
    """What the limits allow the jobs of runs. None: no limit."""

    running: int | None = None
    minutes: int | None = None
    budgets: tuple[Budget, ...] = ()
    notes: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()  # why a job would never start


def find_tres_limits(
    account: str, partition: str, qos: Collection[str], cluster: str
) -> list[TresLimit]:
    """Return the limits of the QOS, of the user's association and of all accounts above it."""
    found = list[TresLimit]()
    for name, *texts in site_config.qos_tres(qos):
        scopes: tuple[Scope, ...] = ("user", "group", "job", "job minutes", "budget")
        found += _parse_limits(f"qos {name}", scopes, texts)
    own: tuple[Scope, ...] = ("job", "job minutes", "group", "budget")
    for name, *texts in site_config.association_tres(account, partition, cluster):
        found += _parse_limits(f"account {name}", own[:2], texts[:2])
        found += _parse_limits(f"your part of account {name}", own[2:], texts[2:])
    parents = {name: rest for name, *rest in site_config.account_tres(cluster)}
    accounts = list[str]()
    while account in parents:
        accounts.append(account)
        parent, *texts = parents.pop(account)
        found += _parse_limits(f"account {account}", own, texts)
        account = parent
    return _with_what_is_left(list(dict.fromkeys(found)), accounts, qos)


def _with_what_is_left(
    limits: list[TresLimit], accounts: Collection[str], qos: Collection[str]
) -> list[TresLimit]:
    """Return the limits; budgets with what is left of them, if SLURM shows what was used."""
    if not any(limit.scope == "budget" for limit in limits):
        return limits
    used = {
        f"qos {each.qos}"
        if each.qos
        else f"{'your part of ' if each.user else ''}account {each.account}": each.minutes
        for each in site_config.used_budgets(accounts, qos)
    }
    return [
        limit._replace(left=max(0, limit.amount - round(used[limit.owner].get(limit.resource, 0))))
        if limit.scope == "budget" and limit.owner in used
        else limit
        for limit in limits
    ]


def _parse_limits(owner: str, scopes: Iterable[Scope], texts: Iterable[str]) -> Iterator[TresLimit]:
    for scope, text in zip(scopes, texts, strict=True):
        for part in filter(None, text.split(",")):
            resource, _, amount = part.partition("=")
            number, unit = (amount[:-1], amount[-1:]) if amount[-1:] in "MGT" else (amount, "")
            if number.isdigit():
                yield TresLimit(owner, scope, resource, int(number) * MEGABYTES[unit])


def tres_bounds(profile: SlurmProfile, limits: Iterable[TresLimit]) -> TresBounds:
    """Return what follows for jobs of runs."""
    requested = {
        "gres/gpu": profile.gpus,
        f"gres/gpu:{profile.gpu_type}": profile.gpus if profile.gpu_type else 0,
        "cpu": profile.cpus,
        "mem": round(profile.job_memory_gb * 1024),
    }
    running, minutes = list[int](), list[int]()
    budgets, notes, refusals = list[Budget](), list[str](), list[str]()
    for limit in limits:
        request = requested.get(limit.resource, 0)
        if not request:
            continue
        field, unit = FIELDS[":".join(limit.resource.split(":")[:1])]
        if limit.scope == "budget":
            if limit.left is None:
                notes.append(_unknown_budget_note(limit, unit))
            else:
                budgets.append(Budget(limit, limit.left, request, unit))
        elif limit.scope == "job minutes":
            minutes.append(limit.amount // request)
        elif request > limit.amount:
            refusals.append(
                f"{field}: a job requests {request} {unit}, and {limit} allows {limit.amount}: it "
                f"would never start; lower {field}"
            )
        elif limit.scope != "job":
            running.append(limit.amount // request)
    refusals += _spent_budgets(budgets, profile.minutes)
    lowest = min(running, default=None), min(minutes, default=None)
    return TresBounds(*lowest, tuple(budgets), tuple(notes), tuple(refusals))


def _unknown_budget_note(limit: TresLimit, unit: str) -> str:
    return (
        f"{limit}: all jobs together have at most {limit.amount} {unit}-minutes; sshare shows what "
        "is left"
    )


def _spent_budgets(budgets: Iterable[Budget], minutes: int) -> Iterator[str]:
    """Yield which budget does not have the whole time limit of one job left.

    SLURM lets such a job wait, or ends it when the budget is used up.
    """
    for each in budgets:
        fitting = each.left // each.request
        if fitting < minutes:
            advice = (
                f"lower minutes to {fitting} or less: a longer run continues in the next job"
                if fitting >= MIN_JOB_MINUTES
                else "ask for more, or use another account or qos"
            )
            yield (
                f"minutes: a job requests {each.request} {each.unit} for {minutes} min, and "
                f"{each}; {advice}"
            )
