"""The verb export: a finished run as files that need neither the work folder nor the corpus.

In:   typed options.   Out: the file, its model card beside it, lines for a person.
Not here: what the file holds (pipeline/training/trained/recogniser.py).
"""

import argparse
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.commands.trained.network import (
    find_features,
    find_finished_run,
    load_network,
    load_recogniser,
)
from jobs.commands.trained.output_paths import require_file
from jobs.commands.trained.scores import describe_scores
from jobs.messages import print_line
from jobs.work_folder import load_profile_and_workdir
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError, write_bytes, write_text
from pipeline.runs.decodings import DecodingFolder
from pipeline.runs.folder import RunFolder

if TYPE_CHECKING:  # its module imports torch
    from pipeline.training.trained.recogniser import Recogniser


def export(options: argparse.Namespace) -> int:
    require_file(options.output)
    _, work = load_profile_and_workdir(options)
    run = find_finished_run(options.run, work)
    features = FeatureSet.open(find_features(run, work))
    onnx = options.format == "onnx"  # without lexicon and n-gram model
    recogniser = (load_network if onnx else load_recogniser)(options.run, work)
    card = make_card(run, features, options.licence, greedy_only=onnx)
    file = options.output or work / "exports" / f"{run.run_id}.{options.format}"
    if onnx and file.suffix != ".onnx":
        file = file.with_name(f"{file.name}.onnx")
    write = _write_onnx if onnx else _write_model
    files = write(recogniser, card, file)
    text = format_card(card, files)
    write_text(file.with_name(f"{file.name}.md"), text)
    print_line(text.rstrip())
    print_line(str(file))
    again = f"make transcribe RUN={file} AUDIO=recording.wav"
    if onnx:
        again = f"python {file.with_suffix('.py')} recording.wav"
    print_line(f"next: {again}")
    return 0


def _write_model(recogniser: "Recogniser", card: dict[str, Any], file: Path) -> dict[str, str]:
    """Write the exported file; return the digest of its content by its name."""
    digest = recogniser.with_language(recogniser.language, card).save(file)
    return {file.name: f"{digest}, of the content"}


def _write_onnx(recogniser: "Recogniser", card: dict[str, Any], file: Path) -> dict[str, str]:
    """Write the graphs, the tokens and a program that uses them; return their digests by name."""
    from pipeline.training.trained import onnx_export  # noqa: PLC0415  (torch takes seconds)

    onnx_export.require_exportable(recogniser)
    about = onnx_export.make_metadata(recogniser)
    about |= {"card": json.dumps(card, ensure_ascii=False), "licence": card["licence"]}
    network = onnx_export.network_onnx(recogniser, about)
    difference = onnx_export.compare_with_torch(recogniser, network)
    if difference > onnx_export.TOLERANCE:
        raise InputError(
            f"{file}: not written: its log-probabilities differ from torch's by {difference:.1e} "
            f"nats, more than {onnx_export.TOLERANCE:g}; please report this run's experiment.yaml"
        )
    print_line(f"log-probabilities of onnxruntime and torch differ by {difference:.1e} nats")
    program = Path(onnx_export.__file__).with_name("onnx_transcribe.py")
    contents = {
        ".onnx": network,
        ".features.onnx": onnx_export.features_onnx(recogniser, about),
        ".tokens.txt": onnx_export.format_tokens(recogniser).encode(),
        ".py": program.read_bytes(),
    }
    digests = {}
    for suffix, content in contents.items():
        write_bytes(file.with_suffix(suffix), content)
        digests[file.with_suffix(suffix).name] = hashlib.sha256(content).hexdigest()
    return digests


def make_card(
    run: RunFolder, features: FeatureSet, licence: str, *, greedy_only: bool = False
) -> dict[str, Any]:
    """Return what is known of a model: where it comes from, what it was trained on, its scores."""
    experiment = run.experiment()
    hours = {}
    for split in ("train", "dev", "test"):
        frames = sum(u.frames for u in features.utterances if u.split == split)
        hours[split] = round(frames * experiment.features.hop_ms / 3_600_000, 3)
    decoding = DecodingFolder.newest(run)
    scores = [describe_scores("greedy", run.hypotheses(), experiment.corpus)]
    if decoding is not None and not greedy_only:
        name = "with n-gram" if experiment.corpus.units == "phonemes" else "with lexicon and n-gram"
        scores.append(describe_scores(name, decoding.hypotheses(), experiment.corpus))
    if experiment.input.normalisation == "speaker":
        scores.append(
            "these scores know all recordings of a speaker; of one alone expect more errors"
        )
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


def format_card(card: dict[str, Any], digests: Mapping[str, str]) -> str:
    """Return the model card; `digests` are the SHA-256 of the files by name."""
    hours = ", ".join(f"{split} {value:g} h" for split, value in card["hours"].items())
    commit, seeds = card["commit"] or "unknown", ", ".join(map(str, card["seeds"]))
    lines = [
        f"# {next(iter(digests))}",
        "",
        f"- Run {card['run']}, trained by commit {commit}, exported {card['made']}.",
        f"- Corpus {card['corpus']}, language {card['language'] or 'not stated'}: {hours}.",
        f"- Seed {seeds}: one network. Another seed gives another one.",
        *(f"- {score}." for score in card["scores"]),
        f"- Licence of the model: {card['licence'] or 'not stated; ask whoever made it'}.",
        *(f"- SHA-256 of {name}: {digest}." for name, digest in digests.items()),
        "",
    ]
    return "\n".join(lines)
