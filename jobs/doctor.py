"""The verb doctor: what is wrong with an experiment, before it costs a day.

In:   typed options.   Out: a line for each finding, with the way out; 1 where something is wrong.
Not here: the findings (pipeline/training/doctor.py).
"""

import argparse
from importlib import import_module

from jobs.console import say
from jobs.profile import place
from jobs.reconcile import reconcile
from jobs.wanted import SweepFolder, recorded
from pipeline.config import load_experiment
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.settings import parse_changes
from pipeline.sweep import Sweep, SweptExperiment


def doctor(options: argparse.Namespace) -> int:
    """Computes the features it looks at, as `train` does."""
    profile, work = place(options)
    experiment = load_experiment(options.experiment, parse_changes(options.set))
    name = f"doctor-{options.experiment.stem}"
    swept = SweptExperiment(options.experiment.stem, {}, experiment)
    ill = 0
    try:
        if code := reconcile(
            Sweep(name, "", options.experiment, (swept,)), profile, work, runs=False
        ).code:
            return code
        folder = SweepFolder(work, name)
        features = FeatureSet.open(folder.features(recorded(folder).features[0].feature_id))
        say("starting torch")  # seconds
        examine = import_module("pipeline.training.doctor").examine
        for finding in examine(experiment, features, profile.device):
            ill += not finding.well
            say(f"{'well ' if finding.well else 'WRONG'}  {finding.about}: {finding.what}")
            if finding.remedy:
                say(f"       way out: {finding.remedy}")
    except InputError as error:
        say(f"WRONG  {error}")
        ill += 1
    say("nothing is wrong" if not ill else f"{ill} thing{'s are' if ill > 1 else ' is'} wrong")
    return int(ill > 0)
