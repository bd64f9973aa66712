"""Layouts with one table: Common Voice, LJSpeech, Hugging Face's audiofolder, a plain CSV.

In:   the folder of a corpus.   Out: entries.
Not here: JSON lines of NeMo and Lhotse (json_lines.py), how a table is read (parsing.py).
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from posixpath import splitext

from pipeline.config.corpus import Corpus
from pipeline.corpus.layouts.entries import (
    CorpusEntry,
    find_parts,
    missing_corpus_error,
    path_below_root,
    split_from_name,
)
from pipeline.corpus.layouts.folders import split_from_folders
from pipeline.corpus.layouts.parsing import (
    MAX_LINE_CHARACTERS,
    LineRecord,
    read_delimited,
    read_json_lines,
    read_lines,
)
from pipeline.corpus.manifest import Split
from pipeline.files import InputError

AUDIOFOLDER_TEXT_COLUMNS = ("transcription", "text", "sentence")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id")


def read_common_voice(corpus: Corpus, root: Path) -> Iterator[CorpusEntry]:
    """Read train.tsv, dev.tsv and test.tsv, else validated.tsv; the audio is in clips/."""
    official = [
        path for name in ("train", "dev", "test") if (path := root / f"{name}.tsv").exists()
    ]
    validated = [path for path in [root / "validated.tsv"] if path.exists()]
    for path, split in find_parts(
        corpus, root, official or validated, "train.tsv or validated.tsv"
    ):
        for row in read_delimited(path, ("client_id", "path", "sentence"), "\t", csv.QUOTE_NONE):
            clip = row.required_text("path")
            clip = clip if clip.endswith(".mp3") else f"{clip}.mp3"  # as in the first releases
            speaker = row.text("client_id")
            audio, name = f"clips/{clip}", clip.removesuffix(".mp3")
            yield CorpusEntry(
                name, audio, row.text("sentence"), speaker, split, location=row.location
            )


def read_ljspeech(corpus: Corpus, root: Path) -> Iterator[CorpusEntry]:
    """Read metadata.csv: lines of id|text|text as spoken, without quoting; wavs/<id>.wav."""
    inner = root / "LJSpeech-1.1"  # the folder in the archive
    home = inner if inner.is_dir() else root
    path = home / "metadata.csv"
    if not path.is_file():
        raise missing_corpus_error(root, corpus.name, "metadata.csv")
    folder = home.relative_to(root)
    for number, line in read_lines(path):
        fields = line.split("|")
        if len(fields) != 3 or not fields[0]:
            raise InputError(
                f"{path}:{number}: {line[:MAX_LINE_CHARACTERS]!r} is not of the form "
                "ID|TEXT|SPOKEN; correct the line"
            )
        audio = (folder / "wavs" / f"{fields[0]}.wav").as_posix()
        transcript, location = fields[2] or fields[1], f"{path}:{number}"
        yield CorpusEntry(fields[0], audio, transcript, speaker="LJ", location=location)


def read_audiofolder(corpus: Corpus, root: Path) -> Iterator[CorpusEntry]:
    """Read metadata.csv or metadata.jsonl with file_name, in the root or in each split's folder."""
    lists = sorted(path for end in ("csv", "jsonl") for path in root.rglob(f"metadata.{end}"))
    if not lists:
        raise missing_corpus_error(root, corpus.name, "metadata.csv or metadata.jsonl")
    for path in lists:
        rows = (
            read_json_lines(path)
            if path.suffix == ".jsonl"
            else read_delimited(path, ["file_name"])
        )
        for row in rows:
            audio = path_below_root(root, path.parent, row.required_text("file_name"))
            transcript = row.text(*_text_columns(corpus, row, AUDIOFOLDER_TEXT_COLUMNS))
            speaker, split = row.text(*SPEAKER_COLUMNS), split_from_folders(audio)
            yield CorpusEntry(
                splitext(audio)[0], audio, transcript, speaker, split, location=row.location
            )


def read_csv(corpus: Corpus, root: Path) -> Iterator[CorpusEntry]:
    """Read a table with the columns audio and text, and optionally speaker, split, start, duration.

    Paths are relative to the table, times in seconds.
    """
    column = corpus.text_column or "text"
    for path, split in find_parts(corpus, root, sorted(root.glob("*.csv")), "a table *.csv"):
        for row in read_delimited(path, ("audio", column)):
            audio = path_below_root(root, path.parent, row.required_text("audio"))
            start = row.seconds("start")
            yield CorpusEntry(
                id=segment_id(audio, start),
                audio=audio,
                transcript=row.text(column),
                speaker=row.text("speaker"),
                split=_split_in_column(row) or split,
                start=start or 0.0,
                duration=row.seconds("duration"),
                location=row.location,
            )


def segment_id(audio: str, start: float | None) -> str:
    """Return the path without its suffix; for part of a file, with its start in milliseconds.

    A start that is not a whole millisecond has three more digits, finer than any sample.
    """
    name = splitext(audio)[0]
    if start is None:
        return name
    milliseconds, rest = divmod(round(start * 1e6), 1000)
    return f"{name}-{milliseconds:07d}" + (f".{rest:03d}" if rest else "")


def _text_columns(corpus: Corpus, row: LineRecord, default_columns: Sequence[str]) -> Sequence[str]:
    names = (corpus.text_column,) if corpus.text_column else default_columns
    if not any(name in row.values for name in names):
        raise row.error(
            f"has none of {', '.join(names)}, only {', '.join(map(str, row.values))}; set "
            "text_column: in the corpus file to the column with the transcript"
        )
    return names


def _split_in_column(row: LineRecord) -> Split | None:
    name = row.text("split")
    if name and not (split := split_from_name(name)):
        raise row.error(f"split is {name!r}; it must be train, dev, test or empty")
    return split if name else None
