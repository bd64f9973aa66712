"""The verb doctor: what is wrong with an experiment, before it costs a day.

In:   typed options.   Out: a line for each finding, with the way out; 1 where something is wrong.
Not here: the findings (pipeline/training/doctor.py).
"""

import argparse
from importlib import import_module

from jobs.launch.reconcile import features_of
from jobs.messages import say
from jobs.profile import place
from pipeline.config.experiment import load_experiment
from pipeline.config.loader import parse_changes
from pipeline.config.sweep import alone
from pipeline.files import InputError
from pipeline.host import cpus


def doctor(options: argparse.Namespace) -> int:
    """Computes the features it looks at, as `train` does."""
    profile, work = place(options)
    experiment = load_experiment(options.experiment, parse_changes(options.set))
    ill = unsure = 0
    try:
        single = alone(options.experiment, experiment, "doctor")
        features, refused = features_of(single, profile, work)
        if refused:
            ill += 1
            say("WRONG  corpus: what is refused above is left out of all that follows")
            say("       way out: mend it, or name it in exclude: in the corpus file")
        say("starting torch")  # seconds
        examine = import_module("pipeline.training.diagnosis.preflight").examine
        for finding in examine(experiment, features, profile.device, profile.threads or cpus()):
            ill += not finding.well
            unsure += not finding.decided
            said = ("well " if finding.decided else "open ") if finding.well else "WRONG"
            say(f"{said}  {finding.about}: {finding.what}")
            if finding.remedy:
                say(f"       way out: {finding.remedy}")
    except InputError as error:
        say(f"WRONG  {error}")
        ill += 1
    verdict = f"{ill} thing{'s are' if ill > 1 else ' is'} wrong" if ill else "nothing is wrong"
    say(verdict + ("; one batch is undecided" if unsure else ""))
    return int(ill > 0)
