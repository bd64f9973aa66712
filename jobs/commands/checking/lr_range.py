"""The verb lr-range: the learning-rate range test of one experiment.

In:   typed options.   Out: lines for a person; a CSV file and a figure in the reports folder.
Not here: the test (pipeline/training/diagnosis/lr_range_test.py), the figure
(pipeline/results/figures/lr_curve.py).
"""

import argparse
from typing import TYPE_CHECKING

from jobs.launch.reconcile import ensure_features
from jobs.messages import print_line
from jobs.profile import LocalProfile
from jobs.sweep.folder import SweepFolder
from jobs.work_folder import load_profile_and_workdir
from pipeline.config.experiment import load_experiment
from pipeline.config.loader import parse_changes
from pipeline.config.sweep import single_run_sweep
from pipeline.files import InputError, write_text
from pipeline.host import available_cpus

if TYPE_CHECKING:  # its module imports torch
    from pipeline.runs.health.lr_range import LRRangeResult


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
    from pipeline.results.figures import lr_curve  # noqa: PLC0415
    from pipeline.training.diagnosis.lr_range_test import run_lr_range_test  # noqa: PLC0415

    threads = profile.threads or available_cpus()
    result = run_lr_range_test(
        experiment, prepared.features, device=profile.device, threads=threads
    )
    write_text(folder.reports / "lr-range.csv", lr_curve.lr_range_csv(result))
    figure_file = folder.reports / "lr-range.svg"
    write_text(
        figure_file,
        lr_curve.draw_lr_range(result, f"{options.experiment.stem}: learning-rate range test"),
    )
    for line in [*describe_lr_range(result), str(figure_file)]:
        print_line(line)
    return prepared.code


def describe_lr_range(result: "LRRangeResult") -> list[str]:
    first, last, lowest = result.steps[0], result.steps[-1], result.lowest
    end = "where it diverged" if result.diverged else "where the test ends"
    tried = f"{len(result.steps)} updates, at rates from {first.learning_rate:.0e} to "
    best = f"lowest smoothed loss {lowest.smoothed:.2f} nats per character, at rate "
    rule = f"suggested train.learning_rate: {result.suggestion:.1e}, a tenth of that rate"
    if not result.diverged and lowest is last:
        rule += "; the loss was still falling, so that a larger one may do as well"
    return [
        tried + f"{last.learning_rate:.1e}, {end}",
        best
        + f"{lowest.learning_rate:.1e}; on the blank plateau it is {result.reference_loss:.2f}",
        rule,
    ]
