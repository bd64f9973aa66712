"""Reconciliation: what a sweep wants, less what is done or on its way, is submitted.

In:   a sweep, a profile, a work folder.   Out: lines for a person; an exit code.
Not here: the arithmetic of it (plan.py), carrying it out (submit.py, here.py).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote

from jobs.display import run_lines
from jobs.display.corpora import print_corpora, print_refusals
from jobs.display.live import show_status_line
from jobs.launch import local_run, missing_features, orphan_jobs
from jobs.launch.submit import submit_to_slurm
from jobs.local.executor import slots_for_features
from jobs.messages import count_text, duration_text, print_line
from jobs.node.task_file import Slice
from jobs.profile import LocalProfile, Profile, SlurmProfile, make_command, require_writable
from jobs.slurm import limits
from jobs.slurm.limits import Limits
from jobs.sweep import feature_status, job_queue, plan, retry_policy, run_status
from jobs.sweep.feature_status import ShardFailure
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.plan import Plan
from jobs.sweep.record import (
    CorpusManifests,
    SweepRecord,
    load_record,
    make_record,
    manifest_path,
    manifests_by_path,
    refuse_untrainable,
    report_commands,
)
from jobs.sweep.run_status import LIVE_STATES, RunStatus
from pipeline.config.corpus import Corpus
from pipeline.config.sweep import Sweep
from pipeline.corpus import manifest as manifests
from pipeline.corpus import readers
from pipeline.corpus.manifest import Manifest
from pipeline.features import precompute
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError, write_json


@dataclass(frozen=True)
class ReconcileResult:
    code: int
    ran_locally: bool = False  # here and now, so that there is something new to report
    was_complete: bool = False  # before anything was typed


def reconcile(
    sweep: Sweep,
    profile: Profile,
    work: Path,
    *,
    runs: bool = True,
    dry: bool = False,
    quiet_if_complete: bool = False,
) -> ReconcileResult:
    """Submit what is missing; `runs` False: its features alone; `dry`: print the plan.

    `first`: something else follows, so that there is something to do even where nothing lacks.
    """
    require_writable(work)
    _refuse_too_many(sweep, profile)
    corpus_manifests = _build_manifests(sweep, work)
    if runs:
        refuse_untrainable(sweep, corpus_manifests)
    print_corpora(sweep, corpus_manifests)
    refused = max(_print_refused(manifest, work) for manifest in corpus_manifests.values())
    record = make_record(sweep, corpus_manifests, work)
    folder = SweepFolder(work, record.name)
    missing = missing_features.find_missing_features(
        record,
        manifests_by_path(corpus_manifests, work),
        folder,
        _needed_feature_ids(record, folder, runs=runs),
    )
    refused = max(refused, print_refusals(missing.refusals, "in their shards"))
    missing_features.refuse_if_strict(corpus_manifests, missing.refusals)
    unfinished = [run for run in record.runs if not folder.run(run.run_id).finished] if runs else []
    if not missing.slices and not unfinished:
        if not dry:
            _write_sweep_files(
                sweep, record, folder, corpus_manifests=corpus_manifests, missing=missing
            )
            orphan_jobs.remove_unused_files(folder)
        if not quiet_if_complete:
            print_line(_nothing_to_do_message(record, runs=runs))
        return ReconcileResult(refused, was_complete=True)
    if isinstance(profile, SlurmProfile) and not dry:
        _submit_to_slurm(
            sweep,
            record,
            profile,
            folder,
            corpus_manifests=corpus_manifests,
            missing=missing,
            runs=runs,
        )
        return ReconcileResult(refused)
    queue = _query_queue(record, folder, profile)
    statuses = run_status.run_statuses(record, folder, queue)
    new_plan, allowed = _plan_missing(
        record, missing.slices, folder, queue, profile, statuses=statuses, runs=runs
    )
    if dry or isinstance(profile, SlurmProfile):  # which comes here only to print its plan
        from jobs.launch import dry_run  # noqa: PLC0415 (submitit takes its time, few need it)

        for line in dry_run.dry_run_lines(new_plan, profile, allowed, folder, sweep.cost):
            print_line(line)
        return ReconcileResult(refused)
    _write_sweep_files(sweep, record, folder, corpus_manifests=corpus_manifests, missing=missing)
    run_status.record_scheduler_failures(statuses, folder)
    ended = local_run.execute_locally(
        record, new_plan, profile, folder, queue, corpus_manifests=corpus_manifests, runs=runs
    )
    return ReconcileResult(max(refused, ended), ran_locally=True)


def ensure_features(sweep: Sweep, profile: Profile, work: Path) -> tuple[FeatureSet, int]:
    """Of a sweep of one experiment, computed where they are missing; and the exit code of that."""
    result = reconcile(sweep, profile, work, runs=False, quiet_if_complete=True)
    folder = SweepFolder(work, sweep.name)
    (features,) = load_record(folder).features
    return FeatureSet.open(folder.features(features.feature_id)), result.code


def _refuse_too_many(sweep: Sweep, profile: Profile) -> None:
    if len(sweep.experiments) > profile.max_runs:
        raise InputError(
            f"{sweep.path}: plans {len(sweep.experiments)} runs, and {profile.path} allows "
            f"{profile.max_runs}; narrow the sweep, or raise max_runs there"
        )


def _submit_to_slurm(
    sweep: Sweep,
    record: SweepRecord,
    profile: SlurmProfile,
    folder: SweepFolder,
    *,
    corpus_manifests: CorpusManifests,
    missing: missing_features.MissingFeatures,
    runs: bool,
) -> None:
    with orphan_jobs.submission_lock(folder):
        queue = orphan_jobs.cancel_orphan_jobs(folder, _query_queue(record, folder, profile))
        statuses = run_status.run_statuses(record, folder, queue)
        run_status.record_scheduler_failures(statuses, folder)
        new_plan, _ = _plan_missing(
            record, missing.slices, folder, queue, profile, statuses=statuses, runs=runs
        )
        _write_sweep_files(
            sweep, record, folder, corpus_manifests=corpus_manifests, missing=missing
        )
        _submit_plan(record, new_plan, profile, folder, queue)


def _submit_plan(
    record: SweepRecord, new_plan: Plan, profile: SlurmProfile, folder: SweepFolder, queue: Queue
) -> None:
    before = {entry.job.split("_")[0] for entry in _live_feature_tasks(record, folder, queue)}
    commands = report_commands(record, profile, folder.work)
    slices = [piece for array in new_plan.features for task in array.tasks for piece in task]
    causes = {item: each.cause for item, each in _slice_failures(slices, folder, queue).items()}
    outcome = submit_to_slurm(
        new_plan, profile, folder, after=sorted(before), commands=commands, previous_causes=causes
    )
    _print_deferred(new_plan)
    if outcome.jobs:
        command = make_command(
            f"make status SWEEP={quote(record.sweep_argument)}", profile, folder.work
        )
        print_line(f"{command} shows them; they need no terminal")
    elif not new_plan.deferred_runs and not new_plan.deferred_slices:
        print_line(
            f"nothing to submit: what is missing of {record.name} is queued, running, or left out"
        )


def _plan_missing(
    record: SweepRecord,
    slices: Sequence[Slice],
    folder: SweepFolder,
    queue: Queue,
    profile: Profile,
    *,
    statuses: Sequence[RunStatus],
    runs: bool,
) -> tuple[Plan, Limits]:
    live = {
        run.run_id for run in statuses if run.state in LIVE_STATES or _is_leaving_queue(run, queue)
    }
    done = {run.run_id for run in statuses if run.state == "finished"}
    shards_on_their_way = {
        (name, int(index))
        for entry in _live_feature_tasks(record, folder, queue)
        for name, _, index in (item.rpartition("/") for item in entry.items)
    }
    if live and runs:
        print_line(
            f"{count_text(len(live), 'run')} of {record.name} {'is' if len(live) == 1 else 'are'} live"
        )
    allowed = _submission_limits(profile, queue)
    missing = plan.missing_runs([run.run for run in record.runs], done, live) if runs else ()
    decisions = retry_policy.decide_retries(statuses, missing, folder, profile)
    feature_retry = retry_policy.decide_feature_retry(
        plan.missing_slices(slices, shards_on_their_way),
        _slice_failures(slices, folder, queue),
        folder,
        profile,
    )
    refused = {run_id for run_id, each in decisions.items() if each.refused}
    starved = {run.run_id for run in missing if run.feature_id in feature_retry.left_out} - refused
    new_plan = retry_policy.plan_with_retries(
        feature_retry.slices,
        [run for run in missing if run.run_id not in refused | starved],
        {run_id: each.override for run_id, each in decisions.items()},
        allowed,
        limits.job_preferences(profile),
        minutes_per_run=run_status.median_run_minutes(record, folder),
        feature_override=feature_retry.override,
    )
    for line in feature_retry.messages:
        print_line(line)
    if starved:
        print_line(f"left out: {count_text(len(starved), 'run')}, for want of these features")
    for run in statuses:
        if run.run_id in decisions and decisions[run.run_id].message:
            print_line(f"{run.label}: {decisions[run.run_id].message}")
    return new_plan, allowed


def _is_leaving_queue(run: RunStatus, queue: Queue) -> bool:
    """Cancelled, and still in the queue: its job may be saving, and nobody may train beside it."""
    return run.state == "stopped" and queue.jobs is not None and run.job in queue.jobs


def _slice_failures(
    slices: Sequence[Slice], folder: SweepFolder, queue: Queue
) -> dict[str, ShardFailure]:
    items = [f"{name}/{piece.index}" for piece in slices for name in piece.feature_ids]
    return feature_status.shard_failures(items, folder, queue)


def _live_feature_tasks(
    record: SweepRecord, folder: SweepFolder, queue: Queue
) -> list[LedgerEntry]:
    """Tasks in the queue that compute shards of this sweep."""
    latest = folder.latest()
    items = (f"{f.feature_id}/{index}" for f in record.features for index in range(f.slices))
    entries = (latest[item] for item in items if item in latest)
    return list(dict.fromkeys(entry for entry in entries if queue.is_live(entry)))


def _query_queue(record: SweepRecord, folder: SweepFolder, profile: Profile) -> Queue:
    """What SLURM knows; who wants to submit to it must reach it."""
    if isinstance(profile, LocalProfile):
        queue = job_queue.try_query_slurm(folder, job_queue.unfinished_items(record, folder))
        if queue.jobs is not None:
            return queue
        print_line(
            f"{queue.error_message}; what was submitted there is done here, unless it is running"
        )
        return replace(queue, jobs={})
    return job_queue.query_slurm(folder, job_queue.unfinished_items(record, folder))


def _submission_limits(profile: Profile, queue: Queue) -> Limits:
    if isinstance(profile, SlurmProfile):
        return limits.find_limits(profile, queue.jobs or {})
    return Limits(feature_tasks=slots_for_features(profile).number)


def _build_manifests(sweep: Sweep, work: Path) -> CorpusManifests:
    corpora = dict.fromkeys(swept.experiment.corpus for swept in sweep.experiments)
    return {corpus: _build_manifest(corpus, work) for corpus in corpora}


def _print_refused(manifest: Manifest, work: Path) -> int:
    return print_refusals(manifest.refusals, f"in line 1 of {manifest_path(manifest, work)}")


def _build_manifest(corpus: Corpus, work: Path) -> Manifest:
    """The demo corpus takes half a minute to speak, and says how far it is."""
    with show_status_line(f"{corpus.name}: looking at its files") as tell:

        def progress(done: int, total: int, unit: str) -> None:
            spoken = f"{duration_text(done)} of {duration_text(total)} spoken"
            tell(f"{corpus.name}: {spoken if unit == 'seconds' else f'{done} of {total} files'}")

        return readers.build_manifest(corpus, work, progress)


def _needed_feature_ids(record: SweepRecord, folder: SweepFolder, *, runs: bool) -> set[str]:
    """Feature sets of unfinished runs; without runs, all."""
    return {
        run.feature_id for run in record.runs if not runs or not folder.run(run.run_id).finished
    }


def _write_sweep_files(
    sweep: Sweep,
    record: SweepRecord,
    folder: SweepFolder,
    *,
    corpus_manifests: CorpusManifests,
    missing: missing_features.MissingFeatures,
) -> None:
    """What tasks, status and report read; and room for what they will write."""
    for manifest in corpus_manifests.values():
        manifests.write_manifest(manifest, manifest_path(manifest, folder.work))
    experiments = [swept.experiment for swept in sweep.experiments]
    one_of_each = dict(zip((run.feature_id for run in record.runs), experiments, strict=True))
    for experiment in one_of_each.values():
        precompute.prepare_feature_set(
            corpus_manifests[experiment.corpus], experiment.features, folder.work
        )
    for experiment, run in zip(experiments, record.runs, strict=True):
        if not folder.run(run.run_id).experiment_file.exists():
            folder.run(run.run_id).write_experiment(experiment)
    write_json(folder.record_file, asdict(record))
    missing_features.remove_outdated_files(missing, record, folder)


def _print_deferred(new_plan: Plan) -> None:
    for line in run_lines.plan_lines(new_plan):
        if line.startswith("no room"):
            print_line(line)


def _nothing_to_do_message(record: SweepRecord, *, runs: bool) -> str:
    if runs:
        are = "is" if len(record.runs) == 1 else "are"
        return f"nothing to do: {len(record.runs)} of {count_text(len(record.runs), 'run')} {are} finished"
    are = "is" if len(record.features) == 1 else "are"
    return f"nothing to do: {count_text(len(record.features), 'feature set')} of {record.name} {are} there"
