"""The verb export: a finished run as one file that needs neither the work folder nor the corpus.

In:   typed options.   Out: the file, its model card beside it, lines for a person.
Not here: what the file holds (pipeline/training/trained/recogniser.py).
"""

import argparse
import time
from typing import Any

from jobs.commands.trained.decode import describe_scores, find_features
from jobs.commands.trained.transcribe import load_recogniser
from jobs.messages import print_line
from jobs.work_folder import find_run, load_profile_and_workdir
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError, write_text
from pipeline.runs.decodings import DecodingFolder
from pipeline.runs.folder import RunFolder


def export(options: argparse.Namespace) -> int:
    _, work = load_profile_and_workdir(options)
    run = find_run(options.run, work)
    if not run.finished:
        raise InputError(f"{run.path}: the run is not finished; run make train or make sweep")
    recogniser = load_recogniser(options)
    card = make_card(run, FeatureSet.open(find_features(run, work)), options.licence)
    file = options.output or work / "exports" / f"{run.run_id}.pt"
    digest = recogniser.with_language(recogniser.language, card).save(file)
    text = format_card(card, digest, file.name)
    write_text(file.with_suffix(".md"), text)
    print_line(text.rstrip())
    print_line(str(file))
    print_line(f"next: make transcribe RUN={file} AUDIO=recording.wav")
    return 0


def make_card(run: RunFolder, features: FeatureSet, licence: str) -> dict[str, Any]:
    """Return what is known of a model: where it comes from, what it was trained on, its scores."""
    experiment = run.experiment()
    hours = {}
    for split in ("train", "dev", "test"):
        frames = sum(u.frames for u in features.utterances if u.split == split)
        hours[split] = round(frames * experiment.features.hop_ms / 3_600_000, 3)
    decoding = DecodingFolder.newest(run)
    scores = [describe_scores("greedy", run.hypotheses(), experiment.corpus)]
    if decoding is not None:
        name = "with n-gram" if experiment.corpus.units == "phonemes" else "with lexicon and n-gram"
        scores.append(describe_scores(name, decoding.hypotheses(), experiment.corpus))
    return {
        "run": run.run_id,
        "corpus": experiment.corpus.name,
        "language": experiment.corpus.language,
        "hours": hours,
        "seeds": [experiment.train.seed],
        "scores": scores,
        "licence": licence,
        "commit": str(run.environment().get("commit") or ""),
        "made": time.strftime("%Y-%m-%d"),
    }


def format_card(card: dict[str, Any], digest: str, name: str) -> str:
    hours = ", ".join(f"{split} {value:g} h" for split, value in card["hours"].items())
    commit, seeds = card["commit"] or "unknown", ", ".join(map(str, card["seeds"]))
    lines = [
        f"# {name}",
        "",
        f"- Run {card['run']}, trained by commit {commit}, exported {card['made']}.",
        f"- Corpus {card['corpus']}, language {card['language'] or 'not stated'}: {hours}.",
        f"- Seed {seeds}: one network. Another seed gives another one.",
        *(f"- {score}." for score in card["scores"]),
        f"- Licence of the model: {card['licence'] or 'not stated; ask whoever made it'}.",
        f"- SHA-256 of the content: {digest}.",
        "",
    ]
    return "\n".join(lines)
