"""Checks of a corpus before training: its size, and what looks wrong.

In:   a manifest, an alphabet.   Out: seconds and speakers per split; shared speakers, unknown
characters, duplicates, unusual durations.
Not here: unusable utterances (the manifest's refusals), printing (jobs/display/corpora.py).
"""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache
from io import FileIO
from typing import NamedTuple

import numpy as np
from zlib_ng.zlib_ng import crc32

from pipeline.corpus.manifest import MIN_LENGTH_CORRELATION, Manifest, Split, Utterance
from pipeline.corpus.text.alphabet import Alphabet
from pipeline.shapes import Float64

# Shorter audio can hardly hold speech; longer audio may not fit into memory.
MIN_SPEECH_S, MAX_SPEECH_S = 0.1, 60.0
MAX_CHARACTERS_PER_S = 40.0  # faster than anyone speaks
OUTLIER_DEVIATIONS = 5.0  # robust standard deviations of the log of characters per second
MIN_LOG_PACE_DEVIATION = 0.15  # lower limit of that standard deviation
MIN_UTTERANCES_FOR_OUTLIERS = 20  # with fewer no standard deviation is estimated
MIN_UTTERANCES_FOR_CORRELATION = 100
MIN_JOINED_CHARACTERS = 12  # mean of the transcripts; shorter ones may be single words
MIN_LENGTH_VARIATION = 0.1  # standard deviation of the seconds / their mean
COMPARED_BYTES = 2**16  # files that start with the same bytes are duplicates


class SplitStats(NamedTuple):
    """The size of a split."""

    utterances: int
    seconds: float
    speakers: int | None  # None: the corpus names no speakers


class DurationOutlier(NamedTuple):
    """An utterance with an unusual length or speaking rate."""

    utterance: str
    seconds: float
    characters_per_second: float


class CorpusChecks(NamedTuple):
    """The results of `check_corpus`."""

    splits: dict[Split, SplitStats]
    shared_speakers: tuple[str, ...]  # in more than one split
    unknown_character_counts: dict[str, int]  # character outside the alphabet -> utterances
    duplicates: tuple[tuple[str, str], ...]  # pairs of utterances with the same audio
    cross_split_duplicates: tuple[tuple[str, str], ...]  # those pairs that are in two splits
    duration_outliers: tuple[DurationOutlier, ...]
    only_transcript: str | None  # that of every training utterance; None: they differ
    length_correlation: float  # of seconds and characters over train; nan: not known
    has_joined_words: bool  # no training transcript has a space, and they are too long for words

    @property
    def has_other_transcripts(self) -> bool:
        """Whether the transcripts of train are probably those of other recordings."""
        return self.length_correlation < MIN_LENGTH_CORRELATION

    @property
    def has_no_meaningful_rate(self) -> bool:
        """Whether an error rate on this corpus probably says nothing about other recordings."""
        one_text = self.only_transcript is not None
        return one_text or self.has_other_transcripts or bool(self.cross_split_duplicates)


def check_corpus(manifest: Manifest, alphabet: Alphabet) -> CorpusChecks:
    """Count the splits and find what looks wrong; duplicates may need to open audio files."""
    pairs = [pair for group in _find_duplicates(manifest) for pair in _pair_with_first(group)]
    return CorpusChecks(
        splits=_split_stats(manifest.utterances),
        shared_speakers=_speakers_in_several_splits(manifest.utterances),
        unknown_character_counts=_count_unknown_characters(manifest.utterances, alphabet),
        duplicates=tuple((a.id, b.id) for a, b in pairs),
        cross_split_duplicates=tuple((a.id, b.id) for a, b in pairs if a.split != b.split),
        duration_outliers=_find_duration_outliers(manifest.utterances, alphabet),
        only_transcript=_only_transcript(manifest.utterances),
        length_correlation=_length_correlation(manifest.utterances, alphabet),
        has_joined_words=_has_joined_words(manifest.utterances, alphabet),
    )


