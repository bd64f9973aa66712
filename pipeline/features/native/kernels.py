"""Compiled: arithmetic of features by a C library, several times as fast as numpy's.

In:   kernel.c, rows.c, a C compiler at `make setup`; then settings, samples, rows.
Out:  rows; what is kept of them; the sums of their products.
Not here: what there is to compute (spectrum.py), the same without a compiler (transform.py,
storage.py, statistics.py).

    python -m pipeline.features.compiled     # what make setup does

The library lies in the environment whose python it serves, under a name that tells its source, so
that the jobs of a sweep find the one that fits their snapshot of the code, and a changed source
asks for `make setup` again. Nothing is compiled at run time. Rows differ from numpy's by rounding.
"""

import ctypes
import hashlib
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.features.stft import (
    FeatureRows,
    SampleWindows,
    STFTParameters,
    is_linear_amplitude,
    log_factor,
    log_floor,
    make_window,
    mel_filters,
)
from pipeline.shapes import Float16, Float32, Float64

SOURCES = tuple(map(Path(__file__).with_name, ("kernel.c", "rows.c", "vectors.h")))
COMPILERS = ("cc", "gcc", "clang")
# Neither errno nor a trap is asked for after a square root, so that it may be one instruction.
COMPILER_FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
KERNEL_BLOCK_ROWS = 128  # multiplied at a time: two panels fit in the first cache
SCALE_CODES = {"none": 0, "log1p": 1, "log": 2, "decibel": 2}

Library = ctypes.CDLL


