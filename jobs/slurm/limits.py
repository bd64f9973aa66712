"""The limits of a site: the profile's, with `auto` read from SLURM, less the jobs in the queue.

In:   a profile, the queue, SLURM's configuration and accounting.   Out: `Limits`; the profile's
`JobPreferences`.
Not here: planning jobs within the limits (sweep/plan.py), querying SLURM (site_config.py).
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
    """What may be submitted now. None: no limit."""

    tasks: int | None = None  # jobs that may still be submitted
    array: int | None = None  # tasks in one array
    running: int | None = None  # tasks that run at once
    feature_tasks: int | None = None  # tasks that compute features, by the profile
    feature_room: int | None = None  # jobs that the partition and QOS of features still allow
    minutes: int | None = None  # time limit of one task


@dataclass(frozen=True, kw_only=True)
class JobPreferences:
    """What the profile prefers for the jobs of runs."""

    runs_per_task: int | None = None  # None: as few as the limits allow
    at_once: int = 1  # runs of a task that share its GPU at the same time
    minutes: int | None = None  # time limit of a task; the plan may raise it for long runs
    report: bool = False  # a last task writes the report


DEFAULT_PREFERENCES = JobPreferences()

DEFAULT_MAX_ARRAY_SIZE = 1001  # SLURM's own default of MaxArraySize

QueuedJobs = Mapping[str, QueuedJob]


@dataclass(frozen=True)
class LimitRule:
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


def job_preferences(profile: Profile) -> JobPreferences:
    if isinstance(profile, LocalProfile):
        return JobPreferences()
    runs_per_task = profile.runs_per_task
    return JobPreferences(
        runs_per_task=None if runs_per_task == "auto" else runs_per_task,
        at_once=profile.runs_per_gpu,
        minutes=profile.minutes,
        report=profile.report,
    )


def find_limits(profile: SlurmProfile, queue: QueuedJobs) -> Limits:
    """Return what may be submitted now; `queue`: this user's jobs, which count already.

    Raises InputError if `minutes` of the profile is above the limit of the partition.
    """
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
    """Yield a line for each number of the profile that is above SLURM's limit."""
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
            f"{profile.path}: {key}: {requested} is above the {allowed} minutes that "
            f"{f'partition {partition}' if partition else 'the default partition'} allows; lower "
            f"it: a longer run continues in the next job"
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
    # A site may hide the jobs of other users. Then too many are planned, and sbatch refuses them.
    everyone = any(rule.everyone for rule in limiting)
    all_jobs = client.squeue(all_users=True, retry=True) if everyone else queue
    return _lowest(
        max(0, rule.submit - _count_jobs(rule, all_jobs if rule.everyone else queue))
        for rule in limiting
        if rule.submit is not None
    )


def _count_jobs(rule: LimitRule, queue: QueuedJobs) -> int:
    return sum(map(rule.applies_to, queue.values()))


def _limit_rules(
    profile: SlurmProfile, partition: str, qos: str | None, partitions: Partitions, cluster: str
) -> list[LimitRule]:
    """Return the rules of the partition, the user's association, its accounts, and each QOS."""
    settings = [partitions[name] for name in partition.split(",") if name in partitions]
    rules = [LimitRule(None, None, parse_minutes(each.get("MaxTime", ""))) for each in settings]
    qos_names = {each["QoS"] for each in settings if each.get("QoS") not in {None, "", "N/A"}}
    account = profile.account or ""
    for each in site_config.associations(profile.account, partition, cluster):
        own, group = _parse_limit_numbers(each.limits)
        rules += [LimitRule(*rule, (each.account,), each.partition) for rule in (own, group)]
        account, qos = each.account, qos or each.qos
    rules += _account_rules(account, cluster)
    qos_names.add(qos or site_config.DEFAULT_QOS)
    return [*rules, *_qos_rules(qos_names, partitions)]


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


def _resolve_limit(setting: LimitSetting, site_limit: int | None) -> int | None:
    if setting == "auto":
        return site_limit
    return None if setting == "unlimited" else setting


def _lowest(numbers: Iterable[int | None]) -> int | None:
    return min((number for number in numbers if number is not None), default=None)
