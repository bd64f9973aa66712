"""The length of an mp3 is that of its decoded samples, with and without a header for it."""

import struct
from pathlib import Path

import miniaudio
import numpy as np
import pytest
import scipy.signal
import soundfile

from pipeline.corpus.audio import sources
from pipeline.corpus.audio.mp3_frames import find_frames
from pipeline.files import InputError
from tests.corpus.audio.reading import load, probe

RATES = [8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]
DECODER_DELAY = 529  # samples, by the MP3 standard


def walk(samples: int, channels: int = 1) -> np.ndarray:
    steps = np.random.default_rng(2).standard_normal((samples, channels)).cumsum(axis=0)
    return steps / np.abs(steps).max() / 1.2


@pytest.fixture
def encode(tmp_path):
    def write(samples: int, rate: int, channels: int = 1, mode: str = "CONSTANT") -> Path:
        path = tmp_path / "a.mp3"
        soundfile.write(
            path, walk(samples, channels), rate, bitrate_mode=mode, compression_level=0.5
        )
        return path

    return write


def remove_length(path: Path) -> bytes:
    """Remove the frame with the length, as in the output of a streaming encoder."""
    content = path.read_bytes()
    assert b"Info" in content[:64] or b"Xing" in content[:64]
    second = content.index(content[:2], 4)
    path.write_bytes(content[second:])
    return content[second:]


def decoded(path: Path) -> int:
    return len(soundfile.read(path)[0])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_a_stated_length_is_that_of_the_encoded_samples(encode, rate, mode):
    path = encode(30_001, rate, mode=mode)
    frames = find_frames(path.read_bytes())
    assert frames
    assert frames.is_stated_right
    assert probe(path) == (rate, 30_001, 1)
    assert decoded(path) == 30_001


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_an_unstated_length_is_counted(encode, rate, channels):
    path = encode(30_001, rate, channels)
    content = remove_length(path)
    frames = find_frames(content)
    assert frames
    assert frames.stated is None
    assert frames.samples == decoded(path) == probe(path).samples + DECODER_DELAY
    assert miniaudio.mp3_get_file_info(str(path)).num_frames == frames.samples
    theirs = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)
    assert np.allclose(load(path, rate), theirs[DECODER_DELAY:], atol=1e-6)


APE_TAG = b"APETAGEX" + struct.pack("<IIII8x", 2000, 32 + 70, 1, 0xA0000000) + b"\xff\xfb\x90" * 34
TAGS = {  # name -> bytes before the frames, bytes behind them
    "ID3v1": (b"", b"TAG" + bytes(125)),
    "ID3v2": (b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128), b""),
    "ID3v2 behind": (b"", b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)),
    "APEv2": (b"", APE_TAG),
    "APEv2 before": (APE_TAG, b""),
    "APEv2 and ID3v1": (b"", APE_TAG + b"TAG" + bytes(125)),
    "Lyrics3": (b"", b"LYRICSBEGIN" + b"la " * 70 + b"000210LYRICS200TAG" + bytes(125)),
    "zeros": (bytes(1000), bytes(1000)),
    "another tag": (b"", b"garbage" * 20),
}


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("stated", [True, False])
def test_tags_lose_and_add_nothing(encode, tag, stated):
    """Without a stated length libsndfile estimates it from the file size, tags included."""
    path = encode(30_001, 16_000)
    content = path.read_bytes() if stated else remove_length(path)
    without = load(path, 16_000)
    path.write_bytes(TAGS[tag][0] + content + TAGS[tag][1])
    assert np.array_equal(load(path, 16_000), without)
    assert probe(path).samples == len(without)


def frame_starts(content: bytes) -> list[int]:
    """Return where the frames begin, each after the size of the one before, by the standard."""
    starts, position = [], 0
    while position < len(content):
        starts.append(position)
        kbps = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
        third = content[position + 2]
        position += 72_000 * kbps[third >> 4] // 16_000 + (third >> 1 & 1)
    return starts


@pytest.mark.parametrize("kept", [1, 2, 3, 50, -1])
@pytest.mark.parametrize("tag", [b"", b"TAG" + bytes(125)])
def test_a_file_that_ends_within_a_frame_is_refused(encode, kept, tag):
    """Without a stated length a lost end is known by half a frame; whole frames tell nothing."""
    path = encode(30_001, 16_000)
    content = remove_length(path)
    starts = frame_starts(content)
    whole = load(path, 16_000)
    path.write_bytes(content[: starts[-1]] + tag)
    assert len(load(path, 16_000)) == probe(path).samples == len(whole) - 576
    end = starts[-1] + kept if kept > 0 else len(content) + kept
    path.write_bytes(content[:end])
    with pytest.raises(InputError) as raised:
        probe(path)
    problem = f"is cut short: it ends within the mp3 frame at byte {starts[-1]}"
    assert str(raised.value).startswith(f"{path}: {problem}; repair the file")


