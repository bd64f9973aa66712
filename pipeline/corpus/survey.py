"""Survey of a corpus: its sound decoded, its characters counted, before features are computed.

In:   a manifest.   Out: levels of utterances, equal sound, characters, scripts.
Not here: checks that need no decoding (checks.py), printing (jobs/), drawing (results/figures/).
"""

import math
import os
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.corpus.audio.resample import AudioReader
from pipeline.corpus.levels import LevelMeter
from pipeline.corpus.manifest import Manifest, Refusal, Utterance
from pipeline.files import InputError

MAX_MEASURED = 5000  # utterances, evenly spaced
CLIPPED_LEVEL = 0.999  # of full scale
MIN_CLIPPED_SHARE = 0.001  # of the samples
MIN_OFFSET = 0.01  # mean of the samples, full scale 1
QUIET_DB = -40.0  # peak, below full scale


@dataclass(frozen=True, slots=True)
class UtteranceSound:
    """The sound of an utterance; full scale is 1."""

    utterance: str
    peak: float
    power: float  # mean square
    offset: float  # mean
    clipped: float  # share of the samples at full scale
    problem: str  # a key of levels.SOUND_PROBLEMS, or ""
    digest: int  # the same for the same samples

    @property
    def peak_db(self) -> float:
        return 20 * math.log10(max(self.peak, 1e-6))

    @property
    def is_clipped(self) -> bool:
        return not self.problem and self.clipped >= MIN_CLIPPED_SHARE

    @property
    def has_offset(self) -> bool:
        return not self.problem and abs(self.offset) >= MIN_OFFSET

    @property
    def is_quiet(self) -> bool:
        return not self.problem and self.peak_db < QUIET_DB


def measure_sound(
    manifest: Manifest, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[UtteranceSound], list[Refusal]]:
    """Decode at most MAX_MEASURED utterances; return their sound, and those that cannot be decoded.

    `progress` gets the number that is done, and of all.
    """
    step = max(1, -(-len(manifest.utterances) // MAX_MEASURED))
    chosen = manifest.utterances[::step]
    found, refusals = [], []
    with AudioReader() as reader:
        for number, utterance in enumerate(chosen, start=1):
            try:
                found.append(_measure(manifest, reader, utterance))
            except InputError as error:
                refusals.append(Refusal(utterance.id, str(error)))
            if number % 50 == 0:
                progress(number, len(chosen))
    return found, refusals


def _measure(manifest: Manifest, reader: AudioReader, utterance: Utterance) -> UtteranceSound:
    meter, total, squares, clipped, count, digest = LevelMeter(), 0.0, 0.0, 0, 0, 0
    path = os.path.join(manifest.root, utterance.audio)  # noqa: PTH118 (as in precompute)
    for _, block in reader.blocks(path, utterance.start, utterance.samples, utterance.channel):
        meter.add(block)
        wide = block.astype(np.float64)
        total, squares = total + float(wide.sum()), squares + float(wide @ wide)
        clipped += int((np.abs(block) >= CLIPPED_LEVEL).sum())
        count, digest = count + len(block), zlib.crc32(block.tobytes(), digest)
    problem = meter.problem
    if problem == "silent" and utterance.channel is None:
        first = _measure(manifest, reader, replace(utterance, channel=0))
        problem = "silent" if first.problem == "silent" else "cancelled"
    return UtteranceSound(
        utterance=utterance.id,
        peak=max(-meter.low, meter.high),
        power=squares / count,
        offset=total / count,
        clipped=clipped / count,
        problem=problem,
        digest=digest,
    )


def equal_sound(sounds: Sequence[UtteranceSound]) -> list[tuple[str, str]]:
    """Return pairs of utterances with the same samples, whatever their files are; no silence."""
    first: dict[tuple[int, float, float], str] = {}
    pairs = []
    for each in sounds:
        key = (each.digest, each.power, each.peak)
        if not each.problem and first.setdefault(key, each.utterance) != each.utterance:
            pairs.append((first[key], each.utterance))
    return pairs


def count_characters(utterances: Sequence[Utterance]) -> Counter[str]:
    """Return character -> number of times in all transcripts."""
    counts: Counter[str] = Counter()
    for utterance in utterances:
        counts.update(utterance.transcript)
    return counts


def count_scripts(characters: Counter[str]) -> Counter[str]:
    """Return script -> number of letters, such as Latin or Devanagari."""
    counts: Counter[str] = Counter()
    for character, number in characters.items():
        if character.isalpha():
            counts[unicodedata.name(character, "unknown").split(maxsplit=1)[0].title()] += number
    return counts
