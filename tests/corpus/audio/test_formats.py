"""Every audio format, whole and damaged; the quality of resampling."""

import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

from pipeline.corpus.audio import resample
from pipeline.corpus.audio.audio_file import REPAIR_HINT
from pipeline.files import InputError
from tests.corpus.audio.reading import load, probe

RATE = 16_000
# suffix -> format, subtype, largest error of a sample
KINDS = {
    "8.wav": ("WAV", "PCM_U8", 1 / 128),
    "16.wav": ("WAV", "PCM_16", 1 / 32768),
    "24.wav": ("WAV", "PCM_24", 2**-23),
    "32.wav": ("WAV", "PCM_32", 2**-23),
    "float.wav": ("WAV", "FLOAT", 1e-7),
    "double.wav": ("WAV", "DOUBLE", 1e-7),
    "ulaw.wav": ("WAV", "ULAW", 0.03),
    "alaw.wav": ("WAV", "ALAW", 0.03),
    "extensible-16.wav": ("WAVEX", "PCM_16", 1 / 32768),
    "extensible-24.wav": ("WAVEX", "PCM_24", 2**-23),
    "extensible-float.wav": ("WAVEX", "FLOAT", 1e-7),
    "rf64.wav": ("RF64", "PCM_16", 1 / 32768),
    "rf64-24.wav": ("RF64", "PCM_24", 2**-23),
    "16.flac": ("FLAC", "PCM_16", 1 / 32768),
    "24.flac": ("FLAC", "PCM_24", 2**-23),
    "vorbis.ogg": ("OGG", "VORBIS", 0.1),
    "opus": ("OGG", "OPUS", 0.1),
    "mp3": ("MP3", "MPEG_LAYER_III", 0.1),
    "sph": ("NIST", "PCM_16", 1 / 32768),
    "ulaw.sph": ("NIST", "ULAW", 0.03),
    "aiff": ("AIFF", "PCM_16", 1 / 32768),
    "au": ("AU", "PCM_16", 1 / 32768),
    "caf": ("CAF", "PCM_16", 1 / 32768),
    "w64": ("W64", "PCM_16", 1 / 32768),
}
LOSSY = ("vorbis.ogg", "opus", "mp3")


def tones(channels: int, samples: int = 16_000) -> np.ndarray:
    times = np.arange(samples) / RATE
    return np.stack([np.sin(2 * np.pi * (300 + 200 * c) * times) / 2 for c in range(channels)], 1)


def write(path: Path, content: np.ndarray) -> Path:
    kind, subtype, _ = KINDS[path.name.removeprefix("a.")]
    soundfile.write(path, content, RATE, format=kind, subtype=subtype)
    return path


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_is_read_as_written_and_stereo_as_its_mean(tmp_path, suffix, channels):
    path = write(tmp_path / f"a.{suffix}", tones(channels))
    header = probe(path)
    loaded = load(path, RATE)
    assert (header.rate, header.channels) == (RATE, channels)
    assert header.samples == len(loaded)
    assert loaded.dtype == np.float32
    assert len(loaded) == 16_000
    error = np.abs(loaded - tones(channels).mean(axis=1))
    assert (np.median(error) if suffix in LOSSY else error.max()) <= KINDS[suffix][2]


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("keep", [0, 10, 60, 0.5, 0.95, 0.999])
def test_a_file_cut_short_anywhere_is_refused_in_one_line(tmp_path, suffix, keep):
    """It is found when it is decoded, if not before."""
    path = write(tmp_path / f"a.{suffix}", tones(1))
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep == int(keep) else round(keep * len(content))])
    with pytest.raises(InputError) as error:
        load(path, RATE)
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).endswith("; " + REPAIR_HINT)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", KINDS)
def test_a_garbled_header_is_refused_in_one_line(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", tones(1))
    path.write_bytes(np.random.default_rng(4).bytes(64) + b"\x00" * 2000)
    with pytest.raises(InputError, match="is not an audio file"):
        probe(path)


def test_the_size_of_an_rf64_file_is_in_its_ds64_chunk(tmp_path):
    """A file that is shorter than its ds64 chunk says is cut short."""
    path = write(tmp_path / "a.rf64.wav", tones(1))
    content = path.read_bytes()
    assert content[:4] == b"RF64" or content[:4] == b"RIFF"
    samples = np.arange(100, dtype="<i2")
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 400, samples.nbytes, 100, 0)
    data = b"data" + struct.pack("<I", 0xFFFFFFFF) + samples.tobytes()
    head = b"RF64" + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + ds64 + form
    path.write_bytes(head + data + b"LIST" + struct.pack("<I", 4) + b"more")
    assert probe(path) == (RATE, 100, 1)
    assert np.array_equal(load(path, RATE), samples / np.float32(32768))
    path.write_bytes(head + data[:-20])
    with pytest.raises(
        InputError, match="is cut short: its header declares 200 bytes of audio, it has 180"
    ):
        probe(path)


