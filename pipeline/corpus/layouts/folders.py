"""Layouts whose texts are beside the audio files: LibriSpeech; pairs x.wav, x.txt.

In:   the folder of a corpus.   Out: entries, and refusals of incomplete pairs.
Not here: corpora that a table describes (tables.py).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.config.corpus import Corpus
from pipeline.corpus.audio.audio_file import EXCLUDE_HINT
from pipeline.corpus.layouts.entries import (
    SPLIT_WORDS,
    CorpusEntry,
    find_parts,
    missing_corpus_error,
    split_from_name,
)
from pipeline.corpus.layouts.parsing import read_keyed_lines, read_text
from pipeline.corpus.manifest import Refusal, Split

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".sph")
# Text files about a corpus, which need no audio file.
DOCUMENTATION_STEMS = ("readme", "license", "licence", "copying", "changelog", "citation")


def read_librispeech(corpus: Corpus, root: Path) -> Iterator[CorpusEntry]:
    """Read <part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt: lines of an id and a text."""
    inner = root / "LibriSpeech"  # the folder in the archive
    home = inner if inner.is_dir() and not corpus.parts else root
    found = [
        path for path in _subfolders(home) if split_from_name(path.name) and any(path.glob("*/*/"))
    ]
    for part, split in find_parts(corpus, home, found, "a folder such as train-clean-100"):
        for chapter in sorted(part.glob("*/*/*.trans.txt")):
            folder = chapter.parent.relative_to(root).as_posix()
            for location, utterance, transcript in read_keyed_lines(chapter):
                audio, speaker = f"{folder}/{utterance}.flac", utterance.split("-")[0]
                yield CorpusEntry(utterance, audio, transcript, speaker, split, location=location)


def read_pairs(corpus: Corpus, root: Path) -> Iterator[CorpusEntry | Refusal]:
    """Read the text beside each audio file, at any depth; folders may name the splits.

    Refuses an audio file without a text, a text without an audio file, and the second of two audio
    files or texts with the same name.
    """
    files = sorted(path for path in root.rglob("*") if path.is_file())
    texts, recordings = _group_by_stem(files, [".txt"]), _group_by_stem(files, AUDIO_SUFFIXES)
    if not recordings or not texts:
        raise missing_corpus_error(
            root, corpus.name, "an audio file with its text beside it (x.wav, x.txt)"
        )
    for stem in sorted({*texts, *recordings}):
        name = stem.relative_to(root).as_posix()
        for kind in (texts, recordings):
            for other in kind.get(stem, [])[1:]:
                problem = f"has the same name as {kind[stem][0].name}; remove one of them"
                yield Refusal(name, f"{other}: {problem}")
        if stem in recordings or stem.name.lower() not in DOCUMENTATION_STEMS:
            yield _read_pair(root, stem, texts.get(stem, []), recordings.get(stem, []))


def _read_pair(
    root: Path, stem: Path, texts: Sequence[Path], recordings: Sequence[Path]
) -> CorpusEntry | Refusal:
    name = stem.relative_to(root).as_posix()
    path = texts[0] if texts else stem.with_name(f"{stem.name}.txt")
    transcript = read_text(path) if texts else ""
    if not recordings:
        problem = f"has no audio file beside it; add {stem.name}.wav, {EXCLUDE_HINT}"
        return Refusal(name, f"{path}: {problem}")
    if not transcript.strip():
        problem = "is empty" if texts else "no such file"
        return Refusal(name, f"{path}: {problem}; write the transcript there, {EXCLUDE_HINT}")
    audio = recordings[0].relative_to(root).as_posix()
    return CorpusEntry(name, audio, transcript, split=split_from_folders(name))


def _group_by_stem(files: Sequence[Path], suffixes: Sequence[str]) -> dict[Path, list[Path]]:
    found: dict[Path, list[Path]] = {}
    for path in files:
        if path.suffix.lower() in suffixes:
            found.setdefault(path.with_suffix(""), []).append(path)
    return found


def split_from_folders(name: str) -> Split | None:
    """Return the split that a folder in the path names; the file's own name does not count."""
    for folder in name.split("/")[:-1]:
        if split := SPLIT_WORDS.get(folder.lower()):
            return split
    return None


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
