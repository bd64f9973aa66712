"""Layouts with the audio inside: Hugging Face's parquet and save_to_disk, WebDataset's tars.

In:   a folder of such files, the work folder.   Out: entries, whose audio is written as files into
the work folder when it is first needed.
Not here: folders of audio files with texts (folders.py), tables of paths (tables.py).
"""

import tarfile
from collections.abc import Iterable, Iterator, Mapping
from errno import EINVAL, ENAMETOOLONG
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.corpus import Corpus
from pipeline.corpus.file_search import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES, walk_files
from pipeline.corpus.layouts.delimited import JSON_DECODER
from pipeline.corpus.layouts.entries import CorpusEntry, missing_corpus_error, split_from_name
from pipeline.corpus.layouts.folders import split_from_folders
from pipeline.corpus.layouts.parsing import LineRecord, Refusals, RefuseBadLines, shorten
from pipeline.corpus.layouts.tables import SPEAKER_COLUMNS, text_columns
from pipeline.corpus.manifest import Refusal, Split
from pipeline.files import InputError, atomic_write, error_reason

ROWS_AT_ONCE = 32  # each with the bytes of its audio
# First bytes of a file -> the suffix of its format.
SIGNATURES = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3"}


def read_parquet(
    corpus: Corpus, root: Path, target: Path, refusals: Refusals
) -> Iterator[CorpusEntry]:
    """Read *.parquet and *.arrow with a column of audio (bytes, or a struct of bytes and path).

    The names of files or folders say the split. The audio is written to `target`.
    """
    paths = _files(root, (".parquet", ".arrow"), refusals)
    if not paths:
        raise missing_corpus_error(root, corpus.name, "a file *.parquet or *.arrow")
    texts = text_columns(corpus)
    refuse_bad_rows = RefuseBadLines(refusals)
    for path in paths:
        name = path.relative_to(root).with_suffix("").as_posix()
        split = _split_of(path, name)
        try:
            for number, values in zip(count(1), _rows(path), strict=False):
                if texts and not any(name in values for name in texts):
                    problem = f"has no column {' or '.join(texts)}, only {', '.join(values)}"
                    hint = "set text_column: in the corpus file to the one with the transcript"
                    refusals.append(Refusal(path.name, f"{path}: {problem}; {hint}"))
                    break
                with refuse_bad_rows:
                    row = LineRecord(path, number, values)
                    audio = _write_audio(row, target, f"{name}/{number:07d}")
                    yield CorpusEntry(
                        id=f"{name}/{number:07d}",
                        audio=audio,
                        transcript=row.text(*texts),
                        speaker=row.text(*SPEAKER_COLUMNS),
                        split=split,
                        file=str(path),
                        line=number,
                    )
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            refusals.append(Refusal(path.name, f"{path}: cannot be read ({reason}); copy it again"))


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    for batch in _batches(path):
        for start in range(0, len(batch), ROWS_AT_ONCE):
            yield from batch.slice(start, ROWS_AT_ONCE).to_pylist()


def _batches(path: Path) -> Iterable[pa.RecordBatch]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=ROWS_AT_ONCE)
        return
    with pa.memory_map(str(path)) as source:
        try:
            yield from pa.ipc.open_stream(source)  # as save_to_disk writes it
        except pa.ArrowInvalid:
            reader = pa.ipc.open_file(source)
            yield from (reader.get_batch(n) for n in range(reader.num_record_batches))


def _write_audio(row: LineRecord, target: Path, name: str) -> str:
    """Write the audio of a row, unless it is there; return its path below `target`."""
    for value in row.values.values():
        content = value.get("bytes") if isinstance(value, Mapping) else value
        if isinstance(content, bytes):
            given = value.get("path") if isinstance(value, Mapping) else None
            suffix = PurePosixPath(str(given or "")).suffix
            if suffix.lower() not in AUDIO_SUFFIXES | CONVERTIBLE_SUFFIXES:
                found = (end for mark, end in SIGNATURES.items() if content.startswith(mark))
                suffix = next(found, ".mp3")
            return _write_file(target, f"{name}{suffix}", content)
    raise row.error("has no column with the bytes of audio; export the data set with its audio")


