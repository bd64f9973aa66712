"""Native kernels: the arithmetic of features in a C library, several times as fast as NumPy.

In:   kernel.c, rows.c and a C compiler at `make setup`; then settings, samples, rows.
Out:  feature rows; float16 rows; sums of products for a covariance.
Not here: which frames to compute (features/framing.py), the same in NumPy (features/stft.py,
features/encoding.py, features/statistics.py), which of the two computes a feature set
(features/shard_output.py).

    python -m pipeline.features.native.kernels     # `make setup` runs this

The library lies in the Python environment; its file name is a hash of its sources. So each job
loads the library that fits its snapshot of the code, and changed sources need `make setup` again.
Nothing is compiled when features are computed. Rows differ from those of NumPy by rounding.
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
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.features.native import tables
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
# Without errno and traps a square root is one instruction.
COMPILER_FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
KERNEL_BLOCK_ROWS = 128  # rows multiplied at a time: two panels fit in the L1 cache
SPECTRA = ("amplitude", "power", "mel")
SCALE_CODES = {"none": 0, "log1p": 1, "log": 2, "decibel": 2}

Library = ctypes.CDLL
Engine = Literal["native", "numpy"]  # what computes the rows and the statistics of a shard
ENGINES: Final[tuple[Engine, ...]] = get_args(Engine)


class _FFTPlan(ctypes.Structure):
    _fields_ = [
        ("window_length", ctypes.c_int32),
        ("points", ctypes.c_int32),
        ("window", ctypes.c_void_p),
        ("butterfly_twiddles", ctypes.c_void_p),
        ("real_fft_twiddles", ctypes.c_void_p),
        ("digit_reversal", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
    ]


class _FeatureOutput(ctypes.Structure):
    _fields_ = [
        ("bins", ctypes.c_int32),
        ("points", ctypes.c_int32),
        ("take_sqrt", ctypes.c_int32),
        ("scale", ctypes.c_int32),
        ("log_floor", ctypes.c_float),
        ("log_factor", ctypes.c_float),
        ("first_filters", ctypes.c_void_p),
        ("filter_weights", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
    ]


@cache
def load_library() -> Library | None:
    """Return the library; None when it was not built for these sources or the CPU cannot run it."""
    path = library_path()
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


def available_engine() -> Engine:
    """Return the engine for a new feature set: the native kernel when it can run here."""
    return "native" if load_library() else "numpy"


def supports(transform: STFTParameters, settings: Sequence[FeatureSettings]) -> bool:
    """Return whether the kernel has the transform, powers of two only, and each spectrum."""
    power_of_two = transform.n_fft & (transform.n_fft - 1) == 0
    return power_of_two and all(each.spectrum in SPECTRA for each in settings)


class NativeSTFT:
    """Compute rows as `stft.NumpySTFT` does, by the C library."""

    def __init__(
        self, library: Library, transform: STFTParameters, settings: Sequence[FeatureSettings]
    ) -> None:
        points = transform.n_fft // 2
        self._library = library
        self._lanes = library.supported_lanes()
        self._points = points
        self._tables = {
            "window": make_window(transform) / 2,
            "butterfly_twiddles": tables.butterfly_twiddles(points),
            "real_fft_twiddles": tables.twiddle_factors(
                np.arange(points // 2 + 1) / transform.n_fft
            ),
            "digit_reversal": tables.digit_reversal(points),
            "scratch": tables.allocate_vectors(3 * points + 1, self._lanes),
        }
        addresses = {name: table.ctypes.data for name, table in self._tables.items()}
        self._plan = _FFTPlan(window_length=transform.window_length, points=points, **addresses)
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
        arrays: dict[str, np.ndarray] = {
            "scratch": tables.allocate_vectors(settings.bins + 1, self._lanes)
        }
        if settings.spectrum == "mel":
            filters, weights = tables.sparse_filters(mel_filters(settings))
            arrays["first_filters"], arrays["filter_weights"] = filters, weights
        return arrays

    def _make_output(
        self, settings: FeatureSettings, arrays: dict[str, np.ndarray]
    ) -> _FeatureOutput:
        return _FeatureOutput(
            bins=settings.bins,
            points=self._points,
            take_sqrt=is_linear_amplitude(settings),
            scale=SCALE_CODES[settings.scale],
            log_floor=log_floor(settings),
            log_factor=log_factor(settings),
            **{name: array.ctypes.data for name, array in arrays.items()},
        )


class NativeMomentSums:
    """Sum products as `statistics.NumpyMomentSums` does, by the C library."""

    def __init__(self, library: Library, bins: int) -> None:
        self._library, self._bins = library, bins
        lanes, panel = library.supported_lanes(), library.panel_columns()
        width = (bins // panel + 1) * panel  # a column of ones stands after the bins
        self._packed = tables.allocate_vectors(KERNEL_BLOCK_ROWS * width // lanes, lanes)
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
    """Return sums by the library; None without it and on macOS, whose BLAS has a matrix unit."""
    found = load_library() if sys.platform != "darwin" else None
    return NativeMomentSums(found, bins) if found else None


class Float16Conversion(NamedTuple):
    rows: Float16[np.ndarray, "T F"]
    above: int  # values > max_value
    below: int  # values <= underflow_threshold
    zeros: int


def convert_to_float16(
    library: Library, rows: Float32[np.ndarray, "T F"], max_value: float, underflow_threshold: float
) -> Float16Conversion:
    """Convert as `encoding.to_float16` does, by the C library."""
    values, bounds = (
        np.ascontiguousarray(rows),
        np.array([max_value, underflow_threshold], np.float32),
    )
    found, counts = np.empty(rows.shape, np.float16), np.empty(3, np.int64)
    library.convert_to_float16(
        values.ctypes.data, values.size, bounds.ctypes.data, found.ctypes.data, counts.ctypes.data
    )
    return Float16Conversion(found, *counts.tolist())


def library_path() -> Path:
    """Return the path of the library; its name holds a hash of the sources."""
    content = b"".join(source.read_bytes() for source in SOURCES)
    name = hashlib.sha256(content).hexdigest()[:12]
    return Path(sys.prefix) / "lib" / f"blankslate-{name}.so"


def build_library() -> str:
    """Compile the library if it is not there; return one line that says what was done."""
    path = library_path()
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if path.exists():
        return f"{path}: is up to date"
    if compiler is None:
        return f"no C compiler ({', '.join(COMPILERS)}): NumPy will compute features, more slowly"
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    words: list[Any] = [compiler, *COMPILER_FLAGS, "-o", partial, *SOURCES[:2], "-lm"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            error = (done.stderr.strip().splitlines() or ["no message"])[0]
            return f"{compiler} failed ({error}): NumPy will compute features, more slowly"
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink()
    return f"{path}: compiled by {compiler}"


if __name__ == "__main__":
    print(build_library())  # noqa: T201 (`make setup` shows it)
