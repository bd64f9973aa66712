"""Layouts with one table: Common Voice, LJSpeech, Hugging Face's audiofolder, a plain CSV.

In:   the folder of a corpus.   Out: entries; refusals of bad rows.
Not here: JSON lines of NeMo and Lhotse (json_lines.py), how a table is read (delimited.py).
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from posixpath import splitext

from pipeline.config.corpus import Corpus
from pipeline.corpus.file_search import AUDIO_SUFFIXES, walk_files
from pipeline.corpus.layouts.delimited import read_delimited, read_json_lines
from pipeline.corpus.layouts.entries import (
    CorpusEntry,
    find_parts,
    missing_corpus_error,
    path_below_root,
    split_from_name,
)
from pipeline.corpus.layouts.folders import split_from_folders
from pipeline.corpus.layouts.parsing import (
    LineError,
    LineRecord,
    Refusals,
    RefuseBadLines,
    read_lines,
    shorten,
)
from pipeline.corpus.manifest import Split
from pipeline.files import InputError

AUDIOFOLDER_TEXT_COLUMNS = ("transcription", "text", "sentence")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id")
MAX_ROUNDING_S = 0.02  # of start, end and duration in a table
COMMON_VOICE_COLUMNS = (("client_id",), ("path",), ("sentence",))
# The names that the columns of a plain table may have; the first is the one to choose.
AUDIO_COLUMNS = (
    "audio",
    "path",
    "file",
    "file_name",
    "filename",
    "audio_path",
    "audio_filepath",
    "wav",
)
START_COLUMNS = ("start", "start_time", "offset", "begin")
END_COLUMNS = ("end", "end_time", "stop")
TEXT_COLUMNS = ("text", "transcript", "transcription", "sentence")


def read_common_voice(corpus: Corpus, root: Path, refusals: Refusals) -> Iterator[CorpusEntry]:
    """Read train.tsv, dev.tsv and test.tsv, else validated.tsv; the audio is in clips/."""
    official = [
        path for name in ("train", "dev", "test") if (path := root / f"{name}.tsv").exists()
    ]
    validated = [path for path in [root / "validated.tsv"] if path.exists()]
    refuse_bad_lines = RefuseBadLines(refusals)
    for path, split in find_parts(
        corpus, root, official or validated, "train.tsv or validated.tsv"
    ):
        for row in _read_clips(path, refusals):
            with refuse_bad_lines:
                clip = _clip_name(row)
                yield CorpusEntry(
                    id=splitext(clip)[0],
                    audio=f"clips/{clip}",
                    transcript=row.text("sentence"),
                    speaker=row.text("client_id"),
                    split=split,
                    file=str(row.path),
                    line=row.line,
                )


def _read_clips(path: Path, refusals: Refusals) -> Iterator[LineRecord]:
    return read_delimited(path, COMMON_VOICE_COLUMNS, refusals, "\t", csv.QUOTE_NONE)


def _clip_name(row: LineRecord) -> str:
    clip = row.required_text("path").removeprefix("clips/")
    has_suffix = splitext(clip)[1].lower() in AUDIO_SUFFIXES
    return clip if has_suffix else f"{clip}.mp3"  # as in the first releases


def common_voice_clips(root: Path) -> set[str]:
    """Return the clips, without suffix, that any table of the release names.

    A release has clips that are not validated, which the lists of train, dev and test leave out.
    """
    names = set()
    for path in sorted(root.glob("*.tsv")):
        try:
            rows = read_delimited(path, [("path",)], [], "\t", csv.QUOTE_NONE)
            names |= {splitext(f"clips/{_clip_name(row)}")[0] for row in rows if row.text("path")}
        except InputError:
            continue  # another kind of table, such as reported.tsv
    return names


def read_ljspeech(corpus: Corpus, root: Path, refusals: Refusals) -> Iterator[CorpusEntry]:
    """Read metadata.csv: id|text or id|text|text as spoken, without quoting; wavs/<id>.wav."""
    inner = root / "LJSpeech-1.1"  # the folder in the archive
    home = inner if inner.is_dir() else root
    path = home / "metadata.csv"
    if not path.is_file():
        raise missing_corpus_error(root, corpus.name, "metadata.csv")
    folder = (home.relative_to(root) / "wavs").as_posix()
    for number, line in read_lines(path, refusals):
        fields = line.split("|")
        if len(fields) not in (2, 3) or not fields[0]:
            problem = f"{shorten(line)} is not of the form ID|TEXT|SPOKEN; correct the line"
            refusals.append(LineError(path, number, problem).refusal)
            continue
        name, transcript = fields[0].removeprefix("wavs/"), fields[-1] or fields[1]
        stem, suffix = splitext(name)
        if suffix.lower() not in AUDIO_SUFFIXES:  # a name may have a full stop
            stem, suffix = name, ".wav"
        audio = f"{folder}/{stem}{suffix}"
        yield CorpusEntry(stem, audio, transcript, "LJ", file=str(path), line=number)


def read_audiofolder(corpus: Corpus, root: Path, refusals: Refusals) -> Iterator[CorpusEntry]:
    """Read metadata.csv or metadata.jsonl with file_name, in the root or in each split's folder."""
    names = ("metadata.csv", "metadata.jsonl")
    found = (Path(path) for path in walk_files(str(root), refusals) if path.endswith(names))
    lists = [path for path in found if path.name in names]
    if not lists:
        raise missing_corpus_error(root, corpus.name, "metadata.csv or metadata.jsonl")
    refuse_bad_lines = RefuseBadLines(refusals)
    for path in lists:
        for row in (
            read_json_lines(path, refusals)
            if path.suffix == ".jsonl"
            else read_delimited(path, [("file_name",)], refusals)
        ):
            with refuse_bad_lines:
                audio = path_below_root(root, path.parent, row.file_name("file_name"))
                yield CorpusEntry(
                    id=splitext(audio)[0],
                    audio=audio,
                    transcript=row.text(*_audiofolder_text_columns(corpus, row)),
                    speaker=row.text(*SPEAKER_COLUMNS),
                    split=split_from_folders(audio),
                    file=str(row.path),
                    line=row.line,
                )


