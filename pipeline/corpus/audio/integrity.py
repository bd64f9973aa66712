"""Damage and formats that libsndfile does not report: files cut short, containers it lacks.

In:   a file, what libsndfile found in it.   Out: an InputError, or nothing.
Not here: wav (wav_header.py), Ogg (ogg_pages.py), mp3 (mp3_frames.py); flac with a stated length,
where decoding finds the missing end.
"""

import os
import re
import shlex
import struct
from functools import cache
from pathlib import PurePath
from typing import BinaryIO

from pipeline.corpus.audio.audio_file import EXCLUDE_HINT, unusable_audio_error

SPHERE_HEADER_BYTES = 1024
COMPRESSED_SPHERE_CODINGS = (b"shorten", b"wavpack", b"shortpack")
FLAC_FRAME_STARTS = (b"\xff\xf8", b"\xff\xf9")
MAX_FLAC_FRAME_BYTES = 2**20
MAX_CHUNKS = 1000  # before the samples


# Formats that are not read. PyAV would read most of them, but its wheel is many times as large as
# soundfile's and soxr's together. Bytes at an offset -> name. The first that matches counts.
SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "MPEG-4 audio or video (m4a, mp4, AAC)"),
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    (0, bytes.fromhex("3026b2758e66cf11"), "Windows Media (wma)"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"ADIF", "AAC"),
    (0, b"#!AMR", "AMR"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"wvpk", "WavPack"),
    (0, b"TTA", "True Audio"),
    (0, b"ajkg", "Shorten"),
    (0, b".ra\xfd", "RealAudio"),
    (0, b".RMF", "RealAudio"),
    (0, b"\x0b\x77", "AC-3"),
    (8, b"AVI ", "AVI video"),
    (28, b"Speex   ", "Speex"),
    (28, b"\x7fFLAC", "FLAC in Ogg"),
    (28, b"\x80theora", "Ogg video"),
)
# What is found in the place of audio, with the way to the audio.
NO_AUDIO: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the audio", "fetch it with git lfs pull"),
    (b"\0\x05\x16\x07", "a file of macOS about another file", "delete it"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it"),
    (b"PK\3\4", "a zip archive", "unpack it"),
    (b"<!doctype html", "a web page", "download the audio again"),
    (b"<html", "a web page", "download the audio again"),
)
MAX_FLAC_FRAME_HEADER_BYTES = 16
FLAC_BLOCK_SIZES = {
    1: 192,
    **{n: 576 << n - 2 for n in range(2, 6)},
    **{n: 256 << n - 8 for n in range(8, 16)},
}
JOINED = "holds another recording behind the first one"
ID3V1_BYTES = 128  # behind the last frame


def require_readable_format(path: str, head: bytes) -> None:
    """Raise InputError if `head`, the start of the file, is that of a format that is not read."""
    coding = re.search(rb"^NIST_1A.*^sample_coding -s\d+ (\S+)", head, re.MULTILINE | re.DOTALL)
    if coding and any(name in coding[1] for name in COMPRESSED_SPHERE_CODINGS):
        name = coding[1].decode("ascii", "replace")
        raise unusable_audio_error(
            path,
            f"is a compressed sphere file ({name}), which cannot be read",
            "sph2pipe -f wav IN.sph OUT.wav writes a wav file",
        )
    start = head[:32].lstrip().lower()
    for mark, what, hint in NO_AUDIO:
        if start.startswith(mark.lower()):
            raise unusable_audio_error(path, f"is {what}", f"{hint}, {EXCLUDE_HINT}")
    if name_of_format := unread_format(head):
        hint = f"{conversion_command(path)}, {EXCLUDE_HINT}"
        raise unusable_audio_error(path, f"is {name_of_format}, which is not read", hint)