def _split_stats(utterances: Sequence[Utterance]) -> dict[Split, SplitStats]:
    parts: dict[Split, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for utterance in utterances:
        parts[utterance.split].append(utterance)
    has_speakers = any(_has_speaker(utterance) for utterance in utterances)
    return {
        split: SplitStats(
            utterances=len(part),
            seconds=math.fsum(utterance.seconds for utterance in part),
            speakers=len({utterance.speaker for utterance in part}) if has_speakers else None,
        )
        for split, part in parts.items()
        if part
    }


def _only_transcript(utterances: Iterable[Utterance]) -> str | None:
    texts = [utterance.transcript for utterance in utterances if utterance.split == "train"]
    return texts[0] if len(texts) > 1 and len(set(texts)) == 1 else None


def _has_joined_words(utterances: Iterable[Utterance], alphabet: Alphabet) -> bool:
    """Whether spaces are missing, where the alphabet has one."""
    texts = [utterance.transcript for utterance in utterances if utterance.split == "train"]
    if not texts or " " not in alphabet.units or any(" " in text for text in texts):
        return False
    return sum(map(len, texts)) >= MIN_JOINED_CHARACTERS * len(texts)


def _length_correlation(utterances: Iterable[Utterance], alphabet: Alphabet) -> float:
    train = [utterance for utterance in utterances if utterance.split == "train"]
    seconds = np.fromiter((each.seconds for each in train), float, len(train))
    characters = np.fromiter((alphabet.count(u.transcript) for u in train), float, len(train))
    return correlate_lengths(seconds, characters)


def correlate_lengths(
    durations: Float64[np.ndarray, " N"], characters: Float64[np.ndarray, " N"]
) -> float:
    """Return the correlation of the lengths of recordings and of their transcripts.

    It is nan for few utterances, and for recordings that all have about the same length.
    """
    if len(durations) < MIN_UTTERANCES_FOR_CORRELATION or np.ptp(characters) == 0:
        return math.nan
    if durations.std() < MIN_LENGTH_VARIATION * durations.mean():
        return math.nan
    return float(np.corrcoef(durations, characters)[0, 1])


def _has_speaker(utterance: Utterance) -> bool:
    """Readers use the utterance id where the corpus names no speaker."""
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
        found.update(alphabet.unknown_units(utterance.transcript))
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _find_duplicates(manifest: Manifest) -> list[list[Utterance]]:
    """Return groups of utterances with the same range of one file, or of copies of a file.

    Few files are opened: only those whose utterances have the same range and whose first bytes had
    the same checksum when the manifest was built (or, without checksums, the same transcript).
    """
    utterances, root = manifest.utterances, str(manifest.root)
    duplicates = _group_by_key(utterances, lambda u: (u.audio, u.start, u.samples, u.channel))
    checksums = manifest.prefix_checksums
    candidates = _group_by_key(
        utterances,
        lambda u: (checksums.get(u.audio, u.transcript), u.samples, u.rate, u.start, u.channel),
    )
    checksum = cache(lambda name: _prefix_checksum(os.path.join(root, name)))  # noqa: PTH118
    for group in filter(_has_several_files, candidates):
        copies = _group_by_key(group, lambda u: checksum(u.audio))
        duplicates += filter(_has_several_files, copies)
    return duplicates


def _has_several_files(utterances: Iterable[Utterance]) -> bool:
    return len({utterance.audio for utterance in utterances}) > 1


def _group_by_key(
    utterances: Sequence[Utterance], key: Callable[[Utterance], Hashable]
) -> list[list[Utterance]]:
    """Return the utterances that share their key with others; few do, and the rest need no list."""
    hashes = np.fromiter((hash(key(each)) for each in utterances), np.int64, len(utterances))
    values, counts = np.unique(hashes, return_counts=True)
    groups: dict[Hashable, list[Utterance]] = defaultdict(list)
    for index in np.flatnonzero(np.isin(hashes, values[counts > 1])).tolist():
        groups[key(utterances[index])].append(utterances[index])
    return [group for group in groups.values() if len(group) > 1]


def _prefix_checksum(path: str) -> int:
    with FileIO(path) as file:
        return crc32(file.read(COMPARED_BYTES))


def _pair_with_first(group: Sequence[Utterance]) -> list[tuple[Utterance, Utterance]]:
    return [(group[0], other) for other in group[1:]]


def _find_duration_outliers(
    utterances: Sequence[Utterance], alphabet: Alphabet
) -> tuple[DurationOutlier, ...]:
    """Find utterances too short, long or fast for speech, or unusually slow or fast here."""
    count = len(utterances)
    seconds = np.fromiter((u.seconds for u in utterances), float, count)
    paces = np.fromiter((alphabet.count(u.transcript) for u in utterances), float, count) / seconds
    slowest, fastest = _log_pace_limits(np.log(paces))
    fastest = min(fastest, math.log(MAX_CHARACTERS_PER_S))
    usual = (seconds >= MIN_SPEECH_S) & (seconds <= MAX_SPEECH_S)
    usual &= (np.log(paces) >= slowest) & (np.log(paces) <= fastest)
    return tuple(
        DurationOutlier(utterances[index].id, float(seconds[index]), float(paces[index]))
        for index in np.flatnonzero(~usual).tolist()
    )


def _log_pace_limits(paces: Float64[np.ndarray, " N"]) -> tuple[float, float]:
    """Return the lowest and the highest usual value of these logarithms."""
    if len(paces) < MIN_UTTERANCES_FOR_OUTLIERS:
        return -math.inf, math.inf
    middle = _median(paces)
    # 1.4826 times the median absolute deviation is a normal distribution's standard deviation.
    spread = 1.4826 * _median(np.abs(paces - middle))
    width = OUTLIER_DEVIATIONS * max(spread, MIN_LOG_PACE_DEVIATION)
    return middle - width, middle + width


def _median(values: Float64[np.ndarray, " N"]) -> float:
    """Return the median; `np.median` imports numpy.ma, which takes 20 ms of each command."""
    ordered, half = np.sort(values), len(values) // 2
    return float(ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2)
