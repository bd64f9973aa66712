"""AN4: etc/an4_{train,test}.{fileids,transcription}; wav/<fileid>.wav, or .sph in the original.

In:   the folder of the corpus.   Out: entries and refusals; the dev split by the setting `split`.
Not here: the audio files (audio/).
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from pipeline.config.corpus import Corpus
from pipeline.corpus.layouts.entries import CorpusEntry, collect_unique
from pipeline.corpus.layouts.parsing import Place, Refusals, match_lines
from pipeline.corpus.manifest import Refusal, Split
from pipeline.files import InputError

ESPNET_DEV_UTTERANCES = 100
FILEID_PATTERN = re.compile(r"(?P<folder>.+)/(?P<speaker>[^/]+)/(?P<name>([^/-]+)-[^/-]+-([^/-]+))")
TRANSCRIPTION_PATTERN = re.compile(r"(?:<s>\s*)?(.*?)(?:\s*</s>)?\s*\(([^()\s]+)\)\s*")


def find_an4_root(root: Path, name: str) -> Path:
    """Return the folder with etc/: `root` or a folder in it, such as the archive's an4/."""
    subfolders = sorted(root.iterdir()) if root.is_dir() else []
    for folder in (root, *subfolders):
        if (folder / "etc" / "an4_train.fileids").is_file():
            return folder
    why = "this is a file" if root.is_file() else "etc/an4_train.fileids is missing"
    raise InputError(
        f"{root}: no corpus {name} is here ({why}); set AN4 to the folder with etc/ and wav/, for "
        "example AN4=/path/to/an4"
    )


def read_an4(root: Path, refusals: Refusals) -> Iterator[CorpusEntry]:
    """Yield the utterances of train and test; refuse transcripts that conflict or have no audio."""
    splits: tuple[Split, Split] = ("train", "test")
    for split in splits:
        conflicts: list[Refusal] = []
        transcription = root / "etc" / f"an4_{split}.transcription"
        transcripts = collect_unique(_read_an4_transcripts(transcription, refusals), conflicts)
        ids = {}
        fileids = root / "etc" / f"an4_{split}.fileids"
        for place, match in match_lines(fileids, FILEID_PATTERN, "FOLDER/SPEAKER/A-B-C", refusals):
            name, speaker = match["name"], match["speaker"]
            ids[name] = f"{speaker}-{match[4]}-{match[5]}"  # as in ESPnet: sorted by speaker
            yield CorpusEntry(
                id=ids[name],
                audio=_an4_audio_path(root, f"wav/{match[0]}"),
                transcript=transcripts.get(name, ""),
                speaker=speaker,
                split=split,
                file=place[0],
                line=place[1],
            )
        refusals += [Refusal(ids.get(c.utterance, c.utterance), c.reason) for c in conflicts]
        for name in sorted(transcripts.keys() - ids.keys()):
            problem = f"{name!r} is not in {fileids.name}; add it there, or remove its line"
            refusals.append(Refusal(name, f"{transcription}: {problem}"))


def _an4_audio_path(root: Path, stem: str) -> str:
    return f"{stem}.sph" if os.path.isfile(f"{root}/{stem}.sph") else f"{stem}.wav"  # noqa: PTH113 (Path is five times slower)


def _read_an4_transcripts(path: Path, refusals: Refusals) -> Iterator[tuple[Place, str, str]]:
    """Yield (place, name of the audio file, transcript)."""
    for place, match in match_lines(
        path, TRANSCRIPTION_PATTERN, "<s> WORDS </s> (utterance)", refusals
    ):
        yield place, match[2], match[1]


def split_an4(entries: list[CorpusEntry], corpus: Corpus) -> list[CorpusEntry]:
    """Take the dev split from the training speakers; the test split is the corpus's own."""
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
    """Draw whole speakers, about 50 utterances of women and 50 of men, by the id's first letter."""
    by_speaker: dict[str, list[str]] = defaultdict(list)
    for entry in training:
        by_speaker[entry.speaker].append(entry.id)
    rng = Random(seed)
    speakers = sorted(sorted(by_speaker), key=lambda _: rng.random())
    dev: set[str] = set()
    for gender in ("f", "m"):
        chosen: set[str] = set()
        for speaker in (s for s in speakers if s.startswith(gender)):
            if len(chosen) < ESPNET_DEV_UTTERANCES // 2:
                chosen.update(by_speaker[speaker])
        dev |= chosen
    return dev
