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

MIN_SPEECH_S, MAX_SPEECH_S = 0.1, 60.0  # seconds; beyond: no speech, or no memory
MAX_CHARACTERS_PER_S = 40.0  # characters per second that nobody speaks
OUTLIER_DEVIATIONS = (
    5.0  # standard deviations of the logarithm of the pace, by the median's deviation
)
MIN_LOG_PACE_DEVIATION = 0.15  # of that logarithm, where all speak alike
MIN_UTTERANCES_FOR_OUTLIERS = 20  # utterances from which a spread can be told
COMPARED_BYTES = 2**16  # bytes from the start of two files by which they are one


@dataclass(frozen=True, slots=True)
class SplitStats:
    utterances: int
    seconds: float
    speakers: int | None  # None: not said


@dataclass(frozen=True, slots=True)
class DurationOutlier:
    utterance: str
    seconds: float
    characters_per_second: float  # characters per second


@dataclass(frozen=True, slots=True)
class CorpusChecks:
    splits: dict[Split, SplitStats]
    shared_speakers: tuple[str, ...]  # in more than one split
    unknown_character_counts: dict[str, int]  # character that the alphabet lacks -> utterances
    duplicates: tuple[tuple[str, str], ...]  # utterances of one sound: the first, another
    cross_split_duplicates: tuple[tuple[str, str], ...]  # those of them that are in two splits
    duration_outliers: tuple[DurationOutlier, ...]  # by their length or pace


def check_corpus(manifest: Manifest, alphabet: Alphabet) -> CorpusChecks:
    twice = [pair for group in _find_duplicates(manifest) for pair in _pair_with_first(group)]
    return CorpusChecks(
        splits=_split_stats(manifest.utterances),
        shared_speakers=_speakers_in_several_splits(manifest.utterances),
        unknown_character_counts=_count_unknown_characters(manifest.utterances, alphabet),
        duplicates=tuple((a.id, b.id) for a, b in twice),
        cross_split_duplicates=tuple((a.id, b.id) for a, b in twice if a.split != b.split),
        duration_outliers=_find_duration_outliers(manifest.utterances),
    )


def _split_stats(utterances: Sequence[Utterance]) -> dict[Split, SplitStats]:
    parts: dict[Split, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for utterance in utterances:
        parts[utterance.split].append(utterance)
    said = any(_has_speaker(utterance) for utterance in utterances)
    return {
        split: SplitStats(
            utterances=len(part),
            seconds=math.fsum(utterance.seconds for utterance in part),
            speakers=len({utterance.speaker for utterance in part}) if said else None,
        )
        for split, part in parts.items()
        if part
    }


def _has_speaker(utterance: Utterance) -> bool:
    """A reader that hears of no speaker gives each utterance its own."""
    return utterance.speaker != utterance.id


def _speakers_in_several_splits(utterances: Iterable[Utterance]) -> tuple[str, ...]:
    splits: dict[str, set[Split]] = defaultdict(set)
    for utterance in utterances:
        splits[utterance.speaker].add(utterance.split)
    return tuple(sorted(speaker for speaker, found in splits.items() if len(found) > 1))


def _count_unknown_characters(
    utterances: Iterable[Utterance], alphabet: Alphabet
) -> dict[str, int]:
    found: Counter[str] = Counter()
    for utterance in utterances:
        found.update(alphabet.unknown_characters(utterance.transcript))
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def _find_duplicates(manifest: Manifest) -> list[list[Utterance]]:
    """Utterances of one stretch of one file; and of two files that begin with the same bytes.

    Of files, only those are opened whose utterances have one length, and which began alike when
    they were looked at; where nobody has, whose utterances have one transcript.
    """
    utterances, root = manifest.utterances, str(manifest.root)
    stretches = _group_by_key((u, (u.audio, u.start, u.samples, u.channel)) for u in utterances)
    begins = manifest.prefix_checksums
    alike = _group_by_key(
        (u, (begins.get(u.audio, u.transcript), u.samples, u.rate, u.start, u.channel))
        for u in utterances
    )
    for group in (group for group in alike if len({u.audio for u in group}) > 1):
        copies = _group_by_key((u, _prefix_checksum(os.path.join(root, u.audio))) for u in group)  # noqa: PTH118
        stretches += [copy for copy in copies if len({u.audio for u in copy}) > 1]
    return stretches


def _group_by_key(
    utterances_with_keys: Iterable[tuple[Utterance, Hashable]],
) -> list[list[Utterance]]:
    groups: dict[Hashable, list[Utterance]] = defaultdict(list)
    for utterance, key in utterances_with_keys:
        groups[key].append(utterance)
    return [group for group in groups.values() if len(group) > 1]


def _prefix_checksum(path: str) -> int:
    with FileIO(path) as file:
        return crc32(file.read(COMPARED_BYTES))


def _pair_with_first(group: Sequence[Utterance]) -> list[tuple[Utterance, Utterance]]:
    return [(group[0], other) for other in group[1:]]


def _find_duration_outliers(utterances: Sequence[Utterance]) -> tuple[DurationOutlier, ...]:
    """Too short, too long, too fast for speech; or far from the pace of this corpus."""
    paces = [len(u.transcript) / u.seconds for u in utterances]
    slowest, fastest = _log_pace_limits([math.log(pace) for pace in paces])
    return tuple(
        DurationOutlier(utterance.id, utterance.seconds, pace)
        for utterance, pace in zip(utterances, paces, strict=True)
        if not MIN_SPEECH_S <= utterance.seconds <= MAX_SPEECH_S
        or not slowest <= math.log(pace) <= min(fastest, math.log(MAX_CHARACTERS_PER_S))
    )


def _log_pace_limits(paces: Sequence[float]) -> tuple[float, float]:
    if len(paces) < MIN_UTTERANCES_FOR_OUTLIERS:
        return -math.inf, math.inf
    middle = median(paces)
    spread = 1.4826 * median(abs(pace - middle) for pace in paces)  # of a normal distribution
    width = OUTLIER_DEVIATIONS * max(spread, MIN_LOG_PACE_DEVIATION)
    return middle - width, middle + width
