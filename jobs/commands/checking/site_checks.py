"""Site checks: a profile compared with the limits and the preemption settings of its site.

In:   a profile, SLURM's configuration.   Out: check results.
Not here: the nodes (node/checks.py), jobs that test them (cluster_check.py).
"""

from collections.abc import Collection
from contextlib import suppress

from jobs.node.checks import CheckResult
from jobs.profile import SlurmProfile
from jobs.slurm import client, preemption
from jobs.slurm.limits import exceeded_limit_lines, find_limits
from pipeline.files import InputError


def check_limits(profile: SlurmProfile, own_jobs: Collection[str] = ()) -> list[CheckResult]:
    """Compare the limits with the queue without `own_jobs`, the jobs of this check."""
    try:
        queued = client.squeue()
        found = find_limits(
            profile, {job: each for job, each in queued.items() if job not in own_jobs}
        )
    except InputError as error:
        return [CheckResult(False, f"limits: {error}")]
    parts = {
        "jobs that may be submitted now": found.tasks,
        "at once": found.running,
        "tasks in an array": found.array,
        "minutes": found.minutes,
    }
    texts = (f"{'any' if limit is None else limit} {what}" for what, limit in parts.items())
    notes = [CheckResult(True, f"limits: {note}") for note in (*found.notes, *found.budgets)]
    return [CheckResult(found.tasks != 0, f"limits: {', '.join(texts)}"), *notes]


def check_profile_limits(profile: SlurmProfile) -> list[CheckResult]:
    with suppress(InputError):  # check_limits has reported the same error
        return [CheckResult(False, line) for line in exceeded_limit_lines(profile)]
    return []


def check_preemption(profile: SlurmProfile) -> list[CheckResult]:
    """Compare the profile with SLURM's configuration."""
    findings = []
    for field, values in preemption.site_preemption_fields(profile).items():
        setting = getattr(profile, field)
        known = setting is not None and setting != "unknown"
        ok = not known or values == {setting}
        note = "" if known else ", which the profile leaves open"
        if not ok:
            note = f", not {_setting_text(setting)} as in the profile"
        site = " or ".join(sorted(map(_setting_text, values)))
        findings.append(CheckResult(ok, f"{field} is {site} here{note}"))
    return findings or [CheckResult(True, "preemption: SLURM does not show its settings")]


def _setting_text(value: preemption.FieldValue) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
