"""The limits of a site: the profile's, with `auto` read from SLURM, less the jobs in the queue.

In:   a profile, the queue, SLURM's configuration and accounting.   Out: `Limits`.
Not here: planning jobs within the limits (sweep/plan.py), what SLURM says (site_rules.py).
"""

from collections.abc import Iterable, Iterator, Mapping

from jobs.profile import SlurmProfile
from jobs.profile_fields import MIN_JOB_MINUTES, LimitSetting
from jobs.slurm import client, site_config, site_rules
from jobs.slurm.client import QueuedJob
from jobs.slurm.resources import Limits
from jobs.slurm.site_config import Partitions
from jobs.slurm.site_rules import LimitRule
from pipeline.files import InputError

DEFAULT_MAX_ARRAY_SIZE = 1001  # SLURM's own default of MaxArraySize

QueuedJobs = Mapping[str, QueuedJob]


def find_limits(profile: SlurmProfile, queue: QueuedJobs) -> Limits:
    """Return what may be submitted now; `queue`: this user's jobs, which count already.

    Raises InputError if a job of the profile would never start, with every reason.
    """
    found, refusals = _find_limits(profile, queue)
    if refusals:
        raise InputError(f"{profile.path}: {'; '.join(refusals)}")
    left = (budget.left // budget.request for budget in found.budgets)
    return found._replace(minutes=_lowest([found.minutes, *left]))


def _find_limits(profile: SlurmProfile, queue: QueuedJobs) -> tuple[Limits, list[str]]:
    """Return the limits, and why jobs of the profile would never start."""
    auto = "auto" in {profile.max_submit, profile.max_running, profile.max_minutes}
    partitions = site_config.show_partitions()
    features = profile.features
    array_from_site = profile.max_array_size == "auto"
    config = site_config.show_config(required=array_from_site) if auto or array_from_site else {}
    place = (profile.partition or site_config.default_partition(partitions), profile.qos)
    feature_place = (features.partition or place[0], features.qos or profile.qos)
    named = {"partition": place[0], "features.partition": feature_place[0]}
    site = (
        site_rules.site_rules(profile, place, feature_place, partitions, config)
        if auto
        else site_rules.SiteRules()
    )
    array = int(config.get("MaxArraySize", DEFAULT_MAX_ARRAY_SIZE))
    rules, bounds = site.rules, site.bounds
    allowed = Limits(
        tasks=_submissions_left(profile, rules, queue),
        array=_resolve_limit(profile.max_array_size, array),
        running=_resolve_limit(
            profile.max_running, _lowest([bounds.running, *(rule.running for rule in rules)])
        ),
        feature_tasks=features.tasks,
        feature_room=_submissions_left(profile, site.feature_rules, queue),
        minutes=_resolve_limit(
            profile.max_minutes, _lowest([bounds.minutes, *(rule.minutes for rule in rules)])
        ),
        budgets=bounds.budgets,
        notes=(
            *site.notes,
            *bounds.notes,
            *site_rules.maintenance_notes(profile, partitions.get(place[0].split(",")[0], {})),
        ),
    )
    feature_rules = rules if feature_place == place else site.feature_rules
    feature_minutes = _resolve_limit(
        profile.max_minutes if feature_place == place else "auto",
        _lowest(rule.minutes for rule in feature_rules),
    )
    return allowed, [
        *_unknown_partitions(named, partitions),
        *bounds.refusals,
        *_longer("minutes", profile.minutes, allowed.minutes, place[0]),
        *_longer("features.minutes", features.minutes, feature_minutes, feature_place[0]),
    ]


def exceeded_limit_lines(profile: SlurmProfile) -> Iterator[str]:
    """Yield a line for each number of the profile that is above SLURM's limit."""
    short_features = profile.features.model_copy(update={"minutes": MIN_JOB_MINUTES})
    auto = dict.fromkeys(("max_submit", "max_running", "max_array_size", "max_minutes"), "auto")
    auto_profile = profile.model_copy(
        update={**auto, "minutes": MIN_JOB_MINUTES, "features": short_features}
    )
    site_limits, _ = _find_limits(auto_profile, {})
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


def _unknown_partitions(named: Mapping[str, str], partitions: Partitions) -> Iterator[str]:
    for key, text in named.items():
        for name in text.split(",") if partitions else ():
            if name and name not in partitions:
                yield f"{key}: there is no partition {name}; there are {', '.join(partitions)}"


def _longer(key: str, requested: int, allowed: int | None, partition: str) -> Iterator[str]:
    if allowed is not None and requested > allowed:
        place = f"partition {partition}" if partition else "the default partition"
        yield (
            f"{key}: {requested} is above the {allowed} minutes that {place} allows; lower it: a "
            "longer run continues in the next job"
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


def _resolve_limit(setting: LimitSetting, site_limit: int | None) -> int | None:
    if setting == "auto":
        return site_limit
    return None if setting == "unlimited" else setting


def _lowest(numbers: Iterable[int | None]) -> int | None:
    return min((number for number in numbers if number is not None), default=None)
