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
        plan = _Plan(manifest.root, index, count, _announced(utterances, wanted), [])
        try:
            _write_shards(plan, wanted, progress)
        except _OtherThanAnnouncedError:
            plan = _decoded(plan, wanted)
            _write_shards(plan, wanted, progress)
        refusals += plan.refusals
    progress(len(utterances), sum(utterance.seconds for utterance in utterances))
    return list(dict.fromkeys(refusals))


Announced = tuple[Utterance, dict[int, int]]  # its samples at each rate


@dataclass(frozen=True)
class _Plan:
    """What the shards will hold: known before the first row, as HDF5 wants the number of rows."""

    root: Path
    index: int  # of the slice
    count: int  # of all slices
    utterances: list[Announced]
    refusals: list[Refusal]


class _OtherThanAnnouncedError(InputError):
    """A file that cannot be decoded, or whose length is not what its header said."""


def _rates(sets: Sequence[Target]) -> list[int]:
    return sorted({settings.sample_rate for settings, _, _ in sets})


def _announced(utterances: Sequence[Utterance], sets: Sequence[Target]) -> list[Announced]:
    """By the manifest, which is right but for damaged files and some compressed ones."""
    rates = _rates(sets)
    return [(u, {rate: round(u.samples * rate / u.rate) for rate in rates}) for u in utterances]


def _decoded(plan: _Plan, sets: Sequence[Target]) -> _Plan:
    """By decoding everything once more."""
    decoded = replace(plan, utterances=[], refusals=[])
    for utterance, _ in plan.utterances:
        path = plan.root / utterance.audio
        try:
            lengths = {rate: len(audio.load(path, rate)) for rate in _rates(sets)}
        except InputError as error:
            decoded.refusals.append(Refusal(utterance.id, str(error)))
        else:
            decoded.utterances.append((utterance, lengths))
    return decoded


def _write_shards(
    plan: _Plan, sets: Sequence[Target], progress: Callable[[int, float], None]
) -> None:
    done, seconds = len(plan.refusals), 0.0
    with ExitStack() as files:
        streams = list(_streams(plan, sets, files))
        for utterance, lengths in plan.utterances:
            for rate, waveform in _waveforms(plan.root / utterance.audio, lengths):
                for stream in streams:
                    if stream.transform.sample_rate == rate:
                        stream.add(waveform)
            done, seconds = done + 1, seconds + utterance.seconds
            progress(done, seconds)
        for stream in streams:
            stream.close()


def _waveforms(
    path: Path, lengths: dict[int, int]
) -> Iterator[tuple[int, Float32[np.ndarray, " N"]]]:
    for rate, samples in lengths.items():
        try:
            waveform = audio.load(path, rate)
        except InputError as error:
            raise _OtherThanAnnouncedError(str(error)) from None
        if len(waveform) != samples:
            raise _OtherThanAnnouncedError(
                f"{path}: {len(waveform)} samples at {rate} Hz, not {samples}; it changed while "
                "it was read: run make features again"
            )
        yield rate, waveform


def _streams(plan: _Plan, sets: Sequence[Target], files: ExitStack) -> Iterator[Stream]:
    """One stream for all sets that share a transform, each into its own shard."""
    for transform in dict.fromkeys(transform_of(settings) for settings, _, _ in sets):
        sharing = [target for target in sets if transform_of(target[0]) == transform]
        sinks = [_open_shard(plan, target, files) for target in sharing]
        yield Stream([settings for settings, _, _ in sharing], sinks)


def _open_shard(plan: _Plan, target: Target, files: ExitStack) -> Sink:
    settings, folder, identity = target
    rows, start = [], 0
    for utterance, samples in plan.utterances:
        stop = start + frame_count(samples[settings.sample_rate], settings)
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
