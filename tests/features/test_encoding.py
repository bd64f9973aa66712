import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.config.features import FeatureSettings
from pipeline.features.encoding import (
    UINT8_PIECE_ROWS,
    Float16Encoder,
    RowWriter,
    UInt8Encoder,
    piece_edges,
    to_float16,
)
from pipeline.features.framing import FeatureStream, frame_count
from pipeline.features.native import kernels
from pipeline.files import InputError
from tests.corpus.audio.reading import load
from tests.features.in_memory import compute_frames, running_covariance

pytestmark = pytest.mark.usefixtures("engine")
INTERESTING = np.array(
    [0, 1, 2, 0x7FF, 0x800, 0xFFF, 0x1000, 0x1001, 0x1FFF, 0x2000, 0x2FFF, 0x3000, 0x3001],
    np.uint32,
)  # around the bits that float16 drops, and around ties


def halves(bits: np.ndarray) -> np.ndarray:
    """Convert float32 values, given by their bits, with NumPy; infinities and NaN included."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bits.view(np.float32).astype(np.float16)


def assert_same_halves(bits: np.ndarray) -> None:
    found, expected = to_float16(bits.view(np.float32)[None]).rows[0], halves(bits)
    real = ~np.isnan(expected)
    assert np.isnan(found[~real]).all()
    np.testing.assert_array_equal(found[real].view(np.uint16), expected[real].view(np.uint16))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_conversion_equals_numpys_at_every_exponent_sign_and_tie():
    exponents = np.arange(512, dtype=np.uint32) << 23  # the sign above them
    low = np.concatenate([INTERESTING, (1 << 23) - INTERESTING[1:], INTERESTING + (1 << 22)])
    assert_same_halves((exponents[:, None] + low).ravel())


def test_conversion_equals_numpys_on_random_bits_of_every_finite_size():
    random = np.random.default_rng(0)
    low, high = (np.float32(v).view(np.uint32) for v in (2.0**-27, 65519))
    bits = random.integers(int(low), int(high), 200_007).astype(np.uint32)
    bits[::2] |= np.uint32(1 << 31)
    bits[::97] = 0
    assert_same_halves(bits)


def test_nothing_is_converted_to_nothing():
    assert to_float16(np.zeros((0, 5), np.float32)).rows.shape == (0, 5)


def test_what_float16_cannot_hold_is_counted():
    """Values: the largest float16, half of the smallest one, and both neighbours of each."""
    bounds = np.float32([65504, 2.0**-25])
    values = np.concatenate([bounds, *(np.nextafter(bounds, np.float32(to)) for to in (0, np.inf))])
    rows = np.concatenate([values, np.float32([0, -0.0, -1])])[None].repeat(11, axis=0)
    found = to_float16(rows)
    assert (found.above, found.below, found.zeros) == (11, 11 * 5, 11 * 2)
    assert np.count_nonzero(found.rows == 0) == 11 * 4


def noise(samples: int, seed: int = 0, loudness: float = 0.1) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (loudness * random.standard_normal(samples)).astype(np.float32)


def stored(waveform: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    count = frame_count(len(waveform), settings)
    target = np.empty((count, settings.bins), settings.storage)
    rows = RowWriter(target, settings, [0, count], [True], running_covariance(settings.bins))
    stream = FeatureStream([settings], [rows.append], kernels.available_engine())
    stream.add(waveform)
    stream.flush()
    assert rows.finish() == zlib.crc32(target.tobytes())
    return target


def test_float16_storage_rounds_the_same_values():
    settings = FeatureSettings(spectrum="mel", scale="log", storage="float16")
    waveform = noise(16_000)
    rows = stored(waveform, settings)
    assert rows.dtype == np.float16
    np.testing.assert_array_equal(rows, compute_frames(waveform, [settings])[0].astype(np.float16))


def test_float16_refuses_what_it_cannot_hold():
    settings = FeatureSettings(spectrum="power", scale="none", n_fft=2048, window_ms=100)
    loud = np.sin(np.arange(16_000) * 0.3).astype(np.float32)
    message = (
        r"float16 holds at most 65504, and power with scale none reached \d+\.?\d*(e\+\d+)?; "
        "choose features.scale log or features.storage float32"
    )
    with pytest.raises(InputError, match=message):
        stored(loud, settings)
    assert stored(loud, settings.model_copy(update={"storage": "float32"})).max() > 65_504


def test_float16_refuses_values_that_would_vanish():
    settings = FeatureSettings(spectrum="power", scale="none")
    quiet = noise(16_000, loudness=1e-5)
    with pytest.raises(InputError, match=r"8\d% of the power with scale none values would"):
        stored(quiet, settings)
    stored(quiet, settings.model_copy(update={"scale": "log"}))
    stored(quiet, settings.model_copy(update={"storage": "float32"}))


@pytest.mark.an4
@pytest.mark.parametrize(
    ("kind", "scale", "error"),
    [("amplitude", "none", 4e-4), ("mel", "none", 4e-3), ("amplitude", "log", 4e-4)],
)
def test_float16_keeps_an4_to_the_error_that_readme_states(
    an4: Path, kind: str, scale: str, error: float
):
    """The 95th percentile of the relative error."""
    settings = FeatureSettings(spectrum=kind, scale=scale)
    paths = sorted(an4.glob("wav/*/*/*.wav"))[::100]
    rows = np.concatenate([compute_frames(load(path, 16_000), [settings])[0] for path in paths])
    rows = rows[rows != 0]
    half = Float16Encoder(settings)
    relative = np.abs(half.encode(rows[:, None])[:, 0].astype(np.float64) - rows) / np.abs(rows)
    half.close()  # it refuses none of them
    assert np.percentile(relative, 95) < error


@pytest.mark.an4
def test_float16_refuses_an4_s_linear_power(an4: Path):
    settings = FeatureSettings(spectrum="power", scale="none")
    half = Float16Encoder(settings)
    for path in sorted(an4.glob("wav/*/*/*.wav"))[::100]:
        half.encode(compute_frames(load(path, 16_000), [settings])[0])
    with pytest.raises(InputError, match="values would become 0"):
        half.close()


def test_digital_silence_does_not_vanish():
    settings = FeatureSettings(spectrum="power", scale="none")
    waveform = np.concatenate([np.zeros(16_000, np.float32), noise(16_000)])
    assert (stored(waveform, settings)[:90] == 0).all()


def coded(rows: np.ndarray, offsets: list[int], cuts: list[int]) -> tuple[UInt8Encoder, np.ndarray]:
    encoding = UInt8Encoder(offsets, rows.shape[1])
    codes = [encoding.encode(block) for block in np.split(rows, cuts)]
    return encoding, np.concatenate(codes)


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 400), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 2400), max_size=5),
    size=st.sampled_from([1e-30, 1.0, 1e4]),
)
def test_8_bits_are_off_by_at_most_half_a_step_whatever_the_blocks(
    lengths: list[int], cuts: list[int], size: float
):
    offsets = np.cumsum([0, *lengths]).tolist()
    random = np.random.default_rng(sum(lengths))
    rows = (size * (random.standard_normal((offsets[-1], 3)) - 5)).astype(np.float32)
    rows[:, 1] = -7
    encoding, codes = coded(rows, offsets, sorted(cuts))
    _, at_once = coded(rows, offsets, [])
    np.testing.assert_array_equal(codes, at_once)
    for piece, (start, stop) in enumerate(pairwise(encoding.scales.edges.tolist())):
        here = rows[start:stop].astype(np.float64)
        step = (here.max(axis=0) - here.min(axis=0)) / 255
        np.testing.assert_allclose(encoding.scales.step[piece], step, rtol=1e-4)
        decoded = encoding.scales.decode(codes[start:stop], start)
        rounding = 2 * np.finfo(np.float32).eps * np.abs(here).max(axis=0)
        assert (np.abs(decoded - here) <= step / 2 + rounding).all()


def test_pieces_are_short_and_of_one_utterance():
    assert UINT8_PIECE_ROWS == 128
    assert piece_edges([0, 300, 300, 301, 429]).tolist() == [0, 128, 256, 300, 301, 429]
    assert piece_edges([0]).tolist() == [0]


def test_an_utterances_codes_do_not_depend_on_its_neighbours():
    rows = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32)
    _, together = coded(rows, [0, 200, 500], [250])
    _, alone = coded(rows[200:], [0, 300], [])
    np.testing.assert_array_equal(together[200:], alone)


def test_any_rows_can_be_decoded_alone():
    rows = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32)
    encoding, codes = coded(rows, [0, 200, 500], [])
    whole = encoding.scales.decode(codes, 0)
    for start, stop in [(0, 1), (127, 129), (199, 201), (13, 487), (499, 500), (60, 60)]:
        found = encoding.scales.decode(codes[start:stop], start)
        np.testing.assert_array_equal(found, whole[start:stop])
