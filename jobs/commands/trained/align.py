"""The verb align: where the words and letters of texts lie in time, and which texts are wrong.

In:   typed options.   Out: files in the run's alignments/ or in OUT=; lines for a person.
Not here: aligning (pipeline/training/trained/align_run.py), which texts are far from the rest
(pipeline/decoding/suspicion.py).
"""

import argparse
import csv
import io
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from jobs.commands.trained.network import find_features, find_finished_run, load_network
from jobs.commands.trained.output_paths import require_folder
from jobs.commands.trained.transcribe import SUFFIXES
from jobs.imports import quick_imports
from jobs.messages import count_text, print_line
from jobs.work_folder import load_profile_and_workdir, make_command
from pipeline.decoding import suspicion
from pipeline.decoding.suspicion import Suspicion
from pipeline.decoding.time_formats import (
    format_ctm,
    format_srt,
    format_textgrid,
    format_vtt,
)
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.files import InputError, write_text
from pipeline.host import default_threads
from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import Hypothesis
from pipeline.runs.trained.alignments import AlignedUtterance, AlignmentFolder, Kind

SPLITS = ("train", "dev", "test")
PROGRESS_SECONDS = 10.0  # between two lines of progress
MAX_LISTED = 10  # suspicious utterances on the terminal; utterances.csv has all


def align(options: argparse.Namespace) -> int:
    if not options.utterance:
        require_folder(options.output)
    if options.audio or options.text:
        return _align_recording(options)
    kind: Kind = "hypotheses" if options.hypotheses else "transcripts"
    profile, work = load_profile_and_workdir(options)
    run = find_finished_run(options.run, work)
    features = FeatureSet.open(find_features(run, work))
    if options.utterance:
        return _draw_utterance(options, run, features, kind)
    print_line("starting torch")  # takes seconds
    with quick_imports():
        align_run = import_module("pipeline.training.trained.align_run").align_run
    splits = options.split or (SPLITS if kind == "transcripts" else SPLITS[1:])
    found = align_run(
        run,
        features,
        splits,
        kind,
        device=profile.device,
        threads=profile.threads or default_threads(),
        report=Progress(),
    )
    folder = AlignmentFolder.of(run, kind)
    for file in write_files(found, options.output or folder.path, options.format):
        print_line(str(file))
    if kind == "transcripts":
        _report_suspicious(found, folder)
        next_step = make_command(f"make align RUN={run.run_id} UTTERANCE=…", profile, work)
        print_line(f"next: {next_step} draws one of them")
    return 0


class Progress:
    """Prints how many utterances are aligned: at the end of a split, and every few seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, split: str, done: int, count: int) -> None:
        if done == count or time.monotonic() - self._last > PROGRESS_SECONDS:
            self._last = time.monotonic()
            print_line(f"{split}: {done} of {count_text(count, 'utterance')} aligned")


def format_pieces(utterances: Sequence[AlignedUtterance]) -> str:
    """Return a line for each word and each letter; scores are probabilities, 0 to 1."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["utterance_id", "unit", "begin", "end", "text", "score"])
    for each in utterances:
        for unit, pieces in (("word", each.words), ("letter", each.letters)):
            writer.writerows(
                [
                    each.utterance_id,
                    unit,
                    f"{p.begin:.3f}",
                    f"{p.end:.3f}",
                    p.text,
                    f"{p.score:.4f}",
                ]
                for p in pieces
            )
    return table.getvalue()


# Formats with one file for each split; the others have one for each utterance.
JOINT_FORMATS: dict[str, Callable[[Sequence[AlignedUtterance]], str]] = {
    "csv": format_pieces,
    "ctm": lambda utterances: "".join(format_ctm(u.utterance_id, u.words) for u in utterances),
}
SINGLE_FORMATS: dict[str, Callable[[AlignedUtterance], str]] = {
    "textgrid": lambda one: format_textgrid(
        {"words": one.words, "letters": one.letters}, one.seconds
    ),
    "srt": lambda one: format_srt(one.words),
    "vtt": lambda one: format_vtt(one.words),
}


def write_files(
    found: Mapping[str, Sequence[AlignedUtterance]], folder: Path, file_format: str
) -> Iterator[Path]:
    """Write the files of a format; yield each file, or the folder of each split."""
    for split, utterances in found.items():
        if file_format in JOINT_FORMATS:
            file = folder / f"{split}.{file_format}"
            write_text(file, JOINT_FORMATS[file_format](utterances))
            yield file
            continue
        suffix = SUFFIXES.get(file_format, f".{file_format}")
        for each in utterances:
            if each.words:
                file = folder / split / f"{_file_name(each.utterance_id)}{suffix}"
                write_text(file, SINGLE_FORMATS[file_format](each))
        yield folder / split


def _file_name(utterance_id: str) -> str:
    return re.sub(r'[\\/:*?"<>|\s]+', "_", utterance_id)


def judge(
    found: Mapping[str, Sequence[AlignedUtterance]],
) -> dict[str, list[Suspicion]]:
    """Return the suspicion of each utterance; each split has its own limit."""
    return {
        split: suspicion.find_suspicions(
            [each.score for each in utterances],
            [len(each.letters) for each in utterances],
            [each.excess for each in utterances],
        )
        for split, utterances in found.items()
    }