def require_complete(path: str, file: BinaryIO, head: bytes, kind: str, frames: int | None) -> None:
    """Raise InputError if a file that libsndfile opened is no audio, empty or cut short.

    `kind` and `frames` are the format and the samples per channel that libsndfile found; None if
    only decoding finds their number.
    """
    if kind == "RAW":  # libsndfile accepts any file named .au as raw samples
        raise unusable_audio_error(path, "is not an audio file (it has no header)")
    if frames == 0:
        raise unusable_audio_error(path, "holds no samples")
    if kind == "NIST" and frames:
        _require_complete_sphere(path, head, frames)
    if kind in CHUNK_READERS:
        _require_declared_bytes(path, file, head, kind)
    if kind == "FLAC" and frames is None:
        _require_whole_last_flac_frame(path, file)
    elif kind == "FLAC" and head.startswith(b"fLaC"):
        _require_stated_flac_samples(path, file, head, frames)


def _require_complete_sphere(path: str, head: bytes, available: int) -> None:
    """Compare the header's number of samples with the number that is there."""
    count = re.search(rb"^sample_count -i (\d{1,18})\b", head, re.MULTILINE)
    if count and int(count[1]) > available:
        raise unusable_audio_error(
            path, f"is cut short: its header declares {int(count[1])} samples, it has {available}"
        )


def _require_declared_bytes(path: str, file: BinaryIO, head: bytes, kind: str) -> None:
    """Compare the size of the samples in the header with the bytes that are there.

    Raises InputError also if another recording begins behind them.
    """
    available = os.fstat(file.fileno()).st_size
    try:
        offset, size = CHUNK_READERS[kind](file)
    except (struct.error, OSError):  # OSError: a position before the file or beyond any file
        raise unusable_audio_error(path, "is cut short before its samples") from None
    is_known = 0 <= size < 0x7F000000 or 2**32 <= size < 2**62  # a pipe leaves other numbers
    if is_known and offset + size > available:
        problem = f"its header declares {size} bytes of audio, it has {available - offset}"
        raise unusable_audio_error(path, f"is cut short: {problem}")
    file.seek(offset + size + size % 2 if is_known else available)
    if file.read(4) == head[:4]:
        raise unusable_audio_error(path, JOINED, "cut it into one file for each")


def _find_au_samples(file: BinaryIO) -> tuple[int, int]:
    file.seek(0)
    order = ">" if file.read(4) == b".snd" else "<"
    offset, size = struct.unpack(f"{order}II", file.read(8))
    return offset, size


def _find_aiff_samples(file: BinaryIO) -> tuple[int, int]:
    return _find_chunk(file, 12, ">4sI", b"SSND", padding=2)


def _find_caf_samples(file: BinaryIO) -> tuple[int, int]:
    return _find_chunk(file, 8, ">4sq", b"data")


def _find_w64_samples(file: BinaryIO) -> tuple[int, int]:
    return _find_chunk(file, 40, "<4s12xq", b"data", padding=8, counted=24)


CHUNK_READERS = {
    "AIFF": _find_aiff_samples,
    "AU": _find_au_samples,
    "CAF": _find_caf_samples,
    "W64": _find_w64_samples,
}


