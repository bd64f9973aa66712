import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobs import code_snapshot
from pipeline.config.features import FeatureSettings
from pipeline.features.native import kernels, tables
from pipeline.features.native.kernels import NativeSTFT
from pipeline.features.stft import NumpySTFT, mel_filters, stft_parameters

TILE = 20  # frames: two full vectors of lanes and a part of one


@pytest.fixture(scope="module")
def library() -> kernels.Library:
    if not (found := kernels.load_library()):
        pytest.skip(kernels.build_library())
    return found


def test_the_sources_of_the_library_are_packaged():
    """The sources are in the code snapshot of a sweep and in a wheel."""
    suffixes = {source.suffix for source in kernels.SOURCES}
    assert suffixes <= code_snapshot.SNAPSHOT_SUFFIXES
    packed = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert {f"*{suffix}" for suffix in suffixes} <= set(packed["*"])


def test_rows_of_another_width_are_not_multiplied(library: kernels.Library):
    with pytest.raises(ValueError, match=r"rows of 5 bins are needed, not \(2, 4\)"):
        kernels.NativeMomentSums(library, 5).add(
            np.ones((2, 4), np.float32), np.zeros(4, np.float32)
        )


def seen(count: int, length: int, seed: int = 0) -> np.ndarray:
    """Return random samples (count, length): the window of each frame."""
    return np.random.default_rng(seed).normal(size=(count, length)).astype(np.float32)


def rows(
    engine: NativeSTFT | NumpySTFT, samples: np.ndarray, settings: FeatureSettings
) -> np.ndarray:
    found = np.empty((len(samples), settings.bins), np.float32)
    engine.compute_rows(samples, [found])
    return found


@pytest.mark.parametrize("spectrum", ["amplitude", "power", "mel"])
@pytest.mark.parametrize("scale", ["none", "log1p", "log", "decibel"])
@pytest.mark.parametrize("n_fft", [512, 1024])  # 4^4 complex points, and 2 * 4^4
def test_rows_equal_numpys(library: kernels.Library, spectrum: str, scale: str, n_fft: int):
    settings = FeatureSettings(spectrum=spectrum, scale=scale, storage="float32", n_fft=n_fft)
    samples, transform = seen(TILE, settings.window_length), stft_parameters(settings)
    found = rows(NativeSTFT(library, transform, [settings]), samples, settings)
    expected = rows(NumpySTFT(transform, [settings]), samples, settings)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@hypothesis_settings(max_examples=60)
@given(
    power_of_two=st.integers(4, 12),
    length=st.floats(0.01, 1),
    count=st.integers(1, TILE),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_window_and_number_of_frames_equals_float64(
    library: kernels.Library, power_of_two: int, length: float, count: int, seed: int
):
    n_fft = 2**power_of_two
    settings = FeatureSettings(
        spectrum="power",
        scale="none",
        storage="float32",
        n_fft=n_fft,
        window_ms=max(1, int(length * n_fft)) / 16,
        window="hamming",
    )
    samples = seen(count, settings.window_length, seed)
    found = rows(NativeSTFT(library, stft_parameters(settings), [settings]), samples, settings)
    phase = 2 * np.pi * np.arange(settings.window_length) / settings.window_length
    windowed = samples.astype(np.float64) * (0.54 - 0.46 * np.cos(phase))
    expected = np.abs(np.fft.rfft(windowed, n_fft)) ** 2
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * expected.max())


@pytest.mark.parametrize("spectrum", ["amplitude", "mel"])
def test_a_frame_depends_on_no_other_and_on_no_place(library: kernels.Library, spectrum: str):
    settings = FeatureSettings(spectrum=spectrum, scale="log", storage="float32")
    samples = seen(TILE, settings.window_length)
    engine = NativeSTFT(library, stft_parameters(settings), [settings])
    together = rows(engine, samples, settings)
    turned = np.random.default_rng(1).permutation(TILE)
    np.testing.assert_array_equal(rows(engine, samples[turned], settings), together[turned])
    for place in range(TILE):
        alone = rows(engine, samples[place : place + 1], settings)
        np.testing.assert_array_equal(alone[0], together[place])


