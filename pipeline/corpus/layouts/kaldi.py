"""Kaldi data folders: wav.scp, text, and where they are there segments and utt2spk. ESPnet's too.

In:   a data folder, or the folder of several.   Out: entries, and what has no sound.
Not here: commands. A pipe in wav.scp would run one, and so is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.corpora import Corpus
from pipeline.corpus.layouts.lists import Entry, keyed, parts_of, placed
from pipeline.corpus.manifest import Refusal, Split
from pipeline.files import InputError

ARCHIVE = re.compile(r".*\.ark(:\d+)?")


def read_kaldi(corpus: Corpus, root: Path) -> Iterator[Entry | Refusal]:
    found = [root] if (root / "wav.scp").is_file() else sorted(_below(root))
    for folder, split in parts_of(corpus, root, found, "a folder with wav.scp"):
        yield from _read_folder(root, folder, None if folder == root else split)


def _below(root: Path) -> list[Path]:
    return [path.parent for path in root.glob("*/wav.scp")]


def _read_folder(root: Path, folder: Path, split: Split | None) -> Iterator[Entry | Refusal]:
    again: list[Refusal] = []
    recordings = {
        key: placed(root, root, _path(folder, line, rest))
        for key, (line, rest) in _once_each(folder / "wav.scp", again).items()
    }
    said = {key: words for key, (_, words) in _once_each(folder / "text", again).items()}
    speakers = {}
    if (folder / "utt2spk").is_file():
        told = _once_each(folder / "utt2spk", again)
        speakers = {key: speaker for key, (_, speaker) in told.items()}
    listed = set()
    for entry in _sounds(folder, recordings):
        listed.add(entry.id)
        words = said.get(entry.id, "")
        if entry.audio:
            yield replace(entry, transcript=words, speaker=speakers.get(entry.id, ""), split=split)
        else:
            yield Refusal(entry.id, f"{folder / 'segments'}: its recording is not in wav.scp")
    for utterance in sorted(said.keys() - listed):
        yield Refusal(utterance, f"{folder / 'text'}: has it, and no sound of it is listed")
    yield from again


def _once_each(path: Path, again: list[Refusal]) -> dict[str, tuple[int, str]]:
    """Line and content by the key; a second line of a key is refused, and the first one holds."""
    found: dict[str, tuple[int, str]] = {}
    for line, key, rest in keyed(path):
        if key in found:
            finding = f"has {key} again, and in line {found[key][0]} first"
            again.append(Refusal(key, f"{path}:{line}: {finding}; take one of the lines out"))
        else:
            found[key] = line, rest
    return found


def _sounds(folder: Path, recordings: dict[str, str]) -> Iterator[Entry]:
    """Each recording, or each line of segments: utterance, recording, start, end[, channel]."""
    path = folder / "segments"
    if not path.is_file():
        yield from (Entry(key, audio, "") for key, audio in recordings.items())
        return
    for line, key, rest in keyed(path):
        recording, *times = rest.split()
        try:
            start, end = map(float, times[:2])
            channel = int(times[2]) if len(times) > 2 else None
        except ValueError:
            raise InputError(
                f"{path}:{line}: {rest!r} is not of the form RECORDING START END"
            ) from None
        duration = None if end == -1 else end - start  # -1: to the end of the recording
        yield Entry(key, recordings.get(recording, ""), "", "", None, start, duration, channel)


def _path(folder: Path, line: int, rest: str) -> str:
    where = f"{folder / 'wav.scp'}:{line}"
    if not rest:
        raise InputError(f"{where}: names no file; add its path, or take the line out")
    if rest.endswith("|") or rest.startswith("|"):
        raise InputError(
            f"{where}: {rest[:60]!r} is a command, and none is run; run it once, and list the file "
            "that it writes"
        )
    if ARCHIVE.fullmatch(rest):
        raise InputError(
            f"{where}: {rest[:60]!r} is an archive of Kaldi's, which is not read; list sound files"
        )
    return rest
