"""Lines about the sound of corpora: sampling rates, recordings that are suspicious or equal.

In:   manifests, feature settings, lists beside shards.   Out: lines.
Not here: measuring (pipeline/corpus/levels.py), other lines about corpora (corpora.py).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from jobs.messages import count_text, join_first
from pipeline.config.features import FeatureSettings
from pipeline.corpus.equal_sound import UtterancePair
from pipeline.corpus.levels import SOUND_PROBLEMS, read_suspicious
from pipeline.corpus.manifest import Manifest


def rate_lines(manifest: Manifest, settings: Iterable[FeatureSettings]) -> Iterator[str]:
    """Yield a line for each wanted rate that some audio does not have."""
    counts = Counter(utterance.rate for utterance in manifest.utterances)
    seen = set()
    for each in settings:
        if each.sample_rate in seen or set(counts) <= {each.sample_rate}:
            continue
        seen.add(each.sample_rate)
        parts = [_rate_text(rate, counts[rate], each.sample_rate) for rate in sorted(counts)]
        yield f"sampling rates: {'; '.join(parts)}{_empty_band_text(min(counts), each)}"


def _rate_text(rate: int, utterances: int, wanted: int) -> str:
    done = "as they are" if rate == wanted else f"resampled to {wanted} Hz"
    return f"{rate} Hz in {count_text(utterances, 'utterance')}, {done}"


def _empty_band_text(lowest: int, settings: FeatureSettings) -> str:
    """Return what recordings with a lower rate lack, and what to type."""
    if lowest >= settings.sample_rate:
        return ""
    if settings.spectrum == "mel":
        empty = sum(edge >= lowest / 2 for edge in settings.mel_edges_hz[: settings.mel_bins])
    else:
        step = settings.sample_rate / settings.n_fft
        empty = sum(step * bin_ > lowest / 2 for bin_ in range(settings.bins))
    return (
        f"; audio at {lowest} Hz has nothing above {lowest / 2:g} Hz, which leaves {empty} of "
        f"{settings.bins} bins empty: set features.sample_rate: {lowest}"
    )


def suspicious_lines(folders: Iterable[Path]) -> list[str]:
    """Return a line for each kind of suspicious sound that these feature sets list."""
    found = read_suspicious(folders)
    lines = []
    for kind, problem in SOUND_PROBLEMS.items():
        names = [each.utterance for each in found if each.kind == kind]
        if names:
            number = count_text(len(names), "utterance")
            lines.append(f"suspicious sound: {problem}: {number}: {join_first(names)}")
    return lines


def equal_sound_lines(pairs: Sequence[UtterancePair]) -> list[str]:
    """Return a line that counts the pairs with the same sound; it names those in two splits."""
    if not pairs:
        return []
    across = [f"{a.id} = {b.id}" for a, b in pairs if a.split != b.split]
    named = across or [f"{a.id} = {b.id}" for a, b in pairs]
    splits = f", {len(across)} in two splits" if across else ""
    return [f"the same sound: {count_text(len(pairs), 'pair')}{splits}: {join_first(named)}"]
