"""Tests of the spectrograms: the axis shows the frequencies of the filters."""

import numpy as np
import pytest

from pipeline.config.features import FeatureSettings
from pipeline.features.stft import mel_filters
from pipeline.results.figures.spectrograms import Spectrogram, bin_frequencies_hz, draw_spectrograms


@pytest.mark.parametrize("low", [0.0, 60.0])
def test_a_mel_bin_has_the_frequency_at_which_its_filter_is_highest(low):
    settings = FeatureSettings(mel_bins=40, n_fft=32_768, mel_low_hz=low, mel_high_hz=7000)
    peaks = mel_filters(settings).argmax(axis=0) * settings.sample_rate / settings.n_fft
    np.testing.assert_allclose(bin_frequencies_hz(settings), peaks, atol=1.0)


def test_a_linear_bin_has_its_fft_frequency():
    np.testing.assert_allclose(
        bin_frequencies_hz(FeatureSettings(spectrum="power"))[[0, 1, -1]], [0, 31.25, 8e3]
    )


def test_strange_transcripts_and_no_frames_are_drawn(tmp_path):
    settings = FeatureSettings(mel_bins=4)
    spectrograms = [
        Spectrogram("a: $x_1$ 你好 " + "A " * 200, np.ones((3, 4), np.float16)),
        Spectrogram("b: ", np.empty((0, 4), np.float16)),
    ]
    draw_spectrograms(spectrograms, settings, tmp_path / "x.svg")
    text = (tmp_path / "x.svg").read_text("utf-8")
    first = (tmp_path / "x.svg").read_bytes()
    draw_spectrograms(spectrograms, settings, tmp_path / "x.svg")
    assert "$x_1$" in text
    assert (tmp_path / "x.svg").read_bytes() == first
