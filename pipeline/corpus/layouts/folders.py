"""Layouts whose texts are beside the audio files: LibriSpeech; VoxForge; pairs x.wav, x.txt.

In:   the folder of a corpus.   Out: entries; refusals of incomplete pairs.
Not here: corpora that a table describes (tables.py).
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from posixpath import join, splitext

from pipeline.config.corpus import Corpus
from pipeline.corpus.audio.audio_file import EXCLUDE_HINT
from pipeline.corpus.file_search import (
    AUDIO_SUFFIXES,
    CONVERTIBLE_SUFFIXES,
    UNLISTED_HINT,
    walk_files,
)
from pipeline.corpus.layouts.entries import (
    SPLIT_WORDS,
    CorpusEntry,
    find_parts,
    missing_corpus_error,
    split_from_name,
)
from pipeline.corpus.layouts.parsing import Refusals, format_place, read_keyed_lines, read_text
from pipeline.corpus.manifest import Refusal, Split
from pipeline.files import InputError

# Text files about a corpus, which need no audio file.
DOCUMENTATION_STEMS = ("readme", "license", "licence", "copying", "changelog", "citation")
TRANSCRIPT_SUFFIX = ".trans.txt"
VOXFORGE_PROMPTS = ("PROMPTS", "prompts-original")
VOXFORGE_FOLDERS = ("flac", "wav")
SESSION_NAME = re.compile(r"(.+)-\d{8}-\w+")


def read_librispeech(corpus: Corpus, root: Path, refusals: Refusals) -> Iterator[CorpusEntry]:
    """Read <part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt: lines of an id and a text.

    A flac that no line names is refused.
    """
    inner = root / "LibriSpeech"  # the folder in the archive
    home = inner if inner.is_dir() and not corpus.parts else root
    found = [
        path for path in _subfolders(home) if split_from_name(path.name) and any(path.glob("*/*/"))
    ]
    for part, split in find_parts(corpus, home, found, "a folder such as train-clean-100"):
        listed, audio = set(), []
        for path in walk_files(str(part), refusals):
            if path.endswith(TRANSCRIPT_SUFFIX):
                for entry in _read_chapter(root, Path(path), split, refusals):
                    listed.add(entry.audio)
                    yield entry
            elif path.endswith(".flac"):
                audio.append(_name_below(root, path))
        if corpus.unlisted == "refuse":
            for name in audio:
                if name not in listed:
                    problem = f"{root / name}: no line of a {TRANSCRIPT_SUFFIX} names it"
                    stem = splitext(name)[0].rsplit("/", 1)[-1]
                    refusals.append(Refusal(stem, f"{problem}; {UNLISTED_HINT}"))


def _read_chapter(
    root: Path, path: Path, split: Split | None, refusals: Refusals
) -> Iterator[CorpusEntry]:
    folder = _name_below(root, str(path.parent))
    for place, utterance, transcript in read_keyed_lines(path, refusals):
        audio, speaker = f"{folder}/{utterance}.flac", utterance.split("-")[0]
        yield CorpusEntry(
            utterance, audio, transcript, speaker, split, file=place[0], line=place[1]
        )


def read_pairs(corpus: Corpus, root: Path, refusals: Refusals) -> Iterator[CorpusEntry]:
    """Read the text beside each audio file, at any depth; folders may name the splits.

    Refuses an audio file without a text, a text without an audio file, and the second of two audio
    files or texts with the same name.
    """
    recordings, texts = find_pairs(root, refusals)
    if not recordings or not texts:
        raise missing_corpus_error(
            root, corpus.name, "an audio file with its text beside it (x.wav, x.txt)"
        )
    for stem in sorted({*texts, *recordings}, key=lambda stem: stem.split("/")):
        for kind in (texts, recordings):
            for other in kind.get(stem, [])[1:]:
                first = kind[stem][0].rsplit("/", 1)[-1]
                problem = f"has the same name as {first}; remove one of them"
                refusals.append(Refusal(stem, f"{root / other}: {problem}"))
        is_documentation = stem.rsplit("/", 1)[-1].lower() in DOCUMENTATION_STEMS
        if stem in recordings or not is_documentation:
            speaker = PurePosixPath(stem).parent.name if corpus.speakers == "folder" else ""
            for entry in _read_pair(root, stem, texts, recordings, refusals):
                yield replace(entry, speaker=speaker)


def find_pairs(root: Path, refusals: Refusals) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the recordings and the texts below `root`; a pair has the same path without suffix."""
    recordings, texts = find_recordings(root, (".txt",), refusals)
    _move_texts_to_recordings(texts, recordings)
    return recordings, texts


def _move_texts_to_recordings(
    texts: dict[str, list[str]], recordings: Mapping[str, Sequence[str]]
) -> None:
    """Put texts in folders of their own (txt/p225/x.txt of wav/p225/x.wav) to their recordings.

    Both must be the only ones of this name that lack the other.
    """
    alone: list[dict[str, list[str]]] = [{}, {}]
    for by_name, stems, others in zip(alone, (texts, recordings), (recordings, texts), strict=True):
        for stem in stems:
            if stem not in others:
                by_name.setdefault(stem.rsplit("/", 1)[-1], []).append(stem)
    for name, found in alone[0].items():
        if len(found) == len(alone[1].get(name, ())) == 1:
            texts[alone[1][name][0]] = texts.pop(found[0])


