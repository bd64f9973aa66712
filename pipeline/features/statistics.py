"""Statistics: mean and covariance that can be added; standardisation and whitening from them.

In:   frames (T, F), block by block; partial statistics.
Out:  their sum; an affine map for the network's input.
Not here: which frames count (encoding.py: those of the training split), the file (shards.py).

Partial statistics are added in float64 with the formula of Chan, Golub and LeVeque (1983), which
does not subtract large numbers. Within a part, deviations from a pilot mean are multiplied in
float32, a block at a time.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.features.native import kernels
from pipeline.features.native.kernels import Engine
from pipeline.files import InputError
from pipeline.shapes import Float, Float32, Float64

MAX_BLOCK_ROWS = 2048  # rows multiplied at a time: 2 MB of 257 float32 bins
CONSTANT_BIN_TOLERANCE = 1e-6  # standard deviation / |mean| of a bin that counts as constant
MIN_VARIANCE_SHARE = 1e-10  # of the largest variance; directions with less become 0


@dataclass(frozen=True, eq=False)
class Statistics:
    count: int  # frames
    mean: Float64[np.ndarray, " F"]
    comoment: Float64[np.ndarray, "F F"]  # sum over frames of (x - mean)(x - mean)'

    @classmethod
    def empty(cls, bins: int) -> "Statistics":
        return cls(0, np.zeros(bins), np.zeros((bins, bins)))

    def __add__(self, other: "Statistics") -> "Statistics":
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        difference = other.mean - self.mean
        mean = self.mean + difference * (other.count / count)
        between = np.outer(difference, difference) * (self.count * other.count / count)
        return Statistics(count, mean, self.comoment + other.comoment + between)

    def scaled_by(self, factor: float) -> "Statistics":
        """Return the statistics of all frames multiplied by `factor`."""
        return Statistics(self.count, self.mean * factor, self.comoment * factor**2)

    @property
    def covariance(self) -> Float64[np.ndarray, "F F"]:
        return np.asarray(self.comoment / self._require_frames())

    @property
    def variance(self) -> Float64[np.ndarray, " F"]:
        return np.diagonal(self.covariance).clip(min=0)

    def _require_frames(self) -> int:
        if not self.count:
            raise InputError(
                "the training split has no frames, so there is nothing to normalise with"
            )
        return self.count


class RunningCovariance:
    """The statistics of rows that come block after block, computed by one engine.

    It multiplies deviations from the pilot mean, which is the mean of the first rows.
    """

    def __init__(self, bins: int, engine: Engine) -> None:
        self._count = 0
        self._pilot_mean = np.zeros(bins, np.float32)
        native = kernels.make_native_moment_sums(bins) if engine == "native" else None
        self._moment_sums = native or NumpyMomentSums(bins)

    def add(self, frames: Float32[np.ndarray, "T F"]) -> None:
        if not self._count and len(frames):
            self._pilot_mean = frames[:MAX_BLOCK_ROWS].mean(axis=0, dtype=np.float32)
        self._moment_sums.add(frames, self._pilot_mean)
        self._count += len(frames)

    @property
    def statistics(self) -> Statistics:
        if not self._count:
            return Statistics.empty(len(self._pilot_mean))
        shift = self._moment_sums.total / self._count
        comoment = self._moment_sums.comoment - self._count * np.outer(shift, shift)
        return Statistics(self._count, self._pilot_mean + shift, comoment)


class NumpyMomentSums:
    """Sums of D = rows - pilot mean, and of the products D' D, by NumPy.

    NumPy hands D' D to BLAS as a symmetric product, which is half of the work.
    """

    def __init__(self, bins: int) -> None:
        self.total = np.zeros(bins)
        self.comoment = np.zeros((bins, bins))

    def add(self, rows: Float32[np.ndarray, "T F"], pilot_mean: Float32[np.ndarray, " F"]) -> None:
        for start in range(0, len(rows), MAX_BLOCK_ROWS):
            deviation = rows[start : start + MAX_BLOCK_ROWS] - pilot_mean
            self.total += np.ones(len(deviation), np.float32) @ deviation
            self.comoment += deviation.T @ deviation


class ScaledCovariance:
    """The statistics of rows that are `factor` times the rows of another accumulator."""

    def __init__(self, accumulator: RunningCovariance, factor: float) -> None:
        self._accumulator, self._factor = accumulator, factor
        self._count = 0

    def add(self, frames: Float32[np.ndarray, "T F"]) -> None:
        self._count += len(frames)

    @property
    def statistics(self) -> Statistics:
        found = self._accumulator.statistics
        if found.count != self._count:
            raise ValueError(f"{self._count} rows, and the other accumulator got {found.count}")
        return found.scaled_by(self._factor)


@dataclass(frozen=True, eq=False)
class AffineMap:
    """(x - shift) * factor for one factor per bin, (x - shift) @ factor for a matrix."""

    shift: Float32[np.ndarray, " F"]
    factor: Float32[np.ndarray, " F"] | Float32[np.ndarray, "F F"]

    def __call__(self, frames: Float[np.ndarray, "T F"]) -> Float32[np.ndarray, "T F"]:
        centred = frames - self.shift
        return np.asarray(centred * self.factor if self.factor.ndim == 1 else centred @ self.factor)


def standardise(statistics: Statistics) -> AffineMap:
    """Return the map to mean 0 and variance 1 in each bin; a constant bin keeps its scale."""
    deviation = np.sqrt(statistics.variance)
    constant = deviation <= CONSTANT_BIN_TOLERANCE * np.abs(statistics.mean)
    return _make_affine_map(statistics, 1 / np.where(constant, 1, deviation))


def pca(statistics: Statistics, epsilon: float) -> AffineMap:
    """Return the map to the principal axes, largest variance first, each scaled to variance 1.

    `epsilon` (relative to the mean variance) is added to every variance. With 0 the covariance of
    the training frames becomes the identity, and the weakest directions are amplified most.
    """
    axes, scale = _principal_axes(statistics, epsilon)
    return _make_affine_map(statistics, axes * scale)


def zca(statistics: Statistics, epsilon: float) -> AffineMap:
    """Return `pca` followed by the rotation back: the whitening that changes frames least.

    (Kessy, Lewin and Strimmer, "Optimal whitening and decorrelation", 2018.)
    """
    axes, scale = _principal_axes(statistics, epsilon)
    return _make_affine_map(statistics, (axes * scale) @ axes.T)


def _principal_axes(
    statistics: Statistics, epsilon: float
) -> tuple[Float64[np.ndarray, "F F"], Float64[np.ndarray, " F"]]:
    """Return the axes as columns, and 1 / standard deviation along each; 0 without variance."""
    covariance = statistics.covariance
    variance, axes = np.linalg.eigh(covariance)
    variance, axes = variance[::-1], axes[:, ::-1]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    axes = axes * np.sign(largest)  # eigenvectors have no sign: choose one
    raised = np.maximum(variance, 0) + epsilon * np.trace(covariance) / len(covariance)
    alive = raised > MIN_VARIANCE_SHARE * raised[0]
    return axes, np.where(alive, 1 / np.sqrt(np.where(alive, raised, 1)), 0)


def _make_affine_map(statistics: Statistics, factor: Float64[np.ndarray, "..."]) -> AffineMap:
    return AffineMap(statistics.mean.astype(np.float32), factor.astype(np.float32))
