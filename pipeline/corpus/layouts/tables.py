"""Tables: corpora of which one table says all. Common Voice, LJSpeech, audiofolder, a plain CSV.

In:   the folder of a corpus.   Out: entries.
Not here: JSON lines of NeMo and Lhotse (json_lines.py), how a table is read (lists.py).
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from posixpath import splitext

from pipeline.config.corpus import Corpus
from pipeline.corpus.layouts.folders import split_from_folders
from pipeline.corpus.layouts.parsing import (
    CorpusEntry,
    LineRecord,
    find_parts,
    path_below_root,
    read_delimited,
    read_json_lines,
    read_lines,
    split_from_name,
)
from pipeline.corpus.manifest import Split
from pipeline.files import InputError

AUDIOFOLDER_TEXT_COLUMNS = ("transcription", "text", "sentence")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id")


def read_common_voice(corpus: Corpus, root: Path) -> Iterator[CorpusEntry]:
    """train.tsv, dev.tsv, test.tsv, or validated.tsv where they are not there; clips/*.mp3."""
    official = [
        path for name in ("train", "dev", "test") if (path := root / f"{name}.tsv").exists()
    ]
    validated = [path for path in [root / "validated.tsv"] if path.exists()]
    for path, split in find_parts(
        corpus, root, official or validated, "train.tsv or validated.tsv"
    ):
        for row in read_delimited(path, ("client_id", "path", "sentence"), "\t", csv.QUOTE_NONE):
            clip = row.required_text("path")
            clip = clip if clip.endswith(".mp3") else f"{clip}.mp3"  # the first releases
            speaker = row.text("client_id")
            audio, name = f"clips/{clip}", clip.removesuffix(".mp3")
            yield CorpusEntry(
                name, audio, row.text("sentence"), speaker, split, location=row.location
            )


def read_ljspeech(corpus: Corpus, root: Path) -> Iterator[CorpusEntry]:
    """metadata.csv: id|as printed|as spoken, nothing quoted; wavs/<id>.wav; one speaker."""
    inner = root / "LJSpeech-1.1"  # the archive's own folder
    home = inner if inner.is_dir() else root
    path = home / "metadata.csv"
    if not path.is_file():
        raise InputError(f"{root}: no corpus {corpus.name} is here: metadata.csv is missing")
    folder = home.relative_to(root)
    for number, line in read_lines(path):
        fields = line.split("|")
        if len(fields) != 3 or not fields[0]:
            raise InputError(f"{path}:{number}: {line[:60]!r} is not of the form ID|TEXT|SPOKEN")
        audio = (folder / "wavs" / f"{fields[0]}.wav").as_posix()
        place = f"{path}:{number}"
        yield CorpusEntry(fields[0], audio, fields[2] or fields[1], speaker="LJ", location=place)


def read_audiofolder(corpus: Corpus, root: Path) -> Iterator[CorpusEntry]:
    """metadata.csv or metadata.jsonl, at the top or in each split's folder, with file_name."""
    lists = sorted(path for end in ("csv", "jsonl") for path in root.rglob(f"metadata.{end}"))
    if not lists:
        raise InputError(f"{root}: no corpus {corpus.name} is here: metadata.csv is missing")
    for path in lists:
        rows = (
            read_json_lines(path)
            if path.suffix == ".jsonl"
            else read_delimited(path, ["file_name"])
        )
        for row in rows:
            audio = path_below_root(root, path.parent, row.required_text("file_name"))
            words = row.text(*_text_columns(corpus, row, AUDIOFOLDER_TEXT_COLUMNS))
            speaker, split = row.text(*SPEAKER_COLUMNS), split_from_folders(audio)
            yield CorpusEntry(
                splitext(audio)[0], audio, words, speaker, split, location=row.location
            )


def read_csv(corpus: Corpus, root: Path) -> Iterator[CorpusEntry]:
    """The first line names the columns: audio, text; speaker, split, start, duration if any.

    Paths are relative to the table.
    """
    column = corpus.text_column or "text"
    for path, named in find_parts(corpus, root, sorted(root.glob("*.csv")), "a table *.csv"):
        for row in read_delimited(path, ("audio", column)):
            audio = path_below_root(root, path.parent, row.required_text("audio"))
            start = row.seconds("start")
            yield CorpusEntry(
                id=segment_id(audio, start),
                audio=audio,
                transcript=row.text(column),
                speaker=row.text("speaker"),
                split=_split_in_column(row) or named,
                start=start or 0.0,
                duration=row.seconds("duration"),
                location=row.location,
            )


def segment_id(audio: str, start: float | None) -> str:
    """The path without its ending; of a stretch, with its start in milliseconds.

    As whole ones where they are; else with three digits more, finer than any sample.
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
            f"has none of {', '.join(names)}, only {', '.join(map(str, row.values))}; say which "
            "holds the transcript under text_column: in the corpus file"
        )
    return names


def _split_in_column(row: LineRecord) -> Split | None:
    said = row.text("split")
    if said and not (split := split_from_name(said)):
        raise row.error(f"split is {said!r}; train, dev or test is needed, or nothing")
    return split if said else None
