"""Every audio file gives its waveform; a damaged one gives one line with a hint."""

import os
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

from pipeline.files import InputError
from tests.corpus.audio.reading import load, probe

RATE = 16_000
HINT = "repair the file, or list the utterance under exclude: in the corpus file"


def noise(length: int = 4000, channels: int = 1) -> np.ndarray:
    shape = length if channels == 1 else (length, channels)
    return np.random.default_rng(7).integers(-32768, 32767, shape).astype(np.int16)


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def riff(*chunks: bytes) -> bytes:
    content = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


FORMAT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))


def test_integers_become_floats_with_full_scale_1(tmp_path, write_wav):
    samples = noise()
    loaded = load(write_wav(tmp_path / "a.wav", samples), RATE)
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, samples / 32768)


def test_the_fast_path_equals_libsndfile(tmp_path, write_wav):
    path = write_wav(tmp_path / "a.wav", noise(channels=2))
    theirs, _ = soundfile.read(path, dtype="float32")
    assert np.allclose(load(path, RATE), theirs.mean(axis=1), atol=1e-7)


def test_a_wav_of_the_standard_library_is_read(tmp_path):
    samples = noise()
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())
    assert probe(tmp_path / "a.wav") == (8000, 4000, 1)
    assert np.array_equal(load(tmp_path / "a.wav", 8000), samples / 32768)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_other_wav_encodings_are_read(tmp_path, subtype):
    path, sine = tmp_path / "a.wav", np.sin(np.arange(4000) / 9) / 2
    soundfile.write(path, sine, RATE, subtype=subtype)
    assert probe(path) == (RATE, 4000, 1)
    assert np.allclose(load(path, RATE), sine, atol=0.02)


@pytest.mark.parametrize(("kind", "tolerance"), [("flac", 1e-4), ("ogg", 0.05), ("aiff", 1e-4)])
def test_other_containers_are_read(tmp_path, kind, tolerance):
    path, sine = tmp_path / f"a.{kind}", np.sin(np.arange(8000) / 9) / 2
    soundfile.write(path, sine, RATE)
    assert probe(path) == (RATE, 8000, 1)
    assert np.allclose(load(path, RATE), sine, atol=tolerance)


def test_an_extensible_wav_is_read_by_its_header(tmp_path):
    path, samples = tmp_path / "a.wav", noise()
    soundfile.write(path, samples, RATE, format="WAVEX")
    assert probe(path) == (RATE, 4000, 1)
    assert np.array_equal(load(path, RATE), samples / 32768)


@pytest.mark.parametrize("order", ["10", "01"])
def test_nist_sphere_is_read_in_either_byte_order(tmp_path, write_sphere, order):
    samples = noise()
    path = write_sphere(tmp_path / "a.sph", samples, order)
    assert probe(path) == (RATE, 4000, 1)
    assert np.array_equal(load(path, RATE), samples / 32768)


def test_other_chunks_are_skipped(tmp_path):
    samples = noise(100)
    path = tmp_path / "a.wav"
    extra = chunk(b"LIST", b"odd")  # padded to an even length
    path.write_bytes(riff(extra, FORMAT, extra, chunk(b"data", samples.tobytes()), extra))
    assert probe(path) == (RATE, 100, 1)
    assert np.array_equal(load(path, RATE), samples / 32768)


def test_a_wav_from_a_pipe_ends_with_its_file(tmp_path):
    path = tmp_path / "a.wav"
    head = riff(FORMAT) + b"data" + struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(head + noise(100).tobytes())
    assert probe(path) == (RATE, 100, 1)
    assert len(load(path, RATE)) == 100


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_equals_a_polyphase_filter_within_one_percent(tmp_path, write_wav, rate):
    """Up to 3 kHz, inside both passbands; without the ends, where the filters differ."""
    seconds = np.arange(rate) / rate
    tones = sum(np.sin(2 * np.pi * hertz * seconds) for hertz in (200, 1100, 3000))
    samples = (6000 * tones).astype(np.int16)
    ours = load(write_wav(tmp_path / "a.wav", samples, rate), RATE)
    theirs = scipy.signal.resample_poly(samples / 32768, RATE, rate)
    assert len(ours) == len(theirs) == RATE
    error = np.abs(ours - theirs)[400:-400]
    assert error.max() < 0.01 * np.abs(theirs).max()


