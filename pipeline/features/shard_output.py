"""Shard outputs: what a slice writes, one shard for each feature set, from shared streams.

In:   the utterances of a slice, feature sets, the engine of each.
Out:  shards that take rows; the streams that give them.
Not here: audio (precompute.py), the file (shards.py), the transform (framing.py).

Speed perturbation (Ko et al., 2015): the waveform is treated as if its sample rate were `speed`
times as high, so it lasts 1/speed as long and its pitch is `speed` times as high. The perturbed
copy of a training utterance follows the original and counts as another speaker.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.corpus.audio.resample import resampled_length
from pipeline.corpus.equal_sound import remove_digests, write_digests
from pipeline.corpus.levels import SuspiciousSound, write_suspicious
from pipeline.corpus.manifest import Refusal, Utterance
from pipeline.features.framing import FeatureStream, frame_count
from pipeline.features.native.kernels import Engine
from pipeline.features.shards import StoredUtterance, open_shard_writer, shard_name
from pipeline.features.statistics import RunningCovariance, ScaledCovariance
from pipeline.features.stft import STFTParameters, rows_ratio, stft_parameters
from pipeline.files import InputError
from pipeline.shapes import Float32

FeatureSetTarget = tuple[FeatureSettings, Path, str]  # settings, folder, feature_id
StreamsBySpeed = dict[float, dict[int, list[FeatureStream]]]  # by speed, 1 first, then by rate


@dataclass(frozen=True)
class SlicePlan:
    """The content of the shards; HDF5 needs the number of rows before the first row is written."""

    root: Path
    index: int  # of the slice
    count: int  # slices of the manifest
    utterances: tuple[Utterance, ...]
    refusals: tuple[Refusal, ...] = ()


class ShardOutput:
    """One shard that is being written. An error of its storage ends this shard only."""

    def __init__(
        self,
        plan: SlicePlan,
        target: FeatureSetTarget,
        engine: Engine,
        stack: ExitStack,
        accumulator: RunningCovariance | ScaledCovariance,
    ) -> None:
        self.accumulator, self.engine = accumulator, engine
        self.settings, self._folder, self.feature_id = target
        self._slice = plan.index, plan.count
        self.storage_error: InputError | None = None
        self._open_shard = stack.enter_context(ExitStack())
        self._append_rows = self._open_shard.enter_context(
            open_shard_writer(
                self._folder / shard_name(plan.index, plan.count),
                feature_id=self.feature_id,
                settings=self.settings,
                engine=engine,
                index=plan.index,
                count=plan.count,
                utterances=plan_utterances(plan, self.settings),
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

    def close(self, suspicious: Sequence[SuspiciousSound], digests: Sequence[int]) -> None:
        """Finish the shard after its last row; before it, write the files that stand beside it.

        With its shard a slice is done. After a kill between these files all are made again.
        """
        if not self.storage_error:
            write_suspicious(self._folder, *self._slice, suspicious)
            write_digests(self._folder, *self._slice, digests)
        try:
            self._open_shard.close()
        except InputError as error:
            self.storage_error = error
            write_suspicious(self._folder, *self._slice, [])
            remove_digests(self._folder, *self._slice)


def open_outputs(
    plan: SlicePlan, targets: Sequence[tuple[FeatureSetTarget, Engine]], stack: ExitStack
) -> list[ShardOutput]:
    outputs: list[ShardOutput] = []
    for target, engine in targets:
        accumulator = _make_accumulator(target[0], engine, outputs)
        outputs.append(ShardOutput(plan, target, engine, stack, accumulator))
    return outputs


def _make_accumulator(
    settings: FeatureSettings, engine: Engine, earlier_outputs: Sequence[ShardOutput]
) -> RunningCovariance | ScaledCovariance:
    """Return statistics of its own, or a multiple of those of an earlier output.

    Only log scales share: no storage rejects them, so that the earlier output gets all its rows.
    """
    for other in earlier_outputs if settings.is_log_scale else ():
        same = (engine, settings.speeds) == (other.engine, other.settings.speeds)
        if same and isinstance(other.accumulator, RunningCovariance):
            factor = rows_ratio(settings, other.settings)
            if factor is not None:
                return ScaledCovariance(other.accumulator, factor)
    return RunningCovariance(settings.bins, engine)


def plan_utterances(plan: SlicePlan, settings: FeatureSettings) -> list[StoredUtterance]:
    """Return the utterances of a shard with their rows, perturbed copies included."""
    stored, start = [], 0
    for utterance in plan.utterances:
        for speed in (1.0, *settings.speeds) if utterance.split == "train" else (1.0,):
            samples = resampled_length(
                utterance.samples, utterance.rate, settings.sample_rate, speed
            )
            stop = start + frame_count(samples, settings)
            stored.append(
                StoredUtterance(
                    id=speed_perturbed_name(utterance.id, speed),
                    transcript=utterance.transcript,
                    speaker=speed_perturbed_name(utterance.speaker, speed),
                    split=utterance.split,
                    shard=plan.index,
                    start=start,
                    stop=stop,
                )
            )
            start = stop
    return stored


def speed_perturbed_name(name: str, speed: float) -> str:
    """Return the name that Kaldi gives to a perturbed utterance or speaker."""
    return name if speed == 1 else f"sp{speed}-{name}"


class _StreamKey(NamedTuple):
    """Outputs with the same key share a stream."""

    transform: STFTParameters
    speeds: tuple[float, ...]
    engine: Engine


def make_streams(outputs: Sequence[ShardOutput]) -> StreamsBySpeed:
    """Make one stream for all outputs that share a transform, speeds and engine."""
    alike: dict[_StreamKey, list[ShardOutput]] = {}
    for output in outputs:
        transform = stft_parameters(output.settings)
        key = _StreamKey(transform, output.settings.speeds, output.engine)
        alike.setdefault(key, []).append(output)
    every = sorted({speed for key in alike for speed in key.speeds})
    streams: StreamsBySpeed = {speed: {} for speed in (1.0, *every)}
    for key, sharing in alike.items():
        stream = FeatureStream(
            [each.settings for each in sharing], [each.append for each in sharing], key.engine
        )
        for speed in (1.0, *key.speeds):
            streams[speed].setdefault(key.transform.sample_rate, []).append(stream)
    return streams
