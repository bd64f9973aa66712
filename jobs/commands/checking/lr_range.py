"""The verb lr-range: short trainings of one experiment at several learning rates.

In:   typed options.   Out: lines for a person; a CSV file and a figure in the reports folder.
Not here: the test (pipeline/training/diagnosis/lr_range_test.py), the figure
(pipeline/results/figures/lr_curve.py).
"""

import argparse
import math

from jobs.imports import quick_imports
from jobs.launch.reconcile import ensure_features
from jobs.messages import print_line, show_status_line
from jobs.profile import LocalProfile
from jobs.sweep.folder import SweepFolder
from jobs.work_folder import load_profile_and_workdir
from pipeline.config.experiment import load_experiment
from pipeline.config.loader import parse_changes
from pipeline.config.sweep import single_run_sweep
from pipeline.files import InputError, write_text
from pipeline.host import default_threads
from pipeline.runs.health.lr_range import MAX_UPDATES, LRRangeResult, ShortTraining

HOW_FAR_IT_HOLDS = "the best rate of a much longer training can be lower"


def lr_range(options: argparse.Namespace) -> int:
    """Run the test on this machine; compute the features first. Return 1 if some were refused."""
    profile, work = load_profile_and_workdir(options)
    if not isinstance(profile, LocalProfile):
        raise InputError(f"{profile.path}: lr-range trains on this machine; leave out CLUSTER=…")
    changes = parse_changes(options.set)
    experiment = load_experiment(options.experiment, changes)
    single = single_run_sweep(options.experiment, experiment, "lr-range", changes)
    prepared = ensure_features(single, profile, work)
    folder = SweepFolder(work, single.name)
    # torch and matplotlib take seconds to import.
    with quick_imports():
        from pipeline.results.figures import lr_curve  # noqa: PLC0415
        from pipeline.training.diagnosis.lr_range_test import run_lr_range_test  # noqa: PLC0415

    trainings = []
    with show_status_line("starting torch") as show:
        for training in run_lr_range_test(
            experiment,
            prepared.features,
            device=profile.device,
            threads=profile.threads or default_threads(),
            on_update=lambda rate, done, updates: show(
                f"rate {rate:g}: {done} of {updates} updates"
            ),
        ):
            trainings.append(training)
            print_line(training_line(training))
    result = LRRangeResult(tuple(trainings))
    write_text(folder.reports / "lr-range.csv", lr_curve.lr_range_csv(result))
    figure_file = folder.reports / "lr-range.svg"
    title = f"{options.experiment.stem}: learning-rate range test"
    write_text(figure_file, lr_curve.draw_lr_range(result, title))
    for line in [*describe_lr_range(result), str(figure_file)]:
        print_line(line)
    return prepared.code


def training_line(training: ShortTraining) -> str:
    rate = f"learning rate {training.learning_rate:g}, {training.updates} updates"
    if math.isinf(training.loss):
        return f"{rate}: diverged"
    where = "" if training.escaped else ", on the blank plateau"
    return f"{rate}: dev loss {training.loss:.2f}{where} (reference {training.reference_loss:.2f})"


def describe_lr_range(result: LRRangeResult) -> list[str]:
    """Return the suggested rate, what it rests on and how far it holds."""
    best, similar = result.best, [f"{each.learning_rate:g}" for each in result.similar]
    if result.outcome == "diverged":
        rate = result.longest[0].learning_rate
        return [f"no rate is suggested: training diverges even at {rate:g}; run make doctor"]
    if result.outcome == "on the plateau":
        lowest = f"{best.loss:.2f} at learning rate {best.learning_rate:g}"
        plateau = f"after {best.updates} updates no training has left the blank plateau"
        remedy = "raise train.epochs" if best.updates < MAX_UPDATES else "run make doctor"
        return [f"no rate is suggested: {plateau} (lowest dev loss {lowest}); {remedy}"]
    rule = f"suggested train.learning_rate: {result.suggestion:g}, "
    if len(similar) > 1:
        rule += f"the lowest of those that are about as good as the best one: {', '.join(similar)}"
    else:
        rule += "which has the lowest dev loss"
    return [rule, f"measured: one seed, {best.updates} updates at each rate; {HOW_FAR_IT_HOLDS}"]
