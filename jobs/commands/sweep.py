"""The verbs features, train, sweep and demo: run experiments.

In:   typed options.   Out: an exit code.
Not here: status and logs (status.py), the work itself (launch/reconcile.py).
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from shlex import quote

from jobs.environment import REPOSITORY_ROOT
from jobs.launch.reconcile import reconcile
from jobs.messages import MAX_ITEMS_IN_LINE, percent_text, print_line
from jobs.profile import LocalProfile, Profile
from jobs.sweep.folder import SweepFolder
from jobs.sweep.record import SweepRecord, report_commands, set_argument
from jobs.work_folder import load_profile_and_workdir, make_command, require_named_place
from pipeline.config.corpus import base_language, load_corpus
from pipeline.config.experiment import Experiment, load_experiment
from pipeline.config.loader import parse_changes, set_key, validate_settings
from pipeline.config.sweep import (
    Sweep,
    SweptExperiment,
    changed_name,
    load_sweep,
    single_run_sweep,
)
from pipeline.files import InputError
from pipeline.runs.hypotheses import TRAIN_FILE, Hypothesis, read_train_hypotheses

DEMO_SWEEP_FILE = REPOSITORY_ROOT / "configs" / "sweeps" / "demo.yaml"
DEMO_NEXT_STEP = (
    "next, with your own recordings: make corpus-new FOLDER=… writes a corpus file "
    "for them, and says what to type then"
)
SPECTRA = ("amplitude", "power", "mel")


def features(options: argparse.Namespace) -> int:
    profile, work = load_profile_and_workdir(options)
    require_named_place(profile)
    if options.corpus and options.seeds is not None:
        raise InputError("SEEDS does not apply to CORPUS=…; leave it out, or use SWEEP=…")
    sweep = (
        load_sweep(options.sweep, parse_changes(options.set), options.seeds)
        if options.sweep
        else _spectra_sweep(options.corpus, options.set)
    )
    return reconcile(sweep, profile, work, runs=False, dry=options.dry_run).code


def sweep(options: argparse.Namespace) -> int:
    require_named_place(load_profile_and_workdir(options)[0])
    loaded = load_sweep(options.sweep, parse_changes(options.set), options.seeds)
    return _run_sweep(loaded, options, options.dry_run, first_only=options.first)


def demo(options: argparse.Namespace) -> int:
    language = base_language(options.language or "en")
    files = {path.stem: path for path in DEMO_SWEEP_FILE.parent.glob("demo-*.yaml")}
    if language == "en":
        loaded = load_sweep(DEMO_SWEEP_FILE)
    elif file := files.get(f"demo-{language}"):
        loaded = load_sweep(file)
    else:
        loaded = _numbers_sweep(language)
    code = _run_sweep(loaded, options, dry=False)
    if code == 0:
        print_line(DEMO_NEXT_STEP)
    return code


def train(options: argparse.Namespace) -> int:
    """Train one experiment as a sweep of one run, so that it resumes and fails like any run."""
    profile, work = load_profile_and_workdir(options)
    require_named_place(profile)
    changes = parse_changes(options.set)
    experiment = load_experiment(options.experiment, changes)
    single = single_run_sweep(options.experiment, experiment, "train", changes)
    try:
        result = reconcile(single, profile, work)
    except KeyboardInterrupt:
        named = f"EXPERIMENT={quote(str(options.experiment))}{set_argument(changes)}"
        again = make_command(f"make train {named}", profile, work)
        print_line(f"stopped; the state is saved: {again} continues")
        raise
    if isinstance(profile, LocalProfile):
        if not result.meaningful:
            print_line("an error rate may mean nothing; see the first lines, on the corpus")
        _print_result(SweepFolder(work, single.name), result.record, profile)
    return result.code


def _run_sweep(
    sweep: Sweep, options: argparse.Namespace, dry: bool, *, first_only: bool = False
) -> int:
    profile, work = load_profile_and_workdir(options)
    result = reconcile(sweep, profile, work, dry=dry, first_only=first_only)
    folder = SweepFolder(work, sweep.name)
    lacks_report = not folder.report_file.exists() or bool(folder.unwritten_report())
    if (result.ran_locally and not first_only) or (
        result.was_complete and not dry and lacks_report
    ):
        # pandas and matplotlib take seconds to import: a sweep on SLURM must not wait for them.
        commands = report_commands(result.record, profile, work)
        import_module("jobs.sweep.report").write_sweep_report([folder], commands)
    elif result.was_complete and folder.report_file.exists():
        print_line(f"report: {folder.report_file}")
    return result.code


def _spectra_sweep(corpus_file: Path, changes: list[str]) -> Sweep:
    """Make a sweep of the three spectra of a corpus, with SET applied to each."""
    corpus, changed = load_corpus(corpus_file), parse_changes(changes)
    swept = []
    for spectrum in SPECTRA:
        content = {"corpus": corpus.model_dump(), "features": {"spectrum": spectrum}}
        for key, value in changed.items():
            set_key(content, key, value)
        experiment = validate_settings(Experiment, content, corpus_file, changed)
        swept.append(SweptExperiment(spectrum, {}, experiment))
    name = changed_name(f"features-{corpus.name}", changed)
    return Sweep(name, "", corpus_file, tuple(swept), changes=changed)


def _numbers_sweep(language: str) -> Sweep:
    """Make the demo of a language without sentences of its own: the Turkish one, with numbers."""
    sweep = load_sweep(DEMO_SWEEP_FILE.with_stem("demo-tr"))
    (swept,) = sweep.experiments
    corpus = {**swept.experiment.corpus.model_dump(), "name": f"demo-{language}"}
    content = {**swept.experiment.model_dump(), "corpus": {**corpus, "language": language}}
    source = Path(f"LANGUAGE={language}")
    experiment = validate_settings(Experiment, content, source)
    question = (
        f"Question: does the demo's recipe learn to write numbers in the language {language}?"
    )
    experiments = (SweptExperiment(language, {}, experiment),)
    return replace(sweep, name=corpus["name"], question=question, experiments=experiments)


def _highest_losses(ranked: Sequence[Hypothesis]) -> Iterator[str]:
    """Yield the training utterances that the network finds the least probable, in a line."""
    if known := [each for each in ranked[:MAX_ITEMS_IN_LINE] if not math.isnan(each.loss)]:
        losses = [f"{each.utterance_id} {each.loss_per_character:.1f}" for each in known]
        yield (
            f"highest losses per character in train: {', '.join(losses)}; {TRAIN_FILE} ranks all, "
            "and a wrong transcript or damaged audio often has a high loss: listen to the first"
        )


def _print_result(folder: SweepFolder, record: SweepRecord, profile: Profile) -> None:
    # Only here: the other verbs of this module end sooner without them.
    from pipeline.results.errors.speakers import describe_apart_in_run  # noqa: PLC0415
    from pipeline.runs.origin import read_sentence  # noqa: PLC0415
    from pipeline.runs.state import read_early_stop  # noqa: PLC0415

    run = folder.run(record.runs[0].run_id)
    make_report = make_command(f"make report RUN={run.run_id}", profile, folder.work)
    if began := read_sentence(run):
        print_line(f"this run {began}")
    if run.finished and (stop := read_early_stop(run)):
        print_line(stop.message)
    for row in run.rows() if run.finished else ():  # otherwise its failure has been printed
        if row["split"] == "test":
            words = f", WER {percent_text(row['wer'])}" if row["words"] else ""
            weights = "" if row["weights"] in {"", "epoch"} else f", weights: {row['weights']}"
            scored = f"epoch {row['epoch']}{weights}, scoring {run.experiment().decode.scoring}"
            rate = run.experiment().corpus.rate_name
            print_line(f"test {rate} {percent_text(row['cer'])}{words}, {scored}")
            ranked = read_train_hypotheses(run.path)
            apart = describe_apart_in_run(run, ranked, rate)
            for sentence in (*apart, *_highest_losses(ranked)):
                print_line(sentence)
    if run.log_file.exists():  # otherwise nothing ran
        print_line(f"{make_report} writes its tables and figures")
        print_line(str(run.path))
