"""What a site allows: the profile's limits, with `auto` looked up, less what counts already.

In:   a profile, the queue, what the site says of itself.   Out: `Limits`, the `Wish` within them.
Not here: what is done within them (plan.py), asking SLURM (site.py).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.profile import MIN_JOB_MINUTES, LimitSetting, LocalProfile, Profile, SlurmProfile
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
class JobPreferences:
    """How a profile wants its jobs of runs."""

    runs_per_task: int | None = None  # None: as few as the limits allow
    at_once: int = 1  # runs of a task side by side on one GPU
    minutes: int | None = None  # a task's time limit; more is asked where its runs need more
    report: bool = False  # a last task writes the report


DEFAULT_PREFERENCES = JobPreferences()


DEFAULT_MAX_ARRAY_SIZE = 1001  # SLURM's own default of MaxArraySize

QueuedJobs = Mapping[str, QueuedJob]


@dataclass(frozen=True)
class LimitRule:
    """One line of accounting that limits jobs; nothing named stands for every one."""

    submit: int | None
    running: int | None
    minutes: int | None
    accounts: Collection[str] = ()
    partition: str = ""
    qos: Collection[str] = ()
    everyone: bool = False  # counts the jobs of all users, not this one's alone

    def applies_to(self, job: QueuedJob) -> bool:
        return (
            (not self.accounts or job.account in self.accounts)
            and self.partition in {"", job.partition}
            and (not self.qos or job.qos in self.qos)
        )


def job_preferences(profile: Profile) -> JobPreferences:
    if isinstance(profile, LocalProfile):
        return JobPreferences()
    own = profile.runs_per_task
    return JobPreferences(
        runs_per_task=None if own == "auto" else own,
        at_once=profile.runs_per_gpu,
        minutes=profile.minutes,
        report=profile.report,
    )


def find_limits(profile: SlurmProfile, queue: QueuedJobs) -> Limits:
    """`queue`: the user's jobs, of which each limit counts its own."""
    auto = "auto" in {profile.max_submit, profile.max_running, profile.max_minutes}
    partitions = site_config.show_partitions() if auto else {}
    features = profile.features
    array_from_site = profile.max_array_size == "auto"
    config = site_config.show_config(required=array_from_site) if auto or array_from_site else {}
    place = (profile.partition or site_config.default_partition(partitions), profile.qos)
    feature_place = (features.partition or place[0], features.qos or profile.qos)
    cluster = config.get("ClusterName", "")
    rules = _limit_rules(profile, *place, partitions, cluster) if auto else []
    feature_rules = []
    if auto and feature_place != place:
        feature_rules = _limit_rules(profile, *feature_place, partitions, cluster)
    array = int(config.get("MaxArraySize", DEFAULT_MAX_ARRAY_SIZE))
    allowed = Limits(
        tasks=_submissions_left(profile, rules, queue),
        array=_resolve_limit(profile.max_array_size, array),
        running=_resolve_limit(profile.max_running, _lowest(rule.running for rule in rules)),
        feature_tasks=features.tasks,
        feature_room=_submissions_left(profile, feature_rules, queue),
        minutes=_resolve_limit(profile.max_minutes, _lowest(rule.minutes for rule in rules)),
    )
    _refuse_longer(profile, "minutes", profile.minutes, allowed.minutes, place[0])
    feature_minutes = _lowest(rule.minutes for rule in feature_rules)
    feature_minutes = allowed.minutes if feature_place == place else feature_minutes
    _refuse_longer(profile, "features.minutes", features.minutes, feature_minutes, feature_place[0])
    return allowed


def exceeded_limit_lines(profile: SlurmProfile) -> Iterator[str]:
    """Where the profile names more than the site would accept."""
    short_features = profile.features.model_copy(update={"minutes": MIN_JOB_MINUTES})
    auto = dict.fromkeys(("max_submit", "max_running", "max_array_size", "max_minutes"), "auto")
    auto_profile = profile.model_copy(
        update={**auto, "minutes": MIN_JOB_MINUTES, "features": short_features}
    )
    site_limits = find_limits(auto_profile, {})
    for key, allowed in {
        "max_submit": site_limits.tasks,
        "max_array_size": site_limits.array,
        "max_minutes": site_limits.minutes,
    }.items():
        setting = getattr(profile, key)
        if (
            allowed is not None
            and setting != "auto"
            and (setting == "unlimited" or setting > allowed)
        ):
            yield f"{key} is {setting}, and SLURM allows {allowed}"