def _report_suspicious(
    found: Mapping[str, Sequence[AlignedUtterance]], folder: AlignmentFolder
) -> None:
    """Write utterances.csv of all splits that are aligned, and print the worst of these."""
    every = {split: folder.read(split) for split in SPLITS}
    judged = judge(every)
    folder.write_table(
        [each for split in SPLITS for each in every[split]],
        [each for split in SPLITS for each in judged[split]],
    )
    for split in found:
        for line in describe_split(split, every[split], judged[split]):
            print_line(line)
    print_line(f"all, the worst first: {folder.table_file}")


def describe_split(
    split: str, utterances: Sequence[AlignedUtterance], suspicions: Sequence[Suspicion]
) -> Iterator[str]:
    """Yield how many transcripts of a split are far from the rest, and the worst of them."""
    pairs = zip(suspicions, utterances, strict=True)
    far = sorted((p for p in pairs if p[0].is_far), key=lambda pair: -pair[0].score)
    if not suspicions:
        return
    median = statistics.median(each.score for each in suspicions)
    yield (
        f"{split}: {len(far)} of {count_text(len(utterances), 'transcript')} fit their sound far "
        f"worse than the rest: above {suspicions[0].limit:.2f} nats per letter, median {median:.2f}"
    )
    if suspicion.is_unread(suspicions):
        yield (
            f"{split}: the network reads these transcripts badly (median above "
            f"{suspicion.MAX_MEDIAN:g}), so the order says little: train a better run first; if "
            "none learns, most transcripts may belong to other recordings"
        )
    for each, utterance in far[:MAX_LISTED]:
        yield (
            f"    {utterance.utterance_id}: {each.score:.2f}: {utterance.text!r}; the network "
            f"reads {utterance.greedy!r}"
        )
    if far[MAX_LISTED:]:
        yield f"    and {len(far) - MAX_LISTED} more"


def _draw_utterance(
    options: argparse.Namespace, run: RunFolder, features: FeatureSet, kind: Kind
) -> int:
    """Align one utterance, print its words, draw it."""
    utterance = _find_utterance(features, options.utterance)
    if options.output:
        import_module("pipeline.results.figures.spectrograms").require_image_suffix(options.output)
    print_line("starting torch")
    with quick_imports():  # torch and matplotlib take seconds to import
        drawing = import_module("pipeline.results.figures.posteriors")
        outputs = import_module("pipeline.results.errors.posteriors")
        posteriors = import_module("pipeline.runs.posteriors")
        align_one = import_module("pipeline.training.trained.align_run").align_one
    found, logs_SC, alphabet = align_one(run, features, utterance, kind)
    folder = AlignmentFolder.of(run, kind).path
    file = options.output or folder / f"{_file_name(utterance.id)}.png"
    output = outputs.UtteranceOutput(
        run.run_id,
        "",
        Hypothesis.of(utterance.id, utterance.split, found.text, found.greedy),
        posteriors.Posterior.of(utterance.id, utterance.frames, logs_SC, ("", *alphabet.units)),
        features.settings,
        features.frames(utterance),
    )
    drawing.draw_alignment(output, found, file)
    print_line(f"{utterance.id}: {found.text}; the network reads {found.greedy!r}")
    for word in found.words:
        print_line(f"    {word.begin:6.2f} to {word.end:6.2f} s  {word.score:.2f}  {word.text}")
    if not found.words:
        print_line("    the output steps are too few for this text")
    print_line(f"drawn: {file}")
    return 0


def _find_utterance(features: FeatureSet, utterance_id: str) -> StoredUtterance:
    found = [each for each in features.utterances if each.id == utterance_id]
    if not found:
        close = import_module("difflib").get_close_matches(
            utterance_id, [each.id for each in features.utterances], n=1
        )
        hint = f"did you mean {close[0]}?" if close else "make inspect lists its ids"
        raise InputError(f"UTTERANCE={utterance_id}: not in {features.folder}; {hint}")
    return found[0]


def _read_text(given: str) -> str:
    """Return the content of the file that TEXT names, or else TEXT itself."""
    if not given.endswith(".txt") and not _is_file(given):
        return given
    file = Path(given)
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"TEXT={file}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"TEXT={file}: cannot be read as UTF-8 text: {error}") from None


def _is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except OSError:  # a text is too long for a path
        return False


def _align_recording(options: argparse.Namespace) -> int:
    """Align AUDIO=… with TEXT=…, which is the text or the path of a text file."""
    if not (options.audio and options.text):
        raise InputError("AUDIO=… and TEXT=… belong together: a recording and what is said in it")
    if options.split or options.utterance or options.hypotheses:
        raise InputError(
            "SPLIT=…, UTTERANCE=… and HYPOTHESES=1 are of the run's corpus: leave them out with "
            "AUDIO=…"
        )
    text = _read_text(options.text)
    if not options.audio.exists():
        raise InputError(f"AUDIO={options.audio}: no such file")
    _, work = load_profile_and_workdir(options)
    network = load_network(options.run, work)
    align_recording = import_module("pipeline.training.trained.align_run").align_recording
    found = align_recording(network, options.audio, text)
    joint = JOINT_FORMATS.get(options.format)
    content = joint([found]) if joint else SINGLE_FORMATS[options.format](found)
    if options.output is None:
        print(content, end="")
        return 0
    suffix = SUFFIXES.get(options.format, f".{options.format}")
    target = options.output / f"{options.audio.stem}{suffix}"
    write_text(target, content)
    print_line(str(target))
    return 0