def read_webdataset(
    corpus: Corpus, root: Path, target: Path, refusals: Refusals
) -> Iterator[CorpusEntry]:
    """Read *.tar: audio files with a text of the same name beside each, x.txt or x.json.

    The names of tars or folders say the split. The audio is written to `target`.
    """
    paths = _files(root, (".tar", ".tar.gz", ".tgz"), refusals)
    if not paths:
        raise missing_corpus_error(root, corpus.name, "a file *.tar")
    for path in paths:
        name = path.relative_to(root).as_posix().split(".tar")[0].removesuffix(".tgz")
        split = _split_of(path, name)
        try:
            with tarfile.open(path) as tar:
                yield from _read_tar(corpus, tar, target, (path, name, split), refusals)
        except (tarfile.TarError, OSError, EOFError) as error:
            problem = f"{path}: cannot be read to its end ({error}); copy it again"
            refusals.append(Refusal(path.name, problem))


def _read_tar(
    corpus: Corpus,
    tar: tarfile.TarFile,
    target: Path,
    origin: tuple[Path, str, Split | None],
    refusals: Refusals,
) -> Iterator[CorpusEntry]:
    path, name, split = origin
    audio: dict[str, str] = {}
    texts: dict[str, tuple[str, str]] = {}  # stem -> transcript, speaker
    damage: Exception | None = None
    try:
        for member in tar:
            if PurePosixPath(member.name).name.startswith("._"):  # macOS writes them
                continue
            stem, dot, end = member.name.removeprefix("./").partition(".")
            is_inside = ".." not in PurePosixPath(member.name).parts and stem[:1] != "/"
            suffix = PurePosixPath(f"x.{end.lower()}").suffix if dot else ""
            file = tar.extractfile(member) if member.isfile() and is_inside else None
            if file and suffix in (".txt", ".json"):
                texts[stem] = _parse_text(corpus, suffix, file.read())
            elif file and suffix in AUDIO_SUFFIXES | CONVERTIBLE_SUFFIXES:
                try:
                    audio[stem] = _write_file(target, f"{name}/{stem}{suffix}", file.read())
                except InputError as error:
                    refusals.append(Refusal(f"{name}/{stem}", f"{path}: {error}"))
            elif not file and not member.isdir():
                problem = f"{path}: {shorten(member.name)} is a link, or leads out of the folder"
                refusals.append(
                    Refusal(f"{name}/{member.name}", f"{problem}; pack the file itself")
                )
    except (tarfile.TarError, OSError, EOFError) as error:
        damage = error  # what stands before it is used
    for stem in sorted(audio.keys() | texts.keys()):
        if stem in audio and stem in texts:
            yield CorpusEntry(f"{name}/{stem}", audio[stem], *texts[stem], split, file=str(path))
            continue
        lacks = "text (x.txt or x.json)" if stem in audio else "audio"
        problem = f"{path}: {stem} has no {lacks} in the tar; add it, or remove the other"
        refusals.append(Refusal(f"{name}/{stem}", problem))
    if damage:
        raise damage


def _parse_text(corpus: Corpus, suffix: str, content: bytes) -> tuple[str, str]:
    """Return the transcript and the speaker; empty if there is none."""
    text = content.decode("utf-8", "surrogateescape")  # which is refused later
    if suffix == ".txt":
        return text, ""
    try:
        values = JSON_DECODER.decode(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        return "", ""
    return _first_text(values, text_columns(corpus)), _first_text(values, SPEAKER_COLUMNS)


def _first_text(values: Mapping[str, Any], names: Iterable[str]) -> str:
    return next((values[name] for name in names if isinstance(values.get(name), str)), "")


def _files(root: Path, suffixes: tuple[str, ...], refusals: Refusals) -> list[Path]:
    return [Path(path) for path in walk_files(str(root), refusals) if path.endswith(suffixes)]


def _split_of(path: Path, name: str) -> Split | None:
    """Return the split that the name of the file says, or else a folder of `name`."""
    return split_from_name(path.name) or split_from_folders(f"{name}/x")


def _write_file(target: Path, name: str, content: bytes) -> str:
    """Write `content` below `target`, unless a file of this size is there; return the name."""
    path = target / name
    try:
        if path.is_file() and path.stat().st_size == len(content):
            return name
        with atomic_write(path, durable=False) as partial:
            partial.write_bytes(content)
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{shorten(name)}: {error}; rename it") from None
    except OSError as error:
        if error.errno not in (ENAMETOOLONG, EINVAL):
            raise
        raise InputError(f"{shorten(name)}: {error_reason(error)}; rename it") from None
    return name
