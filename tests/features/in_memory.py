"""Frames and statistics computed in memory, without a shard, by the engine that is available."""

from collections.abc import Sequence

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.features.framing import FeatureStream
from pipeline.features.native import kernels
from pipeline.features.statistics import RunningCovariance, Statistics
from pipeline.features.stft import stft_parameters


def compute_frames(waveform: np.ndarray, settings: Sequence[FeatureSettings]) -> list[np.ndarray]:
    """Return the float32 frames (T, F) of one waveform for each of `settings`."""
    frames: list[list[np.ndarray]] = [[] for _ in settings]
    for shared in {stft_parameters(each) for each in settings}:
        numbers = [n for n, each in enumerate(settings) if stft_parameters(each) == shared]
        sinks = [lambda rows, n=n: frames[n].append(rows.copy()) for n in numbers]
        stream = FeatureStream([settings[n] for n in numbers], sinks, kernels.available_engine())
        stream.add(waveform)
        stream.flush()
    return [np.concatenate(rows) for rows in frames]


def statistics_of(frames: np.ndarray) -> Statistics:
    """Return the statistics of frames (T, F)."""
    accumulator = running_covariance(frames.shape[1])
    accumulator.add(frames)
    return accumulator.statistics


def running_covariance(bins: int) -> RunningCovariance:
    return RunningCovariance(bins, kernels.available_engine())
