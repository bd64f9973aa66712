"""A sweep on this machine: processes compute features, then train runs.

In:   a plan, the state of the sweep, a profile.
Out:  shards and run folders; lines for a person; an exit code.
Not here: making the plan (decision.py), starting processes (local/executor.py), the live view
(display/live.py).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jobs import code_snapshot, messages
from jobs.display import run_lines
from jobs.display.corpora import print_refusals
from jobs.display.feature_progress import FeatureProgress
from jobs.display.live import Watcher
from jobs.environment import REPOSITORY_ROOT
from jobs.exit_codes import DONE
from jobs.launch import missing_features
from jobs.launch.sweep_state import SweepState, print_sound
from jobs.launch.tasks import (
    append_to_ledger,
    failures_cleared,
    make_feature_tasks,
    make_run_tasks,
    write_tasks,
)
from jobs.local import executor
from jobs.local.executor import ExitStatus, RunningTask, Slots
from jobs.messages import count_text, duration_text, print_line
from jobs.node import failures, feature_task, task_file, training_task
from jobs.node.feature_task import TaskProgress
from jobs.node.task_file import Task
from jobs.profile import LocalProfile
from jobs.sweep import job_queue, plan, run_status
from jobs.sweep.folder import SweepFolder
from jobs.sweep.plan import Plan
from jobs.sweep.record import SweepRecord, manifests_by_path
from jobs.sweep.run_status import RunStatus
from pipeline.corpus.manifest import Refusal
from pipeline.features import feature_set
from pipeline.files import read_json
from pipeline.runs.folder import Failure

# Called while tasks run; during features with a function that returns the progress line.
PollCallback = Callable[..., None]


class FeatureResult(NamedTuple):
    """What came of the feature tasks."""

    refusals: tuple[Refusal, ...]
    failed_tasks: int
    seconds: float  # that they took


def execute_locally(new_plan: Plan, state: SweepState, profile: LocalProfile) -> int:
    """Run every task of the plan; return an exit code: 0 if all wanted runs are finished."""
    # Only here: it imports what tasks do, and often there is nothing to do.
    from jobs.launch import entrypoint  # noqa: PLC0415

    files = state.files
    folder, record = files.folder, files.record
    slices = [piece for array in new_plan.features for task in array.tasks for piece in task]
    by_path = manifests_by_path(files.corpus_manifests, folder.work)
    speech = missing_features.total_speech(slices, by_path)
    if slices:
        print_line(f"features: {count_text(len(slices), 'slice')} to compute")
    with Watcher(record, folder, state.queue, runs=files.with_runs) as watcher:
        utterances = sum(len(manifest.utterances) for manifest in by_path.values())
        slots = executor.slots_for_features(profile, entrypoint.run_child, utterances)
        result = _compute_features(new_plan, slots, folder, speech, watcher.refresh)
        _print_feature_summary(new_plan, speech, result)
        print_sound(files)
        missing_features.refuse_if_strict(files.corpus_manifests, result.refusals)
        if result.failed_tasks:
            new_plan = _without_incomplete_features(record, new_plan, folder)
        _train_runs(new_plan, profile, folder, watcher.refresh)
    statuses = _final_statuses(state) if files.with_runs else []
    for run in statuses:
        _print_unfinished(run)
    if files.with_runs and not messages.in_terminal():  # a terminal still shows the table
        print_line(run_lines.state_counts_line(statuses))
    wanted = {run.run_id for run in files.wanted_runs}
    done = all(run_status.is_done(run) for run in statuses if run.run_id in wanted)
    return 0 if done and not result.refusals and not result.failed_tasks else 1


def _final_statuses(state: SweepState) -> list[RunStatus]:
    record, folder, queue = state.files.record, state.files.folder, state.queue
    if not queue.ignored:
        queue = job_queue.try_query_slurm(folder, job_queue.unfinished_items(record, folder))
    return run_status.run_statuses(record, folder, queue)


def _compute_features(
    new_plan: Plan, slots: Slots, folder: SweepFolder, total: TaskProgress, on_poll: PollCallback
) -> FeatureResult:
    """Run the feature tasks; print each different failure once."""
    progress, failed_tasks = FeatureProgress(total), 0
    printed: set[str] = set()

    def on_exit(process: ExitStatus) -> None:
        nonlocal failed_tasks
        progress.completed += feature_task.read_progress(process.task)
        if process.code != DONE:
            failed_tasks += 1
            if (line := _describe_feature_failure(process)) not in printed:
                print_line(line)
                printed.add(line)

    for array in new_plan.features:
        written = write_tasks(make_feature_tasks(array, folder), folder)
        # No snapshot: all of them start now, before the code can be edited.
        _record_tasks(folder, written, REPOSITORY_ROOT)
        _run_tasks(
            written, slots, folder,
            code=REPOSITORY_ROOT, on_exit=on_exit,
            on_poll=lambda running: on_poll(lambda: progress.format_line(running)),
        )  # fmt: skip
    refusals = tuple(dict.fromkeys(progress.completed.refusals))
    return FeatureResult(refusals, failed_tasks, progress.elapsed_s)


def _train_runs(
    new_plan: Plan, profile: LocalProfile, folder: SweepFolder, on_poll: PollCallback
) -> None:
    """Run the tasks of runs; each run writes its result into its own folder."""
    if not new_plan.runs:
        return  # without a snapshot, which nothing would use

    def on_exit(process: ExitStatus) -> None:
        training_task.record_silent_failure(process, folder.work)

    slots, code = executor.slots_for_runs(profile), code_snapshot.take_snapshot(folder.code)
    for array in new_plan.runs:
        tasks = make_run_tasks(array, folder, profile, slots.threads)
        run_ids = [run.run_id for task in array.tasks for run in task]
        with failures_cleared(run_ids, folder) as causes:
            written = write_tasks(tasks, folder)
            _record_tasks(folder, written, code, causes)
        _run_tasks(written, slots, folder, code=code, on_poll=lambda _: on_poll(), on_exit=on_exit)


def _record_tasks(
    folder: SweepFolder,
    written: Mapping[Path, Task],
    code: Path,
    causes: Mapping[str, str] | None = None,
) -> None:
    jobs = [str(os.getpid())] * len(written)
    append_to_ledger(folder, "local", jobs, written, code, causes=causes or {})


def _run_tasks(
    written: Mapping[Path, Task],
    slots: Slots,
    folder: SweepFolder,
    *,
    code: Path,
    on_poll: Callable[[Sequence[RunningTask]], None],
    on_exit: Callable[[ExitStatus], None],
) -> None:
    def poll_and_own(running: Sequence[RunningTask]) -> None:
        folder.owner_file.touch()  # an old file means that the owner is gone
        on_poll(running)

    executor.run_tasks_interruptible(list(written), slots, code, poll_and_own, on_exit)


def _print_feature_summary(new_plan: Plan, speech: TaskProgress, result: FeatureResult) -> None:
    print_refusals(result.refusals, "in their shards")
    sets = {name for a in new_plan.features for t in a.tasks for p in t for name in p.feature_ids}
    if sets and not result.failed_tasks:
        refused = f"; {len(result.refusals)} refused" if result.refusals else ""
        utterances = count_text(speech.utterances, "utterance")
        print_line(
            f"features: {count_text(len(sets), 'set')} of {utterances}, "
            f"{duration_text(speech.seconds)} of speech in {duration_text(result.seconds)}, "
            f"{speech.seconds / result.seconds:.0f} times real time{refused}"
        )


def _describe_feature_failure(exit_status: ExitStatus) -> str:
    output = executor.output_path(exit_status.task)
    path = task_file.failure_path(exit_status.task)
    if path.exists():
        failure = Failure(**read_json(path))
        remedy = failures.remedy(failure.cause, failure.message, str(output))
        return f"features: {failure.cause}: {failure.message}; {remedy}"
    cause, message = failures.classify_exit_code(exit_status.code)
    return f"features: {cause}: {message}; see {output}"


def _without_incomplete_features(record: SweepRecord, full_plan: Plan, folder: SweepFolder) -> Plan:
    """Return the plan without the runs whose feature set lacks a shard."""
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
    """Print why the sweep ended without this run."""
    if run.state == "failed":
        remedy = failures.remedy(run.cause, run.detail, f"make logs RUN={run.run_id}")
        print_line(f"{run.label}: failed: {run.cause}: {run.detail}; {remedy}")
    elif run.state == "running" and run.heartbeat:
        heartbeat = run.heartbeat
        print_line(
            f"{run.label}: left to process {heartbeat.pid} on {heartbeat.host}, which trains it "
            "already"
        )
    elif run.state == "queued":
        print_line(f"{run.label}: left to job {run.job}, which is queued already")
