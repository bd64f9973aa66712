"""Ranging: the learning-rate range test of one experiment, typed by a person.

In:   typed options.   Out: lines for a person; a CSV and a figure in the reports folder.
Not here: the test (pipeline/training/ranging.py), how it is drawn (pipeline/results/rates.py).
"""

import argparse
from typing import TYPE_CHECKING

from jobs.launch.reconcile import features_of
from jobs.messages import say
from jobs.profile import Local, place
from jobs.sweep.folder import SweepFolder
from pipeline.config.experiment import load_experiment
from pipeline.config.loader import parse_changes
from pipeline.config.sweep import alone
from pipeline.files import InputError, write_text
from pipeline.host import cpus

if TYPE_CHECKING:  # its module imports torch
    from pipeline.runs.lr_range import Range


def lr_range(options: argparse.Namespace) -> int:
    """Here and now, since it takes less time than a queue; its features first, 1 if some lack."""
    profile, work = place(options)
    if not isinstance(profile, Local):
        raise InputError(f"{profile.path}: lr-range trains on this machine: leave out CLUSTER=…")
    experiment = load_experiment(options.experiment, parse_changes(options.set))
    single = alone(options.experiment, experiment, "lr-range")
    features, code = features_of(single, profile, work)
    folder = SweepFolder(work, single.name)
    # torch and matplotlib take seconds, which no other verb of this program must pay.
    from pipeline.results.figures import lr_curve  # noqa: PLC0415
    from pipeline.training.diagnosis.lr_range_test import range_test  # noqa: PLC0415

    threads = profile.threads or cpus()
    found = range_test(experiment, features, device=profile.device, threads=threads)
    write_text(folder.reports / "lr-range.csv", lr_curve.table(found))
    drawn = folder.reports / "lr-range.svg"
    write_text(
        drawn, lr_curve.figure(found, f"{options.experiment.stem}: learning-rate range test")
    )
    for line in [*told(found), str(drawn)]:
        say(line)
    return code


def told(found: "Range") -> list[str]:
    first, last, lowest = found.tried[0], found.tried[-1], found.lowest
    end = "where it diverged" if found.diverged else "where the test ends"
    tried = f"{len(found.tried)} updates, at rates from {first.learning_rate:.0e} to "
    best = f"lowest smoothed loss {lowest.smoothed:.2f} nats per character, at rate "
    rule = f"suggested train.learning_rate: {found.suggestion:.1e}, a tenth of that rate"
    if not found.diverged and lowest is last:
        rule += "; the loss was still falling, so that a larger one may do as well"
    return [
        tried + f"{last.learning_rate:.1e}, {end}",
        best + f"{lowest.learning_rate:.1e}; on the blank plateau it is {found.reference_loss:.2f}",
        rule,
    ]
