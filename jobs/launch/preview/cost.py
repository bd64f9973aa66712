"""The cost of runs before they are submitted, from minutes that finished runs took.

In:   the files of a sweep, the other sweeps of the work folder, a profile.
Out:  `MeasuredMinutes`; lines for a person.
Not here: jobs, limits and scripts of a plan (dry_run.py), what jobs have used (node/usage.py).
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from jobs.launch.sweep_state import SweepFiles
from jobs.messages import count_text, duration_text
from jobs.profile import Profile, SlurmProfile
from jobs.sweep import run_status
from jobs.sweep.record import read_records
from jobs.work_folder import make_command
from pipeline.config.experiment import Experiment
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder

MAX_COMPARED_RUNS = 50  # runs of other sweeps whose experiment is read


class MeasuredMinutes(NamedTuple):
    """The median duration of finished runs, and which runs these are."""

    median: float
    source: str


def measure_minutes(files: SweepFiles) -> MeasuredMinutes | None:
    """Return the minutes of a run of this sweep, or else of a like run; None: nothing is known."""
    folder, record = files.folder, files.record
    if (minutes := run_status.median_run_minutes(record, folder)) is not None:
        return MeasuredMinutes(minutes, "the median of its finished runs")
    for name, runs in itertools.groupby(_like_runs(files), key=lambda each: each[0]):
        if (minutes := run_status.median_minutes(run for _, run in runs)) is not None:
            source = f"the median of finished runs of {name} with the same features, network, "
            return MeasuredMinutes(minutes, f"{source}epochs and batch")
    return None


def _like_runs(files: SweepFiles) -> Iterator[tuple[str, RunFolder]]:
    """Yield sweep and folder of runs of other sweeps that do the same amount of work."""
    pairs = zip(files.record.runs, files.sweep.experiments, strict=True)
    wanted = {(run.feature_id, _work_of_run(swept.experiment)) for run, swept in pairs}
    feature_ids = {features for features, _ in wanted}
    candidates = (
        (record.name, run.feature_id, folder.run(run.run_id))
        for folder, record in read_records(files.folder.work)
        if record.name != files.record.name
        for run in record.runs
        if run.feature_id in feature_ids
    )
    finished = (each for each in candidates if each[2].finished)
    for name, features, run in itertools.islice(finished, MAX_COMPARED_RUNS):
        try:
            if (features, _work_of_run(run.experiment())) in wanted:
                yield name, run
        except InputError:  # a damaged file, which its own sweep reports
            continue


def _work_of_run(experiment: Experiment) -> str:
    """Return the settings that decide most of a run's duration, beside its features."""
    train = experiment.train.model_dump_json(include={"epochs", "batch", "precision"})
    return f"{experiment.model.model_dump_json()}{experiment.input.model_dump_json()}{train}"


def cost_line(runs: int, profile: Profile, measured: MeasuredMinutes | None, first: str) -> str:
    """Return what so many runs will take. Time limits do not show it: jobs are requeued.

    `first`: the command that submits one run alone.
    """
    counted = count_text(runs, "run")
    if measured is None:
        one = f"; one run will tell: {first}" if runs > 1 else ""
        return f"cost of {counted}: unknown, no run of this or a like sweep is finished{one}"
    hours = runs * measured.median / 60
    source = f"{counted} x {duration_text(60 * measured.median)}, {measured.source}"
    if not isinstance(profile, SlurmProfile):
        return f"cost: about {duration_text(3600 * hours)} of one slot: {source}"
    job_hours = hours / profile.runs_per_gpu  # runs of a job share its GPU and CPUs
    parts = [f"about {profile.gpus * job_hours:.1f} GPU-hours"] if profile.gpus else []
    parts.append(f"{profile.cpus * job_hours:.1f} CPU-hours")
    return f"cost: {', '.join(parts)}: {source}"


def first_command(files: SweepFiles, profile: Profile) -> str:
    return make_command(f"{files.record.command} FIRST=1", profile, files.folder.work)


def first_run_lines(files: SweepFiles, profile: Profile) -> Iterator[str]:
    """Yield what to type after FIRST=1, and the cost of the other runs if it is known."""
    first, *others = files.record.runs
    left = sum(run.run_id in files.unfinished_runs for run in others)
    rest = "the other run" if left == 1 else f"the other {left} runs"
    if not left:
        return
    command = make_command(files.record.command, profile, files.folder.work)
    if files.folder.run(first.run_id).finished:
        yield f"the first run, {first.label}, is finished"
        yield cost_line(left, profile, measure_minutes(files), command)
        yield f"{command} submits {rest}"
    else:
        yield (
            f"when the first run, {first.label}, is finished: {command} submits {rest}; with DRY=1 "
            "it shows their cost"
        )
