"""The verb corpus-check: what a corpus holds, and what is wrong with it, before any features.

In:   typed options.   Out: lines; a figure; an exit code: 1 if something was refused.
Not here: measuring (pipeline/corpus/survey.py), drawing
(pipeline/results/figures/corpus_histograms.py).
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from statistics import median

from jobs.display.corpora import print_corpora, print_refusals
from jobs.display.sound_lines import equal_sound_lines
from jobs.messages import count_text, duration_text, join_first, print_line, show_status_line
from jobs.work_folder import load_profile_and_workdir
from pipeline.config.corpus import Corpus, load_corpus
from pipeline.config.experiment import Experiment
from pipeline.config.sweep import single_run_sweep
from pipeline.corpus.levels import SOUND_PROBLEMS
from pipeline.corpus.manifest import Manifest
from pipeline.corpus.readers import build_manifest
from pipeline.corpus.survey import (
    UtteranceSound,
    count_characters,
    count_scripts,
    find_equal_sound,
    measure_sound,
)
from pipeline.corpus.text.characters import is_punctuation

MAX_CHARACTERS = 100


def corpus_check(options: argparse.Namespace) -> int:
    """Read and decode the corpus; print what was found, and draw it."""
    _, work = load_profile_and_workdir(options)
    corpus = load_corpus(options.corpus)
    manifest = build_manifest(corpus, work)
    with show_status_line(f"{corpus.name}: decoding its audio") as update:
        sounds, undecodable = measure_sound(
            manifest,
            lambda done, total: update(f"{corpus.name}: {done} of {total} utterances decoded"),
        )
        pairs = find_equal_sound(
            manifest,
            lambda done, total: update(f"{corpus.name}: {done} of {total} utterances compared"),
        )
    single = single_run_sweep(options.corpus, Experiment(corpus=corpus), "corpus-check")
    print_corpora(single, {corpus: manifest})
    characters = count_characters(manifest.utterances, corpus.units)
    for line in _survey_lines(corpus, manifest, characters):
        print_line(line)
    for line in (*_level_lines(manifest, sounds), *equal_sound_lines(pairs)):
        print_line(line)
    code = print_refusals([*manifest.refusals, *undecodable], "by make features")
    path = options.output or work / "reports" / f"corpus-{corpus.name}" / "corpus.png"
    import_module("pipeline.results.figures.corpus_histograms").draw_corpus(
        f"{corpus.name}: {count_text(len(manifest.utterances), 'utterance')}, "
        f"{duration_text(manifest.seconds)}",
        seconds=[each.seconds for each in manifest.utterances],
        characters_per_second=[
            sum(count_characters([u], corpus.units).values()) / u.seconds
            for u in manifest.utterances
        ],
        peaks_db=[each.peak_db for each in sounds],
        characters=characters,
        path=path,
        units=corpus.units,
    )
    print_line(f"drawn: {path}")
    return code


def _survey_lines(corpus: Corpus, manifest: Manifest, characters: Counter[str]) -> Iterator[str]:
    rates = Counter(utterance.rate for utterance in manifest.utterances)
    yield "sampling rates: " + ", ".join(
        f"{rate} Hz in {count_text(count, 'utterance')}" for rate, count in sorted(rates.items())
    )
    by_length = sorted(manifest.utterances, key=lambda each: each.seconds)
    yield (
        f"durations: {by_length[0].seconds:.2f} s ({by_length[0].id}) to "
        f"{by_length[-1].seconds:.2f} s ({by_length[-1].id}), median "
        f"{median(each.seconds for each in by_length):.2f} s"
    )
    if corpus.units == "characters":
        scripts = count_scripts(characters)
        total = max(1, sum(scripts.values()))
        shares = ", ".join(f"{name} {100 * n / total:.1f} %" for name, n in scripts.most_common())
        yield (
            f"language: {corpus.language}, as the corpus file says; scripts: "
            f"{shares or 'no letters'}"
        )
    by_count = sorted(characters.items(), key=lambda each: (-each[1], each[0]))
    counts = [f"{character!r} {number}" for character, number in by_count]
    marks = "".join(sorted(filter(is_punctuation, characters)))
    if corpus.units == "characters" and corpus.punctuation == "keep" and marks:
        yield (
            f"the network has to learn the punctuation {marks}: punctuation: drop in the corpus "
            "file leaves it out"
        )
    yield f"{corpus.units}: {len(characters)}: {join_first(counts, MAX_CHARACTERS)}"


def _level_lines(manifest: Manifest, sounds: Sequence[UtteranceSound]) -> Iterator[str]:
    if not sounds:
        return
    some = "" if len(sounds) == len(manifest.utterances) else f" of {len(sounds)} utterances"
    yield f"levels{some}: median peak {median(each.peak_db for each in sounds):.1f} dB"
    tests: list[tuple[Callable[[UtteranceSound], bool], str]] = [
        (lambda each: each.is_clipped, "clipped"),
        (lambda each: each.has_offset, "a DC offset above 1 % of full scale"),
        (lambda each: each.is_quiet, "quiet, no sample is above -40 dB"),
    ]
    for kind, problem in SOUND_PROBLEMS.items():
        tests.append((lambda each, kind=kind: each.problem == kind, problem))  # type: ignore[misc]
    for test, problem in tests:
        if names := [each.utterance for each in sounds if test(each)]:
            number = count_text(len(names), "utterance")
            yield f"levels: {problem}: {number}: {join_first(names)}"