def _refuse_longer(
    profile: SlurmProfile, key: str, requested: int, allowed: int | None, partition: str
) -> None:
    if allowed is not None and requested > allowed:
        raise InputError(
            f"{profile.path}: {key}: {requested} is above the {allowed} that partition "
            f"{partition or 'of the site'} allows a job; lower it: what takes longer goes on in "
            f"the next one"
        )


def _submissions_left(
    profile: SlurmProfile, rules: Iterable[LimitRule], queue: QueuedJobs
) -> int | None:
    if isinstance(profile.max_submit, int):
        accounts = (profile.account,) if profile.account else ()
        rules = [LimitRule(profile.max_submit, None, None, accounts)]
    elif profile.max_submit == "unlimited":
        return None
    limiting = [rule for rule in rules if rule.submit is not None]
    # A site may hide the jobs of others: then these are few, and sbatch refuses what is too much.
    every = (
        client.squeue(all_users=True, retry=True) if any(r.everyone for r in limiting) else queue
    )
    return _lowest(
        max(
            0, rule.submit - sum(map(rule.applies_to, (every if rule.everyone else queue).values()))
        )
        for rule in limiting
        if rule.submit is not None
    )


def _limit_rules(
    profile: SlurmProfile, partition: str, qos: str | None, partitions: Partitions, cluster: str
) -> list[LimitRule]:
    """Of the partition, the user's association, the accounts above it and each QOS."""
    at = [partitions[name] for name in partition.split(",") if name in partitions]
    found = [LimitRule(None, None, parse_minutes(each.get("MaxTime", ""))) for each in at]
    names = {each.get("QoS") for each in at} - {None, "", "N/A"}
    using = profile.account or ""
    for each in site_config.associations(profile.account, partition, cluster):
        own, together = _parse_limit_numbers(each.limits)
        found += [LimitRule(*rule, (each.account,), each.partition) for rule in (own, together)]
        using, qos = each.account, qos or each.qos
    found += _account_rules(using, cluster)
    names.add(qos or site_config.DEFAULT_QOS)
    return [*found, *_qos_rules({str(name) for name in names}, partitions)]


def _account_rules(account: str, cluster: str) -> Iterator[LimitRule]:
    """What an account may have as a whole, with all below it; so may each one above it."""
    above = {each.name: each for each in site_config.accounts(cluster)}

    def line(name: str) -> Iterator[str]:
        while name in above:
            yield name
            name = above[name].parent

    for name in line(account):
        _, together = _parse_limit_numbers(["", "", "", *above[name].limits])
        below = {each for each in above if name in line(each)}
        yield LimitRule(*together, below, everyone=True)


def _qos_rules(names: Collection[str], partitions: Partitions) -> Iterator[LimitRule]:
    words = f"show qos where name={','.join(sorted(names))} "
    words += "format=Name,MaxSubmitPU,MaxJobsPU,MaxWall,GrpSubmit,GrpJobs"
    for name, *numbers in site_config.query_sacctmgr(words, 6):
        own, together = _parse_limit_numbers(numbers)
        # A partition's QOS counts the jobs in the partition, whatever QOS they name.
        using = [each for each, settings in partitions.items() if settings.get("QoS") == name]
        counted: list[dict[str, Any]] = [{"partition": each} for each in using]
        for which in (counted or [{"qos": (name,)}]) if name in names else ():
            yield LimitRule(*own, **which)
            yield LimitRule(*together, **which, everyone=True)


def parse_minutes(text: str) -> int | None:
    """Of a limit; None: there is none."""
    seconds = site_config.parse_slurm_time(text)
    return None if seconds is None else max(1, seconds // 60)


LimitNumbers = tuple[int | None, int | None, int | None]  # submitted, running, minutes


def _parse_limit_numbers(texts: Sequence[str]) -> tuple[LimitNumbers, LimitNumbers]:
    """Of each user; of all together."""
    submit, running, wall, *together = texts
    grp = [int(text) if text else None for text in together]
    own = (int(submit) if submit else None, int(running) if running else None, parse_minutes(wall))
    return own, (grp[0], grp[1], None)


def _resolve_limit(setting: LimitSetting, site_limit: int | None) -> int | None:
    if setting == "auto":
        return site_limit
    return None if setting == "unlimited" else setting


def _lowest(numbers: Iterable[int | None]) -> int | None:
    return min((number for number in numbers if number is not None), default=None)