@pytest.mark.parametrize("coding", ["pcm,embedded-shorten-v2.00", "ulaw,embedded-shorten-v2.00"])
def test_a_compressed_sphere_file_is_refused_with_the_command_that_converts_it(tmp_path, coding):
    header = (
        "NIST_1A\n   1024\nchannel_count -i 1\nsample_count -i 100\nsample_rate -i 16000\n"
        f"sample_n_bytes -i 2\nsample_coding -s{len(coding)} {coding}\nend_head\n"
    )
    path = tmp_path / "a.sph"
    path.write_bytes(header.encode().ljust(1024) + b"ajkg\x02" + bytes(100))
    with pytest.raises(
        InputError, match=rf"compressed sphere file \({coding}\), which cannot be read; sph2pipe"
    ):
        probe(path)


@pytest.mark.parametrize("suffix", ["vorbis.ogg", "opus"])
def test_an_ogg_file_without_its_end_is_refused_before_it_is_decoded(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", tones(1, 160_000))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"is cut short in the Ogg page at byte \d+"):
        probe(path)


def resampled(waveform: np.ndarray, rate: int, target: int) -> np.ndarray:
    return resample.resample(waveform.astype(np.float32), rate, target)


def decibels(amplitude: float) -> float:
    return 20 * np.log10(amplitude)


@pytest.mark.parametrize(("rate", "target"), [(48_000, 16_000), (44_100, 16_000), (8000, 16_000)])
def test_a_tone_below_nine_tenths_of_the_band_keeps_amplitude_and_phase(rate, target):
    """Amplitude within 0.01 dB; error -60 dB against the same tone sampled at the target rate."""
    for hertz in np.linspace(100, 0.9 * min(rate, target) / 2, 7):
        tone = np.sin(2 * np.pi * hertz * np.arange(2 * rate) / rate)
        exact = np.sin(2 * np.pi * hertz * np.arange(2 * target) / target)
        inner = slice(target // 4, -target // 4)
        ours = resampled(tone, rate, target)[inner]
        height = np.sqrt(2 * np.mean(ours.astype(np.float64) ** 2))
        assert abs(decibels(height)) < 0.01
        assert decibels(np.abs(ours - exact[inner]).max()) < -60


@pytest.mark.parametrize(("rate", "target"), [(48_000, 16_000), (44_100, 16_000), (16_000, 8000)])
def test_a_tone_above_the_band_is_removed(rate, target):
    """At most -100 dB, from 3 % above half the target rate on."""
    for hertz in np.linspace(1.03 * target / 2, 0.95 * rate / 2, 7):
        tone = np.sin(2 * np.pi * hertz * np.arange(2 * rate) / rate)
        inner = slice(target // 4, -target // 4)
        assert decibels(np.abs(resampled(tone, rate, target)[inner]).max()) < -100


@pytest.mark.parametrize(("rate", "target"), [(48_000, 16_000), (44_100, 16_000), (8000, 16_000)])
def test_speech_like_noise_equals_an_independent_resampler(rate, target):
    """The reference is SciPy's polyphase filter, as steep as ours; noise below 0.8 of the band."""
    rng = np.random.default_rng(0)
    edge = 0.8 * min(rate, target) / rate
    noise = scipy.signal.lfilter(scipy.signal.firwin(801, edge), 1, rng.standard_normal(rate))
    g = np.gcd(rate, target)
    up, down = target // g, rate // g
    steep = scipy.signal.firwin(80 * max(up, down) + 1, 0.92 / max(up, down), window=("kaiser", 9))
    theirs = scipy.signal.resample_poly(noise, up, down, window=steep)
    ours = resampled(noise, rate, target)
    inner = slice(target // 4, -target // 4)
    error = np.sqrt(np.mean((ours - theirs)[inner] ** 2) / np.mean(theirs[inner] ** 2))
    assert decibels(error) < -60
