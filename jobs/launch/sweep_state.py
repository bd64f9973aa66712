"""The state of a sweep: what it needs, what is on disk, what is queued or running.

In:   a sweep, a work folder, the job queue.
Out:  `SweepFiles`, from the disk alone; `SweepState`, with what SLURM knows. Both are frozen.
Not here: what is done about it (decision.py).

What only unfinished sweeps need is imported where it is used: a finished one asks the disk alone.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jobs import code_snapshot
from jobs.display.corpora import print_corpora, print_refusals
from jobs.display.sound_lines import equal_sound_lines, suspicious_lines
from jobs.launch import missing_features
from jobs.launch.missing_features import MissingFeatures
from jobs.messages import duration_text, print_line, show_status_line
from jobs.profile import LocalProfile, Profile, SlurmProfile
from jobs.sweep.folder import SweepFolder
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import (
    CorpusManifests,
    PlannedRun,
    SweepRecord,
    make_record,
    manifest_path,
    manifests_by_path,
    refuse_untrainable,
)
from pipeline.config.corpus import Corpus
from pipeline.config.sweep import Sweep
from pipeline.corpus import readers
from pipeline.corpus.equal_sound import read_equal_sound
from pipeline.corpus.manifest import Manifest
from pipeline.runs.folder import RunFolder

if TYPE_CHECKING:
    from jobs.slurm.resources import Limits
    from jobs.sweep.feature_status import ShardFailure
    from jobs.sweep.job_queue import Queue
    from jobs.sweep.retry_policy import RetryHistory
    from jobs.sweep.run_status import RunStatus


class SweepFiles(NamedTuple):
    """What a sweep needs, and what the work folder already has of it."""

    sweep: Sweep
    record: SweepRecord
    folder: SweepFolder
    corpus_manifests: CorpusManifests
    missing: MissingFeatures
    unfinished_runs: tuple[str, ...]  # run ids; empty without runs
    with_runs: bool  # False: only the features are wanted
    wanted_runs: tuple[PlannedRun, ...]  # to be submitted or run now, if they are missing
    first_only: bool  # True: that is the first one alone
    code: int  # exit code so far: 1 if an utterance was refused
    meaningful: bool  # whether an error rate on its corpora says something

    @property
    def complete(self) -> bool:
        return not self.missing.slices and not self.unfinished_runs


class SweepState(NamedTuple):
    """The files of a sweep, with what SLURM and the ledgers know of its tasks."""

    files: SweepFiles
    queue: "Queue"
    statuses: "tuple[RunStatus, ...]"  # of every run, in the order of the record
    live_feature_tasks: tuple[LedgerEntry, ...]  # queued or running, they compute shards of it
    shard_failures: "Mapping[str, ShardFailure]"  # missing shard -> how its last job failed
    history: "RetryHistory"
    limits: "Limits"
    minutes_per_run: float | None  # median of finished runs; None: no run is finished


def read_sweep_files(
    sweep: Sweep, work: Path, *, with_runs: bool, first_only: bool = False
) -> SweepFiles:
    """Read corpora and feature sets; print what was found, and which utterances were refused.

    Raises InputError if the sweep cannot be trained, or if a strict corpus has a refusal.
    """
    corpora = dict.fromkeys(swept.experiment.corpus for swept in sweep.experiments)
    corpus_manifests = {corpus: _build_manifest(corpus, work) for corpus in corpora}
    if with_runs:
        refuse_untrainable(sweep, corpus_manifests)
    meaningful = print_corpora(sweep, corpus_manifests)
    code = max(_print_refused(manifest, work) for manifest in corpus_manifests.values())
    record = make_record(sweep, corpus_manifests, work)
    folder = SweepFolder(work, record.name)
    missing, unfinished = _find_missing(record, corpus_manifests, folder, sweep, with_runs)
    code = max(code, print_refusals(missing.refusals, "in their shards"))
    missing_features.refuse_if_strict(corpus_manifests, missing.refusals)
    return SweepFiles(
        sweep=sweep,
        record=record,
        folder=folder,
        corpus_manifests=corpus_manifests,
        missing=missing,
        unfinished_runs=unfinished,
        with_runs=with_runs,
        wanted_runs=record.runs[: 1 if first_only else None] if with_runs else (),
        first_only=first_only,
        code=code,
        meaningful=meaningful,
    )


def print_sound(files: SweepFiles) -> None:
    """Print what the feature sets say of the sound: what is suspicious, and what is there twice."""
    folders = {each.feature_id: each.manifest for each in files.record.features}
    for line in suspicious_lines(map(files.folder.features, folders)):
        print_line(line)
    for path, manifest in manifests_by_path(files.corpus_manifests, files.folder.work).items():
        identity = next(name for name, listed in folders.items() if listed == path)
        for line in equal_sound_lines(read_equal_sound(manifest, files.folder.features(identity))):
            print_line(f"{manifest.corpus}: {line}")


def survey_again(files: SweepFiles) -> SweepFiles:
    """Return what is on disk now: another command may have finished a part meanwhile."""
    missing, unfinished = _find_missing(
        files.record, files.corpus_manifests, files.folder, files.sweep, files.with_runs
    )
    return files._replace(missing=missing, unfinished_runs=unfinished)


def _find_missing(
    record: SweepRecord,
    corpus_manifests: CorpusManifests,
    folder: SweepFolder,
    sweep: Sweep,
    with_runs: bool,
) -> tuple[MissingFeatures, tuple[str, ...]]:
    """Return the missing features, and the ids of the unfinished runs that need them."""
    wanted_runs = record.runs if with_runs else ()
    unfinished = [run for run in wanted_runs if not _is_done(folder.run(run.run_id), sweep)]
    missing = missing_features.find_missing_features(
        record,
        manifests_by_path(corpus_manifests, folder.work),
        folder,
        {run.feature_id for run in (unfinished if with_runs else record.runs)},
    )
    return missing, tuple(run.run_id for run in unfinished)


def _is_done(run: RunFolder, sweep: Sweep) -> bool:
    """Whether the run is finished, or stopped early by a rule that the sweep still has."""
    if run.finished or not sweep.stop:
        return run.finished
    from pipeline.runs import early_stop  # noqa: PLC0415

    return early_stop.is_stopped_early(run, sweep.stop)


def query_queue(files: SweepFiles, profile: Profile) -> "Queue":
    """Return what SLURM knows of the jobs of this sweep.

    A SLURM profile needs the answer: SchedulerError if there is none. A local profile goes on
    without it, and says so.
    """
    from jobs.sweep import job_queue  # noqa: PLC0415

    items = job_queue.unfinished_items(files.record, files.folder)
    if not isinstance(profile, LocalProfile):
        return job_queue.query_slurm(files.folder, items)
    queue = job_queue.try_query_slurm(files.folder, items)
    if queue.jobs is not None:
        return queue
    print_line(
        f"{queue.error_message}; this machine also does what was submitted there, unless it runs"
    )
    return replace(queue, jobs={})


def gather_state(files: SweepFiles, queue: "Queue", profile: Profile) -> SweepState:
    """Add the state of each run and shard, the earlier attempts, and the limits of the site."""
    from jobs.sweep import feature_status, run_status  # noqa: PLC0415
    from jobs.sweep.retry_policy import RetryHistory  # noqa: PLC0415

    record, folder = files.record, files.folder
    statuses = run_status.run_statuses(record, folder, queue)
    entries = folder.entries_by_item()
    shards = [
        f"{name}/{piece.index}" for piece in files.missing.slices for name in piece.feature_ids
    ]
    failures = feature_status.shard_failures(shards, folder, queue)
    return SweepState(
        files=files,
        queue=queue,
        statuses=tuple(statuses),
        live_feature_tasks=_live_feature_tasks(record, entries, queue),
        shard_failures=failures,
        history=RetryHistory(
            entries=entries,
            runs_with_traceback=frozenset(_runs_with_traceback(statuses, folder)),
            code=code_snapshot.current_digest() if entries else "",
            states={run: folder.run(run).state_version for run in files.unfinished_runs},
            now=time.time(),
            nodes_up=_nodes_up(
                profile,
                [*(run.failed_nodes for run in statuses), *(f.nodes for f in failures.values())],
                entries,
            ),
        ),
        limits=_submission_limits(profile, queue),
        minutes_per_run=run_status.median_run_minutes(record, folder),
    )


def _live_feature_tasks(
    record: SweepRecord, entries: Mapping[str, Sequence[LedgerEntry]], queue: "Queue"
) -> tuple[LedgerEntry, ...]:
    items = (f"{f.feature_id}/{index}" for f in record.features for index in range(f.slices))
    latest = (entries[item][-1] for item in items if item in entries)
    return tuple(dict.fromkeys(entry for entry in latest if queue.is_live(entry)))


def _runs_with_traceback(statuses: "Iterable[RunStatus]", folder: SweepFolder) -> Iterable[str]:
    for run in statuses:
        failure = folder.run(run.run_id).failure() if run.state == "failed" else None
        if failure and failure.traceback:
            yield run.run_id


def _nodes_up(
    profile: Profile,
    failed: Iterable[Collection[str]],
    entries: Mapping[str, Sequence[LedgerEntry]],
) -> dict[str | None, Collection[str]]:
    """Return partition -> nodes that run jobs; SLURM is queried only if a node may be excluded."""
    may_exclude = any(failed) or any(tasks[-1].exclude for tasks in entries.values())
    if not isinstance(profile, SlurmProfile) or not may_exclude:
        return {}
    from jobs.slurm import site_config  # noqa: PLC0415

    places = {profile.partition, profile.features.partition or profile.partition}
    return {place: site_config.nodes_up(place) for place in places}


def _submission_limits(profile: Profile, queue: "Queue") -> "Limits":
    if isinstance(profile, SlurmProfile):
        from jobs.slurm.limits import find_limits  # noqa: PLC0415

        return find_limits(profile, queue.own_jobs)
    from jobs.local.executor import slots_for_features  # noqa: PLC0415
    from jobs.slurm.resources import Limits  # noqa: PLC0415

    return Limits(feature_tasks=slots_for_features(profile).number)


def _build_manifest(corpus: Corpus, work: Path) -> Manifest:
    """Read a corpus, with a progress line: the synthetic one takes half a minute to make."""
    with show_status_line(f"{corpus.name}: reading its files") as update:

        def progress(done: int, total: int, unit: str) -> None:
            spoken = f"{duration_text(done)} of {duration_text(total)} of speech synthesised"
            update(f"{corpus.name}: {spoken if unit == 'seconds' else f'{done} of {total} files'}")

        return readers.build_manifest(corpus, work, progress)


def _print_refused(manifest: Manifest, work: Path) -> int:
    return print_refusals(manifest.refusals, f"in line 1 of {manifest_path(manifest, work)}")
