"""The verb doctor: what is wrong with an experiment, before it costs a day.

In:   typed options.   Out: a line for each finding, with the way out; 1 where something is wrong.
Not here: the findings (pipeline/training/doctor.py).
"""

import argparse
from importlib import import_module

from jobs.launch.reconcile import ensure_features
from jobs.messages import print_line
from jobs.work_folder import load_profile_and_workdir
from pipeline.config.experiment import load_experiment
from pipeline.config.loader import parse_changes
from pipeline.config.sweep import single_run_sweep
from pipeline.files import InputError
from pipeline.host import available_cpus


def doctor(options: argparse.Namespace) -> int:
    """Computes the features it looks at, as `train` does."""
    profile, work = load_profile_and_workdir(options)
    experiment = load_experiment(options.experiment, parse_changes(options.set))
    ill = unsure = 0
    try:
        single = single_run_sweep(options.experiment, experiment, "doctor")
        features, refused = ensure_features(single, profile, work)
        if refused:
            ill += 1
            print_line("WRONG  corpus: what is refused above is left out of all that follows")
            print_line("       way out: mend it, or name it in exclude: in the corpus file")
        print_line("starting torch")  # seconds
        run_preflight = import_module("pipeline.training.diagnosis.preflight").run_preflight
        for finding in run_preflight(
            experiment, features, profile.device, profile.threads or available_cpus()
        ):
            ill += not finding.ok
            unsure += not finding.conclusive
            said = ("well " if finding.conclusive else "open ") if finding.ok else "WRONG"
            print_line(f"{said}  {finding.check}: {finding.result}")
            if finding.remedy:
                print_line(f"       way out: {finding.remedy}")
    except InputError as error:
        print_line(f"WRONG  {error}")
        ill += 1
    verdict = f"{ill} thing{'s are' if ill > 1 else ' is'} wrong" if ill else "nothing is wrong"
    print_line(verdict + ("; one batch is undecided" if unsure else ""))
    return int(ill > 0)
