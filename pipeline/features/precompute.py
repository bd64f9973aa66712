"""Precompute: one slice of a manifest -> one shard per feature set, in one pass over its audio.

In:   a manifest, the number of a slice, feature sets.   Out: shards; what was refused, and why.
Not here: which slices are missing (feature_set.py), who runs them (jobs/).

Typed again after any accident it does what is missing: a shard is there whole or not at all, and
two copies started at once write the same bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from pipeline.config import FeatureSettings, feature_id
from pipeline.corpus import audio
from pipeline.corpus.manifest import Manifest, ManifestFile, Refusal, Utterance
from pipeline.features.feature_set import DESCRIPTION, Description, describe, find_shard
from pipeline.features.shards import VERSION, Shard, StoredUtterance, shard_name, writing_shard
from pipeline.features.spectrum import Sink, Stream, frame_count, transform_of
from pipeline.files import InputError, write_bytes
from pipeline.settings import dump_yaml

Target = tuple[FeatureSettings, Path, str]  # settings, folder and identity of a feature set
MOST_BINS = 4097  # their covariance takes 134 MB


def prepare(manifest: Manifest, settings: FeatureSettings, work: Path) -> tuple[str, Path]:
    """The identity and the folder of a feature set; the folder says what it is to hold."""
    if settings.bins > MOST_BINS:
        raise InputError(
            f"features: {settings.bins} bins; at most {MOST_BINS} have a covariance that fits in "
            f"memory; lower n_fft to {2 * MOST_BINS - 2} or choose spectrum mel"
        )
    identity = feature_id(settings, manifest.digest)
    folder = work / "features" / identity
    description = Description(
        version=VERSION,
        feature_id=identity,
        corpus=manifest.corpus,
        manifest=manifest.digest,
        shards=len(manifest.slices),
        settings=settings,
    )
    path, content = folder / DESCRIPTION, dump_yaml(description).encode()
    if not path.exists() or path.read_bytes() != content:
        write_bytes(path, content)
    return identity, folder


def stored(work: Path, identity: str) -> Target:
    """The feature set that `prepare` described."""
    folder = work / "features" / identity
    return describe(folder).settings, folder, identity


def precompute_slice(
    manifest: Manifest | ManifestFile,
    index: int,
    sets: Sequence[Target],
    progress: Callable[[int, float], None] = lambda utterances, seconds: None,
) -> list[Refusal]:
    """Write the shards of slice `index` that are not there yet.

    An utterance that cannot be decoded is left out and recorded in the shards. `progress` hears
    the utterances and the seconds of audio done so far in this slice.
    """
    utterances, count = manifest.slice(index), len(manifest.slices)
    there = [find_shard(folder, name, index, count) for _, folder, name in sets]
    wanted = [sets[n] for n, shard in enumerate(there) if isinstance(shard, InputError)]
    refusals = [each for shard in there if isinstance(shard, Shard) for each in shard.refusals]
    if wanted:
        plan = _Plan(manifest.root, index, count, utterances)
        try:
            _write_shards(plan, wanted, progress)
        except _UndecodableError:
            plan = _decodable(plan)
            _write_shards(plan, wanted, progress)
        refusals += plan.refusals
    progress(len(utterances), sum(utterance.seconds for utterance in utterances))
    return list(dict.fromkeys(refusals))


@dataclass(frozen=True)
class _Plan:
    """What the shards will hold: known before the first row, as HDF5 wants the number of rows."""

    root: Path
    index: int  # of the slice
    count: int  # of all slices
    utterances: tuple[Utterance, ...]
    refusals: tuple[Refusal, ...] = ()


class _UndecodableError(InputError):
    """The manifest announces what cannot be decoded."""


def _decodable(plan: _Plan) -> _Plan:
    """Without the utterances that cannot be decoded: each is tried."""
    refusals = []
    for utterance in plan.utterances:
        try:
            for _ in _blocks(plan, utterance, utterance.rate):
                pass
        except _UndecodableError as error:
            # The bytes of a shard do not depend on where the corpus lies.
            reason = str(error).replace(str(plan.root / utterance.audio), utterance.audio)
            refusals.append(Refusal(utterance.id, reason))
    refused = {refusal.utterance for refusal in refusals}
    left = tuple(utterance for utterance in plan.utterances if utterance.id not in refused)
    return replace(plan, utterances=left, refusals=tuple(refusals))


def _write_shards(
    plan: _Plan, sets: Sequence[Target], progress: Callable[[int, float], None]
) -> None:
    done, seconds = len(plan.refusals), 0.0
    with ExitStack() as files:
        streams = list(_streams(plan, sets, files))
        rates = sorted({stream.transform.sample_rate for stream in streams})
        for utterance in plan.utterances:
            for rate in rates:
                samples = _samples(utterance, rate)
                for block in _blocks(plan, utterance, rate):
                    samples -= len(block)
                    for stream in streams:
                        if stream.transform.sample_rate == rate:
                            stream.add(block, last=samples == 0)
            done, seconds = done + 1, seconds + utterance.seconds
            progress(done, seconds)
        for stream in streams:
            stream.close()


def _samples(utterance: Utterance, rate: int) -> int:
    return audio.resampled_length(utterance.samples, utterance.rate, rate)


def _blocks(plan: _Plan, utterance: Utterance, rate: int) -> Iterator[Float32[np.ndarray, " N"]]:
    """Together `_samples`: a recording of hours does not enter memory whole."""
    path = plan.root / utterance.audio
    try:
        yield from audio.blocks(path, rate, utterance.start, utterance.samples, utterance.channel)
    except InputError as error:
        raise _UndecodableError(str(error)) from None


def _streams(plan: _Plan, sets: Sequence[Target], files: ExitStack) -> Iterator[Stream]:
    """One stream for all sets that share a transform, each into its own shard."""
    for transform in dict.fromkeys(transform_of(settings) for settings, _, _ in sets):
        sharing = [target for target in sets if transform_of(target[0]) == transform]
        sinks = [_open_shard(plan, target, files) for target in sharing]
        yield Stream([settings for settings, _, _ in sharing], sinks)


def _open_shard(plan: _Plan, target: Target, files: ExitStack) -> Sink:
    settings, folder, identity = target
    rows, start = [], 0
    for utterance in plan.utterances:
        stop = start + frame_count(_samples(utterance, settings.sample_rate), settings)
        rows.append(
            StoredUtterance(
                id=utterance.id,
                transcript=utterance.transcript,
                speaker=utterance.speaker,
                split=utterance.split,
                shard=plan.index,
                start=start,
                stop=stop,
            )
        )
        start = stop
    return files.enter_context(
        writing_shard(
            folder / shard_name(plan.index, plan.count),
            feature_id=identity,
            settings=settings,
            index=plan.index,
            count=plan.count,
            utterances=rows,
            refusals=plan.refusals,
        )
    )