def test_resampling_removes_aliases(tmp_path, write_wav):
    """16 kHz audio has no tone of 12 kHz; at most -90 dB of it may remain."""
    tone_12k = (16_000 * np.sin(2 * np.pi * 12_000 * np.arange(48_000) / 48_000)).astype(np.int16)
    loaded = load(write_wav(tmp_path / "a.wav", tone_12k, 48_000), RATE)
    assert np.abs(loaded[400:-400]).max() < 10 ** (-90 / 20)


def cut(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def truncated(path: Path, keep: int) -> Path:
    return cut(path, path.read_bytes()[:keep])


def refusal(path: Path, read=probe, hint: str = HINT) -> str:
    """The one line with which `read` refuses `path`."""
    arguments = (path,) if read is probe else (path, RATE)
    with pytest.raises(InputError) as error:
        read(*arguments)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert line.endswith(f"; {hint}")
    assert "\n" not in line
    return line


@pytest.mark.parametrize("read", [probe, load])
class TestRefusals:
    def test_a_wav_cut_short_names_both_lengths(self, tmp_path, write_wav, read):
        path = truncated(write_wav(tmp_path / "a.wav", noise()), 44 + 5000)
        assert "is cut short: its header declares 8000 bytes of audio, it has 5000" in refusal(
            path, read
        )

    @pytest.mark.parametrize("keep", [6, 12, 14, 30, 40])
    def test_a_wav_that_ends_in_its_header(self, tmp_path, write_wav, read, keep):
        path = truncated(write_wav(tmp_path / "a.wav"), keep)
        assert "is a wav file cut short before its samples" in refusal(path, read)

    def test_a_float_wav_cut_short(self, tmp_path, read):
        soundfile.write(tmp_path / "a.wav", noise() / 32768, RATE, subtype="FLOAT")
        assert "is cut short" in refusal(truncated(tmp_path / "a.wav", 3000), read)

    def test_a_sphere_cut_short(self, tmp_path, write_sphere, read):
        path = truncated(write_sphere(tmp_path / "a.sph", noise()), 9000)
        assert "is cut short: its header declares 4000 samples, it has 3988" in refusal(path, read)

    def test_a_missing_file(self, tmp_path, read):
        hint = HINT.replace("repair the file", "add the file")
        assert "no such file" in refusal(tmp_path / "a.wav", read, hint)

    def test_a_folder(self, tmp_path, read):
        hint = HINT.replace("repair the file", "replace it")
        assert "is not a regular file" in refusal(tmp_path, read, hint)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
    def test_a_pipe_that_nobody_writes_to(self, tmp_path, read):
        os.mkfifo(tmp_path / "a.wav")
        hint = HINT.replace("repair the file", "replace it")
        assert "is not a regular file" in refusal(tmp_path / "a.wav", read, hint)

    def test_an_empty_file(self, tmp_path, read):
        assert "is empty" in refusal(cut(tmp_path / "a.wav", b""), read)

    def test_a_wav_without_samples(self, tmp_path, read):
        path = cut(tmp_path / "a.wav", riff(FORMAT, chunk(b"data", b"")))
        assert "holds no samples" in refusal(path, read)

    def test_a_sphere_without_samples(self, tmp_path, write_sphere, read):
        path = write_sphere(tmp_path / "a.sph", noise(0))
        assert "holds no samples" in refusal(path, read)

    def test_a_wav_of_no_channels(self, tmp_path, read):
        form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 0, RATE, 0, 0, 16))
        path = cut(tmp_path / "a.wav", riff(form, chunk(b"data", b"1234")))
        assert "has an invalid header: 0 channels" in refusal(path, read)

    @pytest.mark.parametrize("name", ["a.wav", "a.raw", "a.mp3"])
    def test_a_text_file(self, tmp_path, read, name):
        assert "is not an audio file" in refusal(cut(tmp_path / name, b"hello " * 50), read)


def test_a_flac_cut_short_is_found_when_decoded(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(), RATE)
    path = truncated(path, path.stat().st_size // 2)
    assert "cannot be decoded" in refusal(path, load)


def test_an_mp3_cut_short_is_found_by_its_frames(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(32_000), RATE)
    path = truncated(path, path.stat().st_size // 2)
    assert "is cut short: its header states 58 frames, it has 28" in refusal(path, load)


def test_a_sample_that_is_not_a_number_is_refused(tmp_path):
    samples = np.zeros(100, np.float32)
    samples[50] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    assert "holds samples that are not numbers" in refusal(tmp_path / "a.wav", load)
