"""Refused: what of the corpora of a sweep could not be used, and why.

In:   their manifests and the folders of their feature sets, as much of them as is there.
Out:  of each corpus how many utterances it lists, and the refused ones.
Not here: refusing (corpus/readers.py, features/precompute.py), the page (report.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.corpus.manifest import ManifestFile, Refusal
from pipeline.features import feature_set
from pipeline.features.shards import Shard
from pipeline.files import InputError

MAX_SHOWN_REFUSALS = 20  # of a corpus on the page; a table has all


class FeatureSource(NamedTuple):
    """A feature set, and what it was made of."""

    manifest: Path
    features: Path
    slices: int


@dataclass(frozen=True)
class CorpusRefusals:
    corpus: str
    listed_count: int | None  # utterances; None: its manifest is gone
    refusals: tuple[Refusal, ...]

    @property
    def shown(self) -> tuple[Refusal, ...]:
        return self.refusals[:MAX_SHOWN_REFUSALS]


def collect_refusals(sources: Iterable[FeatureSource]) -> list[CorpusRefusals]:
    """Corpora of which anything was refused; feature sets of one corpus refuse the same."""
    of_manifest: dict[Path, list[FeatureSource]] = {}
    for source in sources:
        of_manifest.setdefault(source.manifest, []).append(source)
    found = [_corpus_refusals(path, sets) for path, sets in of_manifest.items()]
    return [each for each in found if each.refusals]


def _corpus_refusals(path: Path, sources: Iterable[FeatureSource]) -> CorpusRefusals:
    shards = (
        shard for each in sources for shard in feature_set.find_shards(each.features, each.slices)
    )
    decoding = [refusal for s in shards if isinstance(s, Shard) for refusal in s.refusals]
    try:
        manifest = ManifestFile.open(path)
    except InputError:
        return CorpusRefusals(path.stem, None, tuple(dict.fromkeys(decoding)))
    listed = manifest.utterance_count + len(manifest.refusals)
    refusals = dict.fromkeys([*manifest.refusals, *decoding])
    return CorpusRefusals(manifest.corpus, listed, tuple(refusals))
