"""Verbs that make something: features, train, sweep, demo.

In:   typed options.   Out: an exit code.
Not here: verbs that look (looking.py), the report (reporting.py), the work itself (reconcile.py).
"""

import argparse
from importlib import import_module
from pathlib import Path
from shlex import quote

from jobs.code_snapshot import SOURCE
from jobs.launch.reconcile import reconcile
from jobs.messages import percent, say
from jobs.profile import Local, place, typed_again
from jobs.sweep.folder import SweepFolder
from jobs.sweep.record import recorded, typed
from pipeline.config.corpus import load_corpus
from pipeline.config.experiment import Experiment, load_experiment
from pipeline.config.loader import parse_changes, set_key, validated
from pipeline.config.sweep import Sweep, SweptExperiment, alone, load_sweep

DEMO = SOURCE / "configs" / "sweeps" / "demo.yaml"
SPECTRA = ("amplitude", "power", "mel")


def features(options: argparse.Namespace) -> int:
    profile, work = place(options)
    sweep = (
        load_sweep(options.sweep, parse_changes(options.set))
        if options.sweep
        else _spectra(options.corpus, options.set)
    )
    return reconcile(sweep, profile, work, runs=False, dry=options.dry_run).code


def sweep(options: argparse.Namespace) -> int:
    return _sweep(load_sweep(options.sweep, parse_changes(options.set)), options, options.dry_run)


def demo(options: argparse.Namespace) -> int:
    return _sweep(load_sweep(DEMO), options, dry=False)


def train(options: argparse.Namespace) -> int:
    """A sweep of one, so that it resumes, fails and is looked at like any run."""
    profile, work = place(options)
    experiment = load_experiment(options.experiment, parse_changes(options.set))
    single = alone(options.experiment, experiment, "train")
    try:
        result = reconcile(single, profile, work)
    except KeyboardInterrupt:
        changes = f' SET="{" ".join(options.set)}"' if options.set else ""
        named = f"EXPERIMENT={quote(str(options.experiment))}{changes}"
        again = typed_again(f"make train {named}", profile, work)
        say(f"stopped; what was done is saved: {again} continues")
        raise
    if isinstance(profile, Local):
        _tell_result(SweepFolder(work, single.name))
    return result.code


def _sweep(sweep: Sweep, options: argparse.Namespace, dry: bool) -> int:
    profile, work = place(options)
    result = reconcile(sweep, profile, work, dry=dry)
    folder = SweepFolder(work, sweep.name)
    if result.worked or (result.whole and not dry and not folder.report.exists()):
        # pandas and matplotlib take seconds: a sweep that goes to SLURM must not wait for them.
        commands = typed(recorded(folder), profile, work)
        import_module("jobs.sweep.report").write(folder, commands)
    elif result.whole and folder.report.exists():
        say(f"report: {folder.report}")
    return result.code


def _spectra(corpus_file: Path, changes: list[str]) -> Sweep:
    """The three spectra of a corpus, with SET applied to each; a sweep without runs."""
    corpus = load_corpus(corpus_file)
    swept = []
    for spectrum in SPECTRA:
        content = {"corpus": corpus.model_dump(), "features": {"spectrum": spectrum}}
        for key, value in parse_changes(changes).items():
            set_key(content, key, value)
        swept.append(SweptExperiment(spectrum, {}, validated(Experiment, content, corpus_file)))
    return Sweep(f"features-{corpus.name}", "", corpus_file, tuple(swept))


def _tell_result(folder: SweepFolder) -> None:
    run = folder.run(recorded(folder).runs[0].run_id)
    for row in run.rows() if run.finished else ():  # else the failure has been told
        if row["split"] == "test":
            say(f"test CER {percent(row['cer'])}, WER {percent(row['wer'])}, epoch {row['epoch']}")
    if run.log_file.exists():  # else nothing ran
        say(str(run.path))
