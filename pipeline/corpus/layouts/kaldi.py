"""Kaldi and ESPnet data folders: wav.scp, text, and optionally segments and utt2spk.

In:   a data folder, or a folder of several.   Out: entries, and refusals of texts without audio.
Not here: commands. A pipe in wav.scp would run a program, so it is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.config.corpus import Corpus
from pipeline.corpus.layouts.entries import CorpusEntry, collect_unique, find_parts, path_below_root
from pipeline.corpus.layouts.parsing import MAX_LINE_CHARACTERS, read_keyed_lines
from pipeline.corpus.manifest import Refusal, Split
from pipeline.files import InputError

ARK_PATTERN = re.compile(r".*\.ark(:\d+)?")


def read_kaldi(corpus: Corpus, root: Path) -> Iterator[CorpusEntry | Refusal]:
    """Read `root`, or the data folders in it."""
    found = [root] if (root / "wav.scp").is_file() else sorted(_data_folders(root))
    for folder, split in find_parts(corpus, root, found, "a folder with wav.scp"):
        yield from _read_folder(root, folder, None if folder == root else split)


def _data_folders(root: Path) -> list[Path]:
    return [path.parent for path in root.glob("*/wav.scp")]


def _read_folder(root: Path, folder: Path, split: Split | None) -> Iterator[CorpusEntry | Refusal]:
    conflicts: list[Refusal] = []
    recordings = collect_unique(_read_wav_scp(root, folder / "wav.scp"), conflicts)
    transcripts = collect_unique(read_keyed_lines(folder / "text"), conflicts)
    utt2spk = folder / "utt2spk"
    speakers = collect_unique(read_keyed_lines(utt2spk), conflicts) if utt2spk.is_file() else {}
    listed = set()
    for each in _read_segments(folder, recordings):
        if isinstance(each, Refusal):
            listed.add(each.utterance)
            yield each
            continue
        listed.add(each.id)
        transcript, speaker = transcripts.get(each.id, ""), speakers.get(each.id, "")
        yield replace(each, transcript=transcript, speaker=speaker, split=split)
    for utterance in sorted(transcripts.keys() - listed):
        problem = f"{utterance!r} has no audio in the lists; add it there, or remove its line"
        yield Refusal(utterance, f"{folder / 'text'}: {problem}")
    yield from conflicts


def _read_wav_scp(root: Path, path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (file:line, recording, its audio file)."""
    for location, key, rest in read_keyed_lines(path):
        yield location, key, path_below_root(root, root, _require_file_path(location, rest))


def _read_segments(folder: Path, recordings: dict[str, str]) -> Iterator[CorpusEntry | Refusal]:
    """Yield the lines of segments: utterance, recording, start, end[, channel]; else recordings."""
    path = folder / "segments"
    if not path.is_file():
        scp = str(folder / "wav.scp")
        yield from (CorpusEntry(key, audio, "", location=scp) for key, audio in recordings.items())
        return
    for location, key, rest in read_keyed_lines(path):
        recording, *times = rest.split()
        try:
            start, end = map(float, times[:2])
            channel = int(times[2]) if len(times) > 2 else None
        except ValueError:
            raise InputError(
                f"{location}: {rest!r} is not of the form RECORDING START END; correct the line"
            ) from None
        duration = None if end == -1 else end - start  # -1: to the end of the recording
        if audio := recordings.get(recording):
            yield CorpusEntry(key, audio, "", "", None, start, duration, channel, location)
        else:
            problem = f"the recording {recording!r} is not in wav.scp; add it there"
            yield Refusal(key, f"{location}: {problem}, or remove the line")


def _require_file_path(location: str, value: str) -> str:
    """Return `value`. Raises InputError if it is empty, a command or a Kaldi archive."""
    shown = repr(value[:MAX_LINE_CHARACTERS])
    if not value:
        raise InputError(f"{location}: names no file; add its path, or remove the line")
    if value.endswith("|") or value.startswith("|"):
        raise InputError(
            f"{location}: {shown} is a command, and commands are not run; run it yourself and list "
            "the file that it writes"
        )
    if ARK_PATTERN.fullmatch(value):
        raise InputError(
            f"{location}: {shown} is a Kaldi archive, which cannot be read; list audio files"
        )
    return value
