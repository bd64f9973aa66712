"""Mutated audio: refused in one line, or exactly as many samples as its header said."""

import random
import struct
from contextlib import closing

import numpy as np
import pytest
import soundfile

from pipeline.corpus.audio import decode
from tests.fuzz.mutations import TIMES, mutate, one_line_or_fine

KINDS = {
    "a.wav": ("WAV", "PCM_16"),
    "b.wav": ("WAV", "PCM_24"),
    "c.wav": ("WAV", "FLOAT"),
    "d.wav": ("WAV", "GSM610"),
    "a.flac": ("FLAC", "PCM_16"),
    "a.ogg": ("OGG", "VORBIS"),
    "a.opus": ("OGG", "OPUS"),
    "a.mp3": ("MP3", "MPEG_LAYER_III"),
    "a.sph": ("NIST", "PCM_16"),
    "a.aiff": ("AIFF", "PCM_16"),
    "a.au": ("AU", "PCM_16"),
    "a.caf": ("CAF", "PCM_16"),
    "a.w64": ("W64", "PCM_16"),
}
NUMBER = 160 * TIMES  # mutations of each kind: 2,080 in all
HEADER_BYTES = 120  # half of the mutations are here
TOKENS = (b"\0", b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"data", b"OggS",
          b"RIFF", b"\xff\xfb\x90", b"Xing", b"ID3\x04", struct.pack("<I", 2**31 - 1))  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_mutated_audio_is_refused_or_as_long_as_it_says(tmp_path, name, capfd):
    kind, subtype = KINDS[name]
    walk = np.random.default_rng(0).standard_normal(6000).cumsum()
    path = tmp_path / name
    soundfile.write(path, walk / np.abs(walk).max() / 2, 16_000, format=kind, subtype=subtype)
    content = path.read_bytes()
    rng, usable = random.Random(name), 0
    for number in range(NUMBER):
        if number % 2:
            changed = mutate(content, rng, TOKENS)
        else:
            changed = mutate(content[:HEADER_BYTES], rng, TOKENS) + content[HEADER_BYTES:]
        path.write_bytes(changed)
        with one_line_or_fine((name, number)):
            header, _ = decode.read_header(str(path))
            with closing(decode.open_audio(str(path))) as audio:
                blocks = list(audio.blocks(0, header.samples))
            assert audio.rate == header.rate
            assert sum(map(len, blocks)) == header.samples
            assert all(block.shape[1] == header.channels for block in blocks)
            assert all(np.isfinite(block).all() for block in blocks)
            usable += 1
    assert 0 < usable < NUMBER
    assert capfd.readouterr().err == ""
