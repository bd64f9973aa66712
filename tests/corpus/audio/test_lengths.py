"""Lengths that headers lack, or state wrongly: what is there is read, what was cut is refused."""

import shlex
import struct
from pathlib import Path

import miniaudio
import numpy as np
import pytest
import soundfile

from pipeline.corpus.audio import integrity
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


def joined(first: Path, other: Path) -> bytes:
    return first.read_bytes() + other.read_bytes()


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "au", "w64"])
def test_recordings_joined_end_to_end_are_refused(tmp_path, suffix):
    """A decoder stops at the end of the first one."""
    one, other, both = (tmp_path / f"{name}.{suffix}" for name in ("one", "other", "both"))
    soundfile.write(one, noise(5000), RATE)
    soundfile.write(other, noise(9000), RATE)
    both.write_bytes(joined(one, other))
    assert probe(other) == (RATE, 9000, 1)
    with pytest.raises(InputError, match=r"both.*: (holds (more|another|9000)|.* bad 'FORM')"):
        probe(both)


def test_a_second_data_chunk_is_not_lost_in_silence(tmp_path):
    tags = b"LIST" + struct.pack("<I", 5) + b"INFO!\0"
    plain = wav(noise().tobytes(), 10_000, tail=tags)
    (tmp_path / "a.wav").write_bytes(plain)
    assert probe(tmp_path / "a.wav") == (RATE, 5000, 1)
    (tmp_path / "a.wav").write_bytes(plain + b"data" + struct.pack("<I", 4) + bytes(4))
    with pytest.raises(
        InputError, match=f"more samples behind the first ones, at byte {len(plain)}"
    ):
        probe(tmp_path / "a.wav")


@pytest.mark.parametrize("samples", [4095, 4096, 4097, 4096 * 200 + 7])
@pytest.mark.parametrize("tail", [b"", b"TAG" + bytes(125)])
def test_the_last_frame_of_a_flac_tells_its_length(tmp_path, samples, tail):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(samples), RATE)
    content = bytearray(path.read_bytes())
    path.write_bytes(content + tail)
    assert probe(path) == (RATE, samples, 1)
    stated = int.from_bytes(content[18:26], "big")
    content[18:26] = (stated - 1).to_bytes(8, "big")
    path.write_bytes(content + tail)
    with pytest.raises(
        InputError, match=f"holds {samples} samples, and its header states {samples - 1}"
    ):
        probe(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer.* git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html><body>404", "is a web page; download the audio again"),
        (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", "is a file of macOS about another file"),
        (b"\x1f\x8b\x08", "is compressed by gzip; unpack it"),
        (b"OggS\0\x02" + bytes(22) + b"\x7fFLAC", "is FLAC in Ogg, which is not read; convert it"),
    ],
)
@pytest.mark.parametrize("suffix", ["wav", "mp3"])
def test_what_stands_in_the_place_of_audio_is_named(tmp_path, content, words, suffix):
    (tmp_path / f"a.{suffix}").write_bytes(content + bytes(100))
    with pytest.raises(InputError, match=words):
        probe(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("rate", [1, 999, 2**32 - 1])
def test_a_rate_that_no_recording_has_is_refused(tmp_path, rate):
    content = bytearray(wav(noise().tobytes(), 10_000))
    content[24:28] = struct.pack("<I", rate)
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError, match=f"is at {rate} Hz; rates from 1000 to 1000000 Hz"):
        probe(tmp_path / "a.wav")


def test_a_false_sync_of_flac_with_a_number_that_cannot_be_is_no_frame():
    assert integrity._flac_frame_end(b"\xff\xf8\x7d\x00\xff" + bytes(11), 4096) is None
