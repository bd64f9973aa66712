"""Rejected utterances: which utterances of a sweep's corpora could not be used, and why.

In:   manifests and feature sets, complete or not.
Out:  for each corpus the number of its utterances, and the refused ones with their reasons.
Not here: the decision to refuse (corpus/readers.py, precompute.py), the page (results/report.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.corpus.manifest import ManifestFile, Refusal
from pipeline.features import feature_set
from pipeline.features.shards import Shard
from pipeline.files import InputError

MAX_SHOWN_REFUSALS = 20  # of each corpus on the page; refused.csv has all


class FeatureSource(NamedTuple):
    """A feature set and the manifest that it was computed from."""

    manifest: Path
    features: Path
    slices: int


@dataclass(frozen=True)
class CorpusRefusals:
    corpus: str
    listed_count: int | None  # utterances; None if the manifest is gone
    refusals: tuple[Refusal, ...]

    @property
    def shown(self) -> tuple[Refusal, ...]:
        return self.refusals[:MAX_SHOWN_REFUSALS]


def collect_refusals(sources: Iterable[FeatureSource]) -> list[CorpusRefusals]:
    """Return the corpora with refused utterances, each utterance once.

    Feature sets of the same corpus refuse the same utterances.
    """
    by_manifest: dict[Path, list[FeatureSource]] = {}
    for source in sources:
        by_manifest.setdefault(source.manifest, []).append(source)
    corpora = [_corpus_refusals(path, group) for path, group in by_manifest.items()]
    return [corpus for corpus in corpora if corpus.refusals]


def _corpus_refusals(path: Path, sources: Iterable[FeatureSource]) -> CorpusRefusals:
    shards = [
        shard
        for source in sources
        for shard in feature_set.find_shards(source.features, source.slices)
        if isinstance(shard, Shard)  # a shard that is missing or damaged is skipped
    ]
    from_shards = [refusal for shard in shards for refusal in shard.refusals]
    try:
        manifest = ManifestFile.open(path)
    except InputError:
        return CorpusRefusals(path.stem, None, tuple(dict.fromkeys(from_shards)))
    listed = manifest.utterance_count + len(manifest.refusals)
    refusals = dict.fromkeys([*manifest.refusals, *from_shards])
    return CorpusRefusals(manifest.corpus, listed, tuple(refusals))