def _find_chunk(
    file: BinaryIO, start: int, header: str, name: bytes, *, padding: int = 1, counted: int = 0
) -> tuple[int, int]:
    """Return offset and size of a chunk's content; `counted` bytes of its header are in its size.

    Raises struct.error if the file ends before the chunk.
    """
    size = 0
    for _ in range(MAX_CHUNKS):
        file.seek(start)
        found, size = struct.unpack(header, file.read(struct.calcsize(header)))
        offset, size = start + struct.calcsize(header), max(size - counted, -1)
        if found == name or size < 0:
            return offset, size
        start = offset + -(-size // padding) * padding
    return start, -1


def _require_whole_last_flac_frame(path: str, file: BinaryIO) -> None:
    """Check that the file ends with a frame's checksum (RFC 9639), as its length is not stated."""
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(max(0, size - MAX_FLAC_FRAME_BYTES))
    end = _without_id3v1(file.read())
    start = len(end)
    while (start := max(end.rfind(mark, 0, start) for mark in FLAC_FRAME_STARTS)) >= 0:
        if _flac_checksum(end[start:]) == 0:  # of a frame with its own checksum
            return
    raise unusable_audio_error(path, "is cut short: it ends within a flac frame")


def _require_stated_flac_samples(
    path: str, file: BinaryIO, head: bytes, stated: int | None
) -> None:
    """Check that the frame at the end of the file does not end behind the stated length (RFC 9639).

    libsndfile decodes no further than the stated length. Decoding finds a missing end.
    """
    block, max_frame_bytes = int.from_bytes(head[8:10], "big"), int.from_bytes(head[15:18], "big")
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - (max_frame_bytes or MAX_FLAC_FRAME_BYTES) - ID3V1_BYTES))
    tail = _without_id3v1(file.read())
    for found in re.finditer(b"\xff[\xf8\xf9]", tail):
        start = found.start()
        end = _flac_frame_end(tail[start : start + MAX_FLAC_FRAME_HEADER_BYTES], block)
        if stated and end and end > stated and _flac_checksum(tail[start:]) == 0:
            problem = f"holds {end} samples, and its header states {stated}"
            raise unusable_audio_error(path, problem)


def _without_id3v1(content: bytes) -> bytes:
    return content[:-ID3V1_BYTES] if content[-ID3V1_BYTES:].startswith(b"TAG") else content


def _flac_frame_end(head: bytes, usual_block: int) -> int | None:
    """Return the number of samples up to the end of the frame; None if `head` is no frame's."""
    head = head.ljust(MAX_FLAC_FRAME_HEADER_BYTES, b"\xff")  # the last frame may be shorter
    size_code, rate_code = head[2] >> 4, head[2] & 15
    ones = 8 - (head[4] ^ 0xFF).bit_length()  # the number is coded as in UTF-8
    if not size_code or ones > 7:
        return None
    position = 4 + max(1, ones)
    number = head[4] & 0xFF >> (ones + 1)
    for byte in head[5:position]:
        number = number << 6 | byte & 0x3F
    size_bytes = {6: 1, 7: 2}.get(size_code, 0)
    size = int.from_bytes(head[position : position + size_bytes], "big") + 1
    if not size_bytes:
        size = FLAC_BLOCK_SIZES[size_code]
    position += size_bytes + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    checksum = 0
    for bit in range(8 * position + 8):  # the polynomial 0x07; 0 behind the checksum itself
        checksum = checksum << 1 | head[bit // 8] >> 7 - bit % 8 & 1
        checksum ^= 0x107 if checksum & 0x100 else 0
    if checksum:
        return None
    return number * (usual_block if head[1] == FLAC_FRAME_STARTS[0][1] else 1) + size


def _flac_checksum(frame: bytes) -> int:
    """Return the CRC-16 with the polynomial 0x8005, most significant bit first."""
    table, checksum = _flac_checksum_table(), 0
    for byte in frame:
        checksum = (checksum << 8 & 0xFF00) ^ table[checksum >> 8 ^ byte]
    return checksum


@cache
def _flac_checksum_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 8
        for _ in range(8):
            value = (value << 1 ^ 0x8005 if value & 0x8000 else value << 1) & 0xFFFF
        table.append(value)
    return tuple(table)


def unread_format(head: bytes) -> str | None:
    """Return the name of the format of a file that begins with `head`, if it is one of these."""
    found = (name for at, mark, name in SIGNATURES if head[at : at + len(mark)] == mark)
    return next(found, None)


def conversion_command(path: str) -> str:
    """Return `convert it: ffmpeg …`, for a message."""
    target = PurePath(path).with_suffix(".flac")
    return f"convert it: ffmpeg -i {shlex.quote(str(path))} {shlex.quote(str(target))}"