class _FFTPlan(ctypes.Structure):
    _fields_ = [
        ("length", ctypes.c_int32),
        ("points", ctypes.c_int32),
        ("window", ctypes.c_void_p),
        ("twiddles", ctypes.c_void_p),
        ("turns", ctypes.c_void_p),
        ("places", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
    ]


class _FeatureOutput(ctypes.Structure):
    _fields_ = [
        ("bins", ctypes.c_int32),
        ("points", ctypes.c_int32),
        ("root", ctypes.c_int32),
        ("scale", ctypes.c_int32),
        ("floor", ctypes.c_float),
        ("factor", ctypes.c_float),
        ("filters", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
    ]


@cache
def load_library() -> Library | None:
    """None where there is none for this source and this python, or the CPU cannot run it."""
    path = _library_path()
    try:
        found = ctypes.CDLL(str(path))
    except OSError:
        return None
    number, size, address = ctypes.c_int32, ctypes.c_ssize_t, ctypes.c_void_p
    found.compute_rows.argtypes = [address, address, number, address, size, size]
    found.rows_from_power.argtypes = [address, address, number, address]
    found.convert_to_float16.argtypes = [address, size, address, address, address]
    found.accumulate_products.argtypes = [address, size, number, address, number, address, address]
    for function in (
        found.compute_rows,
        found.rows_from_power,
        found.convert_to_float16,
        found.accumulate_products,
    ):
        function.restype = None
    return found if found.supported_lanes() else None


def supports_n_fft(transform: STFTParameters) -> bool:
    """Powers of two, as nearly everybody has."""
    return transform.n_fft & (transform.n_fft - 1) == 0


class NativeSTFT:
    """As `transform.Plain`."""

    def __init__(
        self, library: Library, transform: STFTParameters, settings: Sequence[FeatureSettings]
    ) -> None:
        points = transform.n_fft // 2
        self._library = library
        self._lanes = library.supported_lanes()
        self._points = points
        self._tables = {
            "window": make_window(transform) / 2,
            "twiddles": _butterfly_twiddles(points),
            "turns": _twiddle_factors(np.arange(points // 2 + 1) / transform.n_fft),
            "places": _digit_reversal(points),
            "scratch": _allocate_vectors(3 * points + 1, self._lanes),
        }
        addresses = {name: table.ctypes.data for name, table in self._tables.items()}
        self._plan = _FFTPlan(length=transform.window_length, points=points, **addresses)
        self._output_tables = [self._make_output_tables(each) for each in settings]
        self._outputs = (_FeatureOutput * len(settings))(
            *map(self._make_output, settings, self._output_tables)
        )

    def compute_rows(self, windows: SampleWindows, outs: Sequence[FeatureRows]) -> None:
        for output, out in zip(self._outputs, outs, strict=True):
            output.out = out.ctypes.data
        hop, count = windows.strides[0] // windows.itemsize, len(windows)
        self._library.compute_rows(
            ctypes.byref(self._plan),
            self._outputs,
            len(self._outputs),
            windows.ctypes.data,
            hop,
            count,
        )

    def _make_output_tables(self, settings: FeatureSettings) -> dict[str, np.ndarray]:
        tables: dict[str, np.ndarray] = {
            "scratch": _allocate_vectors(settings.bins + 1, self._lanes)
        }
        if settings.spectrum == "mel":
            tables["filters"], tables["weights"] = _sparse_filters(mel_filters(settings))
        return tables

    def _make_output(
        self, settings: FeatureSettings, tables: dict[str, np.ndarray]
    ) -> _FeatureOutput:
        return _FeatureOutput(
            bins=settings.bins,
            points=self._points,
            root=is_linear_amplitude(settings),
            scale=SCALE_CODES[settings.scale],
            floor=log_floor(settings),
            factor=log_factor(settings),
            **{name: table.ctypes.data for name, table in tables.items()},
        )


class NativeMomentSums:
    """As `statistics.Products`."""

    def __init__(self, library: Library, bins: int) -> None:
        self._library, self._bins = library, bins
        lanes, panel = library.supported_lanes(), library.panel_columns()
        width = (bins // panel + 1) * panel  # a one stands after the bins
        self._packed = _allocate_vectors(KERNEL_BLOCK_ROWS * width // lanes, lanes)
        self._sums = np.zeros((width, width))

    def add(self, rows: Float32[np.ndarray, "T F"], pilot_mean: Float32[np.ndarray, " F"]) -> None:
        rows = np.ascontiguousarray(rows, np.float32)
        if rows.shape[1:] != (self._bins,) or pilot_mean.shape != (self._bins,):
            raise ValueError(f"rows of {self._bins} bins are needed, not {rows.shape}")
        self._library.accumulate_products(
            rows.ctypes.data,
            len(rows),
            self._bins,
            pilot_mean.ctypes.data,
            KERNEL_BLOCK_ROWS,
            self._packed.ctypes.data,
            self._sums.ctypes.data,
        )

    @property
    def total(self) -> Float64[np.ndarray, " F"]:
        return self._sums[: self._bins, self._bins]

    @property
    def comoment(self) -> Float64[np.ndarray, "F F"]:
        upper = np.triu(self._sums[: self._bins, : self._bins])
        return upper + np.triu(upper, 1).T


def make_native_moment_sums(bins: int) -> NativeMomentSums | None:
    """None where BLAS is to be asked: Apple's has the processor's matrix unit."""
    found = load_library() if sys.platform != "darwin" else None
    return NativeMomentSums(found, bins) if found else None


class Float16Conversion(NamedTuple):
    rows: Float16[np.ndarray, "T F"]
    above: int  # values above `most`
    below: int  # values not above `least`
    zeros: int


def convert_to_float16(
    library: Library, rows: Float32[np.ndarray, "T F"], max_value: float, underflow_threshold: float
) -> Float16Conversion:
    """As `storage.to_float16`."""
    values, bounds = (
        np.ascontiguousarray(rows),
        np.array([max_value, underflow_threshold], np.float32),
    )
    found, counts = np.empty(rows.shape, np.float16), np.empty(3, np.int64)
    library.convert_to_float16(
        values.ctypes.data, values.size, bounds.ctypes.data, found.ctypes.data, counts.ctypes.data
    )
    return Float16Conversion(found, *counts.tolist())


def _allocate_vectors(count: int, lanes: int) -> Float32[np.ndarray, "n lanes"]:
    """So many, each within one line of the cache."""
    buffer = np.zeros((count + 1) * lanes, np.float32)
    skipped = -buffer.ctypes.data % (4 * lanes) // 4
    return buffer[skipped:][: count * lanes].reshape(count, lanes)


def _radices(points: int) -> list[int]:
    radices = []
    while points > 1:
        radices.append(4 if points % 4 == 0 else 2)
        points //= radices[-1]
    return radices


def _butterfly_twiddles(points: int) -> Float32[np.ndarray, " n"]:
    """Of each pass but the last, for each place j of a quarter: the turns of legs 1, 2 and 3."""
    passes, span = [np.zeros(0, np.float32)], points
    while span > 4:
        turns = np.arange(span // 4)[:, None] * np.arange(1, 4) / span
        passes.append(_twiddle_factors(turns).ravel())
        span //= 4
    return np.concatenate(passes)


def _digit_reversal(points: int) -> np.ndarray:
    """Where decimation in frequency leaves frequency k: its digits reversed."""
    k, places, size = np.arange(points), np.zeros(points, np.int64), points
    for radix in _radices(points):
        size //= radix
        places += k % radix * size
        k //= radix
    return places.astype(np.int32)


def _twiddle_factors(turns: Float64[np.ndarray, "..."]) -> Float32[np.ndarray, "... 2"]:
    """Cosine and sine of so many turns backwards."""
    angles = -2 * np.pi * turns
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)


def _sparse_filters(
    filters: Float64[np.ndarray, "K F"],
) -> tuple[np.ndarray, Float32[np.ndarray, "K 2"]]:
    """Triangles overlap in pairs: of each bin the first filter that holds it, and two weights."""
    first = np.argmax(filters > 0, axis=1)
    beside = np.pad(filters, ((0, 0), (0, 1)))
    weights = np.take_along_axis(beside, first[:, None] + np.arange(2), axis=1)
    return first.astype(np.int32), weights.astype(np.float32)


def _library_path() -> Path:
    """Of another source, another library."""
    content = b"".join(source.read_bytes() for source in SOURCES)
    name = hashlib.sha256(content).hexdigest()[:12]
    return Path(sys.prefix) / "lib" / f"blankslate-{name}.so"


def build_library() -> str:
    """What was done, in a line."""
    path = _library_path()
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if path.exists():
        return f"{path}: is there"
    if compiler is None:
        return f"no C compiler ({', '.join(COMPILERS)}): numpy will compute features, more slowly"
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    words: list[Any] = [compiler, *COMPILER_FLAGS, "-o", partial, *SOURCES[:2], "-lm"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no word"])[0]
            return f"{compiler} failed ({said}): numpy will compute features, more slowly"
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink()
    return f"{path}: compiled by {compiler}"


if __name__ == "__main__":
    print(build_library())  # noqa: T201 (what make setup says)
