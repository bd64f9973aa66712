"""The verb doctor: check one experiment before it is trained for hours.

In:   typed options.   Out: a line for each check, with a remedy; an exit code.
Not here: the checks (pipeline/training/diagnosis/preflight.py).
"""

import argparse
from importlib import import_module

from jobs.imports import quick_imports
from jobs.launch.reconcile import PreparedFeatures, ensure_features
from jobs.messages import print_line
from jobs.work_folder import load_profile_and_workdir
from pipeline.config.experiment import load_experiment
from pipeline.config.loader import parse_changes
from pipeline.config.sweep import single_run_sweep
from pipeline.files import InputError
from pipeline.host import default_threads


def doctor(options: argparse.Namespace) -> int:
    """Compute the features if they are missing, check them; return 1 if something is wrong."""
    profile, work = load_profile_and_workdir(options)
    changes = parse_changes(options.set)
    experiment = load_experiment(options.experiment, changes)
    failures = 0
    try:
        single = single_run_sweep(options.experiment, experiment, "doctor", changes)
        prepared = ensure_features(single, profile, work)
        failures += _print_corpus_failures(prepared)
        print_line("starting torch")  # takes seconds
        with quick_imports():
            run_preflight = import_module("pipeline.training.diagnosis.preflight").run_preflight
        for check in run_preflight(
            experiment, prepared.features, profile.device, profile.threads or default_threads()
        ):
            failures += not check.ok
            print_line(f"{'ok     ' if check.ok else 'WRONG  '} {check.check}: {check.result}")
            if check.remedy:
                print_line(f"        remedy: {check.remedy}")
    except InputError as error:
        print_line(f"WRONG   {error}")
        failures += 1
    are = "things are" if failures > 1 else "thing is"
    print_line(f"{failures} {are} wrong" if failures else "nothing is wrong")
    return int(failures > 0)


def _print_corpus_failures(prepared: PreparedFeatures) -> int:
    """Print what is wrong with the corpus; return how many things are."""
    failures = []
    if prepared.code:
        failures.append(
            (
                "the checks below leave out the utterances refused above",
                "correct them, or list them in exclude: in the corpus file",
            )
        )
    if not prepared.meaningful:
        failures.append(
            (
                "an error rate may mean nothing; see the lines on transcripts or copies above",
                "correct the transcripts, or list the copies in exclude: in the corpus file",
            )
        )
    for result, remedy in failures:
        print_line(f"WRONG   corpus: {result}")
        print_line(f"        remedy: {remedy}")
    return len(failures)
