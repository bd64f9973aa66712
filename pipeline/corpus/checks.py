"""Survey: what one wants to know of a corpus before training on it.

In:   a manifest; an alphabet.   Out: hours, speakers, and what looks wrong, as data.
Not here: what cannot be used at all (a manifest's refusals), printing it (jobs/).
"""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from io import FileIO
from statistics import median

from zlib_ng.zlib_ng import crc32

from pipeline.corpus.manifest import Manifest, Split, Utterance
from pipeline.corpus.text import Alphabet

SHORTEST, LONGEST = 0.1, 60.0  # seconds; beyond: no speech, or no memory
FASTEST = 40.0  # characters per second that nobody speaks
FAR = 5.0  # standard deviations of the logarithm of the pace, by the median's deviation
LEAST_SPREAD = 0.15  # of that logarithm, where all speak alike
FEWEST = 20  # utterances from which a spread can be told
ALIKE = 2**16  # bytes from the start of two files by which they are one


@dataclass(frozen=True, slots=True)
class Held:
    utterances: int
    seconds: float
    speakers: int | None  # None: not said


@dataclass(frozen=True, slots=True)
class Strange:
    utterance: str
    seconds: float
    pace: float  # characters per second


@dataclass(frozen=True, slots=True)
class Survey:
    splits: dict[Split, Held]
    shared_speakers: tuple[str, ...]  # in more than one split
    unknown: dict[str, int]  # character that the alphabet lacks -> utterances
    twice: tuple[tuple[str, str], ...]  # utterances of one sound: the first, another
    leaked: tuple[tuple[str, str], ...]  # those of them that are in two splits
    strange: tuple[Strange, ...]  # by their length or pace


def survey(manifest: Manifest, alphabet: Alphabet) -> Survey:
    twice = [pair for group in _same_sound(manifest) for pair in _pairs(group)]
    return Survey(
        splits=_splits(manifest.utterances),
        shared_speakers=_shared(manifest.utterances),
        unknown=_unknown(manifest.utterances, alphabet),
        twice=tuple((a.id, b.id) for a, b in twice),
        leaked=tuple((a.id, b.id) for a, b in twice if a.split != b.split),
        strange=_strange(manifest.utterances),
    )


def _splits(utterances: Sequence[Utterance]) -> dict[Split, Held]:
    parts: dict[Split, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for utterance in utterances:
        parts[utterance.split].append(utterance)
    said = any(_said(utterance) for utterance in utterances)
    return {
        split: Held(
            utterances=len(part),
            seconds=math.fsum(utterance.seconds for utterance in part),
            speakers=len({utterance.speaker for utterance in part}) if said else None,
        )
        for split, part in parts.items()
        if part
    }


def _said(utterance: Utterance) -> bool:
    """A reader that hears of no speaker gives each utterance its own."""
    return utterance.speaker != utterance.id


def _shared(utterances: Iterable[Utterance]) -> tuple[str, ...]:
    splits: dict[str, set[Split]] = defaultdict(set)
    for utterance in utterances:
        splits[utterance.speaker].add(utterance.split)
    return tuple(sorted(speaker for speaker, found in splits.items() if len(found) > 1))


def _unknown(utterances: Iterable[Utterance], alphabet: Alphabet) -> dict[str, int]:
    found: Counter[str] = Counter()
    for utterance in utterances:
        found.update(alphabet.unknown(utterance.transcript))
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def _same_sound(manifest: Manifest) -> list[list[Utterance]]:
    """Utterances of one stretch of one file; and of two files that begin with the same bytes.

    Of files, only those are opened whose utterances have one length, and which began alike when
    they were looked at; where nobody has, whose utterances have one transcript.
    """
    utterances, root = manifest.utterances, str(manifest.root)
    stretches = _groups((u, (u.audio, u.start, u.samples, u.channel)) for u in utterances)
    begins = manifest.beginnings
    alike = _groups(
        (u, (begins.get(u.audio, u.transcript), u.samples, u.rate, u.start, u.channel))
        for u in utterances
    )
    for group in (group for group in alike if len({u.audio for u in group}) > 1):
        copies = _groups((u, _beginning(os.path.join(root, u.audio))) for u in group)  # noqa: PTH118
        stretches += [copy for copy in copies if len({u.audio for u in copy}) > 1]
    return stretches


def _groups(keyed: Iterable[tuple[Utterance, Hashable]]) -> list[list[Utterance]]:
    groups: dict[Hashable, list[Utterance]] = defaultdict(list)
    for utterance, key in keyed:
        groups[key].append(utterance)
    return [group for group in groups.values() if len(group) > 1]


def _beginning(path: str) -> int:
    with FileIO(path) as file:
        return crc32(file.read(ALIKE))


def _pairs(group: Sequence[Utterance]) -> list[tuple[Utterance, Utterance]]:
    return [(group[0], other) for other in group[1:]]


def _strange(utterances: Sequence[Utterance]) -> tuple[Strange, ...]:
    """Too short, too long, too fast for speech; or far from the pace of this corpus."""
    paces = [len(u.transcript) / u.seconds for u in utterances]
    slowest, fastest = _band([math.log(pace) for pace in paces])
    return tuple(
        Strange(utterance.id, utterance.seconds, pace)
        for utterance, pace in zip(utterances, paces, strict=True)
        if not SHORTEST <= utterance.seconds <= LONGEST
        or not slowest <= math.log(pace) <= min(fastest, math.log(FASTEST))
    )


def _band(paces: Sequence[float]) -> tuple[float, float]:
    if len(paces) < FEWEST:
        return -math.inf, math.inf
    middle = median(paces)
    spread = 1.4826 * median(abs(pace - middle) for pace in paces)  # of a normal distribution
    width = FAR * max(spread, LEAST_SPREAD)
    return middle - width, middle + width
