"""What a work folder lacks of feature sets: slices without a shard, and refused audio.

In:   what a sweep wants, its manifests, the folders of feature sets.   Out: `Lacking`.
Not here: who computes it (plan.py), which runs are missing (reconcile.py).
"""

import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from jobs.local.processes import is_abandoned
from jobs.node.feature_task import TaskProgress
from jobs.node.task_file import Slice
from jobs.sweep.folder import SweepFolder
from jobs.sweep.record import SweepRecord
from pipeline.config.corpus import Corpus
from pipeline.corpus.audio import resample
from pipeline.corpus.manifest import Manifest, Refusal, require_no_refusals
from pipeline.features import feature_set
from pipeline.features.feature_set import DAMAGED_SUFFIX, STATISTICS_FILE, FeatureSet
from pipeline.features.shards import Shard
from pipeline.files import InputError

PARTIAL_FILE_TIMEOUT_S = 24 * 3600.0  # on another host nobody can look whether it lives


@dataclass
class MissingFeatures:
    slices: list[Slice] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)  # stored in shards, and still so
    now_decodable: list[Shard] = field(
        default_factory=list
    )  # shards without audio that decodes by now


ManifestsByPath = Mapping[str, Manifest]  # by the path of the file, as in `Wanted`


def find_missing_features(
    record: SweepRecord,
    manifests: ManifestsByPath,
    folder: SweepFolder,
    needed_ids: Collection[str],
) -> MissingFeatures:
    """Of the feature sets that are `needed`."""
    missing = MissingFeatures()
    pieces: dict[tuple[str, int], list[str]] = {}
    for features in record.features:
        if features.feature_id not in needed_ids:
            continue
        shards = _verified_shards(folder.features(features.feature_id), features.slices)
        for index, shard in enumerate(shards):
            if isinstance(shard, Shard) and not _refused_audio_decodes(
                shard, manifests[features.manifest]
            ):
                missing.refusals += shard.refusals
                continue
            if isinstance(shard, Shard):
                missing.now_decodable.append(shard)
            pieces.setdefault((features.manifest, index), []).append(features.feature_id)
    missing.slices = [
        Slice(manifest, index, tuple(ids)) for (manifest, index), ids in pieces.items()
    ]
    missing.refusals = list(dict.fromkeys(missing.refusals))
    return missing


def _verified_shards(folder: Path, slices: int) -> list[Shard | InputError]:
    """Of a whole set, too, what has changed since it was written: a power cut may lose its bytes.

    The statistics of a set say that somebody has compared it already.
    """
    shards = feature_set.find_shards(folder, slices)
    if (folder / STATISTICS_FILE).exists() or any(isinstance(each, InputError) for each in shards):
        return shards
    try:
        whole = FeatureSet.open(folder)
        whole.verify()
        whole.statistics.count  # noqa: B018 (read once, they are kept)
    except InputError:
        return feature_set.find_shards(folder, slices)
    return shards


def _refused_audio_decodes(shard: Shard, manifest: Manifest) -> bool:
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


def refuse_if_strict(
    corpus_manifests: Mapping[Corpus, Manifest], refusals: Collection[Refusal]
) -> None:
    """What decoding found, as the reader refuses what a header shows."""
    for corpus, manifest in corpus_manifests.items():
        names = {utterance.id for utterance in manifest.utterances} if corpus.strict else set()
        own_refusals = [refusal for refusal in refusals if refusal.utterance in names]
        require_no_refusals(corpus.name, own_refusals)


def remove_outdated_files(
    missing: MissingFeatures, record: SweepRecord, folder: SweepFolder
) -> None:
    """Make way for what will be written; of a whole set, too, remove what a killed writer left."""
    for shard in missing.now_decodable:
        shard.path.unlink(missing_ok=True)
    for name in {name for piece in missing.slices for name in piece.feature_ids}:
        (folder.features(name) / STATISTICS_FILE).unlink(missing_ok=True)
    for features in record.features:
        _remove_leftover_files(folder.features(features.feature_id))


def total_speech(pieces: Iterable[Slice], manifests: ManifestsByPath) -> TaskProgress:
    """Utterances and seconds of speech."""
    utterances = [manifests[piece.manifest].slice(piece.index) for piece in pieces]
    return TaskProgress(
        sum(map(len, utterances)), sum(u.seconds for of_slice in utterances for u in of_slice)
    )


def _remove_leftover_files(folder: Path) -> None:
    """Remove what was set aside, and what writers that were killed have left of their files.

    A whole set may be another person's, and read-only; then they stay.
    """
    with suppress(OSError):
        for damaged in folder.glob(f"*{DAMAGED_SUFFIX}"):
            damaged.unlink(missing_ok=True)
    for partial in folder.glob(".*.partial"):
        with suppress(OSError):
            old = time.time() - partial.stat().st_mtime > PARTIAL_FILE_TIMEOUT_S
            if old or is_abandoned(partial):
                partial.unlink()