def test_logarithms_are_right_to_the_last_place_at_every_exponent(library: kernels.Library):
    settings = FeatureSettings(
        spectrum="power", scale="log", storage="float32", n_fft=65_536, floor=1e-300
    )
    engine = NativeSTFT(library, stft_parameters(settings), [settings])
    tiny, most = np.finfo(np.float32).tiny, np.finfo(np.float32).max
    values = np.geomspace(tiny, most, settings.bins).astype(np.float32).clip(tiny, most)
    near_one = np.linspace(0.5, 2, 2001, dtype=np.float32)
    values[: len(near_one)] = near_one
    power = tables.allocate_vectors(settings.bins, library.supported_lanes())
    power[:] = values[:, None]
    found = np.empty((1, settings.bins), np.float32)
    library.rows_from_power(engine._outputs, power.ctypes.data, 1, found.ctypes.data)
    expected = np.log(values.astype(np.float64))
    units = np.spacing(np.maximum(np.abs(expected), 2.0**-7).astype(np.float32))
    assert (np.abs(found[0] - expected) / units).max() < 1.5


def test_infinity_and_nan_stay_non_finite(library: kernels.Library):
    for scale in ("none", "log1p", "log", "decibel"):
        settings = FeatureSettings(spectrum="power", scale=scale, storage="float32")
        for value in (np.inf, np.nan):
            samples = np.full((1, settings.window_length), value, np.float32)
            found = rows(
                NativeSTFT(library, stft_parameters(settings), [settings]), samples, settings
            )
            assert not np.isfinite(found).any()


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    bins=st.integers(1, 90) | st.integers(255, 260),
    counts=st.lists(st.integers(0, 300), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
def test_sums_of_products_equal_float64(
    library: kernels.Library, bins: int, counts: list[int], seed: int
):
    random = np.random.default_rng(seed)
    near_mean = random.normal(size=bins).astype(np.float32)
    found = kernels.NativeMomentSums(library, bins)
    blocks = [random.normal(size=(count, bins)).astype(np.float32) for count in counts]
    for block in blocks:
        found.add(block, near_mean)
    deviation = np.concatenate(blocks).astype(np.float64) - near_mean
    room = 1e-5 * max(1, len(deviation))
    np.testing.assert_allclose(found.comoment, deviation.T @ deviation, rtol=0, atol=room)
    np.testing.assert_allclose(found.total, deviation.sum(axis=0), rtol=0, atol=room)
    np.testing.assert_array_equal(found.comoment, found.comoment.T)


def test_sums_of_products_stay_precise_over_many_rows(library: kernels.Library):
    """Sums in float32 alone would be wrong by 0.1 % after 2^24 rows."""
    block = np.full((4096, 2), 1 / 3, np.float32)
    found = kernels.NativeMomentSums(library, 2)
    for _ in range(500):
        found.add(block, np.zeros(2, np.float32))
    exact = 500 * 4096 * float(np.float32(1 / 3)) ** 2
    np.testing.assert_allclose(found.comoment, exact, rtol=2e-6)


PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from pipeline.config.features import FeatureSettings
from pipeline.features.native import kernels
from pipeline.features.stft import stft_parameters
kernels.library_path = lambda: Path(sys.argv[1])
library = kernels.load_library()
for n_fft, window_ms, mel_bins in [(16, 1, 3), (32, 1.3, 5), (512, 25, 80), (2048, 101, 81)]:
    sets = [
        FeatureSettings(n_fft=n_fft, window_ms=window_ms, hop_ms=0.5, spectrum=spectrum,
                        scale=scale, mel_bins=mel_bins, storage="float32")
        for spectrum, scale in [("mel", "log"), ("amplitude", "none"), ("power", "log1p")]
    ]
    engine = kernels.NativeSTFT(library, stft_parameters(sets[0]), sets)
    for count in (1, 7, 8, 9, 17):
        length, hop = sets[0].window_length, sets[0].hop_length
        samples = np.ones((count - 1) * hop + length, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]
        engine.compute_rows(windows, [np.empty((count, each.bins), np.float32) for each in sets])
        kernels.convert_to_float16(library, samples, 1.0, 0.0)
for bins in (1, 23, 24, 80, 257):
    for count in (1, 128, 131):
        block = np.random.default_rng(0).normal(size=(count, bins)).astype(np.float32)
        sums = kernels.NativeMomentSums(library, bins)
        sums.add(block, np.zeros(bins, np.float32))
        np.testing.assert_allclose(sums.comoment, block.T @ block, rtol=1e-4, atol=1e-3)
print("examined")
"""


@pytest.mark.parametrize("narrow", [[], ["-DNO_AVX2"]], ids=["AVX2", "any other CPU"])
def test_the_kernel_touches_nothing_beyond_its_arrays(tmp_path: Path, narrow: list[str]):
    compiler = shutil.which("gcc")
    if sys.platform != "linux" or not compiler:
        pytest.skip("needs gcc's address sanitizer, on Linux")
    made = tmp_path / "examined.so"
    words = [
        "-g",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        *narrow,
        "-o",
        str(made),
    ]
    subprocess.run(
        [compiler, *kernels.COMPILER_FLAGS, *words, *map(str, kernels.SOURCES[:2]), "-lm"],
        check=True,
    )
    query = [compiler, "-print-file-name=libasan.so"]
    preloaded = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    options = {"LD_PRELOAD": preloaded, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(made)],
        env={**os.environ, **options},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("examined\n", "")


@pytest.mark.parametrize("mel_bins", [1, 20, 80])
def test_each_bin_is_in_two_neighbouring_filters_at_most(mel_bins: int):
    settings = FeatureSettings(spectrum="mel", mel_bins=mel_bins, mel_low_hz=50, mel_high_hz=7000)
    filters = mel_filters(settings)
    first, weights = tables.sparse_filters(filters)
    dense = np.zeros((len(filters), mel_bins + 1), np.float32)
    for bin_, (place, pair) in enumerate(zip(first, weights, strict=True)):
        dense[bin_, place : place + 2] = pair
    np.testing.assert_array_equal(dense[:, :-1], filters.astype(np.float32))


def build(monkeypatch: pytest.MonkeyPatch, prefix: Path) -> str:
    monkeypatch.setattr(sys, "prefix", str(prefix))
    return kernels.build_library()


def test_a_library_is_built_once_for_a_source(
    library: kernels.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert "compiled by" in build(monkeypatch, tmp_path)
    (made,) = (tmp_path / "lib").iterdir()
    assert build(monkeypatch, tmp_path) == f"{made}: is up to date"
    for number, source in enumerate(kernels.SOURCES):
        copies = tmp_path / str(number)
        copies.mkdir()
        changed = [Path(shutil.copy(each, copies)) for each in kernels.SOURCES]
        changed[number].write_bytes(source.read_bytes() + b"\n")
        monkeypatch.setattr(kernels, "SOURCES", tuple(changed))
        assert "compiled by" in build(monkeypatch, tmp_path)
        assert len(list((tmp_path / "lib").iterdir())) == number + 2


def test_without_a_compiler_numpy_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no C compiler (cc, gcc, clang): NumPy will compute" in build(monkeypatch, tmp_path)
    program = (
        f"import sys; sys.prefix = {str(tmp_path)!r}\n"
        "from pipeline.config.features import FeatureSettings\n"
        "from pipeline.features.native import kernels\n"
        "from tests.features.in_memory import compute_frames\n"
        "import numpy as np\n"
        "assert kernels.available_engine() == 'numpy'\n"
        "print(compute_frames(np.ones(800, np.float32), [FeatureSettings()])[0].shape)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert printed.stdout.split() == b"(6, 80)".split()


def test_a_compiler_that_fails_is_quoted(
    library: kernels.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = tmp_path / "broken.c"
    broken.write_text("#error not valid\n")
    monkeypatch.setattr(kernels, "SOURCES", (broken, *kernels.SOURCES[1:]))
    printed = build(monkeypatch, tmp_path)
    assert "not valid" in printed
    assert printed.endswith("NumPy will compute features, more slowly")
    assert list((tmp_path / "lib").iterdir()) == []
