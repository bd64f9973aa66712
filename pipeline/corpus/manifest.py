"""Manifest: the utterances of a corpus, in order, and those it refused.

In:   utterances from a reader.   Out: a JSON-lines file; its digest; slices of even length.
Not here: how a corpus lies on the disk (readers.py), sound (audio.py).
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from pipeline.corpus.text import ALPHABETS, Alphabet, quote_characters
from pipeline.files import InputError, write_bytes

MANIFEST_VERSION = 2
SLICE_SECONDS = 360.0  # one shard: about 12 MB of 80 float16 mel bins at 100 frames per second
MAX_SLICES = 512
MIN_UTTERANCES = 3  # utterances: one each for train, dev and test
MAX_CHARACTERS_SHOWN = 8  # characters in an error message

Split = Literal["train", "dev", "test"]
REQUIRED_SPLITS: tuple[Split, ...] = ("train", "dev")  # splits without which nothing is trained


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
    split_note: str = ""  # in words, what of its splits was drawn and how
    strict: bool = False  # whether one unusable utterance refuses the corpus
    # Of each file that was looked at: files that begin alike have one number.
    prefix_checksums: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def content(self) -> bytes:
        """A line of JSON per utterance."""
        names = [each.name for each in fields(Utterance)]  # asdict takes ten times as long
        records = ({name: getattr(each, name) for name in names} for each in self.utterances)
        encode = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps makes one for each line
        return "".join(f"{encode(each)}\n" for each in records).encode()

    @cached_property
    def digest(self) -> str:
        """Of the utterances alone: where they lie and what was refused change no frame."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def seconds(self) -> float:
        return math.fsum(utterance.seconds for utterance in self.utterances)

    @cached_property
    def slices(self) -> tuple[range, ...]:
        """Ranges of utterance indices, contiguous and none empty, of about SLICE_SECONDS each.

        A function of the utterances alone, so that an array's tasks and a laptop cut the same
        shards.
        """
        wanted = min(max(1, round(self.seconds / SLICE_SECONDS)), MAX_SLICES)
        starts: dict[int, int] = {}  # slice -> its first utterance
        elapsed = 0.0
        for index, utterance in enumerate(self.utterances):
            middle = elapsed + utterance.seconds / 2
            starts.setdefault(min(int(wanted * middle / self.seconds), wanted - 1), index)
            elapsed += utterance.seconds
        return _ranges_between([*starts.values(), len(self.utterances)])

    def slice(self, index: int) -> tuple[Utterance, ...]:
        utterances = self.slices[index]
        return self.utterances[utterances.start : utterances.stop]


@dataclass(frozen=True)
class ManifestFile:
    """A manifest on the disk, of which one slice at a time enters memory."""

    path: Path
    corpus: str
    root: Path
    digest: str
    slices: tuple[range, ...]  # bytes of the file
    utterance_count: int
    refusals: tuple[Refusal, ...]
    strict: bool

    @classmethod
    def open(cls, path: Path) -> "ManifestFile":
        total, edges, utterances = hashlib.sha256(), [], 0
        try:
            with path.open("rb") as file:
                header = json.loads(file.readline())
                if not isinstance(header, dict) or header.get("manifest") != MANIFEST_VERSION:
                    raise _damaged_manifest_error(
                        path, f"line 1 does not say manifest version {MANIFEST_VERSION}"
                    )
                starts, here = set(header["slices"]), file.tell()
                for line in file:
                    if utterances in starts:
                        edges.append(here)
                    total.update(line)
                    here += len(line)
                    utterances += 1
            return cls(
                path=path,
                corpus=header["corpus"],
                root=Path(header["root"]),
                digest=total.hexdigest(),
                slices=_ranges_between([*edges, here]),
                utterance_count=utterances,
                refusals=tuple(Refusal(**each) for each in header["refusals"]),
                strict=bool(header.get("strict")),
            )
        except FileNotFoundError:
            raise InputError(f"{path}: no such manifest; make features writes it") from None
        except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise _damaged_manifest_error(path, str(error)) from None

    def slice(self, index: int) -> tuple[Utterance, ...]:
        lines = self.slices[index]
        try:
            with self.path.open("rb") as file:
                file.seek(lines.start)
                records = map(json.loads, file.read(len(lines)).splitlines())
                return tuple(Utterance(**record) for record in records)
        except (TypeError, ValueError) as error:
            raise _damaged_manifest_error(self.path, str(error)) from None


