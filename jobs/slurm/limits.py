"""What a site allows: the profile's limits, with `auto` looked up, less what counts already.

In:   a profile, the queue, what the site says of itself.   Out: `Limits`, the `Wish` within them.
Not here: what is done within them (plan.py), asking SLURM (site.py).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.profile import SHORTEST, Limit, Local, Profile, Slurm
from jobs.slurm import client, site_config
from jobs.slurm.client import QueuedJob
from jobs.slurm.site_config import Partitions
from pipeline.files import InputError


@dataclass(frozen=True)
class Limits:
    """What the site allows, and what is left of it. None: no limit."""

    tasks: int | None = None  # jobs that may still be submitted
    array: int | None = None  # tasks in one array
    running: int | None = None  # tasks at once
    feature_tasks: int | None = None  # of the tasks, those for features
    feature_room: int | None = None  # of the tasks, those where features go, and the report
    minutes: int | None = None  # of one task


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How a profile wants its jobs of runs."""

    runs_per_task: int | None = None  # None: as few as the limits allow
    at_once: int = 1  # runs of a task side by side on one GPU
    minutes: int | None = None  # a task's time limit; more is asked where its runs need more
    report: bool = False  # a last task writes the report


NOTHING_SPECIAL = Wish()


LARGEST_ARRAY = 1001  # SLURM's own default of MaxArraySize

Queued = Mapping[str, QueuedJob]


@dataclass(frozen=True)
class Rule:
    """One line of accounting that limits jobs; nothing named stands for every one."""

    submit: int | None
    running: int | None
    minutes: int | None
    accounts: Collection[str] = ()
    partition: str = ""
    qos: Collection[str] = ()
    everyone: bool = False  # counts the jobs of all users, not this one's alone

    def counts(self, job: QueuedJob) -> bool:
        return (
            (not self.accounts or job.account in self.accounts)
            and self.partition in {"", job.partition}
            and (not self.qos or job.qos in self.qos)
        )


def wish(profile: Profile) -> Wish:
    if isinstance(profile, Local):
        return Wish()
    own = profile.runs_per_task
    return Wish(
        runs_per_task=None if own == "auto" else own,
        at_once=profile.runs_per_gpu,
        minutes=profile.minutes,
        report=profile.report,
    )


def limits(profile: Slurm, queue: Queued) -> Limits:
    """`queue`: the user's jobs, of which each limit counts its own."""
    auto = "auto" in {profile.max_submit, profile.max_running, profile.max_minutes}
    partitions = site_config.partitions() if auto else {}
    own = profile.features
    counted = profile.max_array_size == "auto"
    config = site_config.config(needed=counted) if auto or counted else {}
    place = (profile.partition or site_config.default(partitions), profile.qos)
    of_features = (own.partition or place[0], own.qos or profile.qos)
    cluster = config.get("ClusterName", "")
    rules = _rules(profile, *place, partitions, cluster) if auto else []
    others = []
    if auto and of_features != place:
        others = _rules(profile, *of_features, partitions, cluster)
    array = int(config.get("MaxArraySize", LARGEST_ARRAY))
    found = Limits(
        tasks=_room(profile, rules, queue),
        array=_limit(profile.max_array_size, array),
        running=_limit(profile.max_running, _least(rule.running for rule in rules)),
        feature_tasks=own.tasks,
        feature_room=_room(profile, others, queue),
        minutes=_limit(profile.max_minutes, _least(rule.minutes for rule in rules)),
    )
    _refuse_longer(profile, "minutes", profile.minutes, found.minutes, place[0])
    of_others = _least(rule.minutes for rule in others)
    of_others = found.minutes if of_features == place else of_others
    _refuse_longer(profile, "features.minutes", own.minutes, of_others, of_features[0])
    return found


def beyond(profile: Slurm) -> Iterator[str]:
    """Where the profile names more than the site would accept."""
    little = profile.features.model_copy(update={"minutes": SHORTEST})
    auto = dict.fromkeys(("max_submit", "max_running", "max_array_size", "max_minutes"), "auto")
    asked = profile.model_copy(update={**auto, "minutes": SHORTEST, "features": little})
    there = limits(asked, {})
    for key, most in {
        "max_submit": there.tasks,
        "max_array_size": there.array,
        "max_minutes": there.minutes,
    }.items():
        named = getattr(profile, key)
        if most is not None and named != "auto" and (named == "unlimited" or named > most):
            yield f"{key} is {named}, and SLURM allows {most}"


