"""The rules of a site: what SLURM's partitions, accounts and QOS allow the jobs of a profile.

In:   a profile, SLURM's configuration and accounting.   Out: `SiteRules`; notes on maintenance.
Not here: what follows for the next submission (limits.py), the queries (site_config.py).
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jobs.messages import clock_text
from jobs.profile import SlurmProfile
from jobs.profile_fields import MIN_JOB_MINUTES
from jobs.slurm import site_config
from jobs.slurm.client import QueuedJob, SchedulerError
from jobs.slurm.site_config import Association, Partitions
from jobs.slurm.tres import TresBounds, find_tres_limits, tres_bounds

NO_BOUNDS = TresBounds()


class LimitRule(NamedTuple):
    """Limits from one row of SLURM's accounting, and the jobs that they count."""

    submit: int | None
    running: int | None
    minutes: int | None
    accounts: Collection[str] = ()  # empty: any account
    partition: str = ""  # empty: any partition
    qos: Collection[str] = ()  # empty: any QOS
    everyone: bool = False  # counts the jobs of all users, not only of this one

    def applies_to(self, job: QueuedJob) -> bool:
        return (
            (not self.accounts or job.account in self.accounts)
            and self.partition in {"", job.partition}
            and (not self.qos or job.qos in self.qos)
        )


class SiteRules(NamedTuple):
    """What SLURM says of the limits of a profile's jobs."""

    rules: Sequence[LimitRule] = ()
    feature_rules: Sequence[LimitRule] = ()  # if features have a place of their own
    bounds: TresBounds = NO_BOUNDS
    notes: tuple[str, ...] = ()


class Accounting(NamedTuple):
    """The names under which SLURM counts a job."""

    partition: str
    account: str
    qos: Collection[str]  # that of the job, and those of its partitions
    associations: Sequence[Association]  # of this user with the account


def site_rules(
    profile: SlurmProfile,
    place: tuple[str, str | None],
    feature_place: tuple[str, str | None],
    partitions: Partitions,
    config: Mapping[str, str],
) -> SiteRules:
    """Return the rules; only those of the partitions if accounting does not answer."""
    cluster = config.get("ClusterName", "")
    places = [place, feature_place] if feature_place != place else [place]
    try:
        found = [_find_accounting(profile, *each, partitions, cluster) for each in places]
        every = [_limit_rules(each, partitions, cluster) for each in found]
        first = found[0]
        tres = find_tres_limits(first.account, first.partition, first.qos, cluster)
        bounds, notes = tres_bounds(profile, tres), tuple[str, ...]()
    except SchedulerError as error:
        every = [_partition_rules(name, partitions) for name, _ in places]
        unknown = "the limits of your account and qos are not known, so jobs are submitted as if"
        state = f"there were none; state max_submit, max_running and max_minutes in {profile.path}"
        bounds, notes = NO_BOUNDS, (f"{error}: {unknown} {state}",)
    return SiteRules(every[0], every[1] if every[1:] else (), bounds, notes)


def _find_accounting(
    profile: SlurmProfile, partition: str, qos: str | None, partitions: Partitions, cluster: str
) -> Accounting:
    """Return under which names a job of this partition and QOS (None: the default) is counted."""
    own = list(site_config.associations(profile.account, partition, cluster))
    account = own[0].account if own else profile.account or ""
    names = {*_qos_names(partition, partitions), site_config.job_qos(qos, own)}
    return Accounting(partition, account, names, own)


def maintenance_notes(profile: SlurmProfile, partition: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each maintenance that a job submitted now would reach into."""
    now = time.time()
    for name, start, end in (
        site_config.whole_partition_reservations(partition) if partition else ()
    ):
        left = int((start - now) // 60)
        if now < end and left < profile.minutes:
            when = clock_text(start)
            until = clock_text(end)
            fits = (
                f"a job of {profile.minutes} min starts after it; one of at most {left} min fits "
                "before"
                if left >= MIN_JOB_MINUTES
                else "no job starts before its end"
            )
            yield f"maintenance {name} from {when} to {until}: {fits}"


def _limit_rules(job: Accounting, partitions: Partitions, cluster: str) -> list[LimitRule]:
    """Return the rules of the partition, the user's association, its accounts, and each QOS."""
    rules = _partition_rules(job.partition, partitions)
    for each in job.associations:
        limits = _parse_limit_numbers(each.limits)  # of the user, and of the group
        rules += [LimitRule(*rule, (each.account,), each.partition) for rule in limits]
    rules += _account_rules(job.account, cluster)
    return [*rules, *_qos_rules(job.qos, partitions)]


def _partition_rules(partition: str, partitions: Partitions) -> list[LimitRule]:
    settings = [partitions[name] for name in partition.split(",") if name in partitions]
    return [LimitRule(None, None, parse_minutes(each.get("MaxTime", ""))) for each in settings]


def _qos_names(partition: str, partitions: Partitions) -> set[str]:
    """Return the QOS that partitions have themselves."""
    settings = [partitions[name] for name in partition.split(",") if name in partitions]
    return {each["QoS"] for each in settings if each.get("QoS") not in {None, "", "N/A"}}


def _account_rules(account: str, cluster: str) -> Iterator[LimitRule]:
    """Yield the group limits of an account and of each account above it.

    A group limit counts the jobs of all users, in the account and in all accounts below it.
    """
    accounts = {each.name: each for each in site_config.accounts(cluster)}

    def ancestors(name: str) -> Iterator[str]:
        while name in accounts:
            yield name
            name = accounts[name].parent

    for name in ancestors(account):
        _, group = _parse_limit_numbers(["", "", "", *accounts[name].limits])
        below = {each for each in accounts if name in ancestors(each)}
        yield LimitRule(*group, below, everyone=True)


def _qos_rules(names: Collection[str], partitions: Partitions) -> Iterator[LimitRule]:
    for qos in site_config.qos_limits(names):
        own, group = _parse_limit_numbers(qos.limits)
        # The QOS of a partition counts all jobs in the partition, whatever QOS they name.
        using = [each for each, settings in partitions.items() if settings.get("QoS") == qos.name]
        scopes: list[dict[str, Any]] = [{"partition": each} for each in using]
        for scope in scopes or [{"qos": (qos.name,)}]:
            yield LimitRule(*own, **scope)
            yield LimitRule(*group, **scope, everyone=True)


def parse_minutes(text: str) -> int | None:
    """Return a time limit of SLURM in whole minutes, at least 1; None: no limit."""
    seconds = site_config.parse_slurm_time(text)
    return None if seconds is None else max(1, seconds // 60)


LimitNumbers = tuple[int | None, int | None, int | None]  # submitted, running, minutes


def _parse_limit_numbers(texts: Sequence[str]) -> tuple[LimitNumbers, LimitNumbers]:
    """Return the limits of each user, and those of the whole group; an empty text is no limit."""
    submit, running, wall, group_submit, group_running = texts
    own = (_parse_number(submit), _parse_number(running), parse_minutes(wall))
    return own, (_parse_number(group_submit), _parse_number(group_running), None)


def _parse_number(text: str) -> int | None:
    return int(text) if text else None