def read_csv(corpus: Corpus, root: Path, refusals: Refusals) -> Iterator[CorpusEntry]:
    """Read a table with the columns audio and text; optional are speaker, split, start, duration.

    Any delimiter. Paths are relative to the table, times in seconds.
    """
    texts = text_columns(corpus)
    tables = sorted(root.glob("*.csv")) or sorted(root.glob("*.tsv"))
    refuse_bad_lines = RefuseBadLines(refusals)
    for path, split in find_parts(corpus, root, tables, "a table *.csv or *.tsv"):
        for row in read_delimited(path, (AUDIO_COLUMNS, texts), refusals):
            with refuse_bad_lines:
                audio = path_below_root(root, path.parent, row.file_name(*AUDIO_COLUMNS))
                start = row.seconds(*START_COLUMNS)
                yield CorpusEntry(
                    id=segment_id(audio, start),
                    audio=audio,
                    transcript=row.text(*texts),
                    # A table with the column audio never had other names than speaker.
                    speaker=row.text(*SPEAKER_COLUMNS[: 1 if "audio" in row.values else None]),
                    split=_split_in_column(row) or split,
                    start=start or 0.0,
                    duration=_duration(row, start or 0.0),
                    file=str(row.path),
                    line=row.line,
                )


def _duration(row: LineRecord, start: float) -> float | None:
    """Return the column duration, or end less start. Raises LineError if they contradict."""
    duration, end = row.seconds("duration"), row.seconds(*END_COLUMNS)
    if end is None:
        return duration
    if duration is not None and abs(end - start - duration) > MAX_ROUNDING_S:
        problem = f"from {start:g} s to {end:g} s are not the duration, {duration:g} s"
        raise row.error(f"{problem}; correct one of them, or leave out a column")
    return end - start


def segment_id(audio: str, start: float | None) -> str:
    """Return the path without its suffix; for part of a file, with its start in milliseconds.

    A start that is not a whole millisecond has three more digits, finer than any sample.
    """
    name = splitext(audio)[0]
    if start is None:
        return name
    milliseconds, rest = divmod(round(start * 1e6), 1000)
    return f"{name}-{milliseconds:07d}" + (f".{rest:03d}" if rest else "")


def text_columns(corpus: Corpus, default_columns: Sequence[str] = TEXT_COLUMNS) -> Sequence[str]:
    """Return the names that the column of the transcript may have."""
    return (corpus.text_column,) if corpus.text_column else default_columns


def _audiofolder_text_columns(corpus: Corpus, row: LineRecord) -> Sequence[str]:
    names = text_columns(corpus, AUDIOFOLDER_TEXT_COLUMNS)
    if not any(name in row.values for name in names):
        raise row.error(
            f"has none of {', '.join(names)}, only {', '.join(map(str, row.values))}; set "
            "text_column: in the corpus file to the column with the transcript"
        )
    return names


def _split_in_column(row: LineRecord) -> Split | None:
    name = row.text("split")
    if name and not (split := split_from_name(name)):
        raise row.error(f"split is {shorten(name)}; it must be train, dev, test or empty")
    return split if name else None
