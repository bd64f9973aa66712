"""What a work folder lacks of feature sets: slices without a shard, and refused audio.

In:   what a sweep wants, its manifests, the folders of feature sets.   Out: `Lacking`.
Not here: who computes it (plan.py), which runs are missing (reconcile.py).
"""

import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from jobs.local.processes import abandoned
from jobs.node.feature_task import Progress
from jobs.node.task_file import Slice
from jobs.sweep.folder import SweepFolder
from jobs.sweep.record import Wanted
from pipeline.config.corpus import Corpus
from pipeline.corpus.audio import resample
from pipeline.corpus.manifest import Manifest, Refusal, require_all
from pipeline.features import feature_set
from pipeline.features.feature_set import DAMAGED, STATISTICS, FeatureSet
from pipeline.features.shards import Shard
from pipeline.files import InputError

SECONDS_OF_A_WRITER = 24 * 3600.0  # on another host nobody can look whether it lives


@dataclass
class Lacking:
    slices: list[Slice] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)  # stored in shards, and still so
    mended: list[Shard] = field(default_factory=list)  # shards without audio that decodes by now


Manifests = Mapping[str, Manifest]  # by the path of the file, as in `Wanted`


def survey(
    want: Wanted, manifests: Manifests, folder: SweepFolder, needed: Collection[str]
) -> Lacking:
    """Of the feature sets that are `needed`."""
    found = Lacking()
    pieces: dict[tuple[str, int], list[str]] = {}
    for features in want.features:
        if features.feature_id not in needed:
            continue
        shards = _compared(folder.features(features.feature_id), features.slices)
        for index, shard in enumerate(shards):
            if isinstance(shard, Shard) and not _mended(shard, manifests[features.manifest]):
                found.refusals += shard.refusals
                continue
            if isinstance(shard, Shard):
                found.mended.append(shard)
            pieces.setdefault((features.manifest, index), []).append(features.feature_id)
    found.slices = [Slice(manifest, index, tuple(ids)) for (manifest, index), ids in pieces.items()]
    found.refusals = list(dict.fromkeys(found.refusals))
    return found


def _compared(folder: Path, slices: int) -> list[Shard | InputError]:
    """Of a whole set, too, what has changed since it was written: a power cut may lose its bytes.

    The statistics of a set say that somebody has compared it already.
    """
    shards = feature_set.survey(folder, slices)
    if (folder / STATISTICS).exists() or any(isinstance(each, InputError) for each in shards):
        return shards
    try:
        whole = FeatureSet.open(folder)
        whole.verify()
        whole.statistics.count  # noqa: B018 (read once, they are kept)
    except InputError:
        return feature_set.survey(folder, slices)
    return shards


def _mended(shard: Shard, manifest: Manifest) -> bool:
    """Whether audio that the shard had to leave out can be decoded now."""
    refused = {refusal.utterance for refusal in shard.refusals}
    for utterance in manifest.slice(shard.index) if refused else ():
        if utterance.id in refused:
            span = (utterance.rate, utterance.start, utterance.samples, utterance.channel)
            with suppress(InputError):
                for _ in resample.blocks(manifest.root / utterance.audio, *span):
                    pass
                return True
    return False


def refuse_if_strict(found: Mapping[Corpus, Manifest], refusals: Collection[Refusal]) -> None:
    """What decoding found, as the reader refuses what a header shows."""
    for corpus, manifest in found.items():
        names = {utterance.id for utterance in manifest.utterances} if corpus.strict else set()
        mine = [refusal for refusal in refusals if refusal.utterance in names]
        require_all(corpus.name, mine)


def prepare(found: Lacking, want: Wanted, folder: SweepFolder) -> None:
    """Make way for what will be written; of a whole set, too, remove what a killed writer left."""
    for shard in found.mended:
        shard.path.unlink(missing_ok=True)
    for name in {name for piece in found.slices for name in piece.feature_ids}:
        (folder.features(name) / STATISTICS).unlink(missing_ok=True)
    for features in want.features:
        _clean(folder.features(features.feature_id))


def total(pieces: Iterable[Slice], manifests: Manifests) -> Progress:
    """Utterances and seconds of speech."""
    utterances = [manifests[piece.manifest].slice(piece.index) for piece in pieces]
    return Progress(
        sum(map(len, utterances)), sum(u.seconds for of_slice in utterances for u in of_slice)
    )


def _clean(folder: Path) -> None:
    """Remove what was set aside, and what writers that were killed have left of their files.

    A whole set may be another person's, and read-only; then they stay.
    """
    with suppress(OSError):
        for damaged in folder.glob(f"*{DAMAGED}"):
            damaged.unlink(missing_ok=True)
    for partial in folder.glob(".*.partial"):
        with suppress(OSError):
            old = time.time() - partial.stat().st_mtime > SECONDS_OF_A_WRITER
            if old or abandoned(partial):
                partial.unlink()