def test_files_joined_end_to_end_are_refused_if_the_last_was_cut(encode):
    path = encode(30_001, 16_000)
    content = path.read_bytes()
    path.write_bytes(content + content[:-50])
    with pytest.raises(InputError, match="is cut short: it ends within the mp3 frame at byte"):
        probe(path)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_frames_are_counted_the_same_in_a_long_file_and_a_short_one(
    encode, monkeypatch, mode, rate
):
    """A long file is mapped into memory; constant bit rates are counted in another way."""
    path = encode(60_001, rate, mode=mode)
    remove_length(path)
    found = find_frames(path.read_bytes())
    monkeypatch.setattr(sources, "MAX_BYTES_AT_ONCE", 1000)
    assert probe(path).samples == found.samples - DECODER_DELAY
    assert found.samples == miniaudio.mp3_get_file_info(str(path)).num_frames


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("place", [0, 1])
def test_one_wrong_byte_in_the_head_of_a_frame_is_found(encode, mode, place):
    path = encode(30_001, 16_000, mode=mode)
    content = bytearray(remove_length(path))
    middle = frame_starts(bytes(content))[20]
    content[middle + place] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"is damaged: at byte {middle} begins no mp3 frame"):
        probe(path)


def test_a_file_with_fewer_frames_than_it_states_is_refused(encode):
    path = encode(30_001, 16_000)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(
        InputError, match=r"a\.mp3: is cut short: its header states \d+ frames, it has"
    ):
        probe(path)


@pytest.mark.parametrize("tag", [b"", b"TAG" + bytes(125), b"ID3\x04\0\0\0\0\1\0" + bytes(128)])
@pytest.mark.parametrize("stated", [True, False])
def test_files_joined_end_to_end_are_read_completely(tmp_path, capfd, tag, stated):
    """Also where each states its own length, and with tags between them."""
    parts = []
    for number in (1, 2):
        path = tmp_path / f"{number}.mp3"
        soundfile.write(path, walk(30_001) * (0.4 * number), 16_000, bitrate_mode="VARIABLE")
        parts.append(path.read_bytes() if stated else remove_length(path))
    (tmp_path / "both.mp3").write_bytes(tag.join(parts) + tag)
    loaded = load(tmp_path / "both.mp3", 16_000)
    assert probe(tmp_path / "both.mp3").samples == len(loaded)
    frames = [find_frames(part).number for part in parts]
    assert len(loaded) == sum(frames) * 576 - DECODER_DELAY
    second = load(tmp_path / "2.mp3", 16_000)
    lag = np.argmax(scipy.signal.correlate(loaded, second, "valid"))
    assert lag > 30_000
    inside = slice(2000, 25_000)  # the frames at the joint have lost the bits of the ones before
    assert np.allclose(loaded[lag:][inside], second[inside], atol=1e-3)
    assert capfd.readouterr().err == ""


def test_frames_of_another_rate_are_refused(tmp_path):
    for rate in (16_000, 24_000):
        soundfile.write(tmp_path / f"{rate}.mp3", walk(30_001), rate)
    parts = [(tmp_path / f"{rate}.mp3").read_bytes() for rate in (16_000, 24_000)]
    (tmp_path / "both.mp3").write_bytes(b"".join(parts))
    with pytest.raises(
        InputError, match=r"both\.mp3: is damaged: at byte \d+ begins no mp3 frame like"
    ):
        probe(tmp_path / "both.mp3")


def test_something_else_between_frames_is_refused(encode):
    path = encode(30_001, 16_000)
    content = remove_length(path)
    middle = content.index(content[:2], len(content) // 2)
    path.write_bytes(content[:middle] + b"lost" + content[middle:])
    with pytest.raises(
        InputError, match=rf"a\.mp3: is damaged: at byte {middle} begins no mp3 frame"
    ):
        probe(path)


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("padding", [b"", b"\0"])
def test_mp3_inside_a_wav_is_read(encode, tmp_path, rate, padding):
    content = remove_length(path := encode(30_001, rate))
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, rate, 8000, 1, 0, 12, 1, 2, 1152, 1, 0)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"fact" + struct.pack("<II", 4, 99_999)  # encoders state other numbers there
    chunks += b"data" + struct.pack("<I", len(content)) + content + padding
    (tmp_path / "in.wav").write_bytes(
        b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
    )
    assert np.array_equal(load(tmp_path / "in.wav", rate), load(path, rate))
    assert probe(tmp_path / "in.wav") == probe(path)


def test_a_file_whose_end_libsndfile_would_lose_is_read_completely(tmp_path):
    """Libsndfile estimates the length from the first frames; loud ones make it stop too early."""
    loud, silence = walk(8000), np.zeros((160_000, 1))
    path = tmp_path / "a.mp3"
    soundfile.write(path, np.vstack([loud, silence, loud]), 16_000, bitrate_mode="VARIABLE")
    stated = load(path, 16_000)
    remove_length(path)
    assert soundfile.info(path).frames < 160_000
    loaded = load(path, 16_000)
    extra = len(loaded) - len(stated)
    assert 0 < extra < 3000  # the encoder's delay and padding, also stated in the removed frame
    delay = np.argmax(scipy.signal.correlate(loaded, stated, "valid"))
    assert np.allclose(loaded[delay : delay + len(stated)], stated, atol=1e-4)
