"""Normalisation: stored frames -> what the network reads.

In:   settings, a feature set, the utterances of one split.
Out:  a function that writes one utterance's normalised frames into an array; it can be pickled.
Not here: the sums over the training split and the maps made of them (features/statistics.py).

`utterance` uses the statistics of each utterance, `speaker` those of all its utterances in
the split. `standardise`, `pca` and `zca` use the statistics of the training split for all splits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack  # from_numpy warns about read-only arrays

from pipeline.config.network import InputSettings
from pipeline.features import statistics
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.features.statistics import AffineMap
from pipeline.shapes import Float, Float32, Float64

MIN_BIN_DEVIATION = 1e-3  # of a bin; a smaller standard deviation counts as this one
# Frames of the training split that count beside those of a recording whose speaker is unknown: a
# few seconds of sound tell little of a speaker. As in Kaldi's online CMVN (global-frames).
PRIOR_FRAMES = 200

StoredFrames = Float[np.ndarray, "T F"]  # may be read-only, mapped from the file
Frames = Float32[np.ndarray, "T F"]
Normaliser = Callable[[StoredUtterance, StoredFrames, Frames], None]


def make_normaliser(
    settings: InputSettings, features: FeatureSet, utterances: Sequence[StoredUtterance]
) -> Normaliser:
    if settings.normalisation == "speaker":
        return SpeakerCMVN.of(features, utterances)
    return normalise_alone(settings, fit_affine_map(settings, features))


def fit_affine_map(settings: InputSettings, features: FeatureSet) -> AffineMap | None:
    """Return the map that the training split gives; None if each utterance has its own.

    `speaker` needs it for recordings whose speaker is unknown.
    """
    match settings.normalisation:
        case "standardise" | "speaker":
            return statistics.standardise(features.statistics)
        case "pca":
            return statistics.pca(features.statistics, settings.epsilon)
        case "zca":
            return statistics.zca(features.statistics, settings.epsilon)
        case _:
            return None


def normalise_alone(settings: InputSettings, affine: AffineMap | None) -> Normaliser:
    """Return the normaliser of an utterance that is no part of a feature set.

    Its speaker is unknown: `speaker` uses the statistics of the utterance and of PRIOR_FRAMES that
    are as the training split.
    """
    if affine is not None and settings.normalisation == "speaker":
        return UnknownSpeakerCMVN(PerBinAffine.of(affine))
    if affine is not None:
        return PerBinAffine.of(affine) if affine.factor.ndim == 1 else LinearTransform(affine)
    return _copy_stored if settings.normalisation == "none" else _normalise_utterance


@dataclass(frozen=True, eq=False)
class PerBinAffine:
    """x * factor + offset in each bin, in one pass over the frames."""

    factor: Float32[Tensor, " F"]
    offset: Float32[Tensor, " F"]

    @classmethod
    def of(cls, affine: AffineMap) -> "PerBinAffine":
        offset = -affine.shift.astype(np.float64) * affine.factor
        return cls(torch.from_numpy(affine.factor), torch.from_numpy(offset.astype(np.float32)))

    def __call__(self, utterance: StoredUtterance, stored: StoredFrames, out: Frames) -> None:
        frames = from_dlpack(stored).float()  # torch converts float16 six times as fast as numpy
        torch.addcmul(self.offset, frames, self.factor, out=torch.from_numpy(out))


@dataclass(frozen=True, eq=False)
class LinearTransform:
    affine: AffineMap

    def __call__(self, utterance: StoredUtterance, stored: StoredFrames, out: Frames) -> None:
        out[:] = self.affine(stored)


@dataclass(frozen=True, eq=False)
class SpeakerCMVN:
    """Each speaker's frames of a split get mean 0 and variance 1 in each bin (per-speaker CMVN)."""

    affines: Mapping[tuple[str, str], AffineMap]  # by split and speaker

    @classmethod
    def of(cls, features: FeatureSet, utterances: Sequence[StoredUtterance]) -> "SpeakerCMVN":
        """Read all frames once, because shards store no sums by speaker."""
        moments: dict[tuple[str, str], _Moments] = {}
        for utterance in utterances:
            found = _Moments.of(features.frames(utterance))
            key = utterance.split, utterance.speaker
            before = moments.get(key)
            moments[key] = before + found if before else found
        return cls({key: each.affine for key, each in moments.items()})

    def __call__(self, utterance: StoredUtterance, stored: StoredFrames, out: Frames) -> None:
        affine = self.affines[utterance.split, utterance.speaker]
        frames = torch.from_numpy(out)
        torch.sub(from_dlpack(stored), torch.from_numpy(affine.shift), out=frames)
        frames.mul_(torch.from_numpy(affine.factor))


@dataclass(frozen=True, eq=False)
class UnknownSpeakerCMVN:
    """One utterance's statistics, and those of PRIOR_FRAMES of the training split."""

    standardise: PerBinAffine  # the training split gets mean 0 and variance 1

    def __call__(self, utterance: StoredUtterance, stored: StoredFrames, out: Frames) -> None:
        self.standardise(utterance, stored, out)
        count = len(out) + PRIOR_FRAMES
        mean = out.sum(0) / count
        out -= mean
        out /= np.sqrt((np.square(out).sum(0) + PRIOR_FRAMES * (1 + mean**2)) / count)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Mean and squared deviations of each bin; they can be added (Chan et al., 1979)."""

    count: int
    mean: Float64[np.ndarray, " F"]
    squared_deviations: Float64[np.ndarray, " F"]  # sum over frames of (x - mean)^2

    @classmethod
    def of(cls, frames: Float[np.ndarray, "T F"]) -> "_Moments":
        if not len(frames):
            return cls(0, np.zeros(frames.shape[1]), np.zeros(frames.shape[1]))
        x = frames.astype(np.float64)
        return cls(len(x), x.mean(axis=0), len(x) * x.var(axis=0))

    def __add__(self, other: "_Moments") -> "_Moments":
        count = self.count + other.count
        share = other.count / max(1, count)
        apart = other.mean - self.mean
        between = apart**2 * (self.count * share)
        deviations = self.squared_deviations + other.squared_deviations + between
        return _Moments(count, self.mean + apart * share, deviations)

    @property
    def affine(self) -> AffineMap:
        deviation = np.maximum(
            np.sqrt(self.squared_deviations / max(1, self.count)), MIN_BIN_DEVIATION
        )
        return AffineMap(self.mean.astype(np.float32), (1 / deviation).astype(np.float32))


def _copy_stored(utterance: StoredUtterance, stored: StoredFrames, out: Frames) -> None:
    if stored.dtype == out.dtype:
        out[:] = stored
    else:
        torch.from_numpy(out).copy_(from_dlpack(stored))


def _normalise_utterance(utterance: StoredUtterance, stored: StoredFrames, out: Frames) -> None:
    _copy_stored(utterance, stored, out)
    out -= out.mean(0)  # numpy, because its sums do not depend on the number of threads
    out /= np.maximum(np.sqrt(np.square(out).mean(0)), MIN_BIN_DEVIATION)