def write_manifest(manifest: Manifest, path: Path) -> None:
    """JSON lines: a header with all but the utterances; then a line for each of them."""
    header = {
        "manifest": MANIFEST_VERSION,
        "corpus": manifest.corpus,
        "root": manifest.root.as_posix(),
        "strict": manifest.strict,
        "slices": [utterances.start for utterances in manifest.slices],
        "refusals": [asdict(refusal) for refusal in manifest.refusals],
    }
    write_bytes(path, json.dumps(header, ensure_ascii=False).encode() + b"\n" + manifest.content)


@runtime_checkable
class HasTranscript(Protocol):
    """An utterance, of a manifest or of a shard."""

    @property
    def id(self) -> str: ...
    @property
    def transcript(self) -> str: ...
    @property
    def split(self) -> str: ...


def require_trainable(utterances: Sequence[HasTranscript], alphabet: Alphabet) -> None:
    """Refuse what would only show up in the middle of an epoch."""
    require_enough_utterances(utterances)
    require_known_characters(utterances, alphabet)
    for name in REQUIRED_SPLITS:
        if not any(utterance.split == name for utterance in utterances):
            raise InputError(
                f"the corpus has no {name} utterances; choose another split in the corpus file"
            )


def require_no_refusals(corpus: str, refusals: Sequence[Refusal]) -> None:
    """Of a corpus that is strict."""
    if refusals:
        all_of_them = "; without strict: true all are named" if len(refusals) > 1 else ""
        raise InputError(
            f"{corpus} is strict, and {len(refusals)} of its utterances cannot be used; the "
            f"first: {refusals[0].utterance}: {refusals[0].reason}{all_of_them}"
        )


def require_enough_utterances(utterances: Sequence[HasTranscript]) -> None:
    """Refuse so few that they cannot be train, dev and test."""
    splits = {utterance.split for utterance in utterances}
    if len(utterances) < MIN_UTTERANCES and not {"train", "dev"} <= splits:
        raise InputError(
            f"too few utterances ({len(utterances)}): at least {MIN_UTTERANCES} are needed, one each for "
            "train, dev and test"
        )


def require_known_characters(utterances: Sequence[HasTranscript], alphabet: Alphabet) -> None:
    """Refuse characters that no output stands for."""
    odd = {u.id: found for u in utterances if (found := alphabet.unknown_characters(u.transcript))}
    if odd:
        every = "".join(sorted(set().union(*odd.values())))
        more = (
            f" and {len(every) - MAX_CHARACTERS_SHOWN} more"
            if len(every) > MAX_CHARACTERS_SHOWN
            else ""
        )
        raise InputError(
            f"{len(odd)} of {len(utterances)} transcripts have characters that the alphabet "
            f"{alphabet.name} lacks: {quote_characters(every[:MAX_CHARACTERS_SHOWN])}{more} (first in {next(iter(odd))})"
            f"; {_suggest_alphabet(every)}mend the transcripts, or list the utterances under exclude: "
            "in the corpus file"
        )


def _suggest_alphabet(characters: str) -> str:
    writes = [each.name for each in ALPHABETS.values() if not each.unknown_characters(characters)]
    return f"set alphabet: {writes[0]}, " if writes else f"none of {', '.join(ALPHABETS)} has all: "


def _ranges_between(edges: list[int]) -> tuple[range, ...]:
    return tuple(range(*edge) for edge in pairwise(edges))


def _damaged_manifest_error(path: Path, problem: str) -> InputError:
    return InputError(f"{path}: not a manifest: {problem}; delete it, make features rewrites it")
