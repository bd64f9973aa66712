"""The verb transcribe: what a trained network makes of any recording.

In:   typed options.   Out: the text, as lines or as files with times; an exit code.
Not here: the network and its windows (pipeline/training/trained/transcription.py).
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.commands.trained.network import load_recogniser
from jobs.commands.trained.output_paths import require_folder
from jobs.messages import count_text, duration_text, print_line, print_note
from jobs.work_folder import load_profile_and_workdir
from pipeline.corpus.file_search import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES
from pipeline.decoding.time_formats import (
    format_csv,
    format_ctm,
    format_srt,
    format_textgrid,
    format_vtt,
)
from pipeline.files import InputError, write_text

if TYPE_CHECKING:  # its module imports torch
    from pipeline.training.trained.transcription import Transcript

ENDINGS = AUDIO_SUFFIXES | CONVERTIBLE_SUFFIXES  # of the files that are taken from a folder
SINGLE_FORMATS = ("srt", "vtt", "textgrid")  # a file cannot hold several recordings
REPORT_SECONDS = 600.0  # of a recording, between two lines of progress

FORMATTERS: dict[str, Callable[[str, "Transcript"], str]] = {
    "text": lambda name, found: f"{found.text}\n",
    "json": lambda name, found: (
        json.dumps({"file": name, **_rounded(asdict(found))}, ensure_ascii=False) + "\n"
    ),
    "ctm": lambda name, found: format_ctm(name, found.words),
    "csv": lambda name, found: format_csv(name, found.words),
    "srt": lambda name, found: format_srt(found.words),
    "vtt": lambda name, found: format_vtt(found.words),
    "textgrid": lambda name, found: format_textgrid({"words": found.words}, found.seconds),
}
SUFFIXES = {"text": ".txt", "textgrid": ".TextGrid"}  # else a dot and the name of the format


def transcribe(options: argparse.Namespace) -> int:
    """Transcribe all files; return 1 if some could not be used. One bad file stops no other."""
    require_folder(options.output)
    files = _name_results(_audio_files(options.audio), printed=options.output is None)
    if not files:
        raise InputError(f"{options.audio[0]}: holds no file with the ending of a sound file")
    if options.output is None and options.format in SINGLE_FORMATS and len(files) > 1:
        raise InputError(
            f"FORMAT={options.format}: a file holds one recording, and these are {len(files)}; add "
            "OUT=… (a folder)"
        )
    if len(files) > 1:
        print_note(count_text(len(files), "file"))
    _, work = load_profile_and_workdir(options)
    recogniser = load_recogniser(options.run, work)
    # torch takes seconds to import.
    from pipeline.training.trained import transcription  # noqa: PLC0415

    if recogniser.experiment.input.normalisation == "speaker":
        print_note(
            "the run normalises each speaker over several recordings; of a new recording it knows "
            f"at most {transcription.WINDOW_SECONDS:g} s at a time, so expect somewhat more errors "
            "than on its test set"
        )
    decoder = transcription.make_decoder(recogniser)
    failed = 0
    written = 0
    for path, name in files:
        report = partial(_report_progress, path)
        try:
            found = transcription.transcribe(recogniser, path, decoder, report)
        except InputError as error:
            failed += 1
            print_note(f"left out: {error}")
            continue
        for note in found.notes:
            print_note(f"{path}: {note}")
        text = FORMATTERS[options.format](name.as_posix(), found)
        if options.output is None:
            _print(path, text, options, first=not written)
        else:
            _write(name, text, options)
        written += 1
    return int(failed > 0)


def _rounded(value: Any) -> Any:
    """Return the same with numbers of at most four decimals: a tenth of a millisecond."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


def _audio_files(paths: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each file and the name of its result, without suffix.

    Of a folder these are all files with the ending of a sound or film file, however deep, except
    hidden ones and those of hidden folders; their results keep their folders, because two folders
    may hold files of the same name.
    """
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.is_file())
            for each in inside:
                name = each.relative_to(path)
                hidden = any(part.startswith(".") for part in name.parts)
                if not hidden and each.suffix.lower() in ENDINGS:
                    yield each, name.with_suffix("")
        elif path.exists():
            yield path, Path(path.stem)
        else:
            raise InputError(f"{path}: no such file or folder")


def _name_results(files: Iterable[tuple[Path, Path]], *, printed: bool) -> list[tuple[Path, Path]]:
    """Return each file once; where results would have one name, with the ending of the sound file.

    Where they have one name then, too, `printed` results are named by the whole path. InputError
    for files: one result would replace the other.
    """
    once = list({path.resolve(): (path, name) for path, name in files}.values())
    times = Counter(name for _, name in once)
    full = [name if times[name] == 1 else name.with_name(path.name) for path, name in once]
    times = Counter(full)
    named: list[tuple[Path, Path]] = []
    for (path, _), name in zip(once, full, strict=True):
        if times[name] > 1 and not printed:
            same = [path for (path, _), other in zip(once, full, strict=True) if other == name]
            raise InputError(
                f"{same[0]} and {same[1]}: their results would have one name, {name}; transcribe "
                "the folder above both, or one after the other"
            )
        named.append((path, path if times[name] > 1 else name))
    return named


def _print(path: Path, text: str, options: argparse.Namespace, *, first: bool) -> None:
    """Print a result; of several tables the `first` alone has its header."""
    alone = len(options.audio) == 1 and options.audio[0].is_file()
    if options.format == "text" and not alone:
        text = f"{path}: {text}"
    if options.format == "csv" and not first:
        text = text.partition("\n")[2]
    print(text, end="", flush=True)


def _write(name: Path, text: str, options: argparse.Namespace) -> None:
    suffix = SUFFIXES.get(options.format, f".{options.format}")
    file = options.output / name.parent / f"{name.name}{suffix}"
    write_text(file, text)
    print_line(str(file))


def _report_progress(path: Path, before: float, seconds: float) -> None:
    """Print a line after each REPORT_SECONDS of a recording."""
    if before // REPORT_SECONDS != seconds // REPORT_SECONDS:
        print_note(f"{path}: {duration_text(seconds)} of it are done")