def _refuse_longer(profile: Slurm, key: str, asked: int, most: int | None, partition: str) -> None:
    if most is not None and asked > most:
        raise InputError(
            f"{profile.path}: {key}: {asked} is above the {most} that partition "
            f"{partition or 'of the site'} allows a job; lower it: what takes longer goes on in "
            f"the next one"
        )


def _room(profile: Slurm, rules: Iterable[Rule], queue: Queued) -> int | None:
    if isinstance(profile.max_submit, int):
        accounts = (profile.account,) if profile.account else ()
        rules = [Rule(profile.max_submit, None, None, accounts)]
    elif profile.max_submit == "unlimited":
        return None
    limiting = [rule for rule in rules if rule.submit is not None]
    # A site may hide the jobs of others: then these are few, and sbatch refuses what is too much.
    every = (
        client.queue(everyone=True, patient=True) if any(r.everyone for r in limiting) else queue
    )
    return _least(
        max(0, rule.submit - sum(map(rule.counts, (every if rule.everyone else queue).values())))
        for rule in limiting
        if rule.submit is not None
    )


def _rules(
    profile: Slurm, partition: str, qos: str | None, partitions: Partitions, cluster: str
) -> list[Rule]:
    """Of the partition, the user's association, the accounts above it and each QOS."""
    at = [partitions[name] for name in partition.split(",") if name in partitions]
    found = [Rule(None, None, minutes(each.get("MaxTime", ""))) for each in at]
    names = {each.get("QoS") for each in at} - {None, "", "N/A"}
    using = profile.account or ""
    for each in site_config.associations(profile.account, partition, cluster):
        own, together = _numbers(each.limits)
        found += [Rule(*rule, (each.account,), each.partition) for rule in (own, together)]
        using, qos = each.account, qos or each.qos
    found += _rules_of_accounts(using, cluster)
    names.add(qos or site_config.QOS)
    return [*found, *_rules_of_qos({str(name) for name in names}, partitions)]


def _rules_of_accounts(account: str, cluster: str) -> Iterator[Rule]:
    """What an account may have as a whole, with all below it; so may each one above it."""
    above = {each.name: each for each in site_config.accounts(cluster)}

    def line(name: str) -> Iterator[str]:
        while name in above:
            yield name
            name = above[name].parent

    for name in line(account):
        _, together = _numbers(["", "", "", *above[name].limits])
        below = {each for each in above if name in line(each)}
        yield Rule(*together, below, everyone=True)


def _rules_of_qos(names: Collection[str], partitions: Partitions) -> Iterator[Rule]:
    words = f"show qos where name={','.join(sorted(names))} "
    words += "format=Name,MaxSubmitPU,MaxJobsPU,MaxWall,GrpSubmit,GrpJobs"
    for name, *numbers in site_config.accounting(words, 6):
        own, together = _numbers(numbers)
        # A partition's QOS counts the jobs in the partition, whatever QOS they name.
        using = [each for each, settings in partitions.items() if settings.get("QoS") == name]
        counted: list[dict[str, Any]] = [{"partition": each} for each in using]
        for which in (counted or [{"qos": (name,)}]) if name in names else ():
            yield Rule(*own, **which)
            yield Rule(*together, **which, everyone=True)


def minutes(text: str) -> int | None:
    """Of a limit; None: there is none."""
    seconds = site_config.seconds(text)
    return None if seconds is None else max(1, seconds // 60)


Numbers = tuple[int | None, int | None, int | None]  # submitted, running, minutes


def _numbers(texts: Sequence[str]) -> tuple[Numbers, Numbers]:
    """Of each user; of all together."""
    submit, running, wall, *together = texts
    grp = [int(text) if text else None for text in together]
    own = (int(submit) if submit else None, int(running) if running else None, minutes(wall))
    return own, (grp[0], grp[1], None)


def _limit(limit: Limit, found: int | None) -> int | None:
    if limit == "auto":
        return found
    return None if limit == "unlimited" else limit


def _least(numbers: Iterable[int | None]) -> int | None:
    return min((number for number in numbers if number is not None), default=None)
