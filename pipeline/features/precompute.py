"""Precompute: one slice of a manifest -> one shard per feature set, in one pass over its audio.

In:   a manifest, the number of a slice, feature sets.
Out:  shards; the utterances that were refused, with reasons.
Not here: what a shard gets (shard_output.py), which slices are missing (feature_set.py), jobs.

Computing a slice again after a failure does only what is missing: a shard is complete or absent,
and two processes that compute the same slice write the same bytes.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.config.identity import feature_id
from pipeline.config.loader import dump_yaml
from pipeline.corpus.audio import audio_file
from pipeline.corpus.audio.resample import AudioReader, Resampler
from pipeline.corpus.equal_sound import NO_DIGEST
from pipeline.corpus.levels import LevelMeter, SuspiciousSound
from pipeline.corpus.manifest import Manifest, ManifestFile, Refusal, Utterance
from pipeline.features.feature_set import (
    DESCRIPTION_FILE,
    FeatureSetDescription,
    engine_of_set,
    find_engine,
    find_shard,
    read_description,
)
from pipeline.features.framing import FeatureStream
from pipeline.features.hdf5 import SHARD_FORMAT_VERSION
from pipeline.features.native import kernels
from pipeline.features.native.kernels import Engine
from pipeline.features.shard_output import (
    FeatureSetTarget,
    SlicePlan,
    StreamsBySpeed,
    make_streams,
    open_outputs,
    speed_perturbed_name,
)
from pipeline.features.shards import Shard
from pipeline.files import InputError, write_bytes
from pipeline.shapes import Float32

WaveformBlock = tuple[Float32[np.ndarray, " _"], bool]  # of a waveform; whether it is the last
MAX_BINS = 4097  # their covariance takes 134 MB


class FeatureSetError(InputError):
    """These feature sets cannot be computed; all others are."""

    def __init__(self, message: str, feature_ids: tuple[str, ...]) -> None:
        super().__init__(message)
        self.feature_ids = feature_ids


class StorageRangeError(FeatureSetError):
    """The storage of these feature sets cannot hold their values."""


class EngineError(FeatureSetError):
    """These feature sets were begun by an engine that cannot run here."""


class _UndecodableError(InputError):
    """The audio is not what the manifest says."""


def prepare_feature_set(
    manifest: Manifest, settings: FeatureSettings, work: Path
) -> tuple[str, Path]:
    """Return the feature_id and the folder of a feature set; write its description there."""
    if settings.bins > MAX_BINS:
        raise InputError(
            f"features: {settings.bins} bins; at most {MAX_BINS} have a covariance that fits in "
            f"memory; lower n_fft to {2 * MAX_BINS - 2} or choose spectrum mel"
        )
    if settings.speeds:
        _require_new_ids(manifest, settings.speeds)
    identity = feature_id(settings, manifest.digest)
    folder = work / "features" / identity
    description = FeatureSetDescription(
        version=SHARD_FORMAT_VERSION,
        feature_id=identity,
        corpus=manifest.corpus,
        manifest=manifest.digest,
        shards=len(manifest.slices),
        settings=settings,
    )
    _write_description(folder, description)
    return identity, folder


def _write_description(folder: Path, description: FeatureSetDescription) -> None:
    """Write the description with the engine of the set, unless it is there.

    A set without shards gets another engine if that of its description cannot run here.
    """
    with suppress(InputError):
        found = read_description(folder)
        stays = any(folder.glob("shard-*"))  # asked first, because loading the kernel takes time
        stays = stays or found.engine in ("numpy", kernels.available_engine())
        if stays and found.without_engine() == description:
            return
    engine = find_engine(folder, description.shards) or kernels.available_engine()
    content = dump_yaml(description.model_copy(update={"engine": engine}))
    write_bytes(folder / DESCRIPTION_FILE, content.encode())


def _require_new_ids(manifest: Manifest, speeds: Sequence[float]) -> None:
    names = {utterance.id for utterance in manifest.utterances}
    if both := names & {speed_perturbed_name(name, speed) for name in names for speed in speeds}:
        raise InputError(
            f"features.speeds: {manifest.corpus} already has utterances at these speeds, such as "
            f"{min(both)}; remove speeds"
        )


def load_target(work: Path, identity: str) -> FeatureSetTarget:
    """Return the feature set that `prepare_feature_set` described."""
    folder = work / "features" / identity
    return read_description(folder).settings, folder, identity


def precompute_slice(
    manifest: Manifest | ManifestFile,
    index: int,
    targets: Sequence[FeatureSetTarget],
    progress: Callable[[int, float], None] = lambda utterances, seconds: None,
) -> list[Refusal]:
    """Write the missing shards of slice `index`; return the refusals of all its shards.

    An utterance that cannot be decoded is left out and recorded in the shards. A FeatureSetError
    names the sets that cannot be computed, after the shards of all others are written. `progress`
    gets the utterances and the seconds of audio that are done in this slice.
    """
    utterances, count = manifest.slice(index), len(manifest.slices)
    found = [find_shard(folder, name, index, count) for _, folder, name in targets]
    missing = [targets[n] for n, shard in enumerate(found) if isinstance(shard, InputError)]
    refusals = [each for shard in found if isinstance(shard, Shard) for each in shard.refusals]
    engines = {name: _choose_engine(folder, count) for _, folder, name in missing}
    computable = [(each, engine) for each in missing if (engine := engines[each[2]])]
    if computable:
        plan = SlicePlan(manifest.root, index, count, utterances)
        try:
            _write_shards(plan, utterances, computable, progress)
        except _UndecodableError:
            plan = _drop_undecodable(plan)
            _write_shards(plan, utterances, computable, progress)
        refusals += plan.refusals
    if blocked := [each for each in missing if not engines[each[2]]]:
        raise EngineError(
            f"{blocked[0][1]}: was begun with the native kernel, and "
            f"{kernels.library_path()} is missing or does not run on this CPU; run make setup with "
            "a C compiler, or delete the feature set",
            tuple(name for _, _, name in blocked),
        )
    progress(len(utterances), sum(utterance.seconds for utterance in utterances))
    return list(dict.fromkeys(refusals))


def _choose_engine(folder: Path, count: int) -> Engine | None:
    """Return the engine that the set was begun with; None if that one cannot run here."""
    begun = engine_of_set(folder, count)
    available = kernels.available_engine()
    return None if begun == "native" != available else begun or available


def _drop_undecodable(plan: SlicePlan) -> SlicePlan:
    """Return the plan without the utterances that cannot be decoded; each is tried."""
    refusals = []
    with AudioReader() as reader:
        for utterance in plan.utterances:
            try:
                for _ in _decode_blocks(plan, reader, utterance):
                    pass
            except _UndecodableError as error:
                # The bytes of a shard must not depend on where the corpus lies.
                reason = str(error).replace(str(plan.root / utterance.audio), utterance.audio)
                refusals.append(Refusal(utterance.id, reason))
    dropped = {refusal.utterance for refusal in refusals}
    kept = tuple(utterance for utterance in plan.utterances if utterance.id not in dropped)
    return replace(plan, utterances=kept, refusals=tuple(refusals))


def _write_shards(
    plan: SlicePlan,
    listed: Sequence[Utterance],
    targets: Sequence[tuple[FeatureSetTarget, Engine]],
    progress: Callable[[int, float], None],
) -> None:
    """Write the shards of a plan; `listed`: the utterances of its slice, also those left out."""
    done, seconds = len(plan.refusals), 0.0
    suspicious: list[SuspiciousSound] = []
    digests: dict[str, int] = {}
    with ExitStack() as stack:
        reader = stack.enter_context(AudioReader())
        outputs = open_outputs(plan, targets, stack)
        streams = make_streams(outputs)
        for utterance in plan.utterances:
            meter = LevelMeter()
            if problem := _decode_utterance(plan, reader, utterance, streams, meter):
                suspicious.append(SuspiciousSound(utterance.id, problem))
            else:
                digests[utterance.id] = meter.digest
            done, seconds = done + 1, seconds + utterance.seconds
            progress(done, seconds)
            if all(output.storage_error for output in outputs):
                break
        for stream in chain.from_iterable(streams[1.0].values()):
            stream.flush()
        samples = [digests.get(utterance.id, NO_DIGEST) for utterance in listed]
        for output in outputs:
            output.close(suspicious, samples)
    failed = [output for output in outputs if output.storage_error]
    if failed:
        raise StorageRangeError(
            str(failed[0].storage_error), tuple(output.feature_id for output in failed)
        )


def _decode_utterance(
    plan: SlicePlan,
    reader: AudioReader,
    utterance: Utterance,
    streams: StreamsBySpeed,
    meter: LevelMeter,
) -> str:
    """Decode an utterance into the streams of all its speeds; a long one once per speed.

    `meter` gets its samples once. Return what is suspicious about its sound, or "".
    """
    perturbed = len(streams) > 1 and utterance.split == "train"
    short = perturbed and utterance.samples <= audio_file.BLOCK_SAMPLES
    kept = list(_decode_blocks(plan, reader, utterance)) if short else None
    for speed in streams if perturbed else (1.0,):
        blocks = kept or _decode_blocks(plan, reader, utterance)
        if speed == 1.0:
            blocks = _measure(blocks, meter)
        _resample_into_streams(blocks, utterance.rate, speed, streams[speed])

    problem = meter.problem
    if problem == "silent" and utterance.channel is None:
        first = LevelMeter()  # of its first channel alone
        for _ in _measure(_decode_blocks(plan, reader, replace(utterance, channel=0)), first):
            pass
        return "cancelled" if first.problem != "silent" else problem
    return problem


def _measure(blocks: Iterable[WaveformBlock], meter: LevelMeter) -> Iterator[WaveformBlock]:
    for block in blocks:
        meter.add(block[0])
        yield block


def _decode_blocks(
    plan: SlicePlan, reader: AudioReader, utterance: Utterance
) -> Iterator[WaveformBlock]:
    """Yield the waveform in blocks, so that hours of audio need little memory."""
    path = os.path.join(plan.root, utterance.audio)  # noqa: PTH118 (a Path takes ten times as long)
    left, rate = utterance.samples, utterance.rate
    span = (utterance.start, utterance.samples, utterance.channel)
    try:
        for found, block in reader.blocks(path, *span):
            if found != rate:
                raise audio_file.unusable_audio_error(
                    path, f"is at {found} Hz now, and the manifest says {rate} Hz"
                )
            left -= len(block)
            yield block, left == 0
    except InputError as error:
        raise _UndecodableError(str(error)) from None


def _resample_into_streams(
    blocks: Iterable[WaveformBlock],
    rate: int,
    speed: float,
    streams: Mapping[int, Sequence[FeatureStream]],
) -> None:
    """Give each block to each stream, at the rate of that stream."""
    resamplers = [(Resampler(rate, wanted, speed), each) for wanted, each in streams.items()]
    for block, last in blocks:
        for resampler, sharing in resamplers:
            resampled = resampler(block, last=last)
            for stream in sharing:
                stream.add(resampled, last=last)
