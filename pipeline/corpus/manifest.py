"""Manifest: the utterances of a corpus, in order, and those it refused.

In:   utterances from a reader.   Out: a JSON-lines file; its digest; slices of even length.
Not here: how a corpus lies on the disk (readers.py), sound (audio.py).
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pipeline.corpus.text import Alphabet
from pipeline.files import InputError, digest, write_text

VERSION = 1
SLICE_SECONDS = 360.0  # one shard: about 12 MB of 80 float16 mel bins at 100 frames per second
LARGEST_SLICES = 512

Split = Literal["train", "dev", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One stretch of speech and its words."""

    id: str
    audio: str  # posix path, relative to the root of the corpus
    samples: int  # of the utterance, at the file's own rate
    rate: int  # Hz, of the file
    transcript: str  # normalised
    speaker: str
    split: Split
    start: int = 0  # of the first sample, at the file's own rate
    channel: int | None = None  # of the file, from 0; None: the mean of all

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


@dataclass(frozen=True, slots=True)
class Refusal:
    utterance: str
    reason: str  # one line: the file, what was found, the way out


@dataclass(frozen=True)
class Manifest:
    corpus: str
    root: Path
    utterances: tuple[Utterance, ...]
    refusals: tuple[Refusal, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Of the utterances alone: where they lie and what was refused change no frame."""
        return digest([asdict(utterance) for utterance in self.utterances])

    @cached_property
    def seconds(self) -> float:
        return math.fsum(utterance.seconds for utterance in self.utterances)

    @cached_property
    def slices(self) -> tuple[range, ...]:
        """Ranges of utterance indices, contiguous and none empty, of about SLICE_SECONDS each.

        A function of the utterances alone, so that an array's tasks and a laptop cut the same
        shards; computed once for a manifest that is in memory.
        """
        wanted = min(max(1, round(self.seconds / SLICE_SECONDS)), LARGEST_SLICES)
        starts: dict[int, int] = {}  # slice -> its first utterance
        elapsed = 0.0
        for index, utterance in enumerate(self.utterances):
            middle = elapsed + utterance.seconds / 2
            starts.setdefault(min(int(wanted * middle / self.seconds), wanted - 1), index)
            elapsed += utterance.seconds
        return tuple(range(*edge) for edge in pairwise([*starts.values(), len(self.utterances)]))


def write(manifest: Manifest, path: Path) -> None:
    """JSON lines: a header with format version, corpus, root and refusals; then the utterances."""
    header = {
        "manifest": VERSION,
        "corpus": manifest.corpus,
        "root": manifest.root.as_posix(),
        "refusals": [asdict(refusal) for refusal in manifest.refusals],
    }
    records = [header, *map(asdict, manifest.utterances)]
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_text(path, "".join(lines))


def read(path: Path) -> Manifest:
    try:
        header, *records = _records(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such manifest; make features writes it") from None
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(header, dict) or header.get("manifest") != VERSION:
        raise _damaged(path, f"line 1 does not say manifest version {VERSION}")
    try:
        return Manifest(
            corpus=header["corpus"],
            root=Path(header["root"]),
            utterances=tuple(Utterance(**record) for record in records),
            refusals=tuple(Refusal(**refusal) for refusal in header["refusals"]),
        )
    except (KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from None


def unknown_characters(manifest: Manifest, alphabet: Alphabet) -> list[tuple[str, str]]:
    """(utterance id, the characters that the alphabet lacks, sorted), where there are any."""
    found = ((u.id, alphabet.unknown(u.transcript)) for u in manifest.utterances)
    return [(utterance, "".join(sorted(unknown))) for utterance, unknown in found if unknown]


def _records(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _damaged(path: Path, finding: str) -> InputError:
    return InputError(f"{path}: not a manifest: {finding}; delete it, make features rewrites it")
