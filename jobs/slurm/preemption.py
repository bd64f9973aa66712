"""Preemption: what a preempted job gets and loses, by the profile; what SLURM's configuration says.

In:   a profile, SLURM's configuration.   Out: a sentence; values for fields of the profile.
Not here: receiving the signal (node/signals.py), saving (pipeline/training/loop/trainer.py).

SLURM always sends SIGTERM before SIGKILL, and waits KillWait between them. A run that receives
SIGTERM, or SIGUSR2 before it, ends its training step (or evaluation batch), saves, and requests a
requeue.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress

from jobs.profile import SlurmProfile
from jobs.slurm import site_config
from jobs.slurm.client import SchedulerError

KILL_WAIT_TEXT = "SLURM's KillWait (30 s on most sites)"
WARNING_SIGNALS = {True: "SIGUSR2", False: "SIGTERM", None: "SIGTERM or SIGUSR2"}
AFTER_PREEMPTION = {
    "requeue": "it is requeued and continues",
    "cancel": "it is requeued if it saves in time; otherwise make sweep again submits it",
    "unknown": "it is requeued and continues, or make sweep again submits it",
}
PREEMPTION_OPTIONS = ("PreemptParameters", "SlurmctldParameters")  # the second in SLURM 22.05

FieldValue = str | int | bool


def describe_preemption(profile: SlurmProfile) -> str:
    """Return a sentence: how a run is warned, how long it has, what it loses at most."""
    if profile.preemption == "none":
        return "no run is preempted here"
    signal, time_left = WARNING_SIGNALS[profile.user_signal_on_preempt], KILL_WAIT_TEXT
    if profile.grace_s is None:
        time_left = f"at least {KILL_WAIT_TEXT}"
    elif profile.grace_s:
        time_left = f"{profile.grace_s} s"
    return (
        f"a preempted run receives {signal} and has {time_left} to end its step and save: it "
        f"loses nothing, or at most a minute if that is too short; "
        f"{AFTER_PREEMPTION[profile.preemption]}"
    )


def site_preemption_fields(profile: SlurmProfile) -> dict[str, set[FieldValue]]:
    """Return field of the profile -> the values that SLURM's configuration gives it.

    A profile with several partitions may get several values. Empty: SLURM does not say.
    """
    config = site_config.show_config()
    kind = config.get("PreemptType", "").removeprefix("preempt/")
    if kind in {"", "none"}:
        return {"preemption": {"none"}} if kind else {}
    partitions = site_config.show_partitions()
    places = (profile.partition or site_config.default_partition(partitions)).split(",")
    if kind == "qos":
        found = list(_qos_preemption(profile, ",".join(places), config))
    else:
        settings = [partitions[name] for name in places if name in partitions]
        found = [(each.get("PreemptMode", ""), each.get("GraceTime", "")) for each in settings]
    modes: set[FieldValue] = {_parse_preempt_mode(mode) for mode, _ in found}
    if modes <= {"none"}:
        return {"preemption": modes} if modes else {}
    graces: set[FieldValue] = {site_config.parse_slurm_time(grace) or 0 for _, grace in found}
    signalled = any("send_user_signal" in config.get(name, "") for name in PREEMPTION_OPTIONS)
    return {"preemption": modes, "grace_s": graces, "user_signal_on_preempt": {signalled}}


def _qos_preemption(
    profile: SlurmProfile, partition: str, config: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield mode and grace time of the QOS that the jobs of runs have."""
    cluster = config.get("ClusterName", "")
    with suppress(SchedulerError):  # accounting may be closed to users
        own = site_config.associations(profile.account, partition, cluster)
        qos = site_config.job_qos(profile.qos, own)
        for name, mode, grace in site_config.query_sacctmgr(
            f"show qos where name={qos} format=Name,PreemptMode,GraceTime", 3
        ):
            if name == qos:
                yield config.get("PreemptMode", "") if mode in {"", "cluster"} else mode, grace


def _parse_preempt_mode(text: str) -> str:
    """Return `requeue` for SLURM's `GANG,REQUEUE`; gang scheduling alone does not preempt a job."""
    words = [word for word in text.lower().split(",") if word not in {"gang", "within", "off", ""}]
    return words[0] if words else "none"
