"""Reconciliation: submit or run what a sweep needs and does not have yet.

In:   a sweep, a profile, a work folder.   Out: lines for a person; an exit code.
Not here: the state (sweep_state.py), the decision (decision.py), SLURM jobs
(submit.py), processes of this machine (local_run.py).

Three steps, in this order: gather the state, decide, act. What the last two need is imported
where it is used, so that a command with nothing to do takes half of the time.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jobs import code_snapshot
from jobs.launch import missing_features
from jobs.launch.sweep_state import (
    SweepFiles,
    SweepState,
    gather_state,
    print_sound,
    query_queue,
    read_sweep_files,
    survey_again,
)
from jobs.local.processes import own_sweep
from jobs.messages import count_text, print_line
from jobs.profile import LocalProfile, Profile, SlurmProfile
from jobs.sweep.folder import SweepFolder
from jobs.sweep.record import (
    PlannedRun,
    SweepRecord,
    load_record,
    manifest_path,
    refuse_name_of_another_file,
)
from jobs.work_folder import make_command, require_writable
from pipeline.config.experiment import Experiment
from pipeline.config.identity import run_id
from pipeline.config.loader import dump_yaml
from pipeline.config.sweep import Sweep
from pipeline.corpus import manifest as manifests
from pipeline.features.feature_set import FeatureSet
from pipeline.features.precompute import prepare_feature_set
from pipeline.files import InputError, write_json, write_many
from pipeline.runs.folder import RunFolder

if TYPE_CHECKING:
    from jobs.launch.decision import Decision


class ReconcileResult(NamedTuple):
    record: SweepRecord
    code: int  # exit code
    ran_locally: bool = False  # on this machine, so the report has something new to show
    was_complete: bool = False  # nothing was missing when the command started
    meaningful: bool = True  # whether an error rate on the corpora says something


class PreparedFeatures(NamedTuple):
    features: FeatureSet
    code: int  # exit code of `reconcile`: 1 if an utterance was refused
    meaningful: bool  # whether an error rate on the corpus says something


def reconcile(
    sweep: Sweep,
    profile: Profile,
    work: Path,
    *,
    runs: bool = True,
    first_only: bool = False,
    dry: bool = False,
    quiet_if_complete: bool = False,
) -> ReconcileResult:
    """Submit or run what is missing.

    `runs` False: only the features. `first_only`: of the runs, only the first one. `dry`: print
    the plan and write nothing.
    `quiet_if_complete`: do not print "nothing to do"; the caller does something afterwards.
    """
    require_writable(work)
    _refuse_too_many(sweep, profile)
    refuse_name_of_another_file(sweep, SweepFolder(work, sweep.name))
    files = read_sweep_files(sweep, work, with_runs=runs, first_only=first_only)
    labels = _former_labels(files.folder)
    if files.complete:
        _finish_complete(files, profile, labels, dry=dry, quiet=quiet_if_complete)
        return ReconcileResult(
            files.record, files.code, was_complete=True, meaningful=files.meaningful
        )
    if runs:
        from jobs.display.plan_lines import opening_lines  # noqa: PLC0415

        for line in opening_lines(sweep):
            print_line(line)
    if dry:
        _print_plan(files, profile)
        return ReconcileResult(files.record, files.code, meaningful=files.meaningful)
    if isinstance(profile, SlurmProfile):
        _submit_missing(files, profile, labels)
        result = ReconcileResult(files.record, files.code, meaningful=files.meaningful)
    else:
        code = max(files.code, _run_missing(files, profile))
        result = ReconcileResult(files.record, code, ran_locally=True, meaningful=files.meaningful)
    if first_only:
        from jobs.launch.preview import cost  # noqa: PLC0415

        for line in cost.first_run_lines(files, profile):
            print_line(line)
    return result


def ensure_features(sweep: Sweep, profile: Profile, work: Path) -> PreparedFeatures:
    """Compute the features of a sweep of one experiment if they are missing."""
    result = reconcile(sweep, profile, work, runs=False, quiet_if_complete=True)
    (features,) = result.record.features
    folder = SweepFolder(work, sweep.name).features(features.feature_id)
    return PreparedFeatures(FeatureSet.open(folder), result.code, result.meaningful)


def _refuse_too_many(sweep: Sweep, profile: Profile) -> None:
    if len(sweep.experiments) > profile.max_runs:
        raise InputError(
            f"{sweep.path}: plans {len(sweep.experiments)} runs, and {profile.path} allows "
            f"{profile.max_runs}; narrow the sweep, or raise max_runs there"
        )


def _print_plan(files: SweepFiles, profile: Profile) -> None:
    """Print what would be submitted or run; write nothing."""
    from jobs.launch.preview import cost, dry_run  # noqa: PLC0415

    state = gather_state(files, query_queue(files, profile), profile)
    decision = _decide_and_print(state, profile)
    measured, first = cost.measure_minutes(files), cost.first_command(files, profile)
    cost_text = cost.cost_line(decision.plan.run_count, profile, measured, first)
    for line in dry_run.dry_run_lines(
        decision.plan, profile, state.limits, files.folder, cost_text
    ):
        print_line(line)


def _former_labels(folder: SweepFolder) -> dict[str, str]:
    """Return run id -> label of the sweep as the last command stored it."""
    with suppress(InputError):
        return {run.run_id: run.label for run in load_record(folder).runs}
    return {}


def _finish_complete(
    files: SweepFiles, profile: Profile, labels: Mapping[str, str], *, dry: bool, quiet: bool
) -> None:
    """Correct jobs and files of a sweep that is complete, and say so."""
    _correct_jobs(files, profile, labels, dry=dry)
    if not dry:
        _write_sweep_files(files)
    if not files.with_runs:
        print_sound(files)
    if quiet:
        return
    print_line(_nothing_to_do_message(files))
    if files.with_runs and any(each.experiment.decode.also for each in files.sweep.experiments):
        from jobs.display.changed_lines import undecoded_lines  # noqa: PLC0415

        for line in undecoded_lines(files.sweep, files.record, files.folder, profile):
            print_line(line)


def _correct_jobs(
    files: SweepFiles, profile: Profile, labels: Mapping[str, str], *, dry: bool
) -> None:
    """Name removed runs whose jobs go on, and delete files that no job needs any more."""
    folder, wanted = files.folder, {run.run_id for run in files.record.runs}
    may_have_jobs = any(
        entry.scheduler == "slurm" or (entry.kind == "runs" and not wanted.issuperset(entry.items))
        for entry in folder.ledger.entries()
    )
    if may_have_jobs or code_snapshot.has_snapshots(folder.code):
        from jobs.launch import orphan_jobs  # noqa: PLC0415

        orphan_jobs.print_removed_runs(files.record, files.folder, labels, profile)
        if not dry:
            orphan_jobs.remove_unused_files(files.folder)


def _submit_missing(files: SweepFiles, profile: SlurmProfile, labels: Mapping[str, str]) -> None:
    from jobs.launch import orphan_jobs, submit  # noqa: PLC0415
    from jobs.sweep import run_status  # noqa: PLC0415

    with submit.submission_lock(files.folder):
        files = survey_again(files)
        queue = orphan_jobs.cancel_orphan_jobs(files.folder, query_queue(files, profile))
        orphan_jobs.print_removed_runs(files.record, files.folder, labels, profile, queue)
        state = gather_state(files, queue, profile)
        decision = _decide_and_print(state, profile)
        _write_sweep_files(files)
        run_status.record_scheduler_failures(state.statuses, files.folder)
        jobs = submit.submit_to_slurm(decision.plan, state, profile)
        for line in decision.deferred:
            print_line(line)
        if jobs:
            status = f"make status {files.record.sweep_argument}"
            print_line(
                f"{make_command(status, profile, files.folder.work)} shows them; "
                "they need no terminal"
            )
        elif not decision.deferred:
            print_line(
                f"nothing to submit: what is missing of {files.record.name} is queued, running, "
                "or left out"
            )


def _run_missing(files: SweepFiles, profile: LocalProfile) -> int:
    from jobs.launch import local_run  # noqa: PLC0415
    from jobs.sweep import run_status  # noqa: PLC0415

    state = gather_state(files, query_queue(files, profile), profile)
    decision = _decide_and_print(state, profile)
    with own_sweep(files.folder.owner_file):
        _write_sweep_files(files)
        run_status.record_scheduler_failures(state.statuses, files.folder)
        return local_run.execute_locally(decision.plan, state, profile)


def _decide_and_print(state: SweepState, profile: Profile) -> "Decision":
    from jobs.launch.decision import decide  # noqa: PLC0415

    decision = decide(state, profile)
    for line in decision.messages:
        print_line(line)
    return decision


def _write_sweep_files(files: SweepFiles) -> None:
    """Write what tasks, status and report read, and remove files that will be written again."""
    folder, record = files.folder, files.record
    for manifest in files.corpus_manifests.values():
        manifests.write_manifest(manifest, manifest_path(manifest, folder.work))
    experiments = [swept.experiment for swept in files.sweep.experiments]
    one_of_each = dict(zip((run.feature_id for run in record.runs), experiments, strict=True))
    for experiment in one_of_each.values():
        prepare_feature_set(
            files.corpus_manifests[experiment.corpus], experiment.features, folder.work
        )
    pairs = list(zip(experiments, record.runs, strict=True))
    write_many(lambda pair: _write_experiment(*pair, folder.run(pair[1].run_id)), pairs)
    write_json(folder.record_file, record.to_json())
    if files.sweep.stop:
        from pipeline.runs.early_stop import SweepStopRules  # noqa: PLC0415

        run_ids = tuple(run.run_id for run in record.runs)
        SweepStopRules(record.name, files.sweep.stop, run_ids).write(folder.early_stop_file)
    else:
        folder.early_stop_file.unlink(missing_ok=True)
    missing_features.remove_outdated_files(files.missing, record, folder)


def _write_experiment(experiment: Experiment, run: PlannedRun, folder: RunFolder) -> None:
    """Write the experiment of a run, unless it is there; a damaged or edited file is replaced."""
    if folder.experiment_file.exists():
        # Faster than to read it as YAML.
        if folder.experiment_file.read_bytes() == dump_yaml(experiment).encode():
            return
        with suppress(InputError):
            present = folder.experiment()
            if run_id(present, run.feature_id) == run.run_id:
                if present.decode.also != experiment.decode.also:  # no part of the run's identity
                    folder.write_experiment(experiment)
                return
        print_line(f"{folder.experiment_file}: was damaged or edited, and is written again")
    folder.write_experiment(experiment)


def _nothing_to_do_message(files: SweepFiles) -> str:
    record = files.record
    if files.with_runs:
        stopped = sum(not files.folder.run(run.run_id).finished for run in record.runs)
        finished = len(record.runs) - stopped
        are = "is" if len(record.runs) == 1 else "are"
        runs = count_text(len(record.runs), "run")
        early = f", {stopped} stopped early by the rules under stop" if stopped else ""
        return f"nothing to do: {finished} of {runs} {are} finished{early}"
    are = "is" if len(record.features) == 1 else "are"
    sets = count_text(len(record.features), "feature set")
    return f"nothing to do: {sets} of {record.name} {are} there"
