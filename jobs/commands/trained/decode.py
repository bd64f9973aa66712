"""The verb decode: a finished run decoded again, with a lexicon and an n-gram model.

In:   typed options.   Out: lines for a person; files in the run's folder.
Not here: the decoding (pipeline/training/trained/decode_run.py).
"""

import argparse
import sys
from pathlib import Path

from jobs.commands.trained.network import find_features, find_finished_run
from jobs.commands.trained.scores import describe_scores
from jobs.imports import quick_imports
from jobs.messages import count_text, join_first, print_line, show_status_line
from jobs.profile import Profile
from jobs.sweep.folder import SweepFolder, sweep_name
from jobs.sweep.record import SweepRecord, load_record
from jobs.work_folder import load_profile_and_workdir, make_command
from pipeline.config.decoding import ANY_WORD, DecodingSettings
from pipeline.config.loader import parse_changes, validate_settings
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.host import default_threads
from pipeline.runs.decodings import DecodingFolder
from pipeline.runs.folder import RunFolder
from pipeline.training.trained.decoded_run import (
    DecodedRun,
    find_decoded,
    find_folder,
    make_sources,
)


def decode(options: argparse.Namespace) -> int:
    """Decode one run, or all finished runs of a sweep; return 1 if some could not be decoded."""
    profile, work = load_profile_and_workdir(options)
    changes = parse_changes(options.set)
    settings = validate_settings(DecodingSettings, changes, Path("SET")) if changes else None
    if options.sweep is None:
        run = find_finished_run(options.run, work)
        _decode_run(run, settings, profile, work)
        typed = f"make transcribe RUN={run.run_id} AUDIO=recording.wav"
        print_line(f"next: {make_command(typed, profile, work)}")
        return 0
    if options.run:
        raise InputError("name a run or a sweep, not both: leave RUN=… or SWEEP=… out")
    record = load_record(SweepFolder(work, sweep_name(options.sweep)))
    return _decode_sweep(record, settings, profile, work)


def _decode_sweep(
    record: SweepRecord, settings: DecodingSettings | None, profile: Profile, work: Path
) -> int:
    """Decode the finished runs; what an earlier command decoded is kept. A bad run stops no other.

    A mistake in the settings would stop each of them, so the first run's error is that of all.
    """
    runs = [(each.label, SweepFolder(work, record.name).run(each.run_id)) for each in record.runs]
    finished = [(label, run) for label, run in runs if run.finished]
    if not finished:
        raise InputError(
            f"{record.name}: none of its {count_text(len(runs), 'run')} is finished; make sweep "
            "again first"
        )
    failed = 0
    for number, (label, run) in enumerate(finished):
        print_line(f"{label} ({number + 1} of {len(finished)})")
        try:
            _decode_run(run, settings, profile, work)
        except InputError as error:
            if not number:
                raise
            failed += 1
            print_line(f"left out: {error}")
    if unfinished := len(runs) - len(finished):
        print_line(f"not decoded: {count_text(unfinished, 'run')} that is not finished")
    typed = make_command(f"make report SWEEP={record.name}", profile, work)
    print_line(f"next: {typed} compares greedy search with all decodings, over seeds")
    return int(failed > 0)


def _decode_run(
    run: RunFolder, settings: DecodingSettings | None, profile: Profile, work: Path
) -> None:
    """Decode a finished run as the settings say, else as decode.also of its experiment says."""
    features = FeatureSet.open(find_features(run, work))
    chosen = (settings,) if settings else run.experiment().decode.also or (DecodingSettings(),)
    for each in chosen:
        _decode_once(run, features, each, profile)


def _decode_once(
    run: RunFolder, features: FeatureSet, settings: DecodingSettings, profile: Profile
) -> None:
    """Decode a run and print its scores."""
    folder = find_folder(run, settings)
    if found := find_decoded(run, settings, folder):
        print_line(f"decoded before; to decode it again, delete {found.folder.path}")
    else:
        found = _decode_anew(run, features, settings, folder, profile)
    for words, reason in (
        (found.left_out, "that the alphabet cannot spell"),
        (found.not_in_model, f"of the lexicon that {settings.text} lacks"),
    ):
        if words:
            print_line(f"left out: {count_text(len(words), 'word')} {reason}: {join_first(words)}")
    weights = found.weights
    print_line(
        f"{'as stated' if found.trials == 1 else f'chosen on dev in {found.trials} trials'}: "
        f"ngram_weight={weights.model:g} word_reward={weights.word:g} "
        f"unknown_penalty={weights.unknown:g}"
    )
    corpus = run.experiment().corpus
    print_line(describe_scores("greedy, as trained", run.hypotheses(), corpus))
    described = settings.describe(corpus.units)
    print_line(describe_scores(described, found.hypotheses, corpus))
    if settings.words != ANY_WORD:
        lacks = "lexicon or not in the n-gram model" if found.not_in_model else "lexicon"
        print_line(f"{100 * found.unknown_words:.1f} % of the test words are not in the {lacks}")
    if stored := found.lattices:
        rate = 100 * stored.oracle.errors / max(1, stored.oracle.reference)
        print_line(
            f"lattices: oracle {stored.oracle.rate_name} {rate:.1f} % on test (of the path nearest "
            f"to each reference); {stored.bytes_per_utterance:.0f} bytes per utterance; "
            f"{found.folder.lattice_file}"
        )
    print_line(f"{1000 * found.seconds_per_utterance:.0f} ms per utterance; {found.folder.path}")


def _decode_anew(
    run: RunFolder,
    features: FeatureSet,
    settings: DecodingSettings,
    folder: DecodingFolder,
    profile: Profile,
) -> DecodedRun:
    # Before torch starts, because it reports a mistake in the settings.
    sources = make_sources(run.experiment(), features, settings)
    if "torch" not in sys.modules:
        print_line("starting torch")  # takes seconds
    with quick_imports():
        from pipeline.training.trained.decode_run import decode_run  # noqa: PLC0415

    with show_status_line("decoding") as show:
        return decode_run(
            run,
            features,
            settings,
            device=profile.device,
            threads=profile.threads or default_threads(),
            report=print_line,
            progress=show,
            folder=folder,
            sources=sources,
        )
