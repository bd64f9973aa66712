"""Folders: corpora whose sound files and texts lie side by side. LibriSpeech; pairs x.wav, x.txt.

In:   the folder of a corpus.   Out: entries.
Not here: corpora that one table describes (tables.py).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.config.corpus import Corpus
from pipeline.corpus.layouts.parsing import (
    SPLIT_WORDS,
    CorpusEntry,
    find_parts,
    read_keyed_lines,
    read_text,
    split_from_name,
)
from pipeline.corpus.manifest import Refusal, Split
from pipeline.files import InputError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".sph")
# Texts about a corpus, which no sound is missing beside.
DOCUMENTATION_STEMS = ("readme", "license", "licence", "copying", "changelog", "citation")
EXCLUDE_HINT = "or list the utterance under exclude: in the corpus file"


def read_librispeech(corpus: Corpus, root: Path) -> Iterator[CorpusEntry]:
    """<part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt: an id and its words a line."""
    inner = root / "LibriSpeech"  # the archive's own folder
    home = inner if inner.is_dir() and not corpus.parts else root
    found = [
        path for path in _subfolders(home) if split_from_name(path.name) and any(path.glob("*/*/"))
    ]
    for part, split in find_parts(corpus, home, found, "a folder such as train-clean-100"):
        for chapter in sorted(part.glob("*/*/*.trans.txt")):
            folder = chapter.parent.relative_to(root).as_posix()
            for place, utterance, words in read_keyed_lines(chapter):
                audio, speaker = f"{folder}/{utterance}.flac", utterance.split("-")[0]
                yield CorpusEntry(utterance, audio, words, speaker, split, location=place)


def read_pairs(corpus: Corpus, root: Path) -> Iterator[CorpusEntry | Refusal]:
    """The text beside each sound file, at any depth; the folders train, dev and test are splits."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    texts, sounds = _group_by_stem(files, [".txt"]), _group_by_stem(files, AUDIO_SUFFIXES)
    if not sounds or not texts:
        raise InputError(
            f"{root}: no corpus {corpus.name} is here: a sound file with its text beside it "
            "(x.wav, x.txt) is missing"
        )
    for stem in sorted({*texts, *sounds}):
        name = stem.relative_to(root).as_posix()
        path = texts[stem][0] if stem in texts else stem.with_name(f"{stem.name}.txt")
        words = read_text(path) if stem in texts else ""
        for kind in (texts, sounds):
            for other in kind.get(stem, [])[1:]:
                finding = f"{kind[stem][0].name} is beside it; take one of them out"
                yield Refusal(name, f"{other}: {finding}")
        if stem not in sounds and stem.name.lower() in DOCUMENTATION_STEMS:
            continue
        if stem not in sounds:
            yield Refusal(
                name, f"{path}: has no sound beside it; add {stem.name}.wav, {EXCLUDE_HINT}"
            )
        elif not words.strip():
            found = "is empty" if stem in texts else "no such file"
            yield Refusal(name, f"{path}: {found}; write there what is said, {EXCLUDE_HINT}")
        else:
            audio = sounds[stem][0].relative_to(root).as_posix()
            yield CorpusEntry(name, audio, words, split=split_from_folders(name))


def _group_by_stem(files: Sequence[Path], suffixes: Sequence[str]) -> dict[Path, list[Path]]:
    found: dict[Path, list[Path]] = {}
    for path in files:
        if path.suffix.lower() in suffixes:
            found.setdefault(path.with_suffix(""), []).append(path)
    return found


def split_from_folders(name: str) -> Split | None:
    """The split that a folder of a path names; the file's own name says nothing."""
    for folder in name.split("/")[:-1]:
        if split := SPLIT_WORDS.get(folder.lower()):
            return split
    return None


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
