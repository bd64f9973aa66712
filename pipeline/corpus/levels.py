"""Levels of the sound of utterances, and what about them is suspicious.

In:   blocks of samples.   Out: which utterances are silent, constant, cancelled or scaled wrongly;
a file that lists them beside the shards of a slice; a digest of the samples.
Not here: decoding (audio/), who measures (features/precompute.py), printing (jobs/display/), what
digests are compared for (equal_sound.py).
"""

import json
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from zlib_ng.zlib_ng import crc32

from pipeline.files import write_text
from pipeline.shapes import Float32

STEP = 1 / 32768  # of 16-bit samples, at full scale 1
MAX_SILENT_STEPS = 2  # dither and rounding
MAX_PLAUSIBLE_PEAK = 16.0  # times full scale; floats that are 16-bit integers have thousands

SOUND_PROBLEMS = {  # kind of suspicious sound -> what it is
    "silent": "silent, all samples are zero",
    "constant": "the same value in all samples",
    "cancelled": "silent, because the channels cancel each other; choose one channel in the list",
    "scaled": f"more than {MAX_PLAUSIBLE_PEAK:g} times full scale, like float samples in the scale "
    "of 16-bit integers; divide them by 32768",
}


class SuspiciousSound(NamedTuple):
    utterance: str
    kind: str  # a key of SOUND_PROBLEMS


class LevelMeter:
    """The range and the digest of the samples that were added."""

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self.digest = 0  # CRC-32, the same for the same samples in any blocks

    def add(self, block: Float32[np.ndarray, " N"]) -> None:
        if len(block):
            self.digest = crc32(block, self.digest)
            self.low = min(self.low, float(block.min()))
            self.high = max(self.high, float(block.max()))

    @property
    def problem(self) -> str:
        """The kind of suspicious sound, or ""; silence may be that of channels that cancel."""
        if self.high < self.low:
            return ""
        peak = max(-self.low, self.high)
        if peak <= MAX_SILENT_STEPS * STEP:
            return "silent"
        if self.high - self.low <= MAX_SILENT_STEPS * STEP:
            return "constant"
        return "scaled" if peak > MAX_PLAUSIBLE_PEAK else ""


def write_suspicious(
    folder: Path, index: int, count: int, found: Sequence[SuspiciousSound]
) -> None:
    """List the suspicious sound of slice `index` of `count` beside its shard, if there is any."""
    path = folder / f"suspicious-{index:05d}-of-{count:05d}.jsonl"
    if found:
        lines = (json.dumps(each, ensure_ascii=False) for each in found)
        write_text(path, "".join(f"{line}\n" for line in lines))
    else:
        path.unlink(missing_ok=True)


def read_suspicious(folders: Iterable[Path]) -> list[SuspiciousSound]:
    """Return what was listed in the folders of feature sets, each utterance once."""
    found: dict[SuspiciousSound, None] = {}
    for folder in folders:
        for path in sorted(folder.glob("suspicious-*.jsonl")):
            with suppress(OSError, ValueError, TypeError):  # a note, without which all goes on
                for line in path.read_text(encoding="utf-8").splitlines():
                    found[SuspiciousSound(*json.loads(line))] = None
    return [each for each in found if each.kind in SOUND_PROBLEMS]
