"""Kaldi and ESPnet data folders: wav.scp, text, and optionally segments and utt2spk.

In:   a data folder, or a folder of several.   Out: entries, and refusals of texts without audio.
Not here: commands. A pipe in wav.scp would run a program, so it is refused.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from sys import intern

from pipeline.config.corpus import Corpus
from pipeline.corpus.layouts.entries import CorpusEntry, collect_unique, find_parts, path_below_root
from pipeline.corpus.layouts.parsing import (
    Place,
    Refusals,
    format_place,
    parse_seconds,
    read_keyed_lines,
    shorten,
)
from pipeline.corpus.manifest import Refusal, Split

ARK_PATTERN = re.compile(r".*\.ark(:\d+)?")


def read_kaldi(corpus: Corpus, root: Path, refusals: Refusals) -> Iterator[CorpusEntry]:
    """Read `root`, or the data folders in it."""
    found = [root] if (root / "wav.scp").is_file() else sorted(_data_folders(root))
    for folder, split in find_parts(corpus, root, found, "a folder with wav.scp"):
        yield from _read_folder(root, folder, None if folder == root else split, refusals)


def _data_folders(root: Path) -> list[Path]:
    return [path.parent for path in root.glob("*/wav.scp")]


def _read_folder(
    root: Path, folder: Path, split: Split | None, refusals: Refusals
) -> Iterator[CorpusEntry]:
    first = len(refusals)
    recordings = collect_unique(_read_wav_scp(root, folder / "wav.scp", refusals), refusals)
    refused = {each.utterance for each in refusals[first:]}
    transcripts = collect_unique(read_keyed_lines(folder / "text", refusals), refusals)
    utt2spk = folder / "utt2spk"
    lines = read_keyed_lines(utt2spk, refusals) if utt2spk.is_file() else ()
    speakers = collect_unique(((at, key, intern(name)) for at, key, name in lines), refusals)
    first = len(refusals)
    listed = set()
    for each in _read_segments(folder, recordings, refused, refusals):
        listed.add(each.id)
        transcript, speaker = transcripts.get(each.id, ""), speakers.get(each.id, "")
        where = (each.start, each.duration, each.channel, each.file, each.line)
        yield CorpusEntry(each.id, each.audio, transcript, speaker, split, *where)
    listed |= refused | {each.utterance for each in refusals[first:]}
    for utterance in sorted(each for each in transcripts if each not in listed):
        problem = f"{utterance!r} has no audio in the lists; add it there, or remove its line"
        refusals.append(Refusal(utterance, f"{folder / 'text'}: {problem}"))


def _read_wav_scp(root: Path, path: Path, refusals: Refusals) -> Iterator[tuple[Place, str, str]]:
    """Yield (place, recording, its audio file)."""
    for place, key, rest in read_keyed_lines(path, refusals):
        if problem := _path_problem(rest):
            refusals.append(Refusal(key, f"{format_place(place)}: {problem}"))
        else:
            yield place, key, path_below_root(root, root, rest)


def _read_segments(
    folder: Path, recordings: Mapping[str, str], refused: Collection[str], refusals: Refusals
) -> Iterator[CorpusEntry]:
    """Yield the lines of segments: utterance, recording, start, end[, channel]; else recordings.

    `refused`: recordings that wav.scp names and that cannot be used.
    """
    path = folder / "segments"
    if not path.is_file():
        scp = str(folder / "wav.scp")
        yield from (CorpusEntry(key, audio, "", file=scp) for key, audio in recordings.items())
        return
    unused = dict(recordings)
    for place, key, rest in read_keyed_lines(path, refusals):
        recording, *times = rest.split() or [""]
        unused.pop(recording, None)
        segment = _parse_times(times)
        if segment is None:
            problem = f"{shorten(rest)} is not of the form RECORDING START END; correct the line"
        elif recording in refused:
            problem = f"wav.scp has no usable file for {recording!r}; correct it there"
        elif recording not in recordings:
            problem = f"the recording {recording!r} is not in wav.scp; add it there"
            problem += ", or remove the line"
        else:
            start, duration, channel = segment
            audio = recordings[recording]
            yield CorpusEntry(key, audio, "", "", None, start, duration, channel, *place)
            continue
        refusals.append(Refusal(key, f"{format_place(place)}: {problem}"))
    for recording in unused:
        problem = f"no line of segments uses the recording {recording!r}; add its segments"
        refusals.append(Refusal(recording, f"{folder / 'wav.scp'}: {problem}, or remove it"))


def _parse_times(times: Sequence[str]) -> tuple[float, float | None, int | None] | None:
    """Return start, duration and channel; None if they are not numbers. End -1: to the end."""
    if len(times) not in (2, 3):
        return None
    start, end = map(parse_seconds, times[:2])
    if start is None or end is None or not (len(times) < 3 or times[2].isdecimal()):
        return None
    channel = int(times[2][:9]) if len(times) > 2 else None
    return start, None if end == -1 else end - start, channel


def _path_problem(value: str) -> str:
    """Return what is wrong with the file of a line of wav.scp: a command or a Kaldi archive."""
    shown = shorten(value)
    if not value:
        return "names no file; add its path, or remove the line"
    if value.endswith("|") or value.startswith("|"):
        return (
            f"{shown} is a command, and commands are not run; run it yourself and list "
            "the file that it writes"
        )
    if ARK_PATTERN.fullmatch(value):
        return f"{shown} is a Kaldi archive, which cannot be read; list audio files"
    return ""
