"""The decision: which slices and runs get a task now, and which are left out. Pure.

In:   the state of a sweep, a profile.   Out: a plan, and lines that explain it.
Not here: reading the state (sweep_state.py), the rules for retries (sweep/retry_policy.py), the
division into tasks and arrays (sweep/plan.py), carrying it out (submit.py, local_run.py).
"""

from collections.abc import Sequence
from typing import NamedTuple

from jobs.display.plan_lines import budget_lines, deferred_lines
from jobs.launch.sweep_state import SweepState
from jobs.messages import count_text
from jobs.profile import Profile
from jobs.slurm.resources import job_preferences
from jobs.sweep import plan, retry_policy
from jobs.sweep.job_queue import Queue
from jobs.sweep.plan import Plan
from jobs.sweep.retry_policy import FeatureRetry, RetryDecision
from jobs.sweep.run_status import LIVE_STATES, RunStatus


class Decision(NamedTuple):
    plan: Plan
    messages: tuple[str, ...]  # what is queued or running, left out, or retried differently

    @property
    def deferred(self) -> list[str]:
        """Lines about tasks that the limits leave no room for now."""
        return deferred_lines(self.plan)


def decide(state: SweepState, profile: Profile) -> Decision:
    """Plan what is missing, neither done nor live, and allowed to be tried again."""
    files = state.files
    live = {
        run.run_id
        for run in state.statuses
        if run.state in LIVE_STATES or _is_leaving_queue(run, state.queue)
    }
    done = {
        run.run_id
        for run in state.statuses
        if run.state == "finished"
        or (run.state == "stopped early" and run.run_id not in files.unfinished_runs)
    }
    missing = plan.missing_runs([run.run for run in files.wanted_runs], done, live)
    slices = plan.missing_slices(files.missing.slices, _live_shards(state))
    retries = retry_policy.decide_retries(state.statuses, missing, state.history, profile)
    feature_retry = retry_policy.decide_feature_retry(
        slices, state.shard_failures, state.history, profile
    )
    refused = {run_id for run_id, each in retries.items() if each.refused}
    without_features = {
        run.run_id for run in missing if run.feature_id in feature_retry.left_out
    } - refused
    preferences = job_preferences(profile)
    if files.first_only:
        preferences = preferences._replace(report=False)
    new_plan = plan.plan_with_retries(
        feature_retry.slices,
        [run for run in missing if run.run_id not in refused | without_features],
        {run_id: each.override for run_id, each in retries.items()},
        state.limits,
        preferences,
        minutes_per_run=state.minutes_per_run,
        feature_override=feature_retry.override,
    )
    messages = [
        *(_live_lines(files.record.name, len(live)) if files.with_runs else ()),
        *state.limits.notes,
        *budget_lines(new_plan, state.limits.budgets),
        *dict.fromkeys(run.detail for run in state.statuses if "never starts" in run.detail),
        *_feature_lines(feature_retry, len(without_features)),
        *(f"{run.label}: {text}" for run in state.statuses if (text := _message(retries, run))),
    ]
    return Decision(new_plan, tuple(messages))


def _is_leaving_queue(run: RunStatus, queue: Queue) -> bool:
    """Whether a cancelled run is still in the queue: its job may be saving its state."""
    return run.state == "stopped" and run.job in (queue.jobs or ())


def _live_shards(state: SweepState) -> set[tuple[str, int]]:
    """Return (feature id, index) of the shards that queued or running jobs compute."""
    items = (item.rpartition("/") for task in state.live_feature_tasks for item in task.items)
    return {(name, int(index)) for name, _, index in items}


def _live_lines(sweep_name: str, live: int) -> Sequence[str]:
    are = "is" if live == 1 else "are"
    return [f"{count_text(live, 'run')} of {sweep_name} {are} queued or running"] if live else []


def _feature_lines(feature_retry: FeatureRetry, runs_left_out: int) -> Sequence[str]:
    if not runs_left_out:
        return feature_retry.messages
    left_out = f"left out: {count_text(runs_left_out, 'run')}, because these features are missing"
    return [*feature_retry.messages, left_out]


def _message(retries: dict[str, RetryDecision], run: RunStatus) -> str:
    return retries[run.run_id].message if run.run_id in retries else ""
