"""Encoding: float32 rows -> the storage type of a shard, and back.

In:   rows of float32, block after block, in the order of the utterances.
Out:  rows of float32 or float16, or 8-bit codes; statistics; decoded rows.
Not here: the file (shards.py), computing rows (framing.py), the specification (FORMAT.md).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from zlib_ng.zlib_ng import crc32

from pipeline.config.features import FeatureSettings
from pipeline.features.framing import describe_spectrum
from pipeline.features.native import kernels
from pipeline.features.native.kernels import Float16Conversion
from pipeline.features.statistics import RunningCovariance, ScaledCovariance, Statistics
from pipeline.files import InputError
from pipeline.shapes import Float16, Float32, Int64, UInt8

UINT8_PIECE_ROWS: Final = 128  # FORMAT.md, "8-bit codes"
MAX_UNDERFLOW_SHARE = 0.001  # of the nonzero values
FLOAT16_UNDERFLOW_THRESHOLD = 2.0**-25  # float16 stores values up to this as zero


def to_float16(rows: Float32[np.ndarray, "T F"]) -> Float16Conversion:
    """Round to the nearest float16, ties to even; count the values that are too large or small.

    Both engines give the same bits.
    """
    largest, smallest = float(np.finfo(np.float16).max), FLOAT16_UNDERFLOW_THRESHOLD
    library = kernels.load_library()
    if library:
        return kernels.convert_to_float16(library, rows, largest, smallest)
    with np.errstate(over="ignore"):
        converted = rows.astype(np.float16)
    conditions = (rows > largest, rows <= smallest, rows == 0)
    counts = (int(np.count_nonzero(condition)) for condition in conditions)
    return Float16Conversion(converted, *counts)


class Float32Encoder:
    """Storage float32: rows are not changed."""

    def encode(self, rows: Float32[np.ndarray, "T F"]) -> Float32[np.ndarray, "T F"]:
        return rows

    def close(self) -> None:
        pass


class Float16Encoder:
    """Storage float16; it refuses values that float16 cannot hold."""

    def __init__(self, settings: FeatureSettings) -> None:
        self._spectrum_name = describe_spectrum(settings)
        self._may_underflow = not settings.is_log_scale
        self._nonzero_count = self._underflow_count = 0

    def encode(self, rows: Float32[np.ndarray, "T F"]) -> Float16[np.ndarray, "T F"]:
        converted = to_float16(rows)
        if converted.above:
            raise InputError(
                f"features.storage float16 holds at most {np.finfo(np.float16).max:g}, and "
                f"{self._spectrum_name} reached {rows.max():g}; choose features.scale log or "
                "features.storage float32"
            )
        if self._may_underflow:
            self._nonzero_count += rows.size - converted.zeros
            self._underflow_count += converted.below - converted.zeros
        return converted.rows

    def close(self) -> None:
        if self._underflow_count > MAX_UNDERFLOW_SHARE * self._nonzero_count:
            share = self._underflow_count / self._nonzero_count
            raise InputError(
                f"features.storage float16: {share:.0%} of the {self._spectrum_name} values would "
                "become 0, being below 3e-8; choose features.scale log or features.storage float32"
            )


class UInt8Scales(NamedTuple):
    """The scales of 8-bit codes: a value of piece p is low[p] + step[p] * code."""

    edges: Int64[np.ndarray, " pieces_and_one"]  # rows
    low: Float32[np.ndarray, "piece_edges F"]
    step: Float32[np.ndarray, "piece_edges F"]

    def decode(self, codes: UInt8[np.ndarray, "T F"], start: int) -> Float32[np.ndarray, "T F"]:
        """Return the values of `codes`, whose first row is row `start` of the shard."""
        rows = np.empty(codes.shape, np.float32)
        stop = start + len(codes)
        first, end = np.searchsorted(self.edges, (start, stop - 1), side="right")
        for piece in range(first - 1, end):
            low, high = self.edges[piece : piece + 2].clip(start, stop) - start
            np.multiply(codes[low:high], self.step[piece], out=rows[low:high])
            np.add(rows[low:high], self.low[piece], out=rows[low:high])
        return rows


def piece_edges(offsets: Sequence[int]) -> Int64[np.ndarray, " edges"]:
    """Return where each piece begins, and where the last one ends, in rows.

    A piece has at most UINT8_PIECE_ROWS rows, all of one utterance.
    """
    starts = [np.arange(*edge, UINT8_PIECE_ROWS) for edge in pairwise(offsets)]
    return np.concatenate([*starts, offsets[-1:]]).astype(np.int64)


class UInt8Encoder:
    """Storage uint8: rows wait until their piece is complete."""

    def __init__(self, offsets: Sequence[int], bins: int) -> None:
        edges = piece_edges(offsets)
        shape = (len(edges) - 1, bins)
        self.scales = UInt8Scales(edges, np.zeros(shape, np.float32), np.zeros(shape, np.float32))
        self._pending_rows = np.empty((0, bins), np.float32)
        self._pieces_done = 0

    def encode(self, rows: Float32[np.ndarray, "T F"]) -> UInt8[np.ndarray, "S F"]:
        """Return the codes (S, F) of the pieces that these rows complete."""
        rows = np.concatenate((self._pending_rows, rows))
        edges = self.scales.edges[self._pieces_done :] - self.scales.edges[self._pieces_done]
        complete = int(np.searchsorted(edges, len(rows), side="right")) - 1
        codes = np.empty((int(edges[complete]), rows.shape[1]), np.uint8)
        for start, stop in pairwise(edges[: complete + 1]):
            self._encode_piece(rows[start:stop], codes[start:stop])
        self._pending_rows = rows[len(codes) :].copy()
        return codes

    def _encode_piece(
        self, rows: Float32[np.ndarray, "T F"], codes: UInt8[np.ndarray, "T F"]
    ) -> None:
        low, step = self.scales.low[self._pieces_done], self.scales.step[self._pieces_done]
        np.min(rows, axis=0, out=low)
        np.divide(rows.max(axis=0) - low, np.float32(255), out=step)
        scaled = (rows - low) / np.where(step > 0, step, np.float32(1))
        np.copyto(codes, np.rint(scaled, out=scaled), casting="unsafe")
        self._pieces_done += 1

    def close(self) -> None:
        pass


Encoder = Float32Encoder | Float16Encoder | UInt8Encoder


def _make_encoder(settings: FeatureSettings, offsets: Sequence[int]) -> Encoder:
    match settings.storage:
        case "float32":
            return Float32Encoder()
        case "float16":
            return Float16Encoder(settings)
        case "uint8":
            return UInt8Encoder(offsets, settings.bins)


class RowWriter:
    """Add rows to the training statistics, encode them, write them and sum up their checksum."""

    def __init__(
        self,
        target: Any,  # an array or an HDF5 dataset
        settings: FeatureSettings,
        offsets: Sequence[int],
        training: Sequence[bool],  # for each utterance: whether it is in the training split
        accumulator: RunningCovariance | ScaledCovariance,
    ) -> None:
        self._target = target
        self._encoder = _make_encoder(settings, offsets)
        self._training = np.repeat(np.array(training, bool), np.diff(offsets))
        self._received = self._written = self._checksum = 0
        self._accumulator = accumulator

    def append(self, rows: Float32[np.ndarray, "T F"]) -> None:
        training = self._training[self._received : self._received + len(rows)]
        self._accumulator.add(rows if training.all() else rows[training])
        self._received += len(rows)
        stored = self._encoder.encode(rows)
        self._target[self._written : self._written + len(stored)] = stored
        self._checksum = crc32(stored.data, self._checksum)
        self._written += len(stored)

    def finish(self) -> int:
        """Check that all rows came; return the checksum of the bytes that were written."""
        if self._written != len(self._training):
            raise ValueError(f"{self._written} rows were written, not {len(self._training)}")
        self._encoder.close()
        return self._checksum

    @property
    def statistics(self) -> Statistics:
        return self._accumulator.statistics

    @property
    def scale_arrays(self) -> dict[str, Float32[np.ndarray, "piece_edges F"]]:
        """Return the scales of 8-bit codes by their names in the file; else an empty dict."""
        if not isinstance(self._encoder, UInt8Encoder):
            return {}
        return {"low": self._encoder.scales.low, "step": self._encoder.scales.step}
