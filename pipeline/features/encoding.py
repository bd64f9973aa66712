"""Storage: float32 rows -> what is kept of them, and back.

In:   rows of float32, block after block, in the order of the utterances.
Out:  the same in float32, in float16 or as a code of 8 bits, and their statistics; decoded rows.
Not here: the file (shards.py), computing rows (spectrum.py).

The 8-bit code: at most CODE_ROWS neighbouring frames of one utterance are a piece, and each bin of
a piece has its lowest value `low` and its `step`, a 255th of its range: a value is
low + step * code, off by at most half a step. An utterance's code depends on no other utterance.
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

UINT8_PIECE_ROWS: Final = 128  # part of the shard format
MAX_UNDERFLOW_SHARE = 0.001  # of the values that are not zero
FLOAT16_UNDERFLOW_THRESHOLD = 2.0**-25  # what is not above it is stored as zero


def to_float16(rows: Float32[np.ndarray, "T F"]) -> Float16Conversion:
    """To the nearest, ties to even; how many values it cannot hold, because of their size."""
    most, least = float(np.finfo(np.float16).max), FLOAT16_UNDERFLOW_THRESHOLD
    library = kernels.load_library()
    if library:
        return kernels.convert_to_float16(library, rows, most, least)
    with np.errstate(over="ignore"):
        found = rows.astype(np.float16)
    counts = (int(np.count_nonzero(where)) for where in (rows > most, rows <= least, rows == 0))
    return Float16Conversion(found, *counts)


class Float32Encoder:
    """float32: rows as they are."""

    def encode(self, rows: Float32[np.ndarray, "T F"]) -> Float32[np.ndarray, "T F"]:
        return rows

    def close(self) -> None:
        pass


class Float16Encoder:
    """float16, which refuses what it cannot hold."""

    def __init__(self, settings: FeatureSettings) -> None:
        self._spectrum_name = describe_spectrum(settings)
        self._may_underflow = not settings.is_log_scale
        self._nonzero_count = self._underflow_count = 0

    def encode(self, rows: Float32[np.ndarray, "T F"]) -> Float16[np.ndarray, "T F"]:
        found = to_float16(rows)
        if found.above:
            raise InputError(
                f"features.storage float16 holds at most {np.finfo(np.float16).max:g}, and "
                f"{self._spectrum_name} reached {rows.max():g}; choose features.scale log or "
                "features.storage float32"
            )
        if self._may_underflow:
            self._nonzero_count += rows.size - found.zeros
            self._underflow_count += found.below - found.zeros
        return found.rows

    def close(self) -> None:
        if self._underflow_count > MAX_UNDERFLOW_SHARE * self._nonzero_count:
            raise InputError(
                f"features.storage float16: {self._underflow_count / self._nonzero_count:.0%} of the "
                f"{self._spectrum_name} values would vanish, being below 3e-8; choose features.scale "
                "log or features.storage float32"
            )


class UInt8Scales(NamedTuple):
    """What turns 8-bit codes back into values, for each piece of rows."""

    edges: Int64[np.ndarray, " pieces_and_one"]  # rows
    low: Float32[np.ndarray, "piece_edges F"]
    step: Float32[np.ndarray, "piece_edges F"]

    def decode(self, codes: UInt8[np.ndarray, "T F"], start: int) -> Float32[np.ndarray, "T F"]:
        """The values of rows `start` and on."""
        rows = np.empty(codes.shape, np.float32)
        stop = start + len(codes)
        first, end = np.searchsorted(self.edges, (start, stop - 1), side="right")
        for piece in range(first - 1, end):
            low, high = self.edges[piece : piece + 2].clip(start, stop) - start
            np.multiply(codes[low:high], self.step[piece], out=rows[low:high])
            np.add(rows[low:high], self.low[piece], out=rows[low:high])
        return rows


def piece_edges(offsets: Sequence[int]) -> Int64[np.ndarray, " edges"]:
    """Where pieces of at most CODE_ROWS rows of one utterance begin, and the end of the last."""
    starts = [np.arange(*edge, UINT8_PIECE_ROWS) for edge in pairwise(offsets)]
    return np.concatenate([*starts, offsets[-1:]]).astype(np.int64)


class UInt8Encoder:
    """8 bits: rows wait until their piece is whole."""

    def __init__(self, offsets: Sequence[int], bins: int) -> None:
        edges = piece_edges(offsets)
        shape = (len(edges) - 1, bins)
        self.scales = UInt8Scales(edges, np.zeros(shape, np.float32), np.zeros(shape, np.float32))
        self._pending_rows = np.empty((0, bins), np.float32)
        self._pieces_done = 0  # done

    def encode(self, rows: Float32[np.ndarray, "T F"]) -> UInt8[np.ndarray, "S F"]:
        """The codes of the pieces that these rows complete."""
        rows = np.concatenate((self._pending_rows, rows))
        edges = self.scales.edges[self._pieces_done :] - self.scales.edges[self._pieces_done]
        whole = int(np.searchsorted(edges, len(rows), side="right")) - 1
        codes = np.empty((int(edges[whole]), rows.shape[1]), np.uint8)
        for start, stop in pairwise(edges[: whole + 1]):
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
    """Rows as they come: counted into the training statistics, encoded, written."""

    def __init__(
        self,
        target: Any,  # takes slices of rows, as an array or a dataset does
        settings: FeatureSettings,
        offsets: Sequence[int],
        training: Sequence[bool],  # of each utterance
        accumulator: RunningCovariance | ScaledCovariance | None = None,  # else its own
    ) -> None:
        self._target = target
        self._encoder = _make_encoder(settings, offsets)
        self._training = np.repeat(np.array(training, bool), np.diff(offsets))
        self._received = self._written = self._checksum = 0
        self._accumulator = accumulator or RunningCovariance(settings.bins)

    def append(self, rows: Float32[np.ndarray, "T F"]) -> None:
        training = self._training[self._received : self._received + len(rows)]
        self._accumulator.add(rows if training.all() else rows[training])
        self._received += len(rows)
        stored = self._encoder.encode(rows)
        self._target[self._written : self._written + len(stored)] = stored
        self._checksum = crc32(stored.data, self._checksum)
        self._written += len(stored)

    def finish(self) -> int:
        """The checksum of all bytes that were written."""
        if self._written != len(self._training):
            raise ValueError(f"{self._received} rows were written, not {len(self._training)}")
        self._encoder.close()
        return self._checksum

    @property
    def statistics(self) -> Statistics:
        return self._accumulator.statistics

    @property
    def scale_arrays(self) -> dict[str, Float32[np.ndarray, "piece_edges F"]]:
        """What goes with 8-bit codes."""
        if not isinstance(self._encoder, UInt8Encoder):
            return {}
        return {"low": self._encoder.scales.low, "step": self._encoder.scales.step}
