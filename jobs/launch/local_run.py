"""Here: the part of a sweep that this machine does while a person waits.

In:   a plan.   Out: features and runs; lines for a person; an exit code.
Not here: making the plan (reconcile.py), the processes (local.py), the picture (watching.py).
"""

from jobs import messages
from jobs.display import run_lines
from jobs.display.corpora import print_refusals
from jobs.display.live import Watcher
from jobs.launch import missing_features
from jobs.launch.submit import SubmissionResult, compute_features_locally, train_runs_locally
from jobs.local.processes import own_sweep
from jobs.messages import count_text, duration_text, print_line
from jobs.node.failures import REMEDIES
from jobs.node.feature_task import TaskProgress
from jobs.profile import LocalProfile
from jobs.sweep import job_queue, plan, run_status
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.plan import Plan
from jobs.sweep.record import CorpusManifests, SweepRecord, manifests_by_path
from jobs.sweep.run_status import RunStatus
from pipeline.features import feature_set


def execute_locally(
    record: SweepRecord,
    new_plan: Plan,
    profile: LocalProfile,
    folder: SweepFolder,
    queue: Queue,
    *,
    corpus_manifests: CorpusManifests,
    runs: bool,
) -> int:
    """Until nothing is left; an exit code."""
    slices = [piece for array in new_plan.features for task in array.tasks for piece in task]
    speech = missing_features.total_speech(slices, manifests_by_path(corpus_manifests, folder.work))
    if slices:
        print_line(f"features: {count_text(len(slices), 'slice')} to compute")
    with own_sweep(folder.owner_file), Watcher(record, folder, queue, runs=runs) as watcher:
        listed = sum(len(manifest.utterances) for manifest in corpus_manifests.values())
        outcome = compute_features_locally(
            new_plan, profile, folder, speech, watcher.refresh, utterances=listed
        )
        _print_feature_summary(new_plan, speech, outcome)
        missing_features.refuse_if_strict(corpus_manifests, outcome.refusals)
        if outcome.failed_tasks:
            new_plan = _without_incomplete_features(record, new_plan, folder)
        train_runs_locally(new_plan, profile, folder, watcher.refresh)
    if not queue.ignored:
        queue = job_queue.try_query_slurm(folder, job_queue.unfinished_items(record, folder))
    statuses = run_status.run_statuses(record, folder, queue) if runs else []
    for run in statuses:
        _print_unfinished(run)
    if runs and not messages.in_terminal():  # where the last picture does not stand
        print_line(run_lines.state_counts_line(statuses))
    whole = all(run.state == "finished" for run in statuses)
    return 0 if whole and not outcome.refusals and not outcome.failed_tasks else 1


def _print_feature_summary(new_plan: Plan, speech: TaskProgress, outcome: SubmissionResult) -> None:
    print_refusals(outcome.refusals, "in their shards")
    sets = {name for a in new_plan.features for t in a.tasks for p in t for name in p.feature_ids}
    if sets and not outcome.failed_tasks:
        took, refused = outcome.seconds, len(outcome.refusals)
        less = f"; {refused} refused" if refused else ""
        print_line(
            f"features: {count_text(len(sets), 'set')} of {count_text(speech.utterances, 'utterance')}, "
            f"{duration_text(speech.seconds)} of speech in {duration_text(took)}, "
            f"{speech.seconds / took:.0f} times real time{less}"
        )


def _without_incomplete_features(record: SweepRecord, full_plan: Plan, folder: SweepFolder) -> Plan:
    """The plan without runs that would find their features incomplete."""
    incomplete = {
        each.feature_id
        for each in record.features
        if feature_set.missing_shards(folder.features(each.feature_id), each.slices)
    }
    startable = plan.drop_runs_needing(full_plan, incomplete)
    left_out = full_plan.run_count - startable.run_count
    if left_out:
        print_line(f"{count_text(left_out, 'run')} not started: the features are incomplete")
    return startable


def _print_unfinished(run: RunStatus) -> None:
    """Why this sweep ended without it."""
    if run.state == "failed":
        remedy = REMEDIES.get(run.cause, "make logs RUN=… says more")
        remedy = remedy.replace("RUN=…", f"RUN={run.run_id}")
        print_line(f"{run.label}: failed: {run.cause}: {run.detail}; {remedy}")
    elif run.state == "running" and run.heartbeat:
        beat = run.heartbeat
        print_line(
            f"{run.label}: left to process {beat.pid} on {beat.host}, which trains it already"
        )
    elif run.state == "queued":
        print_line(f"{run.label}: left to job {run.job}, which is queued already")
