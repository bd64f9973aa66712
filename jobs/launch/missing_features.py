"""Missing features: slices without a usable shard, and utterances that shards refused.

In:   the record of a sweep, its manifests, the folders of feature sets.   Out: `MissingFeatures`.
Not here: who computes them (decision.py), which runs are missing (sweep_state.py).
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from jobs.node.feature_task import TaskProgress
from jobs.node.task_file import Slice
from jobs.sweep.folder import SweepFolder
from jobs.sweep.record import SweepRecord
from pipeline.config.corpus import Corpus
from pipeline.corpus.manifest import Manifest, Refusal, require_no_refusals
from pipeline.features import feature_set
from pipeline.features.feature_set import (
    DAMAGED_SUFFIX,
    STATISTICS_FILE,
    FeatureSet,
    OtherEngineError,
)
from pipeline.features.shards import Shard
from pipeline.files import InputError, remove_abandoned

ManifestsByPath = Mapping[str, Manifest]  # by the path of its file, as in `SweepRecord`


@dataclass
class MissingFeatures:
    slices: list[Slice] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)  # stored in shards, and still true
    # Shards to delete, whose slices are missing, too: they refused audio that can be decoded now,
    # or another engine computed them.
    outdated: list[Path] = field(default_factory=list)


def find_missing_features(
    record: SweepRecord,
    manifests: ManifestsByPath,
    folder: SweepFolder,
    needed_ids: Collection[str],
) -> MissingFeatures:
    """Find what the feature sets `needed_ids` still need."""
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
            if isinstance(shard, Shard | OtherEngineError):
                missing.outdated.append(shard.path)
            pieces.setdefault((features.manifest, index), []).append(features.feature_id)
    missing.slices = [
        Slice(manifest, index, tuple(ids)) for (manifest, index), ids in pieces.items()
    ]
    missing.refusals = list(dict.fromkeys(missing.refusals))
    return missing


def _verified_shards(folder: Path, slices: int) -> list[Shard | InputError]:
    """Return each shard, or the error that makes it unusable.

    A complete set without its statistics file is compared with its checksums first: a power cut
    may have lost bytes. The statistics file is written after that comparison.
    """
    shards = feature_set.find_shards(folder, slices)
    if (folder / STATISTICS_FILE).exists() or any(isinstance(each, InputError) for each in shards):
        return shards
    try:
        whole = FeatureSet.open(folder)
        whole.verify()
        whole.statistics.count  # noqa: B018 (the first read writes the file)
    except InputError:
        return feature_set.find_shards(folder, slices)
    return shards


def _refused_audio_decodes(shard: Shard, manifest: Manifest) -> bool:
    """Whether audio that the shard had to leave out can be decoded now."""
    refused = {refusal.utterance for refusal in shard.refusals}
    if not refused:
        return False
    from pipeline.corpus.audio import resample  # noqa: PLC0415 (only here is audio decoded)

    for utterance in manifest.slice(shard.index):
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
    """Raise InputError if a corpus with `strict: true` has one of these refusals."""
    for corpus, manifest in corpus_manifests.items():
        names = {utterance.id for utterance in manifest.utterances} if corpus.strict else set()
        own_refusals = [refusal for refusal in refusals if refusal.utterance in names]
        require_no_refusals(corpus.name, own_refusals)


def remove_outdated_files(
    missing: MissingFeatures, record: SweepRecord, folder: SweepFolder
) -> None:
    """Delete shards and statistics that will be written again, and files of killed writers."""
    for shard in missing.outdated:
        shard.unlink(missing_ok=True)
    for name in {name for piece in missing.slices for name in piece.feature_ids}:
        (folder.features(name) / STATISTICS_FILE).unlink(missing_ok=True)
    for features in record.features:
        _remove_leftover_files(folder.features(features.feature_id))


def total_speech(pieces: Iterable[Slice], manifests: ManifestsByPath) -> TaskProgress:
    """Return the number of utterances and seconds of speech in these slices."""
    utterances = [manifests[piece.manifest].slice(piece.index) for piece in pieces]
    return TaskProgress(
        sum(map(len, utterances)), sum(u.seconds for of_slice in utterances for u in of_slice)
    )


def _remove_leftover_files(folder: Path) -> None:
    """Delete damaged shards that were set aside, and partial files of killed writers.

    They stay if the folder is read-only: a complete set may belong to another user.
    """
    with suppress(OSError):
        for damaged in folder.glob(f"*{DAMAGED_SUFFIX}"):
            damaged.unlink(missing_ok=True)
    remove_abandoned(folder)
