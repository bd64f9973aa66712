"""Tables that the C kernels read: twiddle factors, index tables, sparse mel filters.

In:   sizes, mel filters.   Out: arrays, laid out as kernel.c wants them.
Not here: their use (kernels.py, kernel.c).
"""

import numpy as np

from pipeline.shapes import Float32, Float64


def allocate_vectors(count: int, lanes: int) -> Float32[np.ndarray, "n lanes"]:
    """Return `count` zero vectors, aligned so that each lies within one cache line."""
    buffer = np.zeros((count + 1) * lanes, np.float32)
    skipped = -buffer.ctypes.data % (4 * lanes) // 4
    return buffer[skipped:][: count * lanes].reshape(count, lanes)


def _radices(points: int) -> list[int]:
    radices = []
    while points > 1:
        radices.append(4 if points % 4 == 0 else 2)
        points //= radices[-1]
    return radices


def butterfly_twiddles(points: int) -> Float32[np.ndarray, " n"]:
    """Return three twiddle factors per butterfly of each pass but the last, which needs none."""
    passes, span = [np.zeros(0, np.float32)], points
    while span > 4:
        turns = np.arange(span // 4)[:, None] * np.arange(1, 4) / span
        passes.append(twiddle_factors(turns).ravel())
        span //= 4
    return np.concatenate(passes)


def digit_reversal(points: int) -> np.ndarray:
    """Return the index at which the passes leave frequency k: the digits of k reversed."""
    k, index, size = np.arange(points), np.zeros(points, np.int64), points
    for radix in _radices(points):
        size //= radix
        index += k % radix * size
        k //= radix
    return index.astype(np.int32)


def twiddle_factors(turns: Float64[np.ndarray, "..."]) -> Float32[np.ndarray, "... 2"]:
    """Return (cos, sin) of -2 pi turns."""
    angles = -2 * np.pi * turns
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)


def sparse_filters(
    filters: Float64[np.ndarray, "K F"],
) -> tuple[np.ndarray, Float32[np.ndarray, "K 2"]]:
    """Return for each bin its first mel filter (K,), and the weights of that one and the next.

    A bin lies in at most two filters, because each triangle ends at the centre of the next one.
    """
    first = np.argmax(filters > 0, axis=1)
    beside = np.pad(filters, ((0, 0), (0, 1)))
    weights = np.take_along_axis(beside, first[:, None] + np.arange(2), axis=1)
    return first.astype(np.int32), weights.astype(np.float32)
