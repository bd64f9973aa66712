"""Lengths that headers lack, or state wrongly: what is there is read, what was cut is refused."""

import shlex
import struct
from pathlib import Path

import miniaudio
import numpy as np
import pytest
import soundfile

from pipeline.files import InputError
from tests.corpus.audio.reading import load, probe

RATE = 16_000


def noise(samples: int = 5000) -> np.ndarray:
    return np.random.default_rng(1).integers(-20_000, 20_000, samples).astype(np.int16)


def wav(data: bytes, size: int, *, block: int = 2, bits: int = 16, tag: int = 1, tail: bytes = b""):
    form = struct.pack("<HHIIHH", tag, 1, RATE, block * RATE, block, bits)
    return (
        b"RIFF" + struct.pack("<I", min(size + 36, 2**32 - 1)) + b"WAVEfmt " + struct.pack("<I", 16)
        + form + b"data" + struct.pack("<I", size) + data + tail
    )  # fmt: skip


# As sox, arecord, ffmpeg and others leave them in a pipe.
PIPE_SIZES = [0, 0x7FFFFFFF, 0x7FFFF000, 0x7FFFFFDB, 0x80000000, 0xFFFFFFFF, 0xFFFFFFD3, 0xFFFFF000]


@pytest.mark.parametrize("size", PIPE_SIZES)
@pytest.mark.parametrize("kind", ["16", "24", "32", "float", "8"])
def test_a_wav_from_a_pipe_has_the_samples_that_are_there(tmp_path, size, kind):
    samples = noise()
    data = {
        "8": (samples // 256 + 128).astype(np.uint8).tobytes(),
        "16": samples.tobytes(),
        "24": (samples.astype("<i4") << 8).view(np.uint8).reshape(-1, 4)[:, :3].tobytes(),
        "32": (samples.astype("<i4") << 16).tobytes(),
        "float": (samples / np.float32(32768)).astype("<f4").tobytes(),
    }[kind]
    width = len(data) // len(samples)
    path = tmp_path / "a.wav"
    tag = 3 if kind == "float" else 1
    path.write_bytes(wav(data, size, block=width, bits=8 * width, tag=tag))
    assert probe(path) == (RATE, len(samples), 1)
    expected = samples // 256 / 128 if kind == "8" else samples / 32768
    assert np.array_equal(load(path, RATE), expected.astype(np.float32))


@pytest.mark.parametrize("size", [10_002, 20_000, 0x10000000, 0x90000000])
def test_a_wav_that_was_cut_stays_refused(tmp_path, size):
    (tmp_path / "a.wav").write_bytes(wav(noise().tobytes(), size))
    with pytest.raises(InputError, match=f"declares {size} bytes of audio, it has 10000"):
        probe(tmp_path / "a.wav")


def test_an_empty_wav_with_a_list_of_tags_is_empty(tmp_path):
    tail = b"LIST" + struct.pack("<I", 20) + b"INFOISFT" + struct.pack("<I", 8) + b"program\0"
    (tmp_path / "a.wav").write_bytes(wav(b"", 0, tail=tail))
    with pytest.raises(InputError, match="holds no samples"):
        probe(tmp_path / "a.wav")


@pytest.mark.parametrize(("bits", "block"), [(12, 2), (10, 2), (14, 2), (20, 3), (24, 4), (20, 4)])
def test_bits_that_do_not_fill_their_container_are_its_highest(tmp_path, bits, block):
    """As the format says; miniaudio and libsndfile know some of these kinds."""
    samples = noise() & -(1 << max(0, 16 - bits))
    shifted = (samples.astype("<i4") << 16).view(np.uint8).reshape(-1, 4)[:, 4 - block :]
    path = tmp_path / "a.wav"
    path.write_bytes(wav(shifted.tobytes(), shifted.size, block=block, bits=bits))
    assert probe(path) == (RATE, len(samples), 1)
    assert np.array_equal(load(path, RATE), samples / np.float32(32768))


def without_length(path: Path) -> bytes:
    """Set the number of samples of a flac to unknown, as encoders do that write to a pipe."""
    content = bytearray(path.read_bytes())
    assert content[:4] == b"fLaC"
    content[21] &= 0xF0
    content[22:42] = bytes(20)  # the rest of the number, and the MD5 of the samples
    path.write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_a_flac_with_an_unknown_number_of_samples_is_counted(tmp_path, subtype, monkeypatch):
    samples = noise(150_000) / 32768
    path = tmp_path / "a.flac"
    soundfile.write(path, samples, RATE, subtype=subtype)
    without_length(path)
    assert soundfile.info(path).frames > 1e18
    monkeypatch.setattr("pipeline.corpus.audio.audio_file.BLOCK_SAMPLES", 40_000)
    assert probe(path) == (RATE, len(samples), 1)
    whole = load(path, RATE)
    assert np.array_equal(whole, samples.astype(np.float32))
    assert np.array_equal(load(path, RATE, 70_000, 50_000), whole[70_000:120_000])
    assert len(miniaudio.flac_read_file_s16(str(path)).samples or whole) == len(whole)


@pytest.mark.parametrize("lost", [1, 50, 1000])
def test_a_flac_of_unknown_length_that_was_cut_is_refused(tmp_path, lost):
    soundfile.write(tmp_path / "a.flac", noise(30_000), RATE)
    content = without_length(tmp_path / "a.flac")
    (tmp_path / "a.flac").write_bytes(content[:-lost])
    with pytest.raises(InputError, match=r"a\.flac: is cut short: it ends within a flac frame"):
        probe(tmp_path / "a.flac")


@pytest.mark.parametrize(
    ("name", "kind", "subtype"),
    [
        ("a.wav", "WAV", "GSM610"),
        ("a.wav", "WAV", "G721_32"),
        ("a.au", "AU", "G721_32"),
        ("a.au", "AU", "G723_24"),
        ("a.au", "AU", "G723_40"),
        ("a.wav", "WAV", "IMA_ADPCM"),
        ("a.wav", "WAV", "MS_ADPCM"),
        ("a.caf", "CAF", "ALAC_16"),
        ("a.aiff", "AIFF", "DWVW_16"),
        ("a.voc", "VOC", "ALAW"),
    ],
)
def test_codecs_that_cannot_seek_are_read(tmp_path, name, kind, subtype):
    path = tmp_path / name
    soundfile.write(path, noise(40_000) // 4, 8000, format=kind, subtype=subtype)
    header, whole = probe(path), load(path, 8000)
    assert header.samples == len(whole)
    assert 40_000 <= len(whole) < 41_000
    assert np.array_equal(load(path, 8000, 20_000, 1000), whole[20_000:21_000])
    assert np.array_equal(load(path, 8000, 10_000, 1000), whole[10_000:11_000])


UNREAD = {
    "a.m4a": b"\0\0\0\x20ftypM4A \0\0\0\0",
    "a b.mp4": b"\0\0\0\x18ftypmp42\0\0\0\0",
    "a.aac": b"\xff\xf1\x50\x80\x2e\x7f\xfc",
    "a.webm": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01",
    "a.wma": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    "a.amr": b"#!AMR\n",
    "a.ape": b"MAC \x96\x0f\0\0",
    "a.wv": b"wvpk\0\0\0\0",
    "a.mp3": b"\0\0\0\x20ftypM4A \0\0\0\0",  # whatever its name says
}


@pytest.mark.parametrize("name", UNREAD)
def test_formats_that_are_not_read_are_named_with_the_command_that_converts_them(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(UNREAD[name] + bytes(2000))
    with pytest.raises(InputError) as error:
        probe(path)
    text = str(error.value)
    assert text.startswith(f"{path}: is ")
    assert ", which is not read; convert it: ffmpeg -i " in text
    words = shlex.split(text.split("convert it: ")[1].split(", or list", maxsplit=1)[0])
    assert words == ["ffmpeg", "-i", str(path), str(path.with_suffix(".flac"))]


@pytest.mark.parametrize("size", [20, 100_000_000])
def test_a_header_with_endless_chunks_is_refused_at_once(tmp_path, size):
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\xffWAVE")
        file.truncate(size)
    with pytest.raises(InputError, match=r"cut short before its samples|more than 1000 chunks"):
        probe(tmp_path / "a.wav")
