"""AN4: etc/an4_{train,test}.{fileids,transcription}; wav/<fileid>.wav, or .sph in the original.

In:   the folder of the corpus.   Out: entries, refusals; dev as the corpus file's `split` says.
Not here: what is in the sound files (audio.py).
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from pipeline.config.corpus import Corpus
from pipeline.corpus.layouts.parsing import CorpusEntry, collect_unique, match_lines
from pipeline.corpus.manifest import Refusal, Split
from pipeline.files import InputError

ESPNET_DEV_UTTERANCES = 100  # utterances
FILEID_PATTERN = re.compile(r"(?P<folder>.+)/(?P<speaker>[^/]+)/(?P<name>([^/-]+)-[^/-]+-([^/-]+))")
TRANSCRIPTION_PATTERN = re.compile(r"(?:<s>\s*)?(.*?)(?:\s*</s>)?\s*\(([^()\s]+)\)\s*")


def find_an4_root(root: Path, name: str) -> Path:
    """The folder with etc/, which is `root` or a folder in it: the archive has it in an4/."""
    below = sorted(root.iterdir()) if root.is_dir() else []
    for folder in (root, *below):
        if (folder / "etc" / "an4_train.fileids").is_file():
            return folder
    why = "a file, and no folder" if root.is_file() else "etc/an4_train.fileids is missing"
    raise InputError(
        f"{root}: no corpus {name} is here ({why}); say where AN4 lies, for example "
        "AN4=/path/to/an4, the folder with etc/ and wav/"
    )


def read_an4(root: Path) -> Iterator[CorpusEntry | Refusal]:
    parts: tuple[Split, Split] = ("train", "test")
    for part in parts:
        again: list[Refusal] = []
        said = collect_unique(
            _read_an4_transcripts(root / "etc" / f"an4_{part}.transcription"), again
        )
        ids = {}
        fileids = root / "etc" / f"an4_{part}.fileids"
        for place, found in match_lines(fileids, FILEID_PATTERN, "FOLDER/SPEAKER/A-B-C"):
            name, speaker = found["name"], found["speaker"]
            ids[name] = f"{speaker}-{found[4]}-{found[5]}"  # as in ESPnet: speakers sort together
            yield CorpusEntry(
                id=ids[name],
                audio=_an4_audio_path(root, f"wav/{found[0]}"),
                transcript=said.get(name, ""),
                speaker=speaker,
                split=part,
                location=place,
            )
        yield from (Refusal(ids[e.utterance], e.reason) for e in again if e.utterance in ids)


def _an4_audio_path(root: Path, stem: str) -> str:
    return f"{stem}.sph" if os.path.isfile(f"{root}/{stem}.sph") else f"{stem}.wav"  # noqa: PTH113 (a Path takes five times as long)


def _read_an4_transcripts(path: Path) -> Iterator[tuple[str, str, str]]:
    """(place, name of the sound file, what is said)."""
    for place, found in match_lines(path, TRANSCRIPTION_PATTERN, "<s> WORDS </s> (utterance)"):
        yield place, found[2], found[1]


def split_an4(entries: list[CorpusEntry], corpus: Corpus) -> list[CorpusEntry]:
    """The test split is the corpus's own; dev is taken from its training speakers."""
    training = sorted((e for e in entries if e.split == "train"), key=lambda e: e.id)
    test = sorted((e for e in entries if e.split == "test"), key=lambda e: e.id)
    match corpus.split:
        case "espnet":
            dev = {entry.id for entry in training[:ESPNET_DEV_UTTERANCES]}
        case "balanced":
            dev = _balanced_dev_ids(training, corpus.seed)
        case "given":
            dev = set()
    return [replace(e, split="dev") if e.id in dev else e for e in training] + test


def _balanced_dev_ids(training: Sequence[CorpusEntry], seed: int) -> set[str]:
    """Whole speakers, half women and half men by the first letter, about ESPNET_DEV utterances."""
    by_speaker: dict[str, list[str]] = defaultdict(list)
    for entry in training:
        by_speaker[entry.speaker].append(entry.id)
    rng = Random(seed)
    speakers = sorted(sorted(by_speaker), key=lambda _: rng.random())
    dev: set[str] = set()
    for sex in ("f", "m"):
        chosen: set[str] = set()
        for speaker in (s for s in speakers if s.startswith(sex)):
            if len(chosen) < ESPNET_DEV_UTTERANCES // 2:
                chosen.update(by_speaker[speaker])
        dev |= chosen
    return dev
