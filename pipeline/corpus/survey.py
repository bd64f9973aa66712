"""Survey of a corpus: its sound decoded, its characters counted, before features are computed.

In:   a manifest.   Out: levels of utterances, equal sound, characters, scripts.
Not here: checks that need no decoding (checks.py), printing (jobs/), drawing (results/figures/).
"""

import math
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
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
COMPARED_SAMPLES = 4096  # from the middle of utterances of the same length
LOSSY_SUFFIXES = (".mp3", ".ogg", ".oga", ".opus")
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
    meter, total, squares, clipped, count = LevelMeter(), 0.0, 0.0, 0, 0
    path = os.path.join(manifest.root, utterance.audio)  # noqa: PTH118 (as in precompute)
    for _, block in reader.blocks(path, utterance.start, utterance.samples, utterance.channel):
        meter.add(block)
        wide = block.astype(np.float64)
        total, squares = total + float(wide.sum()), squares + float(wide @ wide)
        clipped += int((np.abs(block) >= CLIPPED_LEVEL).sum())
        count += len(block)
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
        digest=meter.digest,
    )


def find_equal_sound(
    manifest: Manifest, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[tuple[Utterance, Utterance]]:
    """Return pairs of utterances with the same samples, in whatever files they are; no silence.

    Of those that are equally long a part is decoded, and all of those whose parts are equal.
    Lossy formats are left out: copies of a file are found without decoding (checks.py), and no
    other file has the same samples.
    """
    lengths = Counter((u.samples, u.rate) for u in manifest.utterances)
    candidates = [
        u
        for u in manifest.utterances
        if lengths[u.samples, u.rate] > 1 and not u.audio.lower().endswith(LOSSY_SUFFIXES)
    ]
    parts: defaultdict[tuple[int, int, int], list[Utterance]] = defaultdict(list)
    pairs: list[tuple[Utterance, Utterance]] = []
    with AudioReader() as reader:
        for number, u in enumerate(candidates, start=1):
            part = min(u.samples, COMPARED_SAMPLES)
            middle = replace(u, start=u.start + (u.samples - part) // 2, samples=part)
            with suppress(InputError):  # it is refused when all is decoded
                digest = _measure(manifest, reader, middle).digest
                parts[u.samples, u.rate, digest].append(u)
            if number % 500 == 0:
                progress(number, len(candidates))
        for group in parts.values():
            if len(group) > 1:
                pairs += _equal_pairs(manifest, reader, group)
    return pairs


def _equal_pairs(
    manifest: Manifest, reader: AudioReader, utterances: Sequence[Utterance]
) -> Iterator[tuple[Utterance, Utterance]]:
    first: dict[int, Utterance] = {}
    for utterance in utterances:
        with suppress(InputError):
            sound = _measure(manifest, reader, utterance)
            if not sound.problem and first.setdefault(sound.digest, utterance) is not utterance:
                yield first[sound.digest], utterance


def count_characters(utterances: Sequence[Utterance], units: str = "characters") -> Counter[str]:
    """Return character, or phoneme, -> number of times in all transcripts."""
    counts: Counter[str] = Counter()
    for utterance in utterances:
        text = utterance.transcript
        counts.update(text.split() if units == "phonemes" else text)
    return counts


def count_scripts(characters: Counter[str]) -> Counter[str]:
    """Return script -> number of letters, such as Latin or Devanagari."""
    counts: Counter[str] = Counter()
    for character, number in characters.items():
        if character.isalpha():
            counts[unicodedata.name(character, "unknown").split(maxsplit=1)[0].title()] += number
    return counts
