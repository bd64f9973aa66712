"""Folders: corpora whose sound files and texts lie side by side. LibriSpeech; pairs x.wav, x.txt.

In:   the folder of a corpus.   Out: entries.
Not here: corpora that one table describes (tables.py).
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.corpora import Corpus
from pipeline.corpus.layouts.lists import SPLIT_WORDS, Entry, keyed, parts_of, split_of
from pipeline.corpus.manifest import Split
from pipeline.files import InputError

SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".sph")


def read_librispeech(corpus: Corpus, root: Path) -> Iterator[Entry]:
    """<part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt: an id and its words a line."""
    inner = root / "LibriSpeech"  # the archive's own folder
    home = inner if inner.is_dir() and not corpus.parts else root
    found = [path for path in _folders(home) if split_of(path.name) and any(path.glob("*/*/"))]
    for part, split in parts_of(corpus, home, found, "a folder such as train-clean-100"):
        for chapter in sorted(part.glob("*/*/*.trans.txt")):
            folder = chapter.parent.relative_to(root).as_posix()
            for _, utterance, words in keyed(chapter):
                speaker = utterance.split("-")[0]
                yield Entry(utterance, f"{folder}/{utterance}.flac", words, speaker, split)


def read_pairs(corpus: Corpus, root: Path) -> Iterator[Entry]:
    """The text beside each sound file, at any depth; the folders train, dev and test are splits."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    texts = {path.with_suffix("") for path in files if path.suffix == ".txt"}
    sounds = {path.with_suffix(""): path for path in files if path.suffix.lower() in SOUNDS}
    if not sounds or not texts:
        raise InputError(
            f"{root}: no corpus {corpus.name} is here: a sound file with its text beside it "
            "(x.wav, x.txt) is missing"
        )
    for stem in sorted({*texts, *sounds}):
        sound = sounds.get(stem, stem.with_name(f"{stem.name}.wav"))
        name = stem.relative_to(root).as_posix()
        words = _text(stem.with_name(f"{stem.name}.txt")) if stem in texts else ""
        yield Entry(name, sound.relative_to(root).as_posix(), words, split=split_in(name))


def split_in(name: str) -> Split | None:
    """The split that a folder of a path names; the file's own name says nothing."""
    for folder in name.split("/")[:-1]:
        if split := SPLIT_WORDS.get(folder.lower()):
            return split
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); write it as UTF-8 text") from None


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
