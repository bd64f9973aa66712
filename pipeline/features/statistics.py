"""Statistics: mean and covariance that can be added; standardising and whitening made from them.

In:   frames (T, F), block by block; partial statistics.
Out:  their sum; an affine map for the network's input.
Not here: which frames count (shards.py: those of the training split), where sums are stored.

Two parts are merged as Chan, Golub and LeVeque (1983) do, in float64, so that no large numbers
cancel. Within a part, deviations from a near mean are multiplied in float32.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64

from pipeline.files import InputError

BLOCK = 2048  # rows multiplied at a time: two megabytes of 257 float32 bins
CONSTANT = 1e-6  # a bin whose deviation is below this share of its mean carries nothing
NO_DIRECTION = 1e-10  # nor does a direction with less than this share of the largest variance


@dataclass(frozen=True, eq=False)
class Statistics:
    count: int  # frames
    mean: Float64[np.ndarray, " F"]
    comoment: Float64[np.ndarray, "F F"]  # sum over frames of (x - mean)(x - mean)'

    @classmethod
    def empty(cls, bins: int) -> "Statistics":
        return cls(0, np.zeros(bins), np.zeros((bins, bins)))

    @classmethod
    def of(cls, frames: Float[np.ndarray, "T F"]) -> "Statistics":
        count, bins = frames.shape
        if not count:
            return cls.empty(bins)
        near_mean = frames[:BLOCK].mean(axis=0, dtype=np.float32)
        total, comoment = np.zeros(bins), np.zeros((bins, bins))
        for start in range(0, count, BLOCK):
            deviation = frames[start : start + BLOCK] - near_mean
            total += deviation.sum(axis=0)
            comoment += deviation.T @ deviation
        shift = total / count
        return cls(count, near_mean + shift, comoment - count * np.outer(shift, shift))

    def __add__(self, other: "Statistics") -> "Statistics":
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = np.outer(apart, apart) * (self.count * other.count / count)
        return Statistics(count, mean, self.comoment + other.comoment + between)

    @property
    def covariance(self) -> Float64[np.ndarray, "F F"]:
        return np.asarray(self.comoment / self._counted())

    @property
    def variance(self) -> Float64[np.ndarray, " F"]:
        return np.diagonal(self.covariance).clip(min=0)

    def _counted(self) -> int:
        if not self.count:
            raise InputError("no utterance of the training split has frames: nothing to normalise")
        return self.count


@dataclass(frozen=True, eq=False)
class Affine:
    """(x - shift) * factor for a factor per bin, (x - shift) @ factor for a matrix."""

    shift: Float32[np.ndarray, " F"]
    factor: Float32[np.ndarray, " F"] | Float32[np.ndarray, "F F"]

    def __call__(self, frames: Float[np.ndarray, "T F"]) -> Float32[np.ndarray, "T F"]:
        centred = frames - self.shift
        return np.asarray(centred * self.factor if self.factor.ndim == 1 else centred @ self.factor)


def standardise(statistics: Statistics) -> Affine:
    """Mean 0 and variance 1 in each bin; a bin that never changes keeps its scale."""
    deviation = np.sqrt(statistics.variance)
    constant = deviation <= CONSTANT * np.abs(statistics.mean)
    return _affine(statistics, 1 / np.where(constant, 1, deviation))


def pca(statistics: Statistics, epsilon: float) -> Affine:
    """Onto the principal axes, largest variance first, each divided by its deviation.

    `epsilon`, relative to the mean variance, is added to every variance; with 0 the training
    frames get the identity as covariance, and the weakest directions are amplified the most.
    """
    axes, scale = _principal_axes(statistics, epsilon)
    return _affine(statistics, axes * scale)


def zca(statistics: Statistics, epsilon: float) -> Affine:
    """As `pca`, then turned back: the whitening that moves frames the least."""
    axes, scale = _principal_axes(statistics, epsilon)
    return _affine(statistics, (axes * scale) @ axes.T)


def _principal_axes(
    statistics: Statistics, epsilon: float
) -> tuple[Float64[np.ndarray, "F F"], Float64[np.ndarray, " F"]]:
    """Axes in columns, and one over the deviation along each; 0 where nothing varies."""
    covariance = statistics.covariance
    variance, axes = np.linalg.eigh(covariance)
    variance, axes = variance[::-1], axes[:, ::-1]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    axes = axes * np.sign(largest)  # eigenvectors have no sign: make the result one of a kind
    raised = np.maximum(variance, 0) + epsilon * np.trace(covariance) / len(covariance)
    alive = raised > NO_DIRECTION * raised[0]
    return axes, np.where(alive, 1 / np.sqrt(np.where(alive, raised, 1)), 0)


def _affine(statistics: Statistics, factor: Float64[np.ndarray, "..."]) -> Affine:
    return Affine(statistics.mean.astype(np.float32), factor.astype(np.float32))
