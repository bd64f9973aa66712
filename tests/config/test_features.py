"""Limits of the feature settings, with values computed by hand."""

import pytest
from pydantic import ValidationError

from pipeline.config.features import FeatureSettings


def refusal(**settings) -> str:
    with pytest.raises(ValidationError) as caught:
        FeatureSettings(**settings)
    return str(caught.value)


def test_window_and_hop_are_rounded_to_samples():
    settings = FeatureSettings(sample_rate=22_050, window_ms=20.0, hop_ms=10.0)
    assert (settings.window_length, settings.hop_length) == (441, 220)


def test_a_window_may_be_as_long_as_the_fft_and_not_longer():
    assert FeatureSettings(n_fft=512, window_ms=32.0).window_length == 512
    assert "is 513 samples at 16000 Hz, more than n_fft 512" in refusal(window_ms=513 / 16)


def test_a_hop_may_be_one_sample_and_not_less():
    assert FeatureSettings(hop_ms=1 / 16).hop_length == 1
    assert "hop_ms 0.02 is less than one sample; raise it" in refusal(hop_ms=0.02)


def test_the_highest_mel_filter_ends_at_half_the_sample_rate_at_most():
    assert FeatureSettings(mel_high_hz=8000.0).mel_high_hz == 8000
    assert "stay within 8000 Hz" in refusal(mel_high_hz=8001.0)


@pytest.mark.parametrize("low", [4000.0, 4001.0])
def test_the_mel_range_must_not_be_empty(low):
    assert "must ascend" in refusal(mel_low_hz=low, mel_high_hz=4000.0)


def test_mel_edges_are_evenly_spaced_on_the_htk_scale():
    """1000 Hz is 1000 mel; 8000 Hz is 2840 mel; half of that is 1767.8 Hz."""
    edges = FeatureSettings(mel_bins=1).mel_edges_hz
    assert edges == pytest.approx([0.0, 1767.8, 8000.0], abs=0.1)


def test_a_mel_filter_without_an_fft_bin_is_refused():
    """With 16 FFT points at 16 kHz the bins are 1000 Hz apart; a bin at an edge has weight 0."""
    coarse = {"n_fft": 16, "window_ms": 1.0}
    assert "mel_bins 1: 1 of the filters" in refusal(mel_bins=1, mel_high_hz=999.0, **coarse)
    assert "mel_bins 2: 2 of the filters" in refusal(mel_bins=2, mel_high_hz=999.0, **coarse)
    assert FeatureSettings(mel_bins=1, mel_high_hz=1001.0, **coarse).bins == 1


def test_mel_settings_do_not_limit_other_spectra():
    assert FeatureSettings(spectrum="power", mel_bins=1000, n_fft=512).bins == 257
    assert FeatureSettings(mel_bins=40).bins == 40


@pytest.mark.parametrize(
    ("scale", "expected"), [("none", False), ("log1p", False), ("log", True), ("decibel", True)]
)
def test_log_and_decibel_are_log_scales(scale, expected):
    settings = FeatureSettings(spectrum="amplitude", scale=scale)
    assert (settings.is_log_scale, settings.is_log_amplitude) == (expected, expected)
    assert not FeatureSettings(spectrum="power", scale=scale).is_log_amplitude
