"""Here: the part of a sweep that this machine does while a person waits.

In:   a plan.   Out: features and runs; lines for a person; an exit code.
Not here: making the plan (reconcile.py), the processes (local.py), the picture (watching.py).
"""

from jobs import messages
from jobs.display import run_lines
from jobs.display.corpora import tell_refusals
from jobs.display.live import Watcher
from jobs.launch import missing_features
from jobs.launch.submit import Outcome, compute_features, execute_runs
from jobs.local.processes import owning
from jobs.messages import count, duration, say
from jobs.node.failures import REMEDIES
from jobs.node.feature_task import Progress
from jobs.profile import Local
from jobs.sweep import job_queue, plan, run_status
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.plan import Plan
from jobs.sweep.record import Found, Wanted, by_path
from jobs.sweep.run_status import RunStatus
from pipeline.features import feature_set


def work(
    want: Wanted,
    made: Plan,
    profile: Local,
    folder: SweepFolder,
    queue: Queue,
    *,
    found: Found,
    runs: bool,
) -> int:
    """Until nothing is left; an exit code."""
    slices = [piece for array in made.features for task in array.tasks for piece in task]
    speech = missing_features.total(slices, by_path(found, folder.work))
    if slices:
        say(f"features: {count(len(slices), 'slice')} to compute")
    with owning(folder.owner), Watcher(want, folder, queue, runs=runs) as watcher:
        listed = sum(len(manifest.utterances) for manifest in found.values())
        outcome = compute_features(made, profile, folder, speech, watcher.look, listed=listed)
        _tell_features(made, speech, outcome)
        missing_features.refuse_if_strict(found, outcome.refusals)
        if outcome.failed_tasks:
            made = _startable(want, made, folder)
        execute_runs(made, profile, folder, watcher.look)
    if not queue.ignored:
        queue = job_queue.ask(folder, job_queue.unfinished(want, folder))
    statuses = run_status.survey(want, folder, queue) if runs else []
    for run in statuses:
        _tell_unfinished(run)
    if runs and not messages.in_terminal():  # where the last picture does not stand
        say(run_lines.summary(statuses))
    whole = all(run.state == "finished" for run in statuses)
    return 0 if whole and not outcome.refusals and not outcome.failed_tasks else 1


def _tell_features(made: Plan, speech: Progress, outcome: Outcome) -> None:
    tell_refusals(outcome.refusals, "in their shards")
    sets = {name for a in made.features for t in a.tasks for p in t for name in p.feature_ids}
    if sets and not outcome.failed_tasks:
        took, refused = outcome.seconds, len(outcome.refusals)
        less = f"; {refused} refused" if refused else ""
        say(
            f"features: {count(len(sets), 'set')} of {count(speech.utterances, 'utterance')}, "
            f"{duration(speech.seconds)} of speech in {duration(took)}, "
            f"{speech.seconds / took:.0f} times real time{less}"
        )


def _startable(want: Wanted, made: Plan, folder: SweepFolder) -> Plan:
    """The plan without runs that would find their features incomplete."""
    incomplete = {
        each.feature_id
        for each in want.features
        if feature_set.missing(folder.features(each.feature_id), each.slices)
    }
    startable = plan.without(made, incomplete)
    left_out = made.waiting - startable.waiting
    if left_out:
        say(f"{count(left_out, 'run')} not started: the features are incomplete")
    return startable


def _tell_unfinished(run: RunStatus) -> None:
    """Why this sweep ended without it."""
    if run.state == "failed":
        remedy = REMEDIES.get(run.cause, "make logs RUN=… says more")
        remedy = remedy.replace("RUN=…", f"RUN={run.run_id}")
        say(f"{run.label}: failed: {run.cause}: {run.detail}; {remedy}")
    elif run.state == "running" and run.heartbeat:
        beat = run.heartbeat
        say(f"{run.label}: left to process {beat.pid} on {beat.host}, which trains it already")
    elif run.state == "queued":
        say(f"{run.label}: left to job {run.job}, which is queued already")
