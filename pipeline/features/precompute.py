"""Precompute: one slice of a manifest -> one shard per feature set, in one pass over its audio.

In:   a manifest, the number of a slice, feature sets.   Out: shards; what was refused, and why.
Not here: which slices are missing (feature_set.py), who runs them (jobs/).

A copy at speed s, of which Ko et al. (2015) make training utterances, is the waveform taken for one
of s times its rate: it lasts 1/s as long, its pitch is s times as high. It comes after its own,
and its speaker is another one.

Typed again after any accident it does what is missing: a shard is there whole or not at all, and
two copies started at once write the same bytes.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.config.identity import feature_id
from pipeline.config.loader import dump_yaml
from pipeline.corpus.audio import decode
from pipeline.corpus.audio.resample import AudioReader, Resampler, resampled_length
from pipeline.corpus.manifest import Manifest, ManifestFile, Refusal, Utterance
from pipeline.features.feature_set import (
    DESCRIPTION_FILE,
    FeatureSetDescription,
    find_shard,
    read_description,
)
from pipeline.features.framing import FeatureStream, frame_count
from pipeline.features.hdf5 import SHARD_FORMAT_VERSION
from pipeline.features.shards import Shard, StoredUtterance, open_shard_writer, shard_name
from pipeline.features.statistics import RunningCovariance, ScaledCovariance
from pipeline.features.stft import STFTParameters, rows_ratio, stft_parameters
from pipeline.files import InputError, write_bytes
from pipeline.shapes import Float32

FeatureSetTarget = tuple[
    FeatureSettings, Path, str
]  # settings, folder and identity of a feature set
WaveformBlock = tuple[Float32[np.ndarray, " _"], bool]  # of a waveform; whether it is the last
StreamsBySpeed = dict[float, dict[int, list[FeatureStream]]]  # by speed, 1 first, and by rate
MAX_BINS = 4097  # their covariance takes 134 MB


def prepare_feature_set(
    manifest: Manifest, settings: FeatureSettings, work: Path
) -> tuple[str, Path]:
    """The identity and the folder of a feature set; the folder says what it is to hold."""
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
    path, content = folder / DESCRIPTION_FILE, dump_yaml(description).encode()
    if not path.exists() or path.read_bytes() != content:
        write_bytes(path, content)
    return identity, folder


def _require_new_ids(manifest: Manifest, speeds: Sequence[float]) -> None:
    names = {utterance.id for utterance in manifest.utterances}
    if both := names & {_speed_perturbed_name(name, speed) for name in names for speed in speeds}:
        raise InputError(
            f"features.speeds: {manifest.corpus} has copies at these speeds already, such as "
            f"{min(both)}; leave speeds out"
        )


def load_target(work: Path, identity: str) -> FeatureSetTarget:
    """The feature set that `prepare` described."""
    folder = work / "features" / identity
    return read_description(folder).settings, folder, identity


def precompute_slice(
    manifest: Manifest | ManifestFile,
    index: int,
    targets: Sequence[FeatureSetTarget],
    progress: Callable[[int, float], None] = lambda utterances, seconds: None,
) -> list[Refusal]:
    """Write the shards of slice `index` that are not there yet.

    An utterance that cannot be decoded is left out and recorded in the shards. A StorageError comes
    after the shards of all other sets are there. `progress` hears the utterances and the seconds of
    audio done so far in this slice.
    """
    utterances, count = manifest.slice(index), len(manifest.slices)
    there = [find_shard(folder, name, index, count) for _, folder, name in targets]
    wanted = [targets[n] for n, shard in enumerate(there) if isinstance(shard, InputError)]
    refusals = [each for shard in there if isinstance(shard, Shard) for each in shard.refusals]
    if wanted:
        plan = _SlicePlan(manifest.root, index, count, utterances)
        try:
            _write_shards(plan, wanted, progress)
        except _UndecodableError:
            plan = _drop_undecodable(plan)
            _write_shards(plan, wanted, progress)
        refusals += plan.refusals
    progress(len(utterances), sum(utterance.seconds for utterance in utterances))
    return list(dict.fromkeys(refusals))


@dataclass(frozen=True)
class _SlicePlan:
    """What the shards will hold: known before the first row, as HDF5 wants the number of rows."""

    root: Path
    index: int  # of the slice
    count: int  # of all slices
    utterances: tuple[Utterance, ...]
    refusals: tuple[Refusal, ...] = ()


class _UndecodableError(InputError):
    """The manifest announces what cannot be decoded."""


class StorageRangeError(InputError):
    """The storage of these feature sets cannot hold their values; of the others nothing is lost."""

    def __init__(self, message: str, feature_ids: tuple[str, ...]) -> None:
        super().__init__(message)
        self.feature_ids = feature_ids


def _drop_undecodable(plan: _SlicePlan) -> _SlicePlan:
    """Without the utterances that cannot be decoded: each is tried."""
    refusals = []
    with AudioReader() as listener:
        for utterance in plan.utterances:
            try:
                for _ in _decode_blocks(plan, listener, utterance):
                    pass
            except _UndecodableError as error:
                # The bytes of a shard do not depend on where the corpus lies.
                reason = str(error).replace(str(plan.root / utterance.audio), utterance.audio)
                refusals.append(Refusal(utterance.id, reason))
    without = {refusal.utterance for refusal in refusals}
    left = tuple(utterance for utterance in plan.utterances if utterance.id not in without)
    return replace(plan, utterances=left, refusals=tuple(refusals))


def _write_shards(
    plan: _SlicePlan, targets: Sequence[FeatureSetTarget], progress: Callable[[int, float], None]
) -> None:
    done, seconds = len(plan.refusals), 0.0
    with ExitStack() as opened:
        listener = opened.enter_context(AudioReader())
        outputs: list[_ShardOutput] = []
        for target in targets:
            outputs.append(
                _ShardOutput(plan, target, opened, _make_accumulator(target[0], outputs))
            )
        streams = _make_streams(outputs)
        for utterance in plan.utterances:
            _decode_utterance(plan, listener, utterance, streams)
            done, seconds = done + 1, seconds + utterance.seconds
            progress(done, seconds)
            if all(output.storage_error for output in outputs):
                break
        for stream in chain.from_iterable(streams[1.0].values()):
            stream.flush()
        for output in outputs:
            output.close()
    if lost := [output for output in outputs if output.storage_error]:
        raise StorageRangeError(
            str(lost[0].storage_error), tuple(output.feature_id for output in lost)
        )


def _decode_utterance(
    plan: _SlicePlan, reader: AudioReader, utterance: Utterance, streams: StreamsBySpeed
) -> None:
    """As it is; and what is to be learnt from at the other speeds, decoded again if it is long."""
    copied = len(streams) > 1 and utterance.split == "train"
    short = copied and utterance.samples <= decode.BLOCK_SAMPLES
    kept = list(_decode_blocks(plan, reader, utterance)) if short else None
    for speed in streams if copied else (1.0,):
        blocks = kept or _decode_blocks(plan, reader, utterance)
        _resample_into_streams(blocks, utterance.rate, speed, streams[speed])


def _decode_blocks(
    plan: _SlicePlan, reader: AudioReader, utterance: Utterance
) -> Iterator[WaveformBlock]:
    """Decoded: a recording of hours does not enter memory whole."""
    path = os.path.join(plan.root, utterance.audio)  # noqa: PTH118 (a Path takes ten times as long)
    left, rate = utterance.samples, utterance.rate
    span = (utterance.start, utterance.samples, utterance.channel)
    try:
        for found, block in reader.blocks(path, *span):
            if found != rate:
                raise decode.unusable_audio_error(
                    path, f"is at {found} Hz by now, and was at {rate} Hz"
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
    """Each block at the rate of each stream."""
    resamplers = [(Resampler(rate, wanted, speed), each) for wanted, each in streams.items()]
    for block, last in blocks:
        for resampler, sharing in resamplers:
            resampled = resampler(block, last=last)
            for stream in sharing:
                stream.add(resampled, last=last)


class _ShardOutput:
    """One shard under way. What its storage refuses ends this one, and no other."""

    def __init__(
        self,
        plan: _SlicePlan,
        target: FeatureSetTarget,
        opened: ExitStack,
        accumulator: RunningCovariance | ScaledCovariance,
    ) -> None:
        self.accumulator = accumulator
        self.settings, folder, self.feature_id = target
        self.storage_error: InputError | None = None
        self._open_shard = opened.enter_context(ExitStack())
        self._append_rows = self._open_shard.enter_context(
            open_shard_writer(
                folder / shard_name(plan.index, plan.count),
                feature_id=self.feature_id,
                settings=self.settings,
                index=plan.index,
                count=plan.count,
                utterances=_plan_utterances(plan, self.settings),
                refusals=plan.refusals,
                accumulator=accumulator,
            )
        )

    def append(self, rows: Float32[np.ndarray, "T F"]) -> None:
        if self.storage_error:
            return
        try:
            self._append_rows(rows)
        except InputError as error:
            self.storage_error = error
            self._open_shard.__exit__(type(error), error, error.__traceback__)

    def close(self) -> None:
        """All rows are there."""
        try:
            self._open_shard.close()
        except InputError as error:
            self.storage_error = error


def _make_accumulator(
    settings: FeatureSettings, earlier_outputs: Sequence[_ShardOutput]
) -> RunningCovariance | ScaledCovariance:
    """Statistics of its own, or a multiple of those of another set of this pass.

    Of logarithms alone: no storage refuses these, so that the other one gets all its rows.
    """
    for other in earlier_outputs if settings.is_log_scale else ():
        if (
            isinstance(other.accumulator, RunningCovariance)
            and settings.speeds == other.settings.speeds
        ):
            factor = rows_ratio(settings, other.settings)
            if factor is not None:
                return ScaledCovariance(other.accumulator, factor)
    return RunningCovariance(settings.bins)


def _plan_utterances(plan: _SlicePlan, settings: FeatureSettings) -> list[StoredUtterance]:
    rows, start = [], 0
    for utterance in plan.utterances:
        for speed in (1.0, *settings.speeds) if utterance.split == "train" else (1.0,):
            samples = resampled_length(
                utterance.samples, utterance.rate, settings.sample_rate, speed
            )
            stop = start + frame_count(samples, settings)
            rows.append(
                StoredUtterance(
                    id=_speed_perturbed_name(utterance.id, speed),
                    transcript=utterance.transcript,
                    speaker=_speed_perturbed_name(
                        utterance.speaker, speed
                    ),  # whose voice is another then
                    split=utterance.split,
                    shard=plan.index,
                    start=start,
                    stop=stop,
                )
            )
            start = stop
    return rows


def _speed_perturbed_name(name: str, speed: float) -> str:
    """As Kaldi names utterances and speakers."""
    return name if speed == 1 else f"sp{speed}-{name}"


def _make_streams(outputs: Sequence[_ShardOutput]) -> StreamsBySpeed:
    """One for all sets that share a transform and their speeds, each into its own shard."""
    alike: dict[tuple[STFTParameters, tuple[float, ...]], list[_ShardOutput]] = {}
    for output in outputs:
        key = stft_parameters(output.settings), output.settings.speeds
        alike.setdefault(key, []).append(output)
    every = sorted({speed for _, speeds in alike for speed in speeds})
    streams: StreamsBySpeed = {speed: {} for speed in (1.0, *every)}
    for (transform, speeds), sharing in alike.items():
        stream = FeatureStream(
            [each.settings for each in sharing], [each.append for each in sharing]
        )
        for speed in (1.0, *speeds):
            streams[speed].setdefault(transform.sample_rate, []).append(stream)
    return streams
