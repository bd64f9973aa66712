"""Ogg files: damaged pages, missing pages, several streams in one file."""

import random
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.corpus.audio.ogg_pages import find_links, page_checksum
from pipeline.files import InputError
from tests.corpus.audio.reading import load, probe

SUBTYPES = ["VORBIS", "OPUS"]


def write(path: Path, subtype: str, seconds: float = 4.0, rate: int = 16_000, channels: int = 1):
    steps = np.random.default_rng(round(seconds * 10)).standard_normal(
        (round(seconds * rate), channels)
    )
    walk = steps.cumsum(axis=0)
    soundfile.write(path, walk / np.abs(walk).max() / 2, rate, format="OGG", subtype=subtype)
    return path


def pages(content: bytes) -> list[bytes]:
    """Return the pages of a whole file, split at their first bytes."""
    starts = [n for n in range(len(content)) if content.startswith(b"OggS", n)]
    return [content[a:b] for a, b in zip(starts, [*starts[1:], len(content)], strict=True)]


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_the_checksums_of_an_encoder_are_computed(tmp_path, subtype):
    for page in pages(write(tmp_path / "a.ogg", subtype).read_bytes()):
        assert page_checksum(page) == int.from_bytes(page[22:26], "little")


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_a_flipped_bit_is_refused_wherever_it_is(tmp_path, subtype):
    content = write(tmp_path / "a.ogg", subtype).read_bytes()
    rng = random.Random(3)
    for _ in range(100):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (tmp_path / "b.ogg").write_bytes(damaged)
        with pytest.raises(InputError, match=r"b\.ogg: is (damaged|cut short|not an audio file)"):
            probe(tmp_path / "b.ogg")


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_a_missing_page_is_refused(tmp_path, subtype):
    parts = pages(write(tmp_path / "a.ogg", subtype, 20.0).read_bytes())
    (tmp_path / "a.ogg").write_bytes(b"".join(parts[:3] + parts[4:]))
    with pytest.raises(InputError, match=r"a\.ogg: is damaged: Ogg page 3 is missing before byte"):
        probe(tmp_path / "a.ogg")


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_bytes_between_pages_are_refused_and_bytes_behind_the_last_are_not(tmp_path, subtype):
    content = write(tmp_path / "a.ogg", subtype).read_bytes()
    (tmp_path / "b.ogg").write_bytes(content + b"TAG" + bytes(125))
    assert np.array_equal(load(tmp_path / "b.ogg", 16_000), load(tmp_path / "a.ogg", 16_000))
    parts = pages(content)
    (tmp_path / "b.ogg").write_bytes(b"".join([*parts[:2], b"junk", *parts[2:]]))
    with pytest.raises(InputError, match="is damaged: no Ogg page at byte"):
        probe(tmp_path / "b.ogg")


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_all_streams_of_a_chained_file_are_read(tmp_path, subtype, monkeypatch):
    paths = [write(tmp_path / f"{n}.ogg", subtype, 1.5 * n, 48_000, 2) for n in (1, 2, 3)]
    chained = tmp_path / "chained.ogg"
    chained.write_bytes(b"".join(path.read_bytes() for path in paths))
    assert len(find_links(chained.read_bytes())) == 3
    expected = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in paths])
    assert probe(chained) == (48_000, len(expected), 2)
    whole = load(chained, 48_000)
    assert np.allclose(whole, expected.mean(axis=1), atol=1e-6)
    for block in (50_000, 2**19):
        monkeypatch.setattr("pipeline.corpus.audio.audio_file.BLOCK_SAMPLES", block)
        assert np.array_equal(load(chained, 48_000, 70_000, 100_000), whole[70_000:170_000])


@pytest.mark.parametrize(("rate", "channels"), [(24_000, 1), (16_000, 2)])
def test_streams_of_different_formats_are_refused(tmp_path, rate, channels):
    first, second = (
        write(tmp_path / "1.ogg", "VORBIS"),
        write(tmp_path / "2.ogg", "VORBIS", 1.0, rate, channels),
    )
    (tmp_path / "a.ogg").write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(
        InputError,
        match=r"a\.ogg: holds several recordings of different formats \(16000 Hz, 1 channels and "
        rf"{rate} Hz, {channels} channels\); cut it into one file for each",
    ):
        probe(tmp_path / "a.ogg")
