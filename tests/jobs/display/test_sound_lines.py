"""Lines about sampling rates and suspicious recordings."""

from pathlib import Path

import numpy as np
import pytest

from jobs.display.sound_lines import rate_lines, suspicious_lines
from pipeline.config.features import FeatureSettings
from pipeline.corpus.levels import SuspiciousSound, write_suspicious
from pipeline.corpus.manifest import Manifest, Utterance
from pipeline.features.stft import mel_filters


def manifest(*rates: int) -> Manifest:
    utterances = tuple(
        Utterance(
            id=f"u{n}", audio=f"u{n}.wav", samples=rate, rate=rate, transcript="A", speaker="s",
            split="train",
        )
        for n, rate in enumerate(rates)
    )  # fmt: skip
    return Manifest("tiny", Path("nowhere"), utterances)


def test_audio_at_the_wanted_rate_needs_no_line():
    assert list(rate_lines(manifest(16_000, 16_000), [FeatureSettings()])) == []


def test_other_rates_are_named_with_what_was_made_of_them():
    (line,) = rate_lines(manifest(16_000, 44_100, 44_100), [FeatureSettings()] * 3)
    assert line == (
        "sampling rates: 16000 Hz in 1 utterance, as they are; 44100 Hz in 2 utterances, "
        "resampled to 16000 Hz"
    )


@pytest.mark.parametrize("spectrum", ["mel", "power"])
def test_bins_above_the_band_of_the_audio_are_counted(spectrum):
    settings = FeatureSettings(spectrum=spectrum)
    (line,) = rate_lines(manifest(8000, 16_000), [settings])
    hertz = np.fft.rfftfreq(settings.n_fft, 1 / settings.sample_rate)
    if spectrum == "mel":
        filters = mel_filters(settings)
        bins_axis = filters.shape.index(settings.mel_bins)
        silent = np.take(filters, np.flatnonzero(hertz <= 4000), 1 - bins_axis)
        empty = int((silent.sum(1 - bins_axis) == 0).sum())
    else:
        empty = int((hertz > 4000).sum())
    assert line == (
        "sampling rates: 8000 Hz in 1 utterance, resampled to 16000 Hz; 16000 Hz in 1 utterance, "
        f"as they are; audio at 8000 Hz has nothing above 4000 Hz, which leaves {empty} of "
        f"{settings.bins} bins empty: set features.sample_rate: 8000"
    )


def test_suspicious_sound_is_counted_by_kind(tmp_path: Path):
    found = [SuspiciousSound(f"u{n}", "silent") for n in range(7)]
    write_suspicious(tmp_path, 0, 2, found)
    write_suspicious(tmp_path, 1, 2, [SuspiciousSound("x", "constant")])
    shown = "u0, u1, u2, u3, u4 and 2 more"
    assert suspicious_lines([tmp_path, tmp_path]) == [
        f"suspicious sound: silent, all samples are zero: 7 utterances: {shown}",
        "suspicious sound: the same value in all samples: 1 utterance: x",
    ]
    write_suspicious(tmp_path, 0, 2, [])
    write_suspicious(tmp_path, 1, 2, [])
    assert suspicious_lines([tmp_path]) == []
