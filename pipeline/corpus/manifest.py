"""Manifest: the usable utterances of a corpus, in order, and the refused ones.

In:   utterances from a reader.   Out: a JSON-lines file; its digest; slices of similar length.
Not here: the layouts on disk (readers.py, layouts/), audio (audio/).
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.corpus.text.alphabet import ALPHABETS, Alphabet, HasTranscript, quote_characters
from pipeline.files import InputError, atomic_write

# Seconds against characters of the transcripts. AN4 has 0.57, with transcripts exchanged 0.07.
MIN_LENGTH_CORRELATION = 0.2
MANIFEST_VERSION = 2
SLICE_SECONDS = 360.0  # one shard: about 12 MB of 80 float16 mel bins at 100 frames per second
MAX_SLICES = 512
MIN_UTTERANCES = 3  # one each for train, dev and test
MAX_CHARACTERS_SHOWN = 8  # in an error message

_quote = json.encoder.encode_basestring  # as json.dumps with ensure_ascii=False

Split = Literal["train", "dev", "test"]
REQUIRED_SPLITS: tuple[Split, ...] = ("train", "dev")  # for training


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A range of samples in an audio file and its transcript."""

    id: str
    audio: str  # posix path, relative to the root of the corpus
    samples: int  # length of the utterance, at the file's own rate
    rate: int  # Hz, of the file
    transcript: str  # normalised
    speaker: str
    split: Split
    start: int = 0  # first sample, at the file's own rate
    channel: int | None = None  # counted from 0; None: the mean of all

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


@dataclass(frozen=True, slots=True)
class Refusal:
    """An utterance that cannot be used."""

    utterance: str
    reason: str  # one line: the file, the problem, what to do


@dataclass(frozen=True)
class Manifest:
    """The utterances of a corpus."""

    corpus: str
    root: Path
    utterances: tuple[Utterance, ...]
    refusals: tuple[Refusal, ...] = ()
    split_note: str = ""  # which splits were drawn and how
    text_notes: tuple[str, ...] = ()  # what the normal form of the transcripts merged or dropped
    strict: bool = False  # whether a refusal is an error
    # Audio file -> checksum of its first bytes, the same for copies of a file.
    prefix_checksums: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    def lines(self) -> Iterator[bytes]:
        """Yield one line of JSON per utterance, as json.dumps, which takes much longer."""
        for u in self.utterances:
            channel = "null" if u.channel is None else u.channel
            yield (
                f'{{"id": {_quote(u.id)}, "audio": {_quote(u.audio)}, "samples": {u.samples}, '
                f'"rate": {u.rate}, "transcript": {_quote(u.transcript)}, '
                f'"speaker": {_quote(u.speaker)}, "split": "{u.split}", "start": {u.start}, '
                f'"channel": {channel}}}\n'
            ).encode()

    @property
    def digest(self) -> str:
        """SHA-256 of the utterances alone: root and refusals do not change the features."""
        return self._digest_and_size[0]

    @property
    def size(self) -> int:
        """The number of bytes of the lines."""
        return self._digest_and_size[1]

    @cached_property
    def _digest_and_size(self) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        for line in self.lines():
            digest.update(line)
            size += len(line)
        return digest.hexdigest(), size

    @cached_property
    def seconds(self) -> float:
        return math.fsum(utterance.seconds for utterance in self.utterances)

    @cached_property
    def slices(self) -> tuple[range, ...]:
        """Ranges of utterance indices, contiguous and not empty, of about SLICE_SECONDS each.

        The corpus is divided into slices of equal length; an utterance belongs to the slice that
        contains its midpoint. Depends on the utterances alone, so that every machine makes the same
        shards.
        """
        count = min(max(1, round(self.seconds / SLICE_SECONDS)), MAX_SLICES)
        starts: dict[int, int] = {}  # slice -> its first utterance
        elapsed = 0.0
        for index, utterance in enumerate(self.utterances):
            midpoint = elapsed + utterance.seconds / 2
            starts.setdefault(min(int(count * midpoint / self.seconds), count - 1), index)
            elapsed += utterance.seconds
        return _ranges_between([*starts.values(), len(self.utterances)])

    def slice(self, index: int) -> tuple[Utterance, ...]:
        utterances = self.slices[index]
        return self.utterances[utterances.start : utterances.stop]


