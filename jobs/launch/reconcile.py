"""Reconciliation: what a sweep wants, less what is done or on its way, is submitted.

In:   a sweep, a profile, a work folder.   Out: lines for a person; an exit code.
Not here: the arithmetic of it (plan.py), carrying it out (submit.py, here.py).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote

from jobs.display import run_lines
from jobs.display.corpora import tell_corpora, tell_refusals
from jobs.display.live import telling
from jobs.launch import local_run, missing_features, orphan_jobs
from jobs.launch.submit import submit_slurm
from jobs.local.executor import slots_for_features
from jobs.messages import count, duration, say
from jobs.node.task_file import Slice
from jobs.profile import Local, Profile, Slurm, require_writable, typed_again
from jobs.slurm import limits
from jobs.slurm.limits import Limits
from jobs.sweep import feature_status, job_queue, plan, retry_policy, run_status
from jobs.sweep.feature_status import Ending
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import Entry
from jobs.sweep.plan import Plan
from jobs.sweep.record import (
    Found,
    Wanted,
    by_path,
    manifest_path,
    recorded,
    refuse_untrainable,
    typed,
    wanted,
)
from jobs.sweep.run_status import LIVE, RunStatus
from pipeline.config.corpus import Corpus
from pipeline.config.sweep import Sweep
from pipeline.corpus import manifest as manifests
from pipeline.corpus import readers
from pipeline.corpus.manifest import Manifest
from pipeline.features import precompute
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError, write_json


@dataclass(frozen=True)
class Result:
    code: int
    worked: bool = False  # here and now, so that there is something new to report
    whole: bool = False  # before anything was typed


def reconcile(
    sweep: Sweep,
    profile: Profile,
    work: Path,
    *,
    runs: bool = True,
    dry: bool = False,
    first: bool = False,
) -> Result:
    """Submit what is missing; `runs` False: its features alone; `dry`: print the plan.

    `first`: something else follows, so that there is something to do even where nothing lacks.
    """
    require_writable(work)
    _refuse_too_many(sweep, profile)
    found = _manifests(sweep, work)
    if runs:
        refuse_untrainable(sweep, found)
    tell_corpora(sweep, found)
    refused = max(_tell_refused(manifest, work) for manifest in found.values())
    want = wanted(sweep, found, work)
    folder = SweepFolder(work, want.name)
    lacks = missing_features.survey(
        want, by_path(found, work), folder, _needed(want, folder, runs=runs)
    )
    refused = max(refused, tell_refusals(lacks.refusals, "in their shards"))
    missing_features.refuse_if_strict(found, lacks.refusals)
    unfinished = [run for run in want.runs if not folder.run(run.run_id).finished] if runs else []
    if not lacks.slices and not unfinished:
        if not dry:
            _store(sweep, want, folder, found=found, lacks=lacks)
            orphan_jobs.clear(folder)
        if not first:
            say(_nothing_to_do(want, runs=runs))
        return Result(refused, whole=True)
    if isinstance(profile, Slurm) and not dry:
        _submit(sweep, want, profile, folder, found=found, lacks=lacks, runs=runs)
        return Result(refused)
    queue = _ask(want, folder, profile)
    statuses = run_status.survey(want, folder, queue)
    made, allowed = _plan(want, lacks.slices, folder, queue, profile, statuses=statuses, runs=runs)
    if dry or isinstance(profile, Slurm):  # which comes here only to print its plan
        from jobs.launch import dry_run  # noqa: PLC0415 (submitit takes its time, few need it)

        for line in dry_run.lines(made, profile, allowed, folder, sweep.cost):
            say(line)
        return Result(refused)
    _store(sweep, want, folder, found=found, lacks=lacks)
    run_status.keep(statuses, folder)
    ended = local_run.work(want, made, profile, folder, queue, found=found, runs=runs)
    return Result(max(refused, ended), worked=True)


def features_of(sweep: Sweep, profile: Profile, work: Path) -> tuple[FeatureSet, int]:
    """Of a sweep of one experiment, computed where they are missing; and the exit code of that."""
    made = reconcile(sweep, profile, work, runs=False, first=True)
    folder = SweepFolder(work, sweep.name)
    (features,) = recorded(folder).features
    return FeatureSet.open(folder.features(features.feature_id)), made.code


def _refuse_too_many(sweep: Sweep, profile: Profile) -> None:
    if len(sweep.experiments) > profile.max_runs:
        raise InputError(
            f"{sweep.path}: plans {len(sweep.experiments)} runs, and {profile.path} allows "
            f"{profile.max_runs}; narrow the sweep, or raise max_runs there"
        )


def _submit(
    sweep: Sweep,
    want: Wanted,
    profile: Slurm,
    folder: SweepFolder,
    *,
    found: Found,
    lacks: missing_features.Lacking,
    runs: bool,
) -> None:
    with orphan_jobs.submitting(folder):
        queue = orphan_jobs.cancel(folder, _ask(want, folder, profile))
        statuses = run_status.survey(want, folder, queue)
        run_status.keep(statuses, folder)
        made, _ = _plan(want, lacks.slices, folder, queue, profile, statuses=statuses, runs=runs)
        _store(sweep, want, folder, found=found, lacks=lacks)
        _through_slurm(want, made, profile, folder, queue)


def _through_slurm(
    want: Wanted, made: Plan, profile: Slurm, folder: SweepFolder, queue: Queue
) -> None:
    before = {entry.job.split("_")[0] for entry in _live_features(want, folder, queue)}
    commands = typed(want, profile, folder.work)
    slices = [piece for array in made.features for task in array.tasks for piece in task]
    causes = {item: each.cause for item, each in _endings(slices, folder, queue).items()}
    outcome = submit_slurm(
        made, profile, folder, after=sorted(before), commands=commands, ended=causes
    )
    _tell_deferred(made)
    if outcome.jobs:
        command = typed_again(f"make status SWEEP={quote(want.sweep)}", profile, folder.work)
        say(f"{command} shows them; they need no terminal")
    elif not made.deferred_runs and not made.deferred_slices:
        say(f"nothing to submit: what is missing of {want.name} is queued, running, or left out")


def _plan(
    want: Wanted,
    slices: Sequence[Slice],
    folder: SweepFolder,
    queue: Queue,
    profile: Profile,
    *,
    statuses: Sequence[RunStatus],
    runs: bool,
) -> tuple[Plan, Limits]:
    live = {run.run_id for run in statuses if run.state in LIVE or _leaves(run, queue)}
    done = {run.run_id for run in statuses if run.state == "finished"}
    shards_on_their_way = {
        (name, int(index))
        for entry in _live_features(want, folder, queue)
        for name, _, index in (item.rpartition("/") for item in entry.items)
    }
    if live and runs:
        say(f"{count(len(live), 'run')} of {want.name} {'is' if len(live) == 1 else 'are'} live")
    allowed = _limits(profile, queue)
    missing = plan.missing_runs([run.run for run in want.runs], done, live) if runs else ()
    found = retry_policy.chosen(statuses, missing, folder, profile)
    again = retry_policy.of_features(
        plan.missing_slices(slices, shards_on_their_way),
        _endings(slices, folder, queue),
        folder,
        profile,
    )
    refused = {run_id for run_id, each in found.items() if each.refused}
    starved = {run.run_id for run in missing if run.feature_id in again.left_out} - refused
    made = retry_policy.planned(
        again.slices,
        [run for run in missing if run.run_id not in refused | starved],
        {run_id: each.request for run_id, each in found.items()},
        allowed,
        limits.wish(profile),
        minutes_per_run=run_status.minutes_per_run(want, folder),
        of_features=again.request,
    )
    for line in again.told:
        say(line)
    if starved:
        say(f"left out: {count(len(starved), 'run')}, for want of these features")
    for run in statuses:
        if run.run_id in found and found[run.run_id].told:
            say(f"{run.label}: {found[run.run_id].told}")
    return made, allowed


def _leaves(run: RunStatus, queue: Queue) -> bool:
    """Cancelled, and still in the queue: its job may be saving, and nobody may train beside it."""
    return run.state == "stopped" and queue.jobs is not None and run.job in queue.jobs


def _endings(slices: Sequence[Slice], folder: SweepFolder, queue: Queue) -> dict[str, Ending]:
    items = [f"{name}/{piece.index}" for piece in slices for name in piece.feature_ids]
    return feature_status.endings(items, folder, queue)


def _live_features(want: Wanted, folder: SweepFolder, queue: Queue) -> list[Entry]:
    """Tasks in the queue that compute shards of this sweep."""
    latest = folder.latest()
    items = (f"{f.feature_id}/{index}" for f in want.features for index in range(f.slices))
    entries = (latest[item] for item in items if item in latest)
    return list(dict.fromkeys(entry for entry in entries if queue.live(entry)))


def _ask(want: Wanted, folder: SweepFolder, profile: Profile) -> Queue:
    """What SLURM knows; who wants to submit to it must reach it."""
    if isinstance(profile, Local):
        queue = job_queue.ask(folder, job_queue.unfinished(want, folder))
        if queue.jobs is not None:
            return queue
        say(f"{queue.complaint}; what was submitted there is done here, unless it is running")
        return replace(queue, jobs={})
    return job_queue.answer(folder, job_queue.unfinished(want, folder))


def _limits(profile: Profile, queue: Queue) -> Limits:
    if isinstance(profile, Slurm):
        return limits.limits(profile, queue.jobs or {})
    return Limits(feature_tasks=slots_for_features(profile).number)


def _manifests(sweep: Sweep, work: Path) -> Found:
    corpora = dict.fromkeys(swept.experiment.corpus for swept in sweep.experiments)
    return {corpus: _manifest(corpus, work) for corpus in corpora}


def _tell_refused(manifest: Manifest, work: Path) -> int:
    return tell_refusals(manifest.refusals, f"in line 1 of {manifest_path(manifest, work)}")


def _manifest(corpus: Corpus, work: Path) -> Manifest:
    """The demo corpus takes half a minute to speak, and says how far it is."""
    with telling(f"{corpus.name}: looking at its files") as tell:

        def progress(done: int, total: int, unit: str) -> None:
            spoken = f"{duration(done)} of {duration(total)} spoken"
            tell(f"{corpus.name}: {spoken if unit == 'seconds' else f'{done} of {total} files'}")

        return readers.build(corpus, work, progress)


def _needed(want: Wanted, folder: SweepFolder, *, runs: bool) -> set[str]:
    """Feature sets of unfinished runs; without runs, all."""
    return {run.feature_id for run in want.runs if not runs or not folder.run(run.run_id).finished}


def _store(
    sweep: Sweep,
    want: Wanted,
    folder: SweepFolder,
    *,
    found: Found,
    lacks: missing_features.Lacking,
) -> None:
    """What tasks, status and report read; and room for what they will write."""
    for manifest in found.values():
        manifests.write(manifest, manifest_path(manifest, folder.work))
    experiments = [swept.experiment for swept in sweep.experiments]
    one_of_each = dict(zip((run.feature_id for run in want.runs), experiments, strict=True))
    for experiment in one_of_each.values():
        precompute.prepare(found[experiment.corpus], experiment.features, folder.work)
    for experiment, run in zip(experiments, want.runs, strict=True):
        if not folder.run(run.run_id).experiment_file.exists():
            folder.run(run.run_id).write_experiment(experiment)
    write_json(folder.record, asdict(want))
    missing_features.prepare(lacks, want, folder)


def _tell_deferred(made: Plan) -> None:
    for line in run_lines.plan_lines(made):
        if line.startswith("no room"):
            say(line)


def _nothing_to_do(want: Wanted, *, runs: bool) -> str:
    if runs:
        are = "is" if len(want.runs) == 1 else "are"
        return f"nothing to do: {len(want.runs)} of {count(len(want.runs), 'run')} {are} finished"
    are = "is" if len(want.features) == 1 else "are"
    return f"nothing to do: {count(len(want.features), 'feature set')} of {want.name} {are} there"
