"""Kaldi data folders: wav.scp, text, and where they are there segments and utt2spk. ESPnet's too.

In:   a data folder, or the folder of several.   Out: entries, and what has no sound.
Not here: commands. A pipe in wav.scp would run one, and so is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.config.corpus import Corpus
from pipeline.corpus.layouts.parsing import Entry, keyed, once_each, parts_of, placed
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
    recordings = once_each(_recordings(root, folder / "wav.scp"), again)
    said = once_each(keyed(folder / "text"), again)
    told = folder / "utt2spk"
    speakers = once_each(keyed(told), again) if told.is_file() else {}
    listed = set()
    for each in _sounds(folder, recordings):
        if isinstance(each, Refusal):
            listed.add(each.utterance)
            yield each
            continue
        listed.add(each.id)
        words, speaker = said.get(each.id, ""), speakers.get(each.id, "")
        yield replace(each, transcript=words, speaker=speaker, split=split)
    for utterance in sorted(said.keys() - listed):
        finding = f"has {utterance!r}, and no sound of it is listed; list it, or take its line out"
        yield Refusal(utterance, f"{folder / 'text'}: {finding}")
    yield from again


def _recordings(root: Path, path: Path) -> Iterator[tuple[str, str, str]]:
    """(place, recording, its file)."""
    for place, key, rest in keyed(path):
        yield place, key, placed(root, root, _path(place, rest))


def _sounds(folder: Path, recordings: dict[str, str]) -> Iterator[Entry | Refusal]:
    """Each recording, or each line of segments: utterance, recording, start, end[, channel]."""
    path = folder / "segments"
    if not path.is_file():
        place = str(folder / "wav.scp")
        yield from (Entry(key, audio, "", place=place) for key, audio in recordings.items())
        return
    for place, key, rest in keyed(path):
        recording, *times = rest.split()
        try:
            start, end = map(float, times[:2])
            channel = int(times[2]) if len(times) > 2 else None
        except ValueError:
            raise InputError(f"{place}: {rest!r} is not of the form RECORDING START END") from None
        duration = None if end == -1 else end - start  # -1: to the end of the recording
        if audio := recordings.get(recording):
            yield Entry(key, audio, "", "", None, start, duration, channel, place)
        else:
            finding = f"its recording {recording!r} is not in wav.scp; add it there"
            yield Refusal(key, f"{place}: {finding}, or take the line out")


def _path(place: str, rest: str) -> str:
    if not rest:
        raise InputError(f"{place}: names no file; add its path, or take the line out")
    if rest.endswith("|") or rest.startswith("|"):
        raise InputError(
            f"{place}: {rest[:60]!r} is a command, and none is run; run it once, and list the file "
            "that it writes"
        )
    if ARCHIVE.fullmatch(rest):
        raise InputError(
            f"{place}: {rest[:60]!r} is an archive of Kaldi's, which is not read; list sound files"
        )
    return rest
