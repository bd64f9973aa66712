"""Kaldi data folders: wav.scp, text, and where they are there segments and utt2spk. ESPnet's too.

In:   a data folder, or the folder of several.   Out: entries, and what has no sound.
Not here: commands. A pipe in wav.scp would run one, and so is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.config.corpus import Corpus
from pipeline.corpus.layouts.parsing import (
    CorpusEntry,
    collect_unique,
    find_parts,
    path_below_root,
    read_keyed_lines,
)
from pipeline.corpus.manifest import Refusal, Split
from pipeline.files import InputError

ARK_PATTERN = re.compile(r".*\.ark(:\d+)?")


def read_kaldi(corpus: Corpus, root: Path) -> Iterator[CorpusEntry | Refusal]:
    found = [root] if (root / "wav.scp").is_file() else sorted(_data_folders(root))
    for folder, split in find_parts(corpus, root, found, "a folder with wav.scp"):
        yield from _read_folder(root, folder, None if folder == root else split)


def _data_folders(root: Path) -> list[Path]:
    return [path.parent for path in root.glob("*/wav.scp")]


def _read_folder(root: Path, folder: Path, split: Split | None) -> Iterator[CorpusEntry | Refusal]:
    again: list[Refusal] = []
    recordings = collect_unique(_read_wav_scp(root, folder / "wav.scp"), again)
    said = collect_unique(read_keyed_lines(folder / "text"), again)
    told = folder / "utt2spk"
    speakers = collect_unique(read_keyed_lines(told), again) if told.is_file() else {}
    listed = set()
    for each in _read_segments(folder, recordings):
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


def _read_wav_scp(root: Path, path: Path) -> Iterator[tuple[str, str, str]]:
    """(place, recording, its file)."""
    for place, key, rest in read_keyed_lines(path):
        yield place, key, path_below_root(root, root, _require_file_path(place, rest))


def _read_segments(folder: Path, recordings: dict[str, str]) -> Iterator[CorpusEntry | Refusal]:
    """Each recording, or each line of segments: utterance, recording, start, end[, channel]."""
    path = folder / "segments"
    if not path.is_file():
        place = str(folder / "wav.scp")
        yield from (
            CorpusEntry(key, audio, "", location=place) for key, audio in recordings.items()
        )
        return
    for place, key, rest in read_keyed_lines(path):
        recording, *times = rest.split()
        try:
            start, end = map(float, times[:2])
            channel = int(times[2]) if len(times) > 2 else None
        except ValueError:
            raise InputError(f"{place}: {rest!r} is not of the form RECORDING START END") from None
        duration = None if end == -1 else end - start  # -1: to the end of the recording
        if audio := recordings.get(recording):
            yield CorpusEntry(key, audio, "", "", None, start, duration, channel, place)
        else:
            finding = f"its recording {recording!r} is not in wav.scp; add it there"
            yield Refusal(key, f"{place}: {finding}, or take the line out")


def _require_file_path(place: str, value: str) -> str:
    if not value:
        raise InputError(f"{place}: names no file; add its path, or take the line out")
    if value.endswith("|") or value.startswith("|"):
        raise InputError(
            f"{place}: {value[:60]!r} is a command, and none is run; run it once, and list the file "
            "that it writes"
        )
    if ARK_PATTERN.fullmatch(value):
        raise InputError(
            f"{place}: {value[:60]!r} is an archive of Kaldi's, which is not read; list sound files"
        )
    return value