def find_recordings(
    root: Path, text_suffixes: Sequence[str], refusals: Refusals
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the recordings and the texts below `root`, by their paths without suffix, in NFC.

    A format that is not read counts only where no other of the same name is there.
    """
    texts: dict[str, list[str]] = {}
    recordings: dict[str, list[str]] = {}
    convertible: dict[str, list[str]] = {}
    kinds = {**dict.fromkeys(text_suffixes, texts), **dict.fromkeys(AUDIO_SUFFIXES, recordings)}
    kinds |= dict.fromkeys(CONVERTIBLE_SUFFIXES, convertible)
    for path in walk_files(str(root), refusals):
        name = _name_below(root, path)
        stem, suffix = splitext(name)
        if (kind := kinds.get(suffix.lower())) is not None:
            inner, inner_suffix = splitext(stem)
            if kind is texts and inner_suffix.lower() in AUDIO_SUFFIXES:
                stem = inner  # x.wav.txt
            kind.setdefault(unicodedata.normalize("NFC", stem), []).append(name)
    return {**convertible, **recordings}, texts


def _read_pair(
    root: Path,
    stem: str,
    texts: Mapping[str, Sequence[str]],
    recordings: Mapping[str, Sequence[str]],
    refusals: Refusals,
) -> Iterator[CorpusEntry]:
    """Yield the pair if it is complete, else refuse it."""
    problem = transcript = ""
    path = f"{root / stem}.txt"
    if stem not in recordings:
        path = str(root / texts[stem][0])
        name = stem.rsplit("/", 1)[-1]
        problem = f"has no audio file beside it; add {name}.wav, {EXCLUDE_HINT}"
    elif stem not in texts:
        problem = f"no such file; write the transcript there, {EXCLUDE_HINT}"
    else:
        path = str(root / texts[stem][0])
        try:
            transcript = read_text(Path(path))
        except InputError as error:
            refusals.append(Refusal(stem, f"{error}, {EXCLUDE_HINT}"))
            return
        if not transcript.strip():
            problem = f"is empty; write the transcript there, {EXCLUDE_HINT}"
    if problem:
        refusals.append(Refusal(stem, f"{path}: {problem}"))
    else:
        yield CorpusEntry(stem, recordings[stem][0], transcript, split=split_from_folders(stem))


def read_voxforge(corpus: Corpus, root: Path, refusals: Refusals) -> Iterator[CorpusEntry]:
    """Read sessions at any depth: etc/prompts-original, else etc/PROMPTS; wav/ or flac/.

    A session is named SPEAKER-DATE-LETTERS; those of anonymous speakers are speakers of their own.
    """
    audio: dict[str, dict[str, str]] = {}  # session -> stem -> path below the root
    prompts: dict[str, str] = {}  # session -> list
    for path in walk_files(str(root), refusals):
        folder, _, file = _name_below(root, path).rpartition("/")
        session, _, inner = folder.rpartition("/")
        stem, suffix = splitext(file)
        if inner == "etc" and file in VOXFORGE_PROMPTS:
            prompts[session] = max(prompts.get(session, ""), path)  # small letters are later
        elif inner in VOXFORGE_FOLDERS and suffix.lower() in AUDIO_SUFFIXES:
            audio.setdefault(session, {})[stem] = f"{folder}/{file}"  # wav is later than flac
    if not prompts:
        expected = "a folder with etc/prompts-original or etc/PROMPTS"
        raise missing_corpus_error(root, corpus.name, expected)
    for session in sorted({*prompts, *audio}):
        unlisted = audio.get(session, {})
        if session in prompts:
            yield from _read_session(root, session, Path(prompts[session]), unlisted, refusals)
        if corpus.unlisted == "refuse":
            for stem, name in unlisted.items():
                problem = f"{root / name}: no line of etc/prompts-original or etc/PROMPTS names it"
                refusals.append(Refusal(join(session, stem), f"{problem}; {UNLISTED_HINT}"))


def _read_session(
    root: Path, session: str, path: Path, audio: dict[str, str], refusals: Refusals
) -> Iterator[CorpusEntry]:
    """Yield the prompts of a session, and take their recordings out of `audio`.

    The key of a prompt is the name of its recording, in PROMPTS behind a path of its own.
    """
    name = (session or root.name).rsplit("/", 1)[-1]
    found = SESSION_NAME.fullmatch(name)
    speaker = found[1] if found and found[1].lower() != "anonymous" else name
    recordings = dict(audio)
    for place, key, transcript in read_keyed_lines(path, refusals):
        stem = key.rsplit("/", 1)[-1]
        audio.pop(stem, None)
        utterance = join(session, stem)
        if stem in recordings:
            split = split_from_folders(f"{session}/")
            entry = (utterance, recordings[stem], transcript, speaker, split)
            yield CorpusEntry(*entry, file=place[0], line=place[1])
        else:
            problem = f"{stem!r} has no recording in wav/ or flac/; add it, or remove the line"
            refusals.append(Refusal(utterance, f"{format_place(place)}: {problem}"))


def split_from_folders(name: str) -> Split | None:
    """Return the split that a folder in the path names; the file's own name does not count."""
    for folder in name.split("/")[:-1]:
        if split := SPLIT_WORDS.get(folder.lower()):
            return split
    return None


def _name_below(root: Path, path: str) -> str:
    """Return the path below `root` with slashes."""
    return Path(path).relative_to(root).as_posix()


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