class ManifestFile(NamedTuple):
    """A manifest on disk; one slice at a time is read into memory."""

    path: Path
    corpus: str
    root: Path
    digest: str
    slices: tuple[range, ...]  # byte ranges of the file
    utterance_count: int
    refusals: tuple[Refusal, ...]
    strict: bool

    @classmethod
    def open(cls, path: Path) -> "ManifestFile":
        """Read the header and the digest. Raises InputError if the header is damaged."""
        digest, edges, count = hashlib.sha256(), [], 0
        try:
            with path.open("rb") as file:
                header = json.loads(file.readline())
                if not isinstance(header, dict) or header.get("manifest") != MANIFEST_VERSION:
                    raise _damaged_manifest_error(
                        path, f"line 1 is not the header of manifest version {MANIFEST_VERSION}"
                    )
                starts, position = set(header["slices"]), file.tell()
                for line in file:
                    if count in starts:
                        edges.append(position)
                    digest.update(line)
                    position += len(line)
                    count += 1
            return cls(
                path=path,
                corpus=header["corpus"],
                root=Path(header["root"]),
                digest=digest.hexdigest(),
                slices=_ranges_between([*edges, position]),
                utterance_count=count,
                refusals=tuple(Refusal(**each) for each in header["refusals"]),
                strict=bool(header.get("strict")),
            )
        except FileNotFoundError:
            raise InputError(f"{path}: no such manifest; run make features to write it") from None
        except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise _damaged_manifest_error(path, str(error)) from None

    def slice(self, index: int) -> tuple[Utterance, ...]:
        """Read one slice. Raises InputError if a line is damaged."""
        bytes_range = self.slices[index]
        try:
            with self.path.open("rb") as file:
                file.seek(bytes_range.start)
                records = map(json.loads, file.read(len(bytes_range)).splitlines())
                return tuple(Utterance(**record) for record in records)
        except (TypeError, ValueError) as error:
            raise _damaged_manifest_error(self.path, str(error)) from None


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write JSON lines: a header with everything else, then one line per utterance.

    Nothing is written if the file is there: `path` has the digest of the utterances in its name.
    """
    content = {
        "manifest": MANIFEST_VERSION,
        "corpus": manifest.corpus,
        "root": manifest.root.as_posix(),
        "strict": manifest.strict,
        "slices": [utterances.start for utterances in manifest.slices],
        "refusals": [asdict(refusal) for refusal in manifest.refusals],
    }
    header = json.dumps(content, ensure_ascii=False).encode() + b"\n"
    if _is_written(path, header, manifest.size):
        return
    with atomic_write(path) as partial, partial.open("wb") as file:
        file.write(header)
        file.writelines(manifest.lines())


def _is_written(path: Path, header: bytes, size: int) -> bool:
    try:
        with path.open("rb") as file:
            return file.readline() == header and path.stat().st_size == len(header) + size
    except OSError:
        return False


def require_trainable(utterances: Sequence[HasTranscript], alphabet: Alphabet) -> None:
    """Raise InputError for a corpus with which a run would fail later, in the middle of an epoch.

    It needs enough utterances, a train and a dev split, and no character outside the alphabet.
    """
    require_enough_utterances(utterances)
    require_known_characters(utterances, alphabet)
    for name in REQUIRED_SPLITS:
        if not any(utterance.split == name for utterance in utterances):
            raise InputError(
                f"the corpus has no {name} utterances; choose another split: in the corpus file"
            )


def require_no_refusals(corpus: str, refusals: Sequence[Refusal]) -> None:
    """Raise InputError with the first refusal of a corpus that is strict."""
    if refusals:
        hint = "; remove strict: true to see all of them" if len(refusals) > 1 else ""
        raise InputError(
            f"{corpus} is strict, and {len(refusals)} of its utterances cannot be used; the "
            f"first: {refusals[0].utterance}: {refusals[0].reason}{hint}"
        )


def require_enough_utterances(utterances: Sequence[HasTranscript]) -> None:
    """Raise InputError if there are too few utterances for train, dev and test."""
    splits = {utterance.split for utterance in utterances}
    if len(utterances) < MIN_UTTERANCES and not {"train", "dev"} <= splits:
        raise InputError(
            f"too few utterances ({len(utterances)}): at least {MIN_UTTERANCES} are needed, one "
            "each for train, dev and test"
        )


def require_known_characters(utterances: Sequence[HasTranscript], alphabet: Alphabet) -> None:
    """Raise InputError if a transcript has a letter that the alphabet lacks and does not skip."""
    if alphabet.skips_unknown:
        return
    unknown = {u.id: found for u in utterances if (found := alphabet.unknown_units(u.transcript))}
    if unknown:
        characters = sorted(set().union(*unknown.values()))
        shown = quote_characters(characters[:MAX_CHARACTERS_SHOWN])
        if len(characters) > MAX_CHARACTERS_SHOWN:
            shown += f" and {len(characters) - MAX_CHARACTERS_SHOWN} more"
        raise InputError(
            f"{len(unknown)} of {len(utterances)} transcripts have characters that the alphabet "
            f"{alphabet.name} lacks: {shown} (first in {next(iter(unknown))}); "
            f"{_suggest_alphabet(characters)}correct the transcripts, or list the utterances under "
            "exclude: in the corpus file"
        )


def _suggest_alphabet(characters: Sequence[str]) -> str:
    """Return the hint to set the first alphabet that has all `characters`."""
    for alphabet in ALPHABETS.values():
        if alphabet.classes.keys() >= set(characters):
            return f"set alphabet: {alphabet.name}, "
    return "set alphabet: corpus (and the language: of the corpus file), "


def _ranges_between(edges: list[int]) -> tuple[range, ...]:
    """Return the range from each edge to the next."""
    return tuple(range(*edge) for edge in pairwise(edges))


def _damaged_manifest_error(path: Path, problem: str) -> InputError:
    return InputError(f"{path}: not a manifest: {problem}; delete it and run make features")
