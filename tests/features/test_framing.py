import itertools
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.config.features import FeatureSettings
from pipeline.features.framing import FeatureStream, frame_count
from pipeline.features.native import kernels
from pipeline.features.native.kernels import NativeSTFT
from pipeline.features.stft import NumpySTFT, mel_filters, rows_ratio
from pipeline.files import InputError
from tests.features.in_memory import compute_frames

WINDOWS = {
    "hann": torch.hann_window,
    "hamming": torch.hamming_window,
    "blackman": torch.blackman_window,
    "rectangular": torch.ones,
}


@pytest.fixture(params=["native", "numpy"], autouse=True, scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run each test with the native kernel, then with NumPy."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "numpy":
            patch.setattr(kernels, "load_library", lambda: None)
        elif not kernels.load_library():
            pytest.skip(kernels.build_library())
        yield request.param


def noise(samples: int, seed: int = 0, loudness: float = 0.1) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (loudness * random.standard_normal(samples)).astype(np.float32)


def linear(**changes: Any) -> FeatureSettings:
    return FeatureSettings(**{"scale": "none", "storage": "float32", **changes})


def reference(waveform: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """Compute frame by frame in float64, the window zero-padded to n_fft points."""
    n_fft, length = settings.n_fft, settings.window_length
    window = np.zeros(n_fft)
    left = (n_fft - length) // 2
    window[left : left + length] = WINDOWS[settings.window](length, dtype=torch.float64).numpy()
    padded = np.pad(waveform.astype(np.float64), n_fft // 2, mode="reflect")
    starts = range(0, len(padded) - n_fft + 1, settings.hop_length)
    frames = np.stack([padded[start : start + n_fft] * window for start in starts])
    values = np.abs(np.fft.rfft(frames))
    if settings.spectrum != "amplitude":
        values = values**2
    if settings.spectrum == "mel":
        values = values @ mel_filters(settings)
    decibels, floor = 10, settings.floor
    if settings.spectrum == "amplitude":
        decibels, floor = 20, settings.floor**0.5  # the same in decibel
    scaled = {
        "none": lambda: values,
        "log1p": lambda: np.log1p(values),
        "log": lambda: np.log(np.maximum(values, floor)),
        "decibel": lambda: decibels * np.log10(np.maximum(values, floor)),
    }
    return scaled[settings.scale]()


@pytest.mark.parametrize("spectrum", ["amplitude", "power", "mel"])
@pytest.mark.parametrize("scale", ["none", "log1p", "log", "decibel"])
def test_frames_equal_a_float64_reference(spectrum: str, scale: str):
    settings = linear(spectrum=spectrum, scale=scale)
    waveform = noise(20_000)
    (frames,) = compute_frames(waveform, [settings])
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, reference(waveform, settings), rtol=2e-4, atol=2e-4)


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    n_fft=st.integers(16, 700) | st.sampled_from([16, 32, 64, 128, 256, 512, 1024]),
    window_ms=st.floats(0.5, 40),
    hop_ms=st.floats(0.1, 30),
    window=st.sampled_from(sorted(WINDOWS)),
    samples=st.integers(1, 3000),
)
def test_any_window_hop_and_length_equals_the_reference(
    n_fft: int, window_ms: float, hop_ms: float, window: str, samples: int
):
    milliseconds = 1000 / 16_000
    settings = linear(
        spectrum="amplitude",
        n_fft=n_fft,
        window_ms=min(window_ms, n_fft * milliseconds),
        hop_ms=max(hop_ms, 8 * milliseconds),
        window=window,
    )
    waveform = noise(samples, seed=samples)
    (frames,) = compute_frames(waveform, [settings])
    expected = reference(waveform, settings)
    assert frames.shape == (frame_count(samples, settings), settings.bins)
    np.testing.assert_allclose(frames, expected, rtol=1e-4, atol=2e-6 * expected.max())


@pytest.mark.parametrize("n_fft", [400, 512, 1024])
@pytest.mark.parametrize("window", ["hann", "hamming", "blackman", "rectangular"])
@pytest.mark.parametrize(("spectrum", "power"), [("amplitude", 1.0), ("power", 2.0)])
def test_linear_spectra_equal_torchaudio(n_fft: int, window: str, spectrum: str, power: float):
    settings = linear(spectrum=spectrum, n_fft=n_fft, window=window)
    waveform = noise(16_123)
    transform = torchaudio.transforms.Spectrogram(
        n_fft=n_fft,
        win_length=settings.window_length,
        hop_length=settings.hop_length,
        power=power,
        window_fn=WINDOWS[window],
    )
    expected = transform(torch.from_numpy(waveform)).numpy().T
    (frames,) = compute_frames(waveform, [settings])
    error = np.abs(frames - expected) / expected.max(axis=1, keepdims=True)
    assert error.max() < 2e-6  # of float32's 1.2e-7: what an FFT of 1024 points rounds away


@pytest.mark.parametrize("kind", ["amplitude", "power", "mel"])
def test_logarithms_equal_torchaudio_s_decibels(kind: str):
    settings = linear(spectrum=kind, scale="decibel", floor=1e-4)
    waveform = noise(16_123)
    shared = {
        "n_fft": 512,
        "win_length": settings.window_length,
        "hop_length": settings.hop_length,
        "power": 1.0 if kind == "amplitude" else 2.0,
    }
    made = torchaudio.transforms.Spectrogram(**shared)
    if kind == "mel":
        made = torchaudio.transforms.MelSpectrogram(16_000, n_mels=80, **shared)
    scale = torchaudio.functional.amplitude_to_DB
    expected = scale(
        made(torch.from_numpy(waveform)),
        multiplier=20.0 if kind == "amplitude" else 10.0,
        amin=settings.floor ** (0.5 if kind == "amplitude" else 1),
        db_multiplier=0.0,
    )
    expected = expected.numpy().T
    frames, natural = compute_frames(
        waveform, [settings, settings.model_copy(update={"scale": "log"})]
    )
    assert expected.min() < -35  # some at the floor
    np.testing.assert_allclose(frames, expected, atol=1e-3)
    factor = (20 if kind == "amplitude" else 10) / np.log(10)
    np.testing.assert_allclose(natural * factor, expected, atol=1e-3)


@pytest.mark.parametrize("changes", [{}, {"mel_bins": 40, "mel_low_hz": 20, "mel_high_hz": 7600}])
def test_mel_equals_torchaudio(changes: dict[str, float]):
    settings = linear(spectrum="mel", **changes)
    waveform = noise(16_000)
    transform = torchaudio.transforms.MelSpectrogram(
        n_fft=settings.n_fft,
        win_length=settings.window_length,
        hop_length=settings.hop_length,
        f_min=settings.mel_low_hz,
        f_max=settings.mel_high_hz,
        n_mels=settings.mel_bins,
        norm=None,
        mel_scale="htk",
    )
    expected = transform(torch.from_numpy(waveform)).numpy().T
    (frames,) = compute_frames(waveform, [settings])
    np.testing.assert_allclose(frames, expected, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:At least one mel filterbank:UserWarning")
def test_filters_that_would_hold_nothing_are_refused():
    refused = 0
    for bins, n_fft, low, high in itertools.product(
        (1, 20, 40, 80, 128, 200), (256, 400, 512, 1024), (0.0, 20.0, 300.0), (3400.0, 8000.0)
    ):
        filters = torchaudio.functional.melscale_fbanks(
            n_fft // 2 + 1, low, high, bins, 16_000, norm=None, mel_scale="htk"
        )
        empty = int((filters.max(dim=0).values == 0).sum())
        changes = {
            "mel_bins": bins,
            "n_fft": n_fft,
            "window_ms": 16,
            "mel_low_hz": low,
            "mel_high_hz": high,
        }
        if empty:
            refused += 1
            message = rf"mel_bins {bins}: {empty} of the filters would be empty.* lower mel_bins"
            with pytest.raises(ValueError, match=message):
                linear(spectrum="mel", **changes)
        else:
            linear(spectrum="mel", **changes)
        linear(spectrum="power", **changes)
    assert refused > 20


@pytest.mark.parametrize("samples", [1, 2, 3, 100, 201, 255, 256, 257])
def test_a_waveform_shorter_than_half_a_window_is_mirrored_repeatedly(samples: int):
    settings = linear(spectrum="power")
    waveform = noise(samples)
    (frames,) = compute_frames(waveform, [settings])
    expected = reference(waveform, settings)
    np.testing.assert_allclose(frames, expected, rtol=1e-4, atol=2e-6 * expected.max())


def test_a_waveform_without_samples_is_refused():
    with pytest.raises(InputError, match="no samples; leave the utterance out"):
        compute_frames(np.zeros(0, np.float32), [linear()])


def test_sets_of_one_window_and_n_fft_share_the_transform(
    engine: str, monkeypatch: pytest.MonkeyPatch
):
    kind = NativeSTFT if engine == "native" else NumpySTFT
    rows, calls, computed = kind.compute_rows, [], set()

    def counted(self: Any, windows: np.ndarray, outs: list[np.ndarray]) -> None:
        calls.append(len(windows))
        computed.add(len(outs))
        rows(self, windows, outs)

    monkeypatch.setattr(kind, "compute_rows", counted)
    logarithms = [linear(spectrum=each, scale="log") for each in ("amplitude", "power", "mel")]
    compute_frames(noise(5_000), logarithms)
    assert computed == {2}  # of log-power and log-amplitude one
    sets = [linear(spectrum=each) for each in ("amplitude", "power", "mel")]
    numbers = []
    for some in (sets[:1], sets, [*sets, linear(window="blackman")]):
        calls.clear()
        compute_frames(noise(50_000), some)
        numbers.append(len(calls))
    assert numbers[0] == numbers[1] == numbers[2] / 2 > 0


def test_sharing_a_transform_changes_no_bit():
    waveform = noise(30_000)
    settings = [
        linear(spectrum="mel", scale="log"),
        linear(spectrum="amplitude"),
        linear(spectrum="power", n_fft=1024),
        linear(spectrum="power", hop_ms=5.0),
        linear(spectrum="power", scale="log"),
        linear(spectrum="amplitude", scale="log"),
        linear(spectrum="amplitude", scale="decibel"),
        linear(spectrum="power", scale="decibel"),
    ]
    together = compute_frames(waveform, settings)
    for frames, each in zip(together, settings, strict=True):
        np.testing.assert_array_equal(frames, compute_frames(waveform, [each])[0])


def streamed(blocks: list[list[np.ndarray]], settings: FeatureSettings) -> np.ndarray:
    """Return the rows of utterances whose samples come in blocks."""
    rows: list[np.ndarray] = []
    stream = FeatureStream(
        [settings], [lambda block: rows.append(block.copy())], kernels.available_engine()
    )
    for utterance in blocks:
        for number, block in enumerate(utterance, start=1):
            stream.add(block, last=number == len(utterance))
    stream.flush()
    return np.concatenate(rows)


@pytest.mark.parametrize(("spectrum", "rounding"), [("amplitude", 0), ("mel", 1e-5)])
def test_an_utterances_frames_do_not_depend_on_those_before_it(spectrum: str, rounding: float):
    settings = linear(spectrum=spectrum, scale="log")
    waveforms = [noise(samples, seed=samples) for samples in (9000, 300, 70_000, 16_000, 1, 41_000)]
    alone = [compute_frames(waveform, [settings])[0] for waveform in waveforms]
    for order in (slice(None), slice(None, None, -1)):
        together = streamed([[waveform] for waveform in waveforms[order]], settings)
        np.testing.assert_allclose(together, np.concatenate(alone[order]), rounding, rounding)


@hypothesis_settings(deadline=None, max_examples=100)
@given(
    n_fft=st.integers(16, 700) | st.sampled_from([16, 32, 64, 128, 256, 512, 1024]),
    window=st.floats(0.01, 1),
    hop=st.integers(1, 900),
    lengths=st.lists(st.integers(0, 2000), min_size=1, max_size=8).filter(sum),
)
def test_an_utterance_in_blocks_gives_the_frames_of_the_whole_bit_for_bit(
    n_fft: int, window: float, hop: int, lengths: list[int]
):
    settings = linear(
        spectrum="amplitude",
        n_fft=n_fft,
        window_ms=max(1, int(window * n_fft)) / 16,
        hop_ms=max(hop, sum(lengths) // 400) / 16,
    )
    waveform = noise(sum(lengths), seed=n_fft)
    blocks = np.split(waveform, np.cumsum(lengths)[:-1])
    found = streamed([blocks, [waveform]], settings)
    whole = streamed([[waveform], blocks], settings)
    np.testing.assert_array_equal(found, whole)
    assert len(found) == 2 * frame_count(len(waveform), settings)


def test_the_longest_transform_is_still_right():
    settings = linear(spectrum="amplitude", n_fft=65_536, window_ms=1000.0, hop_ms=500.0)
    waveform = noise(100_000)
    (frames,) = compute_frames(waveform, [settings])
    expected = reference(waveform, settings)
    np.testing.assert_allclose(frames, expected, rtol=1e-3, atol=2e-6 * expected.max())


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_a_waveform_of_absurd_samples_is_refused(value: float):
    waveform = np.full(1000, value, np.float32)
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(InputError, match=r"float32 holds at most 3\.4\S+; check the audio file"),
    ):
        compute_frames(waveform, [linear(spectrum="power")])


@pytest.mark.parametrize("floor", [1e-10, 1.0])
@pytest.mark.parametrize(("scale", "factor"), [("log", 2), ("decibel", 1)])
def test_log_power_is_a_multiple_of_log_amplitude_to_the_last_bit(
    scale: str, factor: float, floor: float
):
    waveform = np.concatenate((noise(5_000), np.zeros(2_000, np.float32), noise(5_000, seed=1)))
    one, other = (
        linear(spectrum=kind, scale=scale, floor=floor) for kind in ("amplitude", "power")
    )
    ((amplitude,), (power,)) = (compute_frames(waveform, [each]) for each in (one, other))
    np.testing.assert_array_equal(power, factor * amplitude)
    assert rows_ratio(other, one) == factor == 1 / rows_ratio(one, other)
    assert amplitude.min() == pytest.approx(reference(np.zeros(600), one).max(), abs=1e-4)


@pytest.mark.parametrize(
    "changes", [{"floor": 1e-9}, {"scale": "decibel"}, {"hop_ms": 5.0}, {"spectrum": "mel"}]
)
def test_of_other_rows_none_is_a_multiple(changes: dict[str, object]):
    one = linear(spectrum="power", scale="log")
    assert rows_ratio(one, linear(**{"spectrum": "amplitude", "scale": "log"} | changes)) is None
    assert rows_ratio(one, one.model_copy(update={"storage": "uint8"})) == 1


def test_silence_stays_at_the_floor():
    settings = linear(scale="log", floor=1e-10)
    (frames,) = compute_frames(np.zeros(4000, np.float32), [settings])
    np.testing.assert_allclose(frames, np.log(1e-10), rtol=1e-6)


def test_a_floor_below_float32_gives_no_infinity():
    (frames,) = compute_frames(np.zeros(4000, np.float32), [linear(scale="log", floor=1e-300)])
    assert np.isfinite(frames).all()


@pytest.mark.an4
def test_an4_frames_equal_a_float64_reference(an4: Path):
    path = sorted(an4.glob("wav/*/*/*.wav"))[0]
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    waveform = samples.astype(np.float32) / np.float32(32_768)
    for spectrum in ("amplitude", "power", "mel"):
        settings = linear(spectrum=spectrum, scale="log")
        (frames,) = compute_frames(waveform, [settings])
        np.testing.assert_allclose(frames, reference(waveform, settings), atol=2e-3)


def test_the_feature_stage_does_not_import_torch():
    program = "import sys, pipeline.features.precompute; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
