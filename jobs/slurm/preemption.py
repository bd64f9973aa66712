"""Preemption: what a job whose node is taken hears and loses, by the profile; what the site says.

In:   a profile, what SLURM says of the site.   Out: a sentence; the fields as they should be.
Not here: hearing the signal (processes.py), saving (pipeline/training/trainer.py).

Whatever a site grants, SLURM sends SIGTERM before it kills, and waits for KillWait. A run that
hears it, or SIGUSR2 before, saves after the step, or the batch of an evaluation, that it is at and
asks for another turn.
"""

from collections.abc import Iterator, Mapping

from jobs.profile import SlurmProfile
from jobs.slurm import site_config

KILL_WAIT_TEXT = "SLURM's KillWait (30 s on most sites)"
WARNING_SIGNALS = {True: "SIGUSR2", False: "SIGTERM", None: "SIGTERM or SIGUSR2"}
AFTER_PREEMPTION = {
    "requeue": "it is requeued, and goes on",
    "cancel": "it comes back if it has saved in time, and else make sweep again submits it",
    "unknown": "it is requeued and goes on, or make sweep again submits it",
}
PREEMPTION_OPTIONS = ("PreemptParameters", "SlurmctldParameters")  # the second in SLURM 22.05

FieldValue = str | int | bool


def describe_preemption(profile: SlurmProfile) -> str:
    """What a preempted run loses at most."""
    if profile.preemption == "none":
        return "no node is taken from a run here"
    signal, has = WARNING_SIGNALS[profile.user_signal_on_preempt], KILL_WAIT_TEXT
    if profile.grace_s is None:
        has = f"at least {KILL_WAIT_TEXT}"
    elif profile.grace_s:
        has = f"{profile.grace_s} s"
    return (
        f"a run whose node is taken hears {signal} and has {has} to end its step and save: it "
        f"loses nothing or, where that is too short, at most a minute; "
        f"{AFTER_PREEMPTION[profile.preemption]}"
    )


def site_preemption_fields(profile: SlurmProfile) -> dict[str, set[FieldValue]]:
    """Fields of the profile -> what SLURM says, of each partition; empty where it does not."""
    config = site_config.show_config()
    kind = config.get("PreemptType", "").removeprefix("preempt/")
    if kind in {"", "none"}:
        return {"preemption": {"none"}} if kind else {}
    partitions = site_config.show_partitions()
    places = (profile.partition or site_config.default_partition(partitions)).split(",")
    if kind == "qos":
        found = list(_qos_preemption(profile, ",".join(places), config))
    else:
        at = [partitions[name] for name in places if name in partitions]
        found = [(each.get("PreemptMode", ""), each.get("GraceTime", "")) for each in at]
    modes: set[FieldValue] = {_parse_preempt_mode(mode) for mode, _ in found}
    if modes <= {"none"}:
        return {"preemption": modes} if modes else {}
    graces: set[FieldValue] = {site_config.parse_slurm_time(grace) or 0 for _, grace in found}
    signalled = any("send_user_signal" in config.get(name, "") for name in PREEMPTION_OPTIONS)
    return {"preemption": modes, "grace_s": graces, "user_signal_on_preempt": {signalled}}


def _qos_preemption(
    profile: SlurmProfile, partition: str, config: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Mode and grace time of the one that a run has."""
    cluster = config.get("ClusterName", "")
    usual = (each.qos for each in site_config.associations(profile.account, partition, cluster))
    own = profile.qos or next(filter(None, usual), site_config.DEFAULT_QOS)
    for name, mode, grace in site_config.query_sacctmgr(
        f"show qos where name={own} format=Name,PreemptMode,GraceTime", 3
    ):
        if name == own:
            yield config.get("PreemptMode", "") if mode in {"", "cluster"} else mode, grace


def _parse_preempt_mode(text: str) -> str:
    """`GANG,REQUEUE` of SLURM -> requeue; gang scheduling, by itself, takes no node."""
    words = [word for word in text.lower().split(",") if word not in {"gang", "within", "off", ""}]
    return words[0] if words else "none"
