"""Recognition of a corpus's layout: a folder -> the settings of a corpus file.

In:   a folder.   Out: the reader, its root and parts, as a corpus file would state them.
Not here: reading the corpus (readers.py), writing the file (jobs/commands/corpora/).
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from posixpath import splitext
from typing import Any

from pipeline.corpus.annotations.tiers import Tier, find_full_tiers
from pipeline.corpus.file_search import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES, walk_files
from pipeline.corpus.layouts.annotated import FORMATS, language_of
from pipeline.corpus.layouts.delimited import DELIMITERS, JSON_ARRAY, SEPARATOR_LINE
from pipeline.corpus.layouts.entries import split_from_name
from pipeline.corpus.layouts.folders import VOXFORGE_PROMPTS, find_pairs, find_recordings
from pipeline.corpus.layouts.json_lines import AUDIO_KEYS, lhotse_supervisions, nemo_manifests
from pipeline.corpus.layouts.parsing import read_all_lines
from pipeline.corpus.layouts.tables import AUDIO_COLUMNS, TEXT_COLUMNS
from pipeline.corpus.manifest import Refusal, Utterance
from pipeline.files import InputError

PROBED_LINES = 20  # of a list
SHOWN_SUFFIXES = 5  # in the message about a folder that is not recognised

Settings = dict[str, Any]

# Language, first and last letter of a range that only it has of these. The first match counts.
TELLING_LETTERS = (
    ("az", "ə", "ə"),
    ("tr", "ı", "ı"),
    ("tr", "ğ", "ğ"),
    ("de", "ß", "ß"),
    ("ja", "\u3041", "\u30ff"),
    ("ko", "\uac00", "\ud7a3"),
    ("zh", "\u4e00", "\u9fff"),
    ("hi", "\u0900", "\u097f"),
    ("el", "\u03b1", "\u03c9"),
)


def recognise(folder: Path) -> Settings:
    """Return the settings of a corpus file for this folder.

    Raises InputError if it holds no known layout; the message says what it holds.
    """
    if not folder.is_dir():
        problem = "is a file" if folder.is_file() else "no such folder"
        raise InputError(f"{folder}: {problem}; give the folder with the recordings")
    for find in RECOGNISERS:
        if settings := find(folder):
            return settings
    raise InputError(f"{folder}: {_describe_content(folder)}")


def guess_language(utterances: Sequence[Utterance]) -> str | None:
    """Return the first language of TELLING_LETTERS that has letters of the transcripts, or None."""
    letters = {character for each in utterances for character in each.transcript.lower()}
    for language, first, last in TELLING_LETTERS:
        if any(first <= letter <= last for letter in letters):
            return language
    return None


def _find_an4(folder: Path) -> Settings | None:
    found = any(path.is_file() for path in folder.glob("**/etc/an4_train.fileids"))
    return {"reader": "an4", "split": "balanced"} if found else None


def _find_librispeech(folder: Path) -> Settings | None:
    for home in (folder, folder / "LibriSpeech"):
        parts = sorted({path.parents[2] for path in home.glob("*/*/*/*.trans.txt")})
        if parts and all(split_from_name(part.name) for part in parts):
            return {"reader": "librispeech"}
    return None


def _find_common_voice(folder: Path) -> Settings | None:
    above = _subfolders(folder)
    for home in (folder, *above, *(inner for each in above for inner in _subfolders(each))):
        for name in ("train.tsv", "validated.tsv"):
            rows = _table(home / name, "\t")
            if rows and {"client_id", "path", "sentence"} <= set(rows[0]):
                locale = rows[0].index("locale") if "locale" in rows[0] else -1
                language = rows[1][locale] if locale >= 0 and len(rows) > 1 else ""
                settings = {"reader": "common-voice", "root": home, "punctuation": "drop"}
                return settings | ({"language": language} if language else {})
    return None


def _find_ljspeech(folder: Path) -> Settings | None:
    for home in (folder, folder / "LJSpeech-1.1"):
        lines = _lines(home / "metadata.csv")
        if lines and (home / "wavs").is_dir() and all("|" in line for line in lines):
            return {"reader": "ljspeech", "punctuation": "drop"}
    return None


def _find_audiofolder(folder: Path) -> Settings | None:
    for name in ("metadata.jsonl", "metadata.csv"):
        for path in sorted(folder.glob(f"**/{name}")):
            names = _first_keys(path) if path.suffix == ".jsonl" else (_table(path) or [[]])[0]
            if "file_name" in names:
                return {"reader": "audiofolder"}
    return None


def _find_kaldi(folder: Path) -> Settings | None:
    for home in (folder, folder / "data"):
        found = [home] if (home / "wav.scp").is_file() else sorted(home.glob("*/wav.scp"))
        if found:
            folders = [] if found == [home] else [path.parent for path in found]
            return {"reader": "kaldi", "root": home, **_parts(folders)}
    return None


def _find_lhotse(folder: Path) -> Settings | None:
    found = lhotse_supervisions(folder)
    return {"reader": "lhotse", **_parts(found)} if found else None


def _find_nemo(folder: Path) -> Settings | None:
    found = [path for path in nemo_manifests(folder) if set(AUDIO_KEYS) & set(_first_keys(path))]
    return {"reader": "nemo", **_parts(found)} if found else None


def _find_csv(folder: Path) -> Settings | None:
    for end in ("csv", "tsv"):
        found = []
        column = None
        for path in sorted(folder.glob(f"*.{end}")):
            rows = _table(path)
            if rows and not set(AUDIO_COLUMNS) & set(rows[0]):
                rows[0] = [name.strip().lower() for name in rows[0]]  # as the reader does
            if rows and set(AUDIO_COLUMNS) & set(rows[0]):
                text = _text_column(rows)
                column = column or text
                found += [path] if text else []
        if found:
            named = {} if column in TEXT_COLUMNS else {"text_column": column}
            return {"reader": "csv", **named, **_parts(found)}
    return None


def _find_embedded(folder: Path) -> Settings | None:
    for reader, patterns in {
        "parquet": ("**/*.parquet", "**/*.arrow"),
        "webdataset": ("**/*.tar", "**/*.tar.gz", "**/*.tgz"),
    }.items():
        if any(True for pattern in patterns for _ in folder.glob(pattern)):
            return {"reader": reader}
    return None


def _find_voxforge(folder: Path) -> Settings | None:
    found = any(any(folder.glob(f"**/etc/{name}")) for name in VOXFORGE_PROMPTS)
    return {"reader": "voxforge"} if found else None


def _find_annotated(folder: Path) -> Settings | None:
    for reader, (suffixes, read) in FORMATS.items():
        recordings, annotations = find_recordings(folder, suffixes, [])
        if recordings and annotations:
            names = [folder / name for found in annotations.values() for name in found]
            languages = {language_of(path.name) for path in names}
            settings: Settings = {"reader": reader}
            if len(languages) == 1 and "" not in languages:
                settings["language"] = languages.pop()
            with suppress(InputError):
                settings |= _tiers(read(names[0]))
            return settings
    return None


def _tiers(tiers: Sequence[Tier]) -> Settings:
    """Return `tiers` if several have text: those with sentences, else the one with most letters."""
    full = find_full_tiers(tiers)
    if len(full) < 2:
        return {}
    texts = {tier.name: [each.text for each in tier.segments if each.text] for tier in full}
    sentences = [
        name for name, found in texts.items() if sum(" " in text for text in found) > len(found) / 2
    ]
    longest = max(texts, key=lambda name: len("".join(texts[name])))
    return {"tiers": sentences or [longest]}


def _find_pairs(folder: Path) -> Settings | None:
    recordings, texts = find_pairs(folder, [])
    paired = [recordings[stem][0] for stem in recordings.keys() & texts.keys()]
    found = any(splitext(name)[1].lower() in AUDIO_SUFFIXES for name in paired)
    return {"reader": "pairs"} if found else None


RECOGNISERS: Sequence[Callable[[Path], Settings | None]] = (
    _find_an4,
    _find_librispeech,
    _find_voxforge,
    _find_common_voice,
    _find_ljspeech,
    _find_audiofolder,
    _find_kaldi,
    _find_lhotse,
    _find_nemo,
    _find_csv,
    _find_pairs,
    _find_annotated,
    _find_embedded,
)


def _parts(paths: Sequence[Path]) -> Settings:
    """Return `parts` if the names of several lists do not say their splits."""
    splits = [split_from_name(path.name) for path in paths]
    if len(paths) < 2 or all(splits):
        return {}
    parts: dict[str, list[str]] = {}
    for path, split in zip(paths, splits, strict=True):
        parts.setdefault(split or "drawn", []).append(path.name)
    return {"parts": parts}


def _text_column(rows: Sequence[Sequence[str]]) -> str | None:
    """Return the column with a usual name, else the one with the most words."""
    header, *body = rows
    for name in TEXT_COLUMNS:
        if name in header:
            return name
    words = {
        name: sum(len(row[column].split()) for row in body if len(row) == len(header))
        for column, name in enumerate(header)
        if name and name not in AUDIO_COLUMNS
    }
    best = max(words, key=lambda name: words[name], default=None)
    return best if best and words[best] > len(body) else None


def _table(path: Path, delimiter: str = "") -> list[list[str]] | None:
    """Return the first rows of a table; the delimiter is the one that gives most columns."""
    lines = _lines(path)
    if lines and SEPARATOR_LINE.fullmatch(lines[0].strip()):
        del lines[0]
    if not lines:
        return None
    candidates = [delimiter] if delimiter else list(DELIMITERS)
    tables = [list(csv.reader(lines, delimiter=each)) for each in candidates]
    return max(tables, key=lambda rows: len(rows[0]))


def _first_keys(path: Path) -> Sequence[str]:
    lines = _lines(path) or ["0"]
    try:
        if JSON_ARRAY.match(lines[0]):
            text = "\n".join(lines)
            first, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
        else:
            first = json.loads(lines[0])
    except (ValueError, RecursionError):
        return ()
    return list(first) if isinstance(first, dict) else ()


def _lines(path: Path) -> list[str]:
    """Return the first lines of a list that are not blank; none if it cannot be read."""
    try:
        lines: Iterator[str] = read_all_lines(path, []) if path.is_file() else iter(())
        return list(islice((line for line in lines if line.strip()), PROBED_LINES))
    except InputError:
        return []


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _describe_content(folder: Path) -> str:
    """Return why no layout is recognised, from the kinds of files that are there."""
    ignored: list[Refusal] = []
    suffixes = Counter(Path(path).suffix.lower() for path in walk_files(str(folder), ignored))
    if not suffixes:
        return "holds no files; give the folder with the recordings"
    shown = ", ".join(
        f"{n} {suffix or 'without suffix'}" for suffix, n in suffixes.most_common(SHOWN_SUFFIXES)
    )
    if any(suffix in CONVERTIBLE_SUFFIXES for suffix in suffixes):
        advice = "convert the recordings to wav or flac with ffmpeg, with a text x.txt beside each"
    elif any(suffix in AUDIO_SUFFIXES for suffix in suffixes):
        advice = "write the text of each recording x.wav into x.txt beside it, or make a table "
        advice += "all.csv with the columns audio and text"
    else:
        advice = "it has no audio; pipeline/corpus/README.md describes the layouts"
    return f"no layout is recognised in it ({shown}); {advice}"
